"""Finding and running the benchmark suites, which are programs of the checkout and not of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gatework
from gatework.errors import InputError, nearest

__all__ = ["run_suite"]

PROGRAM = 'if __name__ == "__main__":'  # a file without it is a part of the others


def run_suite(name: str) -> int:
    """Run `benchmarks/NAME.py` of the checkout that this package is installed from; returns its exit code.

    Raises:
        InputError: the package is not installed from a checkout, or there is no such suite.
    """
    checkout = Path(gatework.__file__).parents[2]
    folder = checkout / "benchmarks"
    if not (checkout / "pyproject.toml").is_file() or not folder.is_dir():
        raise InputError(
            "bench",
            "the benchmarks are not part of the installed package",
            "Clone the project and run make bench in it.",
        )
    suites = sorted(path.stem for path in folder.glob("*.py") if PROGRAM in path.read_text("utf-8"))
    if name not in suites:
        raise InputError("bench", f"there is no suite {name!r}", nearest(name, suites))
    return subprocess.run([sys.executable, folder / f"{name}.py"], check=False).returncode
