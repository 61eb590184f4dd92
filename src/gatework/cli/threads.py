"""How many threads a command computes with, and how they wait for work."""

from __future__ import annotations

import os
import sys

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables by which a user says how OpenMP's threads wait."""


def wait_without_spinning() -> None:
    """Lets OpenMP's threads sleep while they wait, unless the user has said how they do.

    By default a thread spins for some milliseconds, which on a machine with other busy processes takes the processor
    from the thread that it waits for. OpenMP reads the variable when torch is loaded.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def set_threads(number: int | None) -> int | None:
    """The callback of `--threads`: torch's operators and the engine share their work among so many threads."""
    if number is not None:
        import torch

        torch.set_num_threads(number)
    return number
