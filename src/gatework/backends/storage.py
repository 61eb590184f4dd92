"""How a stream keeps its weight matrices: as they are, or in fewer bits with a stated rounding.

A step at batch 1 reads every weight once, so that its time is that of reading them: half the bytes are half the time.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Storage = Literal["full", "bf16", "int8"]
"""`full` keeps a weight's own dtype; `bf16` rounds each number to bfloat16, relative error at most 2^-8; `int8` has a
scale for each row of a matrix, the row's largest magnitude over 127, and rounds to whole multiples of it: the error of
a weight is at most half its row's scale. Sums are taken in the layer's own dtype in all of them; but the engine, in
float32, rounds what weights of `int8` are multiplied with too, to 16 bits: a vector's numbers to whole multiples of its
largest magnitude over 32767 (over 2^31 / 127 / n where it has n > 515 numbers), and sums the products exactly."""

STORAGES: tuple[Storage, ...] = get_args(Storage)
LARGEST = 127  # of a weight in int8, in units of its row's scale
LARGEST_INPUT = (
    32767  # of what it is multiplied with, in units of that row's scale; fewer where 516 are summed or more
)


def stored(weight: Tensor, storage: Storage) -> Tensor:
    """A weight, (O, I), as it is read back from a storage, in its own dtype."""
    if storage == "bf16":
        return weight.to(torch.bfloat16).to(weight.dtype)
    if storage == "int8":
        scale = weight.abs().amax(1, keepdim=True) / LARGEST
        return torch.where(scale > 0, (weight / scale).round() * scale, 0.0)
    return weight
