"""The encoder-decoder: two recurrent networks, joined by a bridge and, where the decoder attends, by alignment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gatework.backends import by_size
from gatework.graph import Cell
from gatework.graph.node import Width, resolve
from gatework.layers import Linear, Memories, Recurrent, reorder_state
from gatework.layers.dropout import dropout
from gatework.layers.softmax import Softmax

__all__ = ["DecoderState", "EncoderDecoder"]

States = tuple[Tensor, ...]


@dataclass(frozen=True)
class DecoderState:
    """What a decoder carries from step to step. Row n of each array belongs to hypothesis n.

    Attributes:
        states: states of the decoder's cell, (1, N, size) each.
        upper: states of the layers above the cell, (layers, N, size) each.
        memory: the encoder's outputs that the rows attend to; None where the cell does not attend.
        context: the summary of each row's source, (N, C), where the cell reads one at every step.
        rows: (N,) index of the source that each row decodes.
        alignment: (N, S) attention weights of the step before, where they were asked for.
    """

    states: States
    upper: States
    memory: Memories | None
    context: Tensor | None
    rows: Tensor
    alignment: Tensor | None = None


class EncoderDecoder(nn.Module):
    """p(target | source), one target token at a time.

    The decoder's cell says how the two networks are joined. One with a `gw.Memory` attends to the encoder's outputs
    (Bahdanau et al. 2014; Luong et al. 2015); one with a `gw.Static` reads one summary of the source at every step
    (Cho et al. 2014); any other starts from the summary and sees no more of the source (Sutskever et al. 2014).

    Args:
        encoder_cell: its input is the embedded source token, in both directions if `bidirectional`.
        decoder_cell: its input is the embedded target token before the one to predict.
        source_vocabulary, target_vocabulary: numbers of tokens.
        embedding_size: E, features of a token on either side.
        hidden_size: H, units of each direction of the encoder, and of the decoder.
        encoder_layers: layers of the encoder.
        decoder_layers: layers of the decoder: the decoder's cell, and layers of the encoder's cell above it, each of
            which adds its input to its output (Wu et al. 2016).
        share_embeddings: one embedding table for both sides, which have one vocabulary.
        tie_weights: the softmax shares the target embedding's rows (Press & Wolf 2017).
        dropout: rate on embeddings, between layers, on the encoder's outputs and before the softmax.
        label_smoothing: share of the probability that is spread over the vocabulary in training (Szegedy et al.
            2016).

    Raises:
        ValueError: a cell that cannot be an encoder's or a decoder's; the message says why.
    """

    def __init__(
        self,
        encoder_cell: Cell,
        decoder_cell: Cell,
        *,
        source_vocabulary: int,
        target_vocabulary: int,
        embedding_size: int,
        hidden_size: int,
        encoder_layers: int = 1,
        decoder_layers: int = 1,
        bidirectional: bool = True,
        share_embeddings: bool = False,
        tie_weights: bool = True,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if len(encoder_cell.graph.inputs) > 1:
            further = ", ".join(spec.name for spec in encoder_cell.graph.inputs[1:])
            raise ValueError(
                f"the encoder's cell {encoder_cell.name} takes further inputs ({further}); only x is available"
            )
        self.dropout, self.label_smoothing = dropout, label_smoothing
        self.source_embedding = _embedding(source_vocabulary, embedding_size)
        self.target_embedding = (
            self.source_embedding if share_embeddings else _embedding(target_vocabulary, embedding_size)
        )
        between = dropout if encoder_layers > 1 else 0.0
        self.encoder = Recurrent(
            encoder_cell,
            embedding_size,
            hidden_size,
            encoder_layers,
            bidirectional=bidirectional,
            dropout=between,
        )
        width = self.encoder.num_directions * self.encoder.output_size
        summary = width * len(encoder_cell.graph.states)
        self.summary_name = self._joined_by(decoder_cell, "static")
        self.memory_name = self._joined_by(decoder_cell, "memory")
        free = _free_sizes(decoder_cell, width, hidden_size)
        self.decoder = Recurrent(decoder_cell, embedding_size, hidden_size, sizes=free)
        sizes = {"input_size": embedding_size, "hidden_size": hidden_size, **free}
        if self.memory_name:
            memory = resolve(_input_size(decoder_cell, self.memory_name), sizes)
            if memory != width:
                raise ValueError(
                    f"the decoder's cell {decoder_cell.name} attends to a memory of {memory} features, and the "
                    f"encoder's outputs have {width} ({self.encoder.num_directions} directions of "
                    f"{self.encoder.output_size}). Give the memory a size of its own "
                    f"({self.memory_name}: gw.Memory), or choose sizes and directions that agree."
                )
        self.upper = (
            Recurrent(encoder_cell, hidden_size, hidden_size, decoder_layers - 1)
            if decoder_layers > 1
            else None
        )
        self.summary = (
            Linear(summary, resolve(_input_size(decoder_cell, self.summary_name), sizes))
            if self.summary_name
            else None
        )
        graph = decoder_cell.graph
        self.bridge = nn.ModuleList(
            Linear(summary, resolve(state.size, sizes))
            for state in graph.states
            if not graph.counts_steps(state.size)
        )
        emitted = sum(resolve(graph.nodes[i].width, sizes) for i in graph.emits().values())
        joined = self.decoder.output_size + emitted + embedding_size
        self.readout = Linear(joined, embedding_size)
        shared = self.target_embedding.weight if tie_weights else None
        self.softmax = Softmax(embedding_size, target_vocabulary, weight=shared)
        self.alignment_name = next((n.text("name") for n in graph.nodes if n.op == "attention_weights"), None)

    @staticmethod
    def _joined_by(cell: Cell, kind: str) -> str | None:
        """The name of the cell's further input of a kind, of which there is one at most."""
        names = [spec.name for spec in cell.graph.inputs[1:] if spec.kind == kind]
        streams = [spec.name for spec in cell.graph.inputs[1:] if spec.kind == "input"]
        if len(names) > 1 or streams:
            raise ValueError(
                f"the decoder's cell {cell.name} takes further inputs ({', '.join([*names, *streams])}); available are "
                "one gw.Memory (the encoder's outputs) and one gw.Static (their summary)"
            )
        return names[0] if names else None

    @property
    def attends(self) -> bool:
        """Whether the decoder has alignment weights."""
        return self.alignment_name is not None

    # Training

    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target: Tensor,
        target_lengths: Tensor,
        sampling: float = 0.0,
    ) -> Tensor:
        """Minus the log-probability of the targets, summed over their tokens, in nats.

        Args:
            source: (S, B) ids; source_lengths: (B,).
            target: (T + 1, B) ids, each row beginning with the start token.
            target_lengths: (B,) tokens to predict of each row, T at most.
            sampling: share of the decoder's inputs that are drawn from its own predictions (Bengio et al. 2015),
                made in a first pass over the given targets (Mihaylova & Martins 2019).
        """
        state = self.start(source, source_lengths)
        inputs = target[:-1]
        if sampling > 0:
            with torch.no_grad():
                guesses = self.softmax.log_prob(self._hidden(inputs, target_lengths, state)[0].flatten(0, 1))
                drawn = torch.multinomial(guesses.exp(), 1).view(inputs.shape)
            own = torch.rand(inputs.shape, device=inputs.device) < sampling
            own[0] = False  # the start token
            inputs = torch.where(own, drawn.roll(1, 0), inputs)
        hidden, steps = self._hidden(inputs, target_lengths, state)
        smoothing = self.label_smoothing if self.training else 0.0
        return self.softmax.loss(hidden[steps], target[1:][steps], smoothing)

    def losses(
        self, source: Tensor, source_lengths: Tensor, target: Tensor, target_lengths: Tensor
    ) -> Tensor:
        """Minus the log-probability of each target token, (T, B), in nats; 0 past a row's last one."""
        hidden, steps = self._hidden(target[:-1], target_lengths, self.start(source, source_lengths))
        losses = hidden.new_zeros(steps.shape)
        losses[steps] = self.softmax.losses(hidden[steps], target[1:][steps])
        return losses

    def _hidden(self, inputs: Tensor, lengths: Tensor, state: DecoderState) -> tuple[Tensor, Tensor]:
        """The softmax's inputs, (T, B, E), and at which steps of each row there is a target, (T, B)."""
        embedded = self._dropped(self.target_embedding(inputs))
        steps = torch.arange(len(inputs), device=inputs.device).unsqueeze(1) < lengths.to(inputs.device)
        return self._decode(embedded, state, lengths)[0], steps

    # A step at a time

    def start(self, source: Tensor, lengths: Tensor) -> DecoderState:
        """The decoder's state before its first step, after the encoder has read the source.

        Args:
            source: (S, B) ids; lengths: (B,) tokens of each column.
        """
        outputs, finals = self.encoder(self._dropped(self.source_embedding(source)), lengths=lengths)
        last = finals if isinstance(finals, tuple) else (finals,)
        top = [part for state in last for part in state[-self.encoder.num_directions :]]
        summary = torch.cat(top, dim=-1)  # (B, states * directions * H)
        rows = source.shape[1]
        memory = self.decoder.attend_to(self._dropped(outputs), lengths) if self.memory_name else None
        start = self.decoder.initial_state(rows, None if memory is None else memory.steps)
        states = list(start if isinstance(start, tuple) else (start,))
        for index, layer in enumerate(self.bridge):
            states[index] = _tanh(layer(summary)).unsqueeze(0)
        upper: States = ()
        if self.upper is not None:
            first = self.upper.initial_state(rows)
            upper = first if isinstance(first, tuple) else (first,)
        context = None if self.summary is None else _tanh(self.summary(summary))
        return DecoderState(tuple(states), upper, memory, context, torch.arange(rows, device=source.device))

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Reads one token a row, (N,): the next token's log-probabilities, (N, V), in nats, and the new state."""
        return self._step(tokens, state)

    def best(
        self,
        tokens: Tensor,
        state: DecoderState,
        count: int,
        forbidden: Collection[int],
        *,
        aligned: bool = False,
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """As `step`, for the `count` likeliest next tokens alone: their log-probabilities by falling value, (N, count),
        their ids, (N, count), and the new state.

        Args:
            forbidden: ids that are left out.
            aligned: keep the step's attention weights in the new state.
        """
        hidden, state = self._read(tokens, state, self.alignment_name if aligned else None)
        return *self.softmax.best(hidden, count, forbidden), state

    def _step(
        self, tokens: Tensor, state: DecoderState, alignment: str | None = None
    ) -> tuple[Tensor, DecoderState]:
        hidden, state = self._read(tokens, state, alignment)
        return self.softmax.log_prob(hidden), state

    def _read(
        self, tokens: Tensor, state: DecoderState, alignment: str | None
    ) -> tuple[Tensor, DecoderState]:
        embedded = self._dropped(self.target_embedding(tokens.unsqueeze(0)))
        hidden, state = self._decode(embedded, state, alignment=alignment)
        return hidden[0], state

    def step_with_alignment(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """As `step`, with the step's attention weights in the new state, where the decoder has any."""
        if self.alignment_name is None:
            return self.step(tokens, state)
        return self._step(tokens, state, self.alignment_name)

    def reorder(self, state: DecoderState, index: Tensor) -> DecoderState:
        """The state whose row n is row index[n] of the given one."""
        rows = state.rows[index]
        moved = not torch.equal(rows, state.rows)  # hypotheses of one source share its memory
        return DecoderState(
            reorder_state(state.states, index),
            reorder_state(state.upper, index),
            state.memory.select(index) if state.memory is not None and moved else state.memory,
            state.context[index] if state.context is not None else None,
            rows,
            None if state.alignment is None else state.alignment[index],
        )

    def _decode(
        self,
        embedded: Tensor,
        state: DecoderState,
        lengths: Tensor | None = None,
        alignment: str | None = None,
    ) -> tuple[Tensor, DecoderState]:
        """The softmax's inputs, (T, B, E), and the state after the last step, with that step's attention weights where
        `alignment` names the gate that holds them.
        """
        own = state.states if len(state.states) > 1 else state.states[0]
        result, states = self.decoder(
            embedded,
            own,
            lengths=lengths,
            memory=state.memory,
            inputs={self.summary_name: state.context} if self.summary_name else None,
            emit=[alignment] if alignment else (),
        )
        weights = result.pop(alignment)[-1] if alignment else None
        parts = list(result.values()) if isinstance(result, dict) else [result]
        upper = state.upper
        if self.upper is not None:
            above, new = self.upper(
                self._dropped(parts[0]), upper if len(upper) > 1 else upper[0], lengths=lengths
            )
            parts[0] = parts[0] + above
            upper = new if isinstance(new, tuple) else (new,)
        hidden = _tanh(self.readout(torch.cat([*parts, embedded], dim=-1)))
        own_states = states if isinstance(states, tuple) else (states,)
        return self._dropped(hidden), replace(state, states=own_states, upper=upper, alignment=weights)

    def _dropped(self, value: Tensor) -> Tensor:
        return dropout(value, self.dropout, self.training)


def _tanh(value: Tensor) -> Tensor:
    with by_size("elementwise", value.numel()):
        return torch.tanh(value)


def _input_size(cell: Cell, name: str) -> Width:
    """The declared size of one of a cell's further inputs."""
    return next(spec.size for spec in cell.graph.inputs if spec.name == name)


def _free_sizes(cell: Cell, width: int, hidden_size: int) -> dict[str, int]:
    """The sizes that are the further inputs' own: that of a memory is the width of the encoder's outputs, that of
    a fixed vector `hidden_size`. A name that the layer or a memory gives a value to keeps that value.
    """
    sizes: dict[str, int] = {}
    for kind, value in (("memory", width), ("static", hidden_size)):
        for spec in cell.graph.inputs[1:]:
            if (
                spec.kind == kind
                and isinstance(spec.size, str)
                and spec.size not in ("input_size", "hidden_size")
            ):
                sizes.setdefault(spec.size, value)
    return sizes


def _embedding(vocabulary: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(vocabulary, size)
    nn.init.normal_(embedding.weight, std=size**-0.5)
    return embedding
