"""Series read from tables and files of every usual form, one or thousands, on steps of one frequency."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .column_names import check_columns
from .frequency import Frequency
from .series import Series, SeriesData, SeriesNames
from .series_columns import (
    SeriesColumns,
    TableColumns,
    columns_of_table,
    named_columns,
)
from .series_groups import LongTable, RawSeries, shown_name
from .series_rows import CATEGORIES, TARGETS, names_of_row, read_tsf, series_of_row
from .series_steps import StepSeries, check_rising, steps_of
from .series_tables import (
    SeriesTable,
    kind_of_cells,
    not_a_number,
    rows_of,
    series_table,
    table_of_file,
    table_of_rows,
)
from .tables import Row, Source, file_format, named_by_place, source_paths

__all__ = ["group_rows", "one_series", "read_series"]

_ONE = "Give a list of numbers, a list of steps with a number a channel, or {'target': [...], 'time': [...]}"
_TABLES = ("csv", "tsv", "jsonl", "parquet")


def read_series(
    data: Source,
    columns: SeriesColumns | None = None,
    *,
    frequency: str = "auto",
    time_format: str = "",
    like: SeriesNames | None = None,
) -> SeriesData:
    """Series from a source.

    - A long table has a row for each step of each series: columns `series`, `time`, `target`, found by name
      (`unique_id, ds, y`; `item_id, timestamp, target`; …) or named in `columns`.
    - A wide table has a row for each step of a single series; every column of numbers is a channel of its target,
      unless one is called `y` or `target` or is named.
    - Several files, or a folder, without a column `series`, have a series each, named by its file.
    - Where future covariates are named, the last rows of a series that have nothing else are steps beyond its target.
    - Rows that hold a series each: GluonTS' `{"start": …, "target": [1, 2], "item_id": …}`, or with a list of times.
    - `.tsf` files of the Monash archive.

    Files are CSV, TSV, JSON lines or Parquet, plain or compressed by gzip; in memory, frames of pandas and polars,
    Arrow tables, Datasets, dicts of columns, and iterables of dicts.

    Args:
        data: see above.
        columns: the data's own names of `series`, `time`, `target`, `past`, `future` and `static`: a column, several (a
            list, or `a|b`), or a pattern with one `*`.
        frequency: `auto` finds a regular one and fills missing times in as missing values; a name (`h`, `15min`, `D`,
            `B`, `MS`, …) demands that one; `observed`: rows are the steps; `irregular`: times are as they are.
        time_format: the form of times that are text, as `datetime.strptime` has it; empty: found out.
        like: what each series must have, and their frequency, where a model was trained on others.

    Raises:
        InputError: a column that is missing or holds text where numbers belong; a time that is missing, no time, or
            there twice in a series; times with and without an offset from UTC; times that fit no regular frequency;
            an infinite number; a series without a single value; data without rows.
    """
    named = named_columns(columns)
    paths = source_paths(data, folders=True)
    notes: list[str] = []
    if paths is not None:
        reading = _read_files(_files(paths), named, time_format, frequency, like, notes)
    else:
        _check_rows(data)
        single = isinstance(data, Mapping) and _is_one(data)
        table = series_table([data] if single else data)
        reading = _Reading(named, time_format, frequency, like, notes)
        reading.add(table, "")
    raw, table_columns, names = reading.finished()
    _check_names(raw)
    return _data(raw, names, table_columns, notes, frequency, like)


def one_series(
    value: Mapping[str, Any] | Sequence[Any],
    like: SeriesNames,
    columns: SeriesColumns | None = None,
    *,
    where: str = "predict",
    time_format: str = "",
) -> Series:
    """The series that one input is.

    Args:
        value: a list of numbers, oldest first (of several channels a list of steps, each with a number a channel); or a
            dict with the numbers under `target` or under the targets' names (of several channels, a list for each), the
            times under `time` or `timestamp` or the first one under `start`, and covariates under their names.
        like: what the series must have, and its frequency.
        columns: the dict's own names, as in `read_series`.
        where: the input, for messages.
        time_format: see `read_series`.

    Raises:
        InputError: as `read_series`.
    """
    named = named_columns(columns)
    if not isinstance(value, Mapping):
        value, named = _of_steps(where, value, like), {}
    raw = _raw_of_row(where, value, like, named, time_format, "auto")
    return _data([raw], like, None, [], "auto", like).series[0]


def group_rows(
    rows: Iterable[Row],
    like: SeriesNames,
    columns: SeriesColumns | None = None,
    *,
    time_format: str = "",
) -> Iterator[Series]:
    """The series of a table's rows, one after another: those that hold a series each, or else neighbouring rows of one
    series together. No more than one series is in memory.

    Args:
        rows: with all of their cells.
        like: what each series must have, and the frequency.
        columns, time_format: see `read_series`.

    Raises:
        InputError: as `read_series`; a series whose rows do not stand together.
    """
    named = named_columns(columns)
    keys: tuple[str, ...] | None = None
    current: tuple[str, ...] = ()
    kept: list[Row] = []
    done: set[tuple[str, ...]] = set()
    for row in rows:
        if _holds_series(row.values, named):
            yield one_series(row.values, like, columns, where=row.where, time_format=time_format)
            continue
        if keys is None:
            kinds = {name: kind_of_cells([cell]) for name, cell in row.values.items()}
            keys = columns_of_table(row.where, _wanted(named, like), kinds).series
        name = tuple(str(row.values.get(key)) for key in keys)
        if kept and name != current:
            yield _of_rows(kept, like, named, time_format)
            done.add(current)
            kept = []
        if name in done:
            what = f"{shown_name('/'.join(name))}its rows do not stand together: there were some before"
            raise InputError(row.where, what, "Sort the table by series and time")
        current = name
        kept.append(row)
    if kept:
        yield _of_rows(kept, like, named, time_format)


# Tables and rows


class _Reading:
    """Gathers series from tables: rows of long and wide ones, or rows that hold a series each."""

    def __init__(
        self,
        named: dict[str, str],
        time_format: str,
        frequency: str,
        like: SeriesNames | None,
        notes: list[str],
    ) -> None:
        self.named, self.time_format, self.frequency, self.like = named, time_format, frequency, like
        self.notes = notes
        self.long: LongTable | None = None
        self.raw: list[RawSeries] = []
        self.names: SeriesNames | None = like

    def add(self, table: SeriesTable, name: str) -> None:
        if _holds_lists(table, self.named):
            for row in rows_of(table):
                self.add_row(row.where, row.values)
            return
        if self.long is None:
            found = columns_of_table(table.where, _wanted(self.named, self.like), table.kinds)
            self.long = LongTable(found, self.time_format, self.notes)
        else:
            found = self.long.columns
            needed = [*found.series, *found.numbers, *found.static, *([found.time] if found.time else [])]
            check_columns(table.where, {column: column for column in needed}, table.kinds)
        self.long.add(table, name)

    def add_row(self, where: str, row: Mapping[str, Any]) -> None:
        if self.names is None:
            found = names_of_row(where, row, self.named)
            self.names = SeriesNames(*found, static_numbers=(), frequency=None)
        self.raw.append(_raw_of_row(where, row, self.names, self.named, self.time_format, self.frequency))

    def finished(self) -> tuple[list[RawSeries], TableColumns | None, SeriesNames]:
        if self.long is None:
            assert self.names is not None
            return self.raw, None, self.names
        if self.raw:
            what = "holds rows that are a series each, and rows that are a step each"
            raise InputError(self.raw[0].where, what, "Give data of one form")
        raw = self.long.series()
        if self.long.offset:
            self.notes.append("The times have offsets from UTC; they were read as UTC.")
        found = self.long.columns
        if found.unread:
            self.notes.append(f"Columns that were not read: {', '.join(found.unread)}.")
        names = SeriesNames(found.target, found.past, found.future, found.static, (), None)
        if self.like is not None:
            _check_like(self.like, names)
        return raw, found, self.like or names


def _read_files(
    paths: Sequence[Path],
    named: dict[str, str],
    time_format: str,
    frequency: str,
    like: SeriesNames | None,
    notes: list[str],
) -> _Reading:
    reading = _Reading(named, time_format, frequency, like, notes)
    for path in paths:
        if _suffix(path) == ".tsf":
            for where, row in read_tsf(path):
                reading.add_row(where, row)
        else:
            table = table_of_file(path, headless=named_by_place(named))
            reading.add(table, _stem(path) if len(paths) > 1 else "")
    return reading


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files of paths that may be folders: of a folder those whose names end as tables do."""
    found: list[Path] = []
    for path in paths:
        if not os.path.isdir(path) or file_format(path) == "dataset":
            found.append(path)
            continue
        inside = [
            one
            for one in sorted(path.iterdir())
            if one.is_file()
            and not one.name.startswith(".")
            and one.suffix.lower() != ".json"
            and (file_format(one) in _TABLES or _suffix(one) == ".tsf")
        ]
        if not inside:
            raise InputError(
                str(path),
                "is a folder without tables",
                "Put .csv, .tsv, .jsonl, .parquet or .tsf files in it",
            )
        found += inside
    return found


