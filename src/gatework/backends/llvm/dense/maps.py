"""Linear maps and softmaxes over them, as `gatework.backends.program.DenseBackend` names them."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from gatework.backends.llvm.dense import topk
from gatework.backends.llvm.dense.cross_entropy import cross_entropy
from gatework.backends.llvm.dense.linear import linear

__all__ = ["cross_entropy", "likeliest", "linear"]


def likeliest(
    input: Tensor, weight: Tensor, bias: Tensor, count: int, forbidden: Collection[int]
) -> tuple[Tensor, Tensor] | None:
    """The log-probabilities of each row's likeliest units and the units; None where units are too many to count."""
    if not topk.rankable(weight, count):
        return None
    return topk.best(input, weight, bias, count, forbidden)
