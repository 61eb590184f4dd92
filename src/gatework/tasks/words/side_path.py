"""A linear model inside a network: sums of the rows of a table of hashed features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatework.layers.bags import bag_sums

__all__ = ["SidePath"]


class SidePath(nn.Module):
    """Scores of N things, each the sum of the rows of its features (Weinberger et al. 2009).

    The scores are added to a network's before its softmax or its chain, so that the whole starts as a linear model
    beside a network that knows nothing yet. All rows are zero at first.

    Args:
        rows: of the table; features that share one share their weights.
        outputs: K.
        dropout: share of the features that are left out in training.
    """

    def __init__(self, rows: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(torch.zeros(rows, outputs))

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """The scores, (N, K).

        Args:
            features: (F,) rows of the table: those of the first thing, then those of the second, and so on.
            offsets: (N,), where the features of each thing begin.
        """
        weights = None
        if self.training and self.dropout:
            kept = torch.full(
                features.shape, 1 - self.dropout, dtype=self.weight.dtype, device=features.device
            )
            weights = kept.bernoulli().div_(1 - self.dropout)
        return bag_sums(self.weight, features, offsets, weights)
