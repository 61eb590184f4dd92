"""The demonstrations: each trains until it has learned data that needs no download. One file each, with `run`."""

from __future__ import annotations

import importlib

from gatework.errors import InputError, nearest

__all__ = ["DEMONSTRATIONS", "run_demo"]

# The name that people write, and the module, which is imported when it is asked for.
DEMONSTRATIONS = {"dates": "gatework.cli.demos.dates", "language-model": "gatework.cli.demos.language_model"}


def run_demo(name: str) -> int:
    """Train and show what was learned; the exit code.

    Raises:
        InputError: there is no such demonstration.
    """
    if name not in DEMONSTRATIONS:
        raise InputError("demo", f"there is no demonstration {name!r}", nearest(name, DEMONSTRATIONS))
    code: int = importlib.import_module(DEMONSTRATIONS[name]).run()
    return code
