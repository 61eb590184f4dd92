"""The classifier's network: an encoder, a pooling of its states, a score a label; and a linear model beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatework.graph import Cell
from gatework.layers import Linear, Recurrent
from gatework.layers.dropout import dropout as unit_dropout
from gatework.layers.dropout import sequence_dropout
from gatework.metrics.calibration import NO_CALIBRATION, Calibration
from gatework.tasks.classifier.pooling import Pooling, PoolingName
from gatework.tasks.words import SidePath, TokenBatch, TokenEncoder

__all__ = [
    "ClassifierBatch",
    "ClassifierEnsemble",
    "ClassifierNetwork",
    "SequenceBatch",
    "SequenceEncoder",
    "StatisticsSide",
    "TextSide",
]

SIDE_SCALE = 5.0  # so that the rows of features learn at the pace of the other weights


class SequenceBatch(NamedTuple):
    """B numeric sequences of at most T steps: values (T, B, C), zero past a sequence's end; lengths (B,)."""

    values: Tensor
    lengths: Tensor


class ClassifierBatch(NamedTuple):
    """B inputs, and in training their labels.

    source: the tokens, or the numbers. side: for the side path, (features (F,), offsets (B,)) of texts, (statistics
    (B, S),) of sequences; empty without one. targets: (B,) indices, -1 for a label that the training data does not
    have; or (B, K) zeros and ones. rival: (B, K) the rival's probabilities, where they are mixed in.
    """

    source: TokenBatch | SequenceBatch
    side: tuple[Tensor, ...]
    targets: Tensor | None
    rival: Tensor | None = None


class SequenceEncoder(nn.Module):
    """Numeric sequences as states that know their neighbours.

    Args:
        cell: of the recurrent layers.
        channels: C.
        hidden_size, num_layers, bidirectional: of the layers.
        dropout: rate on the layers' outputs.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        channels: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.recurrent = Recurrent(
            cell,
            channels,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
        )

    @property
    def output_size(self) -> int:
        """D."""
        return self.recurrent.num_directions * self.recurrent.output_size

    def forward(self, batch: SequenceBatch) -> Tensor:
        """The states, (T, B, D)."""
        return self.states(self.inputs(batch), batch.lengths)

    def inputs(self, batch: SequenceBatch) -> Tensor:
        """What the recurrent layers read, (T, B, C)."""
        return batch.values

    def states(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """As `forward`, from what the recurrent layers read."""
        output, _ = self.recurrent(inputs, lengths=lengths)
        if isinstance(output, dict):  # of a cell that emits more than its state
            output = output["output"]
        return sequence_dropout(output, self.dropout, self.training)


class TextSide(nn.Module):
    """The linear model of a text: the sum of its features' rows, over the root of their number.

    Args:
        rows, outputs, dropout: as for `SidePath`.
    """

    def __init__(self, rows: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.path = SidePath(rows, outputs, dropout)

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """(B, K); arguments as for `SidePath`."""
        ends = torch.cat([offsets[1:], offsets.new_tensor([len(features)])])
        counts = (ends - offsets).clamp(min=1)
        return self.path(features, offsets) * (SIDE_SCALE * counts.rsqrt())[:, None]


class StatisticsSide(nn.Module):
    """The linear model of a sequence's S statistics, zero at first."""

    def __init__(self, statistics: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.dropout = Linear(statistics, outputs, bias=False), dropout
        nn.init.zeros_(self.linear.weight)

    def forward(self, statistics: Tensor) -> Tensor:
        """(B, S) to (B, K)."""
        return self.linear(unit_dropout(statistics, self.dropout, self.training))


class ClassifierNetwork(nn.Module):
    """Scores of K labels before the softmax, or before a sigmoid each where an input may have several.

    Args:
        encoder: from a batch's source to states (T, B, D).
        labels: K.
        pooling: how the states become one vector.
        side: the linear model whose scores are added, or None.

    Attributes:
        calibration: how the scores are changed in eval mode.
    """

    def __init__(
        self,
        encoder: TokenEncoder | SequenceEncoder,
        labels: int,
        *,
        pooling: Sequence[PoolingName],
        side: nn.Module | None,
        several: bool,
    ) -> None:
        super().__init__()
        self.encoder, self.side, self.several = encoder, side, several
        self.pooling = Pooling(pooling, encoder.output_size, encoder.recurrent.num_directions)
        self.output = Linear(self.pooling.output_size, labels)
        self.calibration: Calibration = NO_CALIBRATION

    def forward(self, batch: ClassifierBatch) -> Tensor:
        """The scores, (B, K); in eval mode calibrated ones."""
        return self.score(self.encoder(batch.source), batch)

    def score(self, states: Tensor, batch: ClassifierBatch) -> Tensor:
        """As `forward`, from the encoder's states, (T, B, D)."""
        scores = self.output(self.pooling(states, batch.source.lengths))
        if self.side is not None:
            scores = scores + self.side(*batch.side)
        return scores if self.training else self.calibrated(scores)

    def calibrated(self, scores: Tensor) -> Tensor:
        """The scores, (B, K), as they are in eval mode."""
        temperature, bias = self.calibration
        return scores / temperature + (scores.new_tensor(bias) if bias else 0)


class ClassifierEnsemble(nn.Module):
    """Several trained networks, of the mean of their probabilities; in eval mode alone.

    Args:
        networks: with the same labels.
    """

    def __init__(self, networks: Sequence[ClassifierNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.several = networks[0].several

    def forward(self, batch: ClassifierBatch) -> Tensor:
        """(B, K): scores of which the softmax, or the sigmoids, are the mean probabilities."""
        scores = torch.stack([network(batch) for network in self.networks]).double()
        if not self.several:
            return (scores.log_softmax(-1).logsumexp(0) - torch.tensor(len(scores)).log()).to(torch.float32)
        # The log odds of a mean: log of the mean of p less log of the mean of 1 - p, without cancellation.
        mean = F.logsigmoid(scores).logsumexp(0) - F.logsigmoid(-scores).logsumexp(0)
        return mean.to(torch.float32)
