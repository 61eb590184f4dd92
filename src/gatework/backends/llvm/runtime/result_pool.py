"""Memory for the results of passes, used again.

Memory that is new to the process costs more to touch for the first time than a fast layer takes to fill it, and
the C library hands large blocks back to the system as soon as they are free. Blocks whose tensors are
gone are kept for the next tensor of similar size.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

_SMALL = 1 << 16  # bytes, below which the C library keeps its memory itself
_LINE = 64


class _Idle:
    """Blocks that wait, by their size.

    Args:
        most: bytes that may wait.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.blocks: dict[int, list[np.ndarray]] = defaultdict(list)
        self.bytes = 0
        self.lock = threading.RLock()  # a finaliser may run while its own thread holds it

    def take(self, size: int) -> np.ndarray:
        with self.lock:
            if self.blocks[size]:
                self.bytes -= size
                return self.blocks[size].pop()
        return np.empty(size, np.uint8)

    def give(self, block: np.ndarray) -> None:
        with self.lock:
            if self.bytes + block.size <= self.most:
                self.bytes += block.size
                self.blocks[block.size].append(block)

    def release(self) -> None:
        with self.lock:
            self.blocks.clear()
            self.bytes = 0


_idle = _Idle(1 << 30)


class _Lease(np.ndarray):
    """A block in use: gone with the last tensor on it, and then the block waits again."""

    def __del__(self, _array: type[np.ndarray] = np.ndarray, _idle: _Idle = _idle) -> None:
        # As Python ends, this module's names may be gone before the last tensor: hence the defaults.
        if isinstance(self.base, _array):
            _idle.give(self.base)


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor whose numbers are not set yet."""
    item = torch.finfo(dtype).bits // 8
    count = prod(shape)
    if count * item < _SMALL:
        return torch.empty(shape, dtype=dtype)
    step = 1 << max(0, (count * item).bit_length() - 4)  # at most an eighth is unused
    lease = _idle.take(-(-(count * item + _LINE) // step) * step).view(_Lease)
    offset = -lease.__array_interface__["data"][0] % _LINE
    return torch.frombuffer(lease, dtype=dtype, count=count, offset=offset).view(shape)


def release() -> None:
    """Gives the memory that waits back to the system."""
    _idle.release()
