"""Whether a network fits into memory, asked before it is made, and what it means when something did not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from torch import nn

from gatework.errors import InputError
from gatework.training.files import size

__all__ = ["available_memory", "check_memory", "is_out_of_memory"]

COPIES = 4  # of the weights at least, while they are trained: gradients and two moments beside them
_CGROUP = Path("/sys/fs/cgroup")  # limits of a container, Linux's second version


def check_memory(network: nn.Module) -> None:
    """Refuse a network that this machine has no memory to train.

    Args:
        network: on the meta device, where it takes none.

    Raises:
        InputError: its weights, gradients and moments are larger than the free memory.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    available = available_memory()
    if available is not None and COPIES * weights > available:
        raise InputError(
            "options",
            f"the network has {size(weights)} of weights, and training takes {size(COPIES * weights)} at least; "
            f"{size(available)} of memory are free",
            "Lower hidden_size, embedding_size or the vocabulary.",
        )


def available_memory() -> int | None:
    """Bytes that this process may still take, None where the system does not say."""
    free = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        limit = int((_CGROUP / "memory.max").read_text())
        free.append(limit - int((_CGROUP / "memory.current").read_text()))
    return min(free) if free else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is Python's or torch's way to say that no memory is left."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
