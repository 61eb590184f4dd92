"""What every demonstration says when its training is over."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from gatework.cli import printing
from gatework.cli.invocation import program
from gatework.training import Result

__all__ = ["fell_short", "now_you", "was_interrupted"]


def was_interrupted(result: Result, out: Path) -> bool:
    """Whether Ctrl-C ended the training; says where it is."""
    if result.stopped == "interrupted":
        printing.note(f"Interrupted. What was trained so far is in {out}.")
    return result.stopped == "interrupted"


def fell_short(result: Result, aim: str, reached: str) -> bool:
    """Whether the training ended before it reached its target; says so, and why.

    Args:
        aim: what it was to reach, in words.
        reached: what it did reach.
    """
    short = result.stopped != "target"
    if short:
        printing.note(
            f"\nIT FELL SHORT: {reached}, and was to reach {aim}. It made {result.steps:,} steps in "
            f"{result.seconds / 60:.1f} minutes: this machine is slow, or busy with something else. "
            "What follows is what it knows so far."
        )
    return short


def now_you(console: Console, text: str, out: Path, hint: str) -> None:
    """A command to type, with an input of the kind that was learned, and what kind that is."""
    command = f"echo {shlex.quote(text)} | {program()} predict {shlex.quote(str(out))}"
    console.print(f"\nNow you ({hint}):\n  {command}", markup=False, highlight=False, soft_wrap=True)
