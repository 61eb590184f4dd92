"""What a forecaster's `predict` is given: a series, several, or a table that has a series in each row or a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gatework.data import Row, Series, SeriesNames, group_rows, is_frame, read_series
from gatework.data.series import SeriesData
from gatework.tasks.inputs import InputReader

__all__ = ["SeriesReader"]

_OWN = ("series", "time", "timestamp", "start", "target")


@dataclass(frozen=True)
class SeriesReader(InputReader):
    """Reads the inputs of a forecaster's `predict`.

    Attributes:
        names: what the series must have.
        told: is given what was read of a table, to say what is missing in it.
    """

    names: SeriesNames
    told: Callable[[SeriesData], None]

    def items(self, given: Any) -> Iterable[Any]:
        """The series, one by one: as they were given, rows that hold one each, or those of a long table. Of a table
        that is given row by row, as a list or from a pipe, the rows of a series stand together."""
        steps, every = self.rows(given)
        if not steps:
            return every
        if is_frame(given) or isinstance(given, Mapping) or _is_file(given):
            data = read_series(given, self.columns, like=self.names)
            self.told(data)
            found: Iterable[Series] = data.series
        else:
            found = group_rows(every, self.names, self.columns)
        return (_as_input(series, self.names) for series in found)

    def rows(self, given: Any) -> tuple[bool, Iterable[Any]]:
        """Whether what was given is a table with a row for each step; and its rows, or else the series one by one."""
        found = iter(super().items(given))
        first = next(found, None)
        if first is None:
            return False, ()
        steps = isinstance(first, Row) and not any(_is_list(cell) for cell in first.values.values())
        return steps, chain([first], found)

    def _value(self, row: Row) -> Any:
        """Of a row that holds a series, the cells that are read of it."""
        found = super()._value(row)
        if not isinstance(found, dict):
            return found
        covariates = {*self.names.past, *self.names.future, *self.names.static}
        return found | {name: cell for name, cell in row.values.items() if name in covariates}

    def _is_input(self, item: Any) -> bool:
        if not isinstance(item, Mapping):
            return super()._is_input(item)
        names = self.names
        known = {*_OWN, *names.targets, *names.past, *names.future, *names.static}
        if not item.keys() <= known or _is_list(item.get("series")):  # a table's columns
            return False
        held = item.get("target", [item.get(name) for name in names.targets])
        times = item.get("time", item.get("timestamp", item.get("start")))
        several = _is_list(times) and len(times) > 0 and _is_list(times[0])
        return _is_list(held) and len(held) > 0 and not several and not self._are_series(item, held)

    def _are_series(self, item: Mapping[str, Any], held: Any) -> bool:
        """Whether a dict has a list of series under its columns: of one target a list a series."""
        lists = len(self.names.targets) == 1 and all(map(_is_list, held))
        return lists and all(_is_list(cell) for cell in item.values())


def _is_file(given: Any) -> bool:
    return isinstance(given, os.PathLike) and Path(given).is_file()


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple | np.ndarray)


def _as_input(series: Series, names: SeriesNames) -> dict[str, Any]:
    """A series as an input of `predict`, whose record gives it back."""
    found: dict[str, Any] = {"series": series.name} if series.name else {}
    if series.times is not None:
        found["time"] = [str(time) for time in series.times.astype("datetime64[s]")]
    columns = {name: series.target[:, place] for place, name in enumerate(names.targets)}
    columns |= {name: series.past[:, place] for place, name in enumerate(names.past)}
    columns |= {name: series.future[:, place] for place, name in enumerate(names.future)}
    if len(names.targets) == 1:
        columns = {"target": columns.pop(names.targets[0]), **columns}
    listed = {
        name: [None if np.isnan(value) else float(value) for value in values]
        for name, values in columns.items()
    }
    return {**found, **listed, **dict(zip(names.static, series.static, strict=True))}
