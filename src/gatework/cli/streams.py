"""The standard streams, which whoever starts a program may have closed."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from gatework.errors import InputError

__all__ = ["occupy_closed_streams", "standard_input"]


def standard_input() -> TextIO:
    """The standard input; a closed one is refused."""
    if sys.stdin is None:
        raise InputError("standard input", "is closed", "Give a file, a pipe or a terminal.")
    return sys.stdin


def occupy_closed_streams() -> None:
    """Open the null device under each standard number that is closed.

    A file that is opened later would get the number, and what native code prints would go into it. Python's own names
    stay None, but for the standard error, whose messages then go nowhere.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # to the end of the program
