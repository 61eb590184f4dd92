"""Sums of a table's rows, a bag of rows each: torch's `embedding_bag` with a quicker gradient of the table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gatework.backends import result_memory
from gatework.backends.admission import is_plain, mode_refusal

__all__ = ["bag_means", "bag_sums"]


def bag_sums(table: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Tensor:
    """The sum of the rows of each bag, (N, K); 0 of a bag without rows.

    Args:
        table: (V, K).
        rows: (F,) rows of the table: those of the first bag, then those of the second, and so on.
        offsets: (N,), where those of each bag begin.
        weights: (F,) by which each row is multiplied, without a gradient; None: 1.
    """
    if not _can(table):
        return F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights)
    found: Tensor = _Bags.apply(table, rows, offsets, weights, False)
    return found


def bag_means(table: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """The mean of the rows of each bag, (N, K); arguments as for `bag_sums`."""
    if not _can(table):
        return F.embedding_bag(rows, table, offsets, mode="mean")
    found: Tensor = _Bags.apply(table, rows, offsets, None, True)
    return found


def _can(table: Tensor) -> bool:
    return table.device.type == "cpu" and is_plain(table) and mode_refusal() is None


class _Bags(torch.autograd.Function):
    """Torch sorts the rows to find which are there more than once, and takes new memory for the whole gradient, whose
    first touch takes longer than the sums."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor | None, mean: bool
    ) -> Tensor:
        ctx.save_for_backward(rows, offsets, weights)
        ctx.shape, ctx.mean = table.shape, mean
        return F.embedding_bag(
            rows, table, offsets, mode="mean" if mean else "sum", per_sample_weights=weights
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, offsets, weights = ctx.saved_tensors
        counts = torch.diff(offsets, append=offsets.new_tensor([len(rows)]))
        bags = torch.repeat_interleave(counts)
        if ctx.mean:
            gradient = gradient / counts.clamp(min=1)[:, None]
        if weights is not None:  # dropout leaves many out
            (kept,) = weights.nonzero(as_tuple=True)
            rows, bags, weights = rows[kept], bags[kept], weights[kept]
        each = torch.index_select(
            gradient, 0, bags, out=result_memory((len(bags), gradient.shape[1]), gradient)
        )
        if weights is not None:
            each *= weights[:, None]
        of_table = result_memory(ctx.shape, gradient).zero_().index_add_(0, rows, each)
        return of_table, None, None, None, None
