"""Names of folders for runs that the user names none for."""

from __future__ import annotations

import itertools
from pathlib import Path

__all__ = ["free_folder"]


def free_folder(runs: Path, name: str) -> Path:
    """runs/NAME, or where that is taken runs/NAME-2, and so on: nobody's run is overwritten."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(runs / free for free in names if not (runs / free).exists())
