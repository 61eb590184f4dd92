"""Lengths of the sequences of a batch, as a caller gives them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_lengths(lengths: Tensor | Sequence[int], steps: int, rows: int) -> Tensor:
    """Lengths as a tensor, (B,).

    Raises:
        ValueError: they are no whole numbers, too many or too few, or out of 0 … `steps`.
    """
    tensor = torch.as_tensor(lengths)
    if tensor.numel() == 0 and not isinstance(lengths, Tensor):
        tensor = tensor.to(torch.int64)  # an empty list says nothing of its numbers
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise ValueError(f"lengths have dtype {tensor.dtype}; they must be whole numbers.")
    if tuple(tensor.shape) != (rows,):
        raise ValueError(f"lengths have shape {tuple(tensor.shape)}; the batch has {rows} rows.")
    if rows and not 0 <= int(tensor.min()) <= int(tensor.max()) <= steps:
        raise ValueError(
            f"lengths run from {int(tensor.min())} to {int(tensor.max())}; they must lie between 0 and {steps}, "
            "the steps of the input."
        )
    return tensor
