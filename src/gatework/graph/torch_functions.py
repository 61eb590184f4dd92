"""Operations that torch has otherwise than they are meant here, on tensors."""

from __future__ import annotations

from typing import Any

__all__ = ["hard_sigmoid", "softplus", "total"]


def softplus(e: Any) -> Any:
    from torch.nn.functional import logsigmoid

    return -logsigmoid(-e)  # torch's softplus turns linear at 20, which float64 can tell from the truth


def hard_sigmoid(e: Any, slope: float) -> Any:
    # torch's hardsigmoid keeps its slope in float32 even for float64. As it, this has no gradient at the bounds and
    # at NaN.
    line = e * slope + 0.5
    return line.where((line > 0) & (line < 1), line.detach().clamp(0.0, 1.0))


def total(first: Any, *rest: Any) -> Any:
    found = first.sum(dim=-1, keepdim=True)
    for value in rest:
        found = found + value.sum(dim=-1, keepdim=True)
    return found
