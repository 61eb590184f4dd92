"""The errors that users see.

Every error for which the user's input is to blame is an `InputError`: one line that says where, what is
wrong, and how to mend it. The command line prints that line and ends with exit code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GateworkError(Exception):
    """Base class of every error that Gatework raises on purpose."""


class InputError(GateworkError, ValueError):
    """Bad input: a file, a row, an option, a name.

    Args:
        where: what was being read: a file, a file and a row, an option.
        what: what is wrong with it, with the value received.
        fix: what the user can do about it.
    """

    def __init__(self, where: str, what: str, fix: str) -> None:
        self.where = where
        self.what = what
        self.fix = fix
        super().__init__(f"{where}: {what}. {fix}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.fix)


class RunError(InputError):
    """A run folder that is damaged, unfinished, of a newer format, or in the way."""


class MissingExtraError(GateworkError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package} is needed for this. Install it with: pip install 'gatework[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.package, self.extra)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest right name: `Did you mean 'lstm'?`, or the list of what there is."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(known)}." if known else "There are none here."
