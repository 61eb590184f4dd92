"""The largest numbers over the steps of ragged sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gatework.backends.admission import is_plain, mode_refusal

__all__ = ["largest"]


def largest(sequence: Tensor, inside: Tensor) -> Tensor:
    """The largest of each row's numbers over its steps, (B, D); equal ones share the gradient, as with `torch.amax`.

    Args:
        sequence: (T, B, D), zero past a row's end.
        inside: (T, B, 1) booleans, whether a row has a step; of a row without any it is the lowest number.
    """
    if is_plain(sequence) and mode_refusal() is None:
        found: Tensor = _Largest.apply(sequence, inside)
        return found
    return sequence.masked_fill(~inside, torch.finfo(sequence.dtype).min).amax(0)


class _Largest(torch.autograd.Function):
    """Sums and signs, which torch has vector instructions for; it has none for a choice by booleans."""

    @staticmethod
    def forward(ctx: Any, sequence: Tensor, inside: Tensor) -> Tensor:
        outside = torch.zeros(inside.shape, dtype=sequence.dtype, device=sequence.device)
        values = sequence + outside.masked_fill_(~inside, torch.finfo(sequence.dtype).min)
        found = values.amax(0)
        ctx.save_for_backward(values, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, found = ctx.saved_tensors
        chosen = (values - found).sign_().add_(1)  # 1 where a number is the largest, else 0
        return chosen.mul_(gradient / chosen.sum(0)), None