def _suffix(path: Path) -> str:
    """The file's ending without that of gzip, in small letters."""
    name = path.name.lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def _stem(path: Path) -> str:
    """The file's name without its endings: `BRK-A` of BRK-A.csv.gz."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return os.path.splitext(name)[0]


def _wanted(named: dict[str, str], like: SeriesNames | None) -> dict[str, str]:
    """The columns that a table must have: those that are named, and those of the series that a model was trained on."""
    if like is None:
        return named
    roles = {"target": like.targets, "past": like.past, "future": like.future, "static": like.static}
    return {role: "|".join([*some, ""]) for role, some in roles.items() if some} | named


def _check_like(like: SeriesNames, found: SeriesNames) -> None:
    """Refuse columns that are more or fewer than those of the series that a model was trained on."""
    for role in ("targets", "past", "future", "static"):
        wanted, given = getattr(like, role), getattr(found, role)
        if len(given) != len(wanted):
            what = f"{role} are {len(given)} ({', '.join(given)}) where {len(wanted)} are wanted ({', '.join(wanted)})"
            raise InputError("columns", what, "Name one for each, in this order")


def _check_rows(data: Any) -> None:
    """Refuse numbers where rows belong."""
    first = data[0] if isinstance(data, list | tuple | np.ndarray) and len(data) else None
    if isinstance(first, int | float | list | tuple | np.ndarray | np.number):
        what = f"is {type(first).__name__}, not a dict"
        raise InputError("data, row 1", what, "Give a series as one row: [{'target': [1, 2, 3]}]")


def _check_names(raw: Sequence[RawSeries]) -> None:
    """Refuse two series with one name."""
    first: dict[str, str] = {}
    for one in raw:
        if one.name and first.setdefault(one.name, one.where) != one.where:
            what = f"series {one.name!r} is there a second time, after {first[one.name]}"
            raise InputError(one.where, what, "Give each a name of its own, or its steps in one row")


def _is_one(value: Mapping[str, Any]) -> bool:
    """Whether a dict is one series, and no dict of columns: something in it is no list."""
    return any(isinstance(cell, str) or not isinstance(cell, Iterable) for cell in value.values())


def _list_keys(named: Mapping[str, str]) -> list[str]:
    """The names under which a row may hold the numbers of a whole series."""
    return [part.strip() for part in named["target"].split("|")] if "target" in named else list(TARGETS)


def _holds_lists(table: SeriesTable, named: Mapping[str, str]) -> bool:
    """Whether a table's rows hold a series each."""
    return any(table.kinds.get(key) == "list" for key in _list_keys(named))


