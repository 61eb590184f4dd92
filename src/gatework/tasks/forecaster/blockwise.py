"""A sum over many rows, block by block: forward and backward of a block while its intermediate values are in the cache.

What a horizon of a whole batch would keep for its backward pass is tens of megabytes an operation, of new pages whose
first touch takes longer than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["blockwise_sum"]

# What some rows (n, D), those of a slice, add to P sums: (P,).
RowSums: TypeAlias = Callable[[Tensor, slice], Tensor]


def blockwise_sum(
    sums: RowSums, rows: Tensor, parameters: Sequence[Tensor], block: int
) -> tuple[Tensor, Tensor]:
    """The total, (), of P sums over all rows, and these sums (P,) without their gradients.

    Args:
        sums: of a block's rows.
        rows: (N, D)
        parameters: tensors that `sums` reads besides and that want gradients; nothing else gets one.
        block: rows of one.
    """
    if torch.is_grad_enabled() and len(rows) > block:
        found: tuple[Tensor, Tensor] = _BlockwiseSum.apply(sums, block, rows, *parameters)
        return found
    parts = sums(rows, slice(0, len(rows)))
    return parts.sum(), parts.detach()


class _BlockwiseSum(torch.autograd.Function):
    """The gradients are made in the forward pass, and scaled in the backward one."""

    @staticmethod
    def forward(
        ctx: Any, sums: RowSums, block: int, rows: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        of_rows = torch.empty_like(rows)
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        each_sum = []
        for begin in range(0, len(rows), block):
            where = slice(begin, begin + block)
            with torch.enable_grad():
                own = rows[where].detach().requires_grad_()
                found = sums(own, where)
                each = torch.autograd.grad(found.sum(), [own, *parameters], allow_unused=True)
            of_rows[where] = 0 if each[0] is None else each[0]
            for gradient, more in zip(gradients, each[1:], strict=True):
                if more is not None:
                    gradient += more
            each_sum.append(found.detach())
        ctx.save_for_backward(of_rows, *gradients)
        parts = torch.stack(each_sum).sum(0)
        ctx.mark_non_differentiable(parts)
        return parts.sum(), parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_rows, *gradients = ctx.saved_tensors
        return None, None, of_rows * total, *(gradient * total for gradient in gradients)
