"""What the columns of a table of series are: named by the user, or else recognised by name and content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from ..errors import InputError, nearest
from .column_names import check_columns, columns_as_text, is_several, matching_columns

__all__ = ["ROLES", "CellKind", "SeriesColumns", "TableColumns", "columns_of_table", "named_columns"]

# The data's own names of the roles: a column, its place, several columns (a list, or as text `a|b`), or a pattern.
SeriesColumns: TypeAlias = Mapping[str, "str | int | Sequence[str]"]
CellKind: TypeAlias = Literal["number", "time", "text", "list", "empty"]

ROLES = ("series", "time", "target", "past", "future", "static")
# Names by which a column is recognised, in small letters, the first that is there.
NAMES: Mapping[str, tuple[str, ...]] = {
    "series": ("unique_id", "item_id", "series_id", "series", "series_name", "ticker", "symbol"),
    "time": ("ds", "timestamp", "timestamps", "datetime", "date_time", "date", "time", "period", "year"),
    "target": ("y", "target"),
}


class TableColumns(NamedTuple):
    """The columns of a table by their role, and those that have none."""

    series: tuple[str, ...]
    time: str | None
    target: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Targets, past and future covariates: the columns that have a number a row."""
        return (*self.target, *self.past, *self.future)


def named_columns(columns: SeriesColumns | None) -> dict[str, str]:
    """The user's columns as text, by role.

    Raises:
        InputError: there is no such role.
    """
    for role in columns or {}:
        if role not in ROLES:
            raise InputError("columns", f"series have no column {role!r}", nearest(role, ROLES))
    return columns_as_text(columns or {})


def columns_of_table(where: str, named: Mapping[str, str], kinds: Mapping[str, CellKind]) -> TableColumns:
    """The columns of a table by role.

    What is not named is recognised: the series and the time by their names (or the time as the first column that holds
    times); the target by its name, or else: in a table of several series the only column of numbers that is left, in
    one of a single series all of them. Covariates are only those that are named.

    Args:
        where: the table, for messages.
        named: what `named_columns` gives.
        kinds: the table's columns and what their cells are.

    Raises:
        InputError: a column that is not there, or that is given twice; no target, or several that could be.
    """
    roles = _given(where, named, kinds)
    free = [name for name in kinds if not any(name in some for some in roles.values())]
    if "series" not in roles:
        roles["series"] = _recognised("series", free, kinds)
    if "time" not in roles:
        free = [name for name in free if name not in roles["series"]]
        times = [name for name in free if kinds[name] == "time"]
        roles["time"] = (_recognised("time", free, kinds) or tuple(times))[:1]
    taken = {name for some in roles.values() for name in some}
    free = [name for name in kinds if name not in taken]
    if "target" not in roles:
        roles["target"] = _targets(where, bool(roles["series"]), free, kinds)
    unread = tuple(name for name in free if name not in roles["target"])
    time = roles["time"][0] if roles["time"] else None
    rest = {role: roles.get(role, ()) for role in ("past", "future", "static")}
    return TableColumns(roles["series"], time, roles["target"], **rest, unread=unread)


def _given(where: str, named: Mapping[str, str], known: Iterable[str]) -> dict[str, tuple[str, ...]]:
    known = list(known)
    single = {role: name for role, name in named.items() if name in known or not is_several(name)}
    for role, name in single.items():
        if name not in known:
            check_columns(where, {role: name}, known)
            raise InputError(
                where, f"the column {name!r} is inside another one", "Give it as a column of its own"
            )
    roles: dict[str, tuple[str, ...]] = {role: (name,) for role, name in single.items()}
    for role, name in named.items():
        if role not in single:
            taken = {column for some in roles.values() for column in some}
            roles[role] = tuple(matching_columns(where, name, known, taken).values())
    if len(roles.get("time", ())) > 1:
        what = f"columns name {len(roles['time'])} for the time ({', '.join(roles['time'])})"
        raise InputError(where, what, "Name one column that holds the whole time")
    seen: dict[str, str] = {}
    for role, names in roles.items():
        for name in names:
            if name in seen:
                what = f"the column {name!r} is named as {seen[name]} and as {role}"
                raise InputError(where, what, "Name it once")
            seen[name] = role
    return roles


def _recognised(role: str, free: Iterable[str], kinds: Mapping[str, CellKind]) -> tuple[str, ...]:
    """The column that has one of a role's names, the best first."""
    by_name = {name.strip().lower(): name for name in reversed(list(free)) if kinds[name] != "list"}
    found = [by_name[name] for name in NAMES[role] if name in by_name]
    if role == "time" and "month" in by_name:  # the year is a part of the time
        found = [name for name in found if name.lower() != "year"]
    return tuple(found[:1])


def _targets(
    where: str, several: bool, free: Sequence[str], kinds: Mapping[str, CellKind]
) -> tuple[str, ...]:
    numbers = [name for name in free if kinds[name] in ("number", "empty")]
    recognised = _recognised("target", free, kinds)
    if recognised:
        return recognised
    if not numbers:
        what = f"has no column of numbers beside those of series and time ({', '.join(kinds)})"
        raise InputError(where, what, "Name the target: columns={'target': 'COLUMN'}")
    if several and len(numbers) > 1:
        what = f"has several columns of numbers that could be the target ({', '.join(numbers)})"
        raise InputError(where, what, "Name it: columns={'target': 'COLUMN'}")
    return tuple(numbers)
