"""The network of the language model: embedding, recurrent layers, and a softmax over the vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor, nn

from gatework.graph import Cell
from gatework.layers import Recurrent, reorder_state
from gatework.layers.dropout import sequence_dropout
from gatework.layers.linear import Linear
from gatework.layers.softmax import AdaptiveSoftmax, Softmax

__all__ = ["LanguageNetwork"]


class LanguageNetwork(nn.Module):
    """p(next token | tokens so far), as in Zaremba et al. 2014, with tied weights (Press & Wolf 2017).

    With `tie_weights` the softmax shares the embedding's rows, and where the widths differ a linear
    layer projects the hidden vectors to the embedding's.

    Args:
        cell: reads the embedded tokens.
        vocabulary_size: number of tokens V, in order of falling frequency for the adaptive softmax.
        cutoffs: where the tail clusters of the adaptive softmax begin; empty for the plain softmax.
        embedding_dropout, dropout, output_dropout: shares of the units dropped after the embedding,
            between the layers and before the softmax; one mask a sequence (Gal & Ghahramani 2016) for the
            first and the last.
        hidden_size, num_layers, proj_size, residual, recurrent_dropout, zoneout: as for `gatework.Recurrent`.

    Raises:
        ValueError: the cell reads more than the tokens, or needs a size that was not given.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        vocabulary_size: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        proj_size: int,
        residual: bool,
        tie_weights: bool,
        cutoffs: Sequence[int],
        embedding_dropout: float,
        dropout: float,
        output_dropout: float,
        recurrent_dropout: float,
        zoneout: float,
    ) -> None:
        super().__init__()
        self.embedding_dropout = embedding_dropout
        self.output_dropout = output_dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        # The recurrent layers learn sooner from large inputs, the softmax from small rows. So shared rows are
        # small, and multiplied on their way in, as in Vaswani et al. 2017, section 3.4; but by the fourth root
        # of their width: over some thousand steps that learned faster here than the square root, or than 1.
        self.embedding_scale = embedding_size**0.25 if tie_weights else 1.0
        nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5 if tie_weights else 1.0)
        reads = [each.name for each in cell.graph.inputs]
        if len(reads) > 1:
            raise ValueError(
                f"the cell reads {', '.join(reads[1:])} beside its input, and a text has no such thing"
            )
        self.recurrent = Recurrent(
            cell,
            embedding_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            proj_size=proj_size,
            residual=residual,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
        )
        output_size = self.recurrent.output_size
        project = tie_weights and output_size != embedding_size
        self.projection = Linear(output_size, embedding_size) if project else None
        width = embedding_size if tie_weights else output_size
        shared = self.embedding.weight if tie_weights else None
        self.softmax: Softmax
        if cutoffs:
            self.softmax = AdaptiveSoftmax(width, vocabulary_size, cutoffs, weight=shared)
        else:
            self.softmax = Softmax(width, vocabulary_size, weight=shared)

    def forward(self, inputs: Tensor, targets: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Summed loss in nats of targets (T, B) after inputs (T, B), and the state after the last step."""
        hidden, state = self.hidden(inputs, state)
        return self.softmax.loss(hidden.flatten(0, 1), targets.flatten()), state

    def losses(self, inputs: Tensor, targets: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The loss in nats of each target, (T, B), and the state after the last step."""
        hidden, state = self.hidden(inputs, state)
        return self.softmax.losses(hidden.flatten(0, 1), targets.flatten()).view_as(targets), state

    def read(self, inputs: Tensor, state: Any = None) -> Any:
        """The state after inputs (T, B)."""
        return self.hidden(inputs, state)[1]

    def first_state(self, rows: int) -> Any:
        """The state before the first token of so many rows."""
        return self.recurrent.initial_state(rows)

    def hidden(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """What the softmax reads: inputs (T, B) -> (T, B, width of the softmax), and the new state."""
        embedded = self.embedding(inputs) * self.embedding_scale
        embedded = sequence_dropout(embedded, self.embedding_dropout, self.training)
        output, state = self.recurrent(embedded, state)  # (T, B, H)
        if isinstance(output, dict):  # of a cell that emits more than its state
            output = output["output"]
        if self.projection is not None:
            output = self.projection(output)
        return sequence_dropout(output, self.output_dropout, self.training), state

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of a search: tokens (N,) -> log-probabilities (N, V), new state."""
        hidden, state = self.hidden(tokens[None], state)
        return self.softmax.log_prob(hidden[0]), state

    def best(
        self, tokens: Tensor, state: Any, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor, Any]:
        """The likeliest tokens of a step; see `gatework.seq2seq.RankingDecoder`."""
        hidden, state = self.hidden(tokens[None], state)
        return *self.softmax.best(hidden[0], count, forbidden), state

    def reorder(self, state: Any, index: Tensor) -> Any:
        """The state of rows index; see `gatework.seq2seq.Decoder`."""
        return reorder_state(state, index)
