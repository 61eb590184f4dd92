"""Running the benchmark suites, which are programs of the checkout and not of the package, and tuning `auto`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import gatework
from gatework.errors import InputError, nearest

__all__ = ["run_suite", "tune"]

PROGRAM = 'if __name__ == "__main__":'  # a file without it is a part of the others


def run_suite(name: str, options: Sequence[str] = ()) -> int:
    """Run `benchmarks/NAME.py` of the checkout that this package is installed from; returns its exit code.

    Args:
        options: of the suite, passed on as they are.

    Raises:
        InputError: the package is not installed from a checkout, or there is no such suite.
    """
    checkout = Path(gatework.__file__).parents[2]
    folder = checkout / "benchmarks"
    if not (checkout / "pyproject.toml").is_file() or not folder.is_dir():
        raise InputError(
            "bench",
            "the benchmarks are not part of the installed package",
            "Clone the project and run make bench in it. `gatework bench tune` needs no checkout.",
        )
    suites = sorted(path.stem for path in folder.glob("*.py") if PROGRAM in path.read_text("utf-8"))
    if name not in suites:
        raise InputError("bench", f"there is no suite {name!r}", nearest(name, [*suites, "tune"]))
    return subprocess.run([sys.executable, folder / f"{name}.py", *options], check=False).returncode


def tune(options: Sequence[str] = ()) -> int:
    """Measure this machine's own cost table and keep it where `auto` looks for it.

    Args:
        options: none are taken.

    Raises:
        InputError: options were given, or the table cannot be written.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gatework.layers import tuning

    if options:
        raise InputError(
            "bench tune", f"it takes no options, and was given {' '.join(options)}", "Leave them out."
        )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"Measuring the engine beside torch: about {tuning.MINUTES} minutes. Let nothing else run.")
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("measured", total=None)
        table = tuning.tune(progress=lambda done, of: bar.update(task, completed=done, total=of))
    print(
        f"{table.keep()}: `auto` chooses by this machine's own cost table from now on. Delete the file to go back."
    )
    return 0
