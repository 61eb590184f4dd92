"""The rows of long tables as series: each row's series, time and numbers in typed arrays, put in order and cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .arrow_cells import plain_array
from .series_columns import TableColumns
from .series_tables import SeriesTable, numbers_of
from .times import TimeReader

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]

__all__ = ["LongTable", "RawSeries", "shown_name", "shown_time"]

_APART = "Keep one of them, or name the column that tells series apart: columns={'series': 'COLUMN'}"


@dataclass
class RawSeries:
    """A series as its data have it.

    Attributes:
        name, where: see `Series`.
        times: (M,) microseconds since 1970 or numbers of steps, rising; None: there are none. N <= M: those beyond N
            are of steps that have covariates alone.
        target: (N, C).
        past: (N, P).
        future: (N + F, K).
        static: values in the order of their names.
        frequency: what the series itself says of its step.
        numbered: its times are numbers of steps.
    """

    name: str
    where: str
    times: Whole | None
    target: Floats
    past: Floats
    future: Floats
    static: tuple[str | float, ...] = ()
    frequency: str = ""
    numbered: bool = False


@dataclass
class LongTable:
    """Gathers rows of tables with the same columns; a row costs 12 bytes and 8 for each number.

    Attributes:
        columns: the tables' columns, by role.
        time_format: see `TimeReader`.
        notes: what is to be said of the rows.
    """

    columns: TableColumns
    time_format: str = ""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._codes: dict[str, int] = {}  # of series, by name
        self._statics: dict[tuple[int, int], Any] = {}  # values, by series and place
        self._parts: list[tuple[npt.NDArray[np.int32], Whole | None, Floats]] = []
        self._sources: list[tuple[int, SeriesTable]] = []  # with the number of its first row
        self._rows = 0
        column = self.columns.time
        self._times = TimeReader(column, self.time_format) if column is not None else None

    @property
    def numbered(self) -> bool:
        """Whether the times are numbers of steps."""
        return self._times is not None and bool(self._times.numbered)

    @property
    def offset(self) -> bool:
        """Whether the times had an offset from UTC."""
        return self._times is not None and bool(self._times.offset)

    def add(self, table: SeriesTable, name: str = "") -> None:
        """The rows of a table.

        Args:
            name: of the series that they are, where no column tells.

        Raises:
            InputError: a cell that cannot be read; a static value that changes within a series.
        """
        columns = self.columns
        others = [*columns.series, *([columns.time] if columns.time is not None else []), *columns.static]
        self._sources.append((self._rows, table))
        begin = 0
        for block in table.blocks(columns.numbers, others):

            def place(row: int, begin: int = begin) -> str:
                return table.place(begin + row)

            numbers = [numbers_of(block[column], column, place) for column in columns.numbers]
            count = len(numbers[0])
            times = self._times.read(block[columns.time], place) if self._times and columns.time else None
            codes = self._series_of(block, name, count, place)
            for number, column in enumerate(columns.static):
                self._keep_static(number, column, block[column], codes, place)
            self._parts.append((codes, times, np.stack(numbers, axis=1)))
            begin += count
        self._rows += begin

    def series(self) -> list[RawSeries]:
        """The series, in the order in which their names were first read. Empties this table.

        Raises:
            InputError: two rows of one series have the same time.
        """
        codes = np.concatenate([part[0] for part in self._parts])
        values = np.concatenate([part[2] for part in self._parts])
        times = np.concatenate([part[1] for part in self._parts]) if self._times else None
        self._parts.clear()
        order = self._order(codes, times)
        if order is not None:
            codes, values = codes[order], values[order]
            times = times[order] if times is not None else None
        begins = np.flatnonzero(np.diff(codes, prepend=-1))
        ends = np.append(begins[1:], len(codes))
        if times is not None:
            self._check_duplicates(codes, times, order)
        names = list(self._codes)
        return [
            self._cut(names[codes[begin]], int(codes[begin]), slice(begin, end), values, times, order)
            for begin, end in zip(begins, ends, strict=True)
        ]

    def _cut(
        self, name: str, code: int, rows: slice, values: Floats, times: Whole | None, order: Whole | None
    ) -> RawSeries:
        columns = self.columns
        known = len(columns.target) + len(columns.past)
        part, count = values[rows], rows.stop - rows.start
        if columns.future:  # the last rows that have these alone are steps beyond the target
            present = np.flatnonzero(~np.isnan(part[:, :known]).all(axis=1))
            count = int(present[-1]) + 1 if len(present) else 0
        first = int(order[rows.start]) if order is not None else rows.start
        where = self._place(first) if order is not None else self._place(first, rows.stop - 1)
        return RawSeries(
            name,
            where,
            times[rows] if times is not None else None,
            part[:count, : len(columns.target)],
            part[:count, len(columns.target) : known],
            part[:, known:],
            tuple(self._statics[code, number] for number in range(len(columns.static))),
            numbered=self.numbered,
        )

    def _order(self, codes: npt.NDArray[np.int32], times: Whole | None) -> Whole | None:
        """The order of the rows by series and time; None where they are in it."""
        together = bool((np.diff(codes) >= 0).all())
        if times is None:
            return None if together else np.argsort(codes, kind="stable")
        order = None if together else np.argsort(codes, kind="stable")
        sorted_codes = codes if order is None else codes[order]
        sorted_times = times if order is None else times[order]
        back = (np.diff(sorted_times) < 0) & (np.diff(sorted_codes) == 0)
        if not back.any():
            return order
        row = int(np.flatnonzero(back)[0]) + 1
        name = shown_name(list(self._codes)[sorted_codes[row]])
        time = shown_time(sorted_times[row], self.numbered)
        count = f"{int(back.sum()):,} rows were not in the order of their times"
        self.notes.append(f"{count} ({name}the first at {time}): they are sorted.")
        return np.lexsort((times, codes))

    def _check_duplicates(self, codes: npt.NDArray[np.int32], times: Whole, order: Whole | None) -> None:
        same = np.flatnonzero((np.diff(times) == 0) & (np.diff(codes) == 0))
        if not len(same):
            return
        rows = [int(row if order is None else order[row]) for row in (same[0], same[0] + 1)]
        first, second = sorted(rows)
        name, time = shown_name(list(self._codes)[codes[same[0]]]), shown_time(times[same[0]], self.numbered)
        more = f" ({len(same):,} such rows)" if len(same) > 1 else ""
        what = f"{name}the time {time} is there a second time, after {self._place(first)}{more}"
        raise InputError(self._place(second, exact=True), what, _APART)

    def _place(self, row: int, last: int | None = None, *, exact: bool = False) -> str:
        begin, table = next(pair for pair in reversed(self._sources) if pair[0] <= row)
        if exact:
            return table.place(row - begin)
        end = f" to {last - begin + 1:,}" if last is not None and last > row else ""
        return f"{table.where}, row{'s' if end else ''} {row - begin + 1:,}{end}"

    def _series_of(
        self, block: dict[str, Any], name: str, count: int, place: Callable[[int], str]
    ) -> npt.NDArray[np.int32]:
        if not self.columns.series:
            return np.full(count, self._codes.setdefault(name, len(self._codes)), np.int32)
        parts = [_encoded(block[column], column, place) for column in self.columns.series]
        joined = parts[0]
        for part in parts[1:]:
            pairs, indices = np.unique(joined[1] * len(part[0]) + part[1], return_inverse=True)
            names = [f"{joined[0][pair // len(part[0])]}/{part[0][pair % len(part[0])]}" for pair in pairs]
            joined = names, indices
        # In the order of first appearance, so that a table that is sorted stays as it is.
        known = [self._codes.setdefault(one, len(self._codes)) for one in joined[0]]
        return np.array(known, np.int32)[joined[1]]

    def _keep_static(
        self, number: int, column: str, cells: Any, codes: npt.NDArray[np.int32], place: Callable[[int], str]
    ) -> None:
        values, indices = _encoded(cells, column, place)
        pairs, rows = np.unique(codes.astype(np.int64) * len(values) + indices, return_index=True)
        for pair, row in zip(pairs.tolist(), rows.tolist(), strict=True):
            code, value = pair // len(values), values[pair % len(values)]
            known = self._statics.setdefault((code, number), value)
            if known != value:
                name = shown_name(list(self._codes)[code])
                what = f"{name}the static {column!r} is {value!r} where rows before have {known!r}"
                raise InputError(place(row), what, "Name it as past or future, or give one value a series")


def _encoded(cells: Any, column: str, place: Callable[[int], str]) -> tuple[list[str], Whole]:
    """The distinct texts of cells in the order in which they are first read, and which of them each cell is."""
    import pyarrow
    import pyarrow.compute

    if isinstance(cells, list):
        try:
            cells = pyarrow.array(cells, from_pandas=True)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            cells = pyarrow.array([None if cell is None else str(cell) for cell in cells])
    cells = plain_array(cells)
    found = cells.dictionary_encode()
    texts = [_text(value) for value in found.dictionary.to_pylist()]
    indices = found.indices.to_numpy(zero_copy_only=False)
    if cells.null_count or "" in texts:
        row = next(row for row, cell in enumerate(cells.to_pylist()) if cell is None or _text(cell) == "")
        raise InputError(place(row), f"the cell of {column!r} is missing", "Fill it in")
    return texts, indices.astype(np.int64)


def _text(value: Any) -> str:
    """A value as text; a whole number is its digits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def shown_name(name: str) -> str:
    """A series' name before what is said of it: `series 'A', `."""
    return f"series {name!r}, " if name else ""


def shown_time(time: Any, numbered: bool) -> str:
    """A time, or the number of a step, for messages."""
    if numbered:
        return str(time)
    text = str(np.datetime64(int(time), "us")).replace("T", " ").removesuffix(".000000")
    return text.removesuffix(" 00:00:00")
