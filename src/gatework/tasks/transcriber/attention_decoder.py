"""A second scorer of labels: a recurrent decoder that attends to the steps of the encoder.

Beside CTC in the loss and in the search (Watanabe et al. 2017, "Hybrid CTC/attention architecture for end-to-end speech
recognition"): CTC keeps the labels in the order of the sound, the decoder knows what labels came before.

Shapes: S steps, B rows, N labels, V labels with 0, which begins and ends a sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.cells import get
from gatework.layers import Linear, Memories, Recurrent, reorder_state
from gatework.layers.dropout import dropout

__all__ = ["AttendingState", "AttentionDecoder"]

_CELL = "bahdanau_gru"
_SMOOTHING = 0.1  # of the targets in training (Szegedy et al. 2016)


class AttendingState(NamedTuple):
    """The decoder's state of N hypotheses, and what they attend to."""

    hidden: Tensor
    memory: Memories


class AttentionDecoder(nn.Module):
    """p(next label | labels so far, sound).

    Args:
        labels: V - 1.
        memory_size: of the encoder's outputs.
        hidden_size: of the decoder's state and of a label's vector.
        dropout: rate at the labels' vectors, at the memory and before the softmax.
        unknown: the label that is never said, or None.
    """

    def __init__(
        self, labels: int, *, memory_size: int, hidden_size: int, dropout: float, unknown: int | None
    ) -> None:
        super().__init__()
        self.dropout, self.unknown = dropout, unknown
        self.embedding = nn.Embedding(labels + 1, hidden_size)
        nn.init.normal_(self.embedding.weight, std=hidden_size**-0.5)
        self.recurrent = Recurrent(get(_CELL), hidden_size, hidden_size, sizes={"memory_size": memory_size})
        self.readout = Linear(2 * hidden_size + memory_size, hidden_size)
        self.output = Linear(hidden_size, labels + 1)

    def forward(self, memory: Tensor, lengths: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        """Minus the log-probability of each row's labels and end, summed, in nats.

        Args:
            memory: (S, B, M); lengths: (B,) steps. labels: (B, N); counts: (B,) labels of each row.
        """
        width = labels.shape[1]
        place = torch.arange(width + 1, device=labels.device)
        counts = counts.to(labels.device)
        inside = place < counts[:, None] + 1  # (B, N + 1), the end too
        ended = F.pad(labels, (0, 1)) * (place < counts[:, None])
        begun = F.pad(ended, (1, 0))[:, :-1]
        scores, _ = self._scores(begun.T, self.start(memory, lengths), counts + 1)
        smoothing = _SMOOTHING if self.training else 0.0
        targets = ended.T[inside.T]
        return F.cross_entropy(scores[inside.T], targets, reduction="sum", label_smoothing=smoothing)

    def start(self, memory: Tensor, lengths: Tensor) -> AttendingState:
        """The state before the first step; as for `forward`."""
        # Of no step at all the first one is attended to, which is zero.
        kept = self.recurrent.attend_to(
            dropout(memory, self.dropout, self.training), lengths.to(memory.device).clamp(min=1)
        )
        hidden = self.recurrent.initial_state(memory.shape[1])
        return AttendingState(hidden, kept)  # type: ignore[arg-type]  # a GRU has one state

    def step(self, tokens: Tensor, state: AttendingState) -> tuple[Tensor, AttendingState]:
        """See `gatework.seq2seq.Decoder`."""
        scores, state = self._scores(tokens[None], state)
        return scores[0].log_softmax(-1), state

    def reorder(self, state: AttendingState, index: Tensor) -> AttendingState:
        """See `gatework.seq2seq.Decoder`."""
        return AttendingState(reorder_state(state.hidden, index), state.memory.select(index))

    def _scores(
        self, tokens: Tensor, state: AttendingState, lengths: Tensor | None = None
    ) -> tuple[Tensor, AttendingState]:
        """(T, N, V) scores after tokens (T, N)."""
        embedded = dropout(self.embedding(tokens), self.dropout, self.training)
        result, hidden = self.recurrent(embedded, state.hidden, lengths=lengths, memory=state.memory)
        joined = torch.cat([result["output"], result["context"], embedded], -1)
        scores = self.output(dropout(torch.tanh(self.readout(joined)), self.dropout, self.training)).float()
        if self.unknown is not None:
            scores = scores.index_fill(-1, torch.tensor([self.unknown], device=scores.device), -1e4)
        return scores, AttendingState(hidden, state.memory)