def _holds_series(row: Mapping[str, Any], named: Mapping[str, str]) -> bool:
    return any(isinstance(row.get(key), list | tuple | np.ndarray) for key in _list_keys(named))


def _raw_of_row(
    where: str,
    row: Mapping[str, Any],
    names: SeriesNames,
    named: Mapping[str, str],
    time_format: str,
    frequency: str,
) -> RawSeries:
    known = names.frequency
    if known is None and frequency not in ("auto", "observed", "irregular"):
        known = Frequency.parse(frequency)
    return check_rising(series_of_row(where, row, names, named, time_format=time_format, frequency=known))


def _of_steps(where: str, value: Any, like: SeriesNames) -> dict[str, Any]:
    """A list of steps, each a number or a list with a number a channel, as a row."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise InputError(where, f"is {type(value).__name__}, which is no series", _ONE)
    if not value or not isinstance(value[0], list | tuple | np.ndarray):
        return {"target": value}
    channels = len(like.targets)
    for step, numbers in enumerate(value, start=1):
        if not isinstance(numbers, list | tuple | np.ndarray) or len(numbers) != channels:
            what = f"step {step} is {numbers!r:.40}, not {channels} numbers ({', '.join(like.targets)})"
            raise InputError(where, what, _ONE)
    return {"target": [list(channel) for channel in zip(*value, strict=True)]}


def _of_rows(rows: Sequence[Row], like: SeriesNames, named: dict[str, str], time_format: str) -> Series:
    """The series that neighbouring rows are."""
    reading = _Reading(named, time_format, "auto", like, [])
    reading.add(table_of_rows(rows, rows[0].source), "")
    raw, columns, names = reading.finished()
    (series,) = _data(raw, names, columns, [], "auto", like).series
    return replace(series, where=rows[0].where)


def _data(
    raw: Sequence[RawSeries],
    names: SeriesNames,
    columns: TableColumns | None,
    notes: Sequence[str],
    frequency: str,
    like: SeriesNames | None,
) -> SeriesData:
    for one in raw:
        if np.isnan(one.target).all():
            what = f"{shown_name(one.name)}the target ({', '.join(names.targets)}) has no value at all"
            raise InputError(one.where, what, "Fill it in, or take the series out")
    if like is not None and like.frequency is None:
        frequency = "observed"  # its steps are numbered, whatever the times
    known = like.frequency if like is not None else None
    steps, found = steps_of(raw, frequency, known)
    statics, numbers = _statics(raw, names, like)
    series = tuple(_series(one, static) for one, static in zip(steps, statics, strict=True))
    return SeriesData(
        names.targets, names.past, names.future, names.static, numbers, found, series, columns, tuple(notes)
    )


def _series(one: StepSeries, static: tuple[str | float, ...]) -> Series:
    raw = one.raw
    return Series(
        raw.name,
        one.times,
        raw.target,
        raw.past,
        raw.future,
        static,
        raw.where,
        one.ahead,
        one.first,
        one.filled,
    )


def _statics(
    raw: Sequence[RawSeries], names: SeriesNames, like: SeriesNames | None
) -> tuple[list[tuple[str | float, ...]], tuple[str, ...]]:
    """The static values of each series, and the names of those that are numbers: all are, or it is said."""
    places = range(len(names.static))
    if like is not None:
        numeric = [name in like.static_numbers for name in names.static]
    else:
        numeric = [
            not names.static[place].startswith(CATEGORIES)
            and all(_is_number(one.static[place]) for one in raw)
            for place in places
        ]
    for one in raw:
        for place in places:
            if numeric[place] and not _is_number(one.static[place]):
                raise not_a_number(one.where, names.static[place], one.static[place])
    values = [
        tuple(float(one.static[place]) if numeric[place] else str(one.static[place]) for place in places)
        for one in raw
    ]
    return values, tuple(name for name, is_number in zip(names.static, numeric, strict=True) if is_number)


def _is_number(value: str | float) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False
