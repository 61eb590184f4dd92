"""A user's names of columns: those that there are, one inside another (`translation.en`), and where one name stands for
several: a list, `a|b`, or a pattern with one `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError, nearest

__all__ = ["cell_of", "check_columns", "columns_as_text", "is_several", "matching_columns", "top_column"]


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
        for part in columns:
            check_columns(where, {wanted: part}, known)
        return columns
    begin, end = wanted.split("*", 1)
    pattern = re.compile(f"{re.escape(begin)}(.+){re.escape(end)}")
    matches = [match for name in known if name not in taken and (match := pattern.fullmatch(name))]
    if not matches:
        raise InputError(where, f"has no column {wanted!r}", nearest(wanted, known).rstrip("."))
    return {match[1]: match[0] for match in matches}


def check_columns(where: str, columns: Mapping[str, str], known: Iterable[str]) -> None:
    """Refuse columns that are not among the known ones, naming the nearest."""
    known = list(known)
    if columns and not known:
        raise InputError(where, "has no column at all", f'Give "{next(iter(columns.values()))}"')
    for name, column in columns.items():
        if top_column(column, known) is None:
            map_it = f" (or map another: columns={{'{name}': 'COLUMN'}})" if name == column else ""
            raise InputError(where, f"has no column {column!r}{map_it}", nearest(column, known).rstrip("."))


def cell_of(where: str, values: Mapping[str, Any], column: str) -> Any:
    """The cell of a row's column, which may be named inside another one: `translation.en`.

    Raises:
        InputError: the row has none.
    """
    top = top_column(column, values)
    if top == column:
        return values[column]
    inner, rest = (values[top], column[len(top) + 1 :]) if top is not None else (values, column)
    if not isinstance(inner, Mapping):
        what = f"column {top!r} is {type(inner).__name__} {inner!r:.40}, which has no {rest!r}"
        raise InputError(
            where, what, f"Name the whole column, or give objects in it: {top}={{{rest!r}: ...}}"
        )
    if top_column(rest, inner) is None:
        raise InputError(where, f"has no column {column!r}", nearest(rest, inner).rstrip("."))
    return cell_of(where, inner, rest)


def top_column(column: str, known: Iterable[str]) -> str | None:
    """The known column that holds a column: itself, else what stands before one of its dots; None where none does."""
    if column in known:
        return column
    dots = [index for index, letter in enumerate(column) if letter == "."]
    return next((column[:dot] for dot in dots if column[:dot] in known), None)
