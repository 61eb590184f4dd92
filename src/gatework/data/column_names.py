"""A user's names of columns where one name may stand for several: a list, `a|b`, or a pattern with one `*`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..errors import InputError, nearest
from .tables import check_columns

__all__ = ["columns_as_text", "is_several", "matching_columns"]


def columns_as_text(columns: Mapping[str, str | int | Sequence[str]]) -> dict[str, str]:
    """Columns as text: several as one, with `|` between them.

    Raises:
        InputError: what is given for one is neither a name, nor a place, nor a list of names.
    """
    for name, column in columns.items():
        if not isinstance(column, str | int | list | tuple) or isinstance(column, bool):
            what = f"{name!r} is {type(column).__name__} {column!r:.40}"
            raise InputError("columns", what, "Give a column's name, its place, or a list of names")
    return {
        name: str(column) if isinstance(column, str | int) else "|".join([*map(str, column), ""])
        for name, column in columns.items()
    }


def is_several(column: str) -> bool:
    """Whether a column as text stands for several."""
    return "|" in column or "*" in column


def matching_columns(where: str, wanted: str, known: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """The known columns that are named by `a|b|c` or by a pattern, by what they stand for.

    Args:
        where: for messages.
        wanted: see the module.
        known: the columns that there are.
        taken: of these, those that a pattern is not to match.

    Raises:
        InputError: there are none, or one of them is not there.
    """
    known = list(known)
    if "|" in wanted:
        columns = {part.strip(): part.strip() for part in wanted.split("|") if part.strip()}
        check_columns(where, columns, known)
        return columns
    begin, end = wanted.split("*", 1)
    pattern = re.compile(f"{re.escape(begin)}(.+){re.escape(end)}")
    matches = [match for name in known if name not in taken and (match := pattern.fullmatch(name))]
    if not matches:
        raise InputError(where, f"has no column {wanted!r}", nearest(wanted, known).rstrip("."))
    return {match[1]: match[0] for match in matches}
