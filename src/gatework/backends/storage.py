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
a weight is at most half its row's scale. Sums are taken in the layer's own dtype in all of them."""

STORAGES: tuple[Storage, ...] = get_args(Storage)
LARGEST = 127  # of a weight in int8, in units of its row's scale


def stored(weight: Tensor, storage: Storage) -> Tensor:
    """A weight, (O, I), as it is read back from a storage, in its own dtype."""
    if storage == "bf16":
        return weight.to(torch.bfloat16).to(weight.dtype)
    if storage == "int8":
        scale = weight.abs().amax(1, keepdim=True) / LARGEST
        return torch.where(scale > 0, (weight / scale).round() * scale, 0.0)
    return weight
