"""The demonstrations: a translator of dates, and a language model of Python's own reference."""

from __future__ import annotations

import itertools
from pathlib import Path

from gatework.errors import InputError, nearest

__all__ = ["DEMONSTRATIONS", "free_folder", "run_demo"]

DEMONSTRATIONS = ("dates", "language-model")


def run_demo(name: str) -> int:
    """Train for about a minute and show what came of it.

    Raises:
        InputError: there is no such demonstration.
    """
    if name not in DEMONSTRATIONS:
        raise InputError("demo", f"there is no demonstration {name!r}", nearest(name, DEMONSTRATIONS))
    if name == "dates":
        from gatework.cli.demo_dates import run

        return run()
    from gatework.cli.demo_language_model import run as run_language_model

    return run_language_model()


def free_folder(runs: Path) -> Path:
    """runs/demo, or where that is taken runs/demo-2, and so on: nobody's run is overwritten."""
    names = itertools.chain(["demo"], (f"demo-{number}" for number in itertools.count(2)))
    return next(runs / name for name in names if not (runs / name).exists())
