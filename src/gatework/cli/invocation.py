"""How this program was called, so that a command that it names can be typed as it stands."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["program"]


def program() -> str:
    """`gatework` where the shell finds this very program by that name; else its file, or the module."""
    called = Path(sys.argv[0])
    if called.name != "gatework":
        return f"{_short(Path(sys.executable))} -m gatework"
    found = shutil.which("gatework")
    if found is not None and os.path.realpath(found) == os.path.realpath(called):
        return "gatework"
    return _short(called)


def _short(file: Path) -> str:
    """A file as a shell reads it, seen from here where it is below, else whole.

    Links are kept: an environment's Python is one.
    """
    path, here = Path(os.path.abspath(file)), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
