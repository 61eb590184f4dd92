"""Linear maps and softmaxes over them, as `gatework.backends.program.DenseBackend` names them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from gatework.backends.compiled.dense import topk
from gatework.backends.compiled.dense.cross_entropy import cross_entropy
from gatework.backends.compiled.dense.linear import linear
from gatework.backends.compiled.machine import Machine


@dataclass(frozen=True)
class Maps:
    """The maps of a machine; see `DenseBackend`."""

    machine: Machine

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `DenseBackend`."""
        return linear(self.machine, input, weight, bias)

    def cross_entropy(
        self, input: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        """See `DenseBackend`."""
        return cross_entropy(self.machine, input, weight, bias, targets, smoothing)

    def likeliest(
        self, input: Tensor, weight: Tensor, bias: Tensor, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor] | None:
        """See `DenseBackend`: None where units are too many to count."""
        if not topk.rankable(weight, count):
            return None
        return topk.best(self.machine, input, weight, bias, count, forbidden)
