"""Memory for the results of passes, used again.

Memory that is new to the process costs more to touch for the first time than a fast layer takes to fill it, and
the C library hands large blocks back to the system as soon as they are free. Blocks whose tensors are
gone are kept for the next tensor of similar size.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

_SMALL = 1 << 16  # bytes, below which the C library keeps its memory itself
_LINE = 64


class _Idle:
    """Blocks that wait, by their size.

    Batches of other lengths want other sizes. As many bytes may wait as `share` times what was in use at once in
    the last `window` takes or a little more, at least `least` and at most `most`: beyond that, blocks of the sizes
    that were wanted least recently go back to the system.
    """

    share, window = 2, 512
    least, most = 1 << 26, 1 << 30

    def __init__(self) -> None:
        self.blocks: OrderedDict[int, list[np.ndarray]] = OrderedDict()  # the size wanted last stands last
        self.bytes = self.in_use = self.takes = 0
        self.peaks = [0, 0]  # bytes in use at once: in the window before this one, and in this one
        self.lock = threading.RLock()  # a finaliser may run while its own thread holds it

    def take(self, size: int) -> np.ndarray:
        with self.lock:
            self.in_use += size
            self.takes += 1
            if self.takes % self.window == 0:
                self.peaks = [self.peaks[1], 0]
            self.peaks[1] = max(self.peaks[1], self.in_use)
            if size in self.blocks:
                self.blocks.move_to_end(size)
                return self._pop(size)
        return np.empty(size, np.uint8)

    def give(self, block: np.ndarray) -> None:
        with self.lock:
            self.in_use -= block.size
            self.bytes += block.size
            self.blocks.setdefault(block.size, []).append(block)
            self.blocks.move_to_end(block.size)
            while self.bytes > min(self.most, max(self.least, self.share * max(self.peaks))):
                self._pop(next(iter(self.blocks)))

    def _pop(self, size: int) -> np.ndarray:
        block = self.blocks[size].pop()
        self.bytes -= size
        if not self.blocks[size]:
            del self.blocks[size]
        return block

    def release(self) -> None:
        with self.lock:
            self.blocks.clear()
            self.bytes = 0


_idle = _Idle()


class _Lease(np.ndarray):
    """A block in use: gone with the last tensor on it, and then the block waits again."""

    def __del__(self, _array: type[np.ndarray] = np.ndarray, _idle: _Idle = _idle) -> None:
        # As Python ends, this module's names may be gone before the last tensor: hence the defaults.
        if isinstance(self.base, _array):
            _idle.give(self.base)


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor whose numbers are not set yet."""
    item = dtype.itemsize
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
