"""What a stream of series is given at a step: numbers, or a dict as a row of a table is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatework.data import SeriesNames
from gatework.data.times import TimeReader
from gatework.errors import InputError, nearest
from gatework.tasks.forecaster.scaling import Floats

__all__ = ["Step", "StepRows", "known_ahead"]

_WHERE = "step"
_FORM = "Give a number, a list with a number for each target, or a dict with them and the covariates by name"
_TIMES, _NAMES = ("time", "timestamp"), ("series",)


class Step(NamedTuple):
    """A series' step: values (C,) and covariates (P + K,), NaN where missing; its time, if it was given."""

    values: Floats
    covariates: Floats
    time: np.datetime64 | None


class StepRows:
    """Reads the steps of one series.

    Args:
        names: what the series has.
    """

    def __init__(self, names: SeriesNames) -> None:
        self._names, self._covariates = names, (*names.past, *names.future)
        self._times = TimeReader("time")

    def read(self, row: Any) -> Step:
        """A step.

        Raises:
            InputError: it is none, a covariate is missing, or a number is infinite.
        """
        if isinstance(row, Mapping):
            return self._of_dict(row)
        if self._covariates:
            what = f"is {row!r:.40}, without the covariates {', '.join(self._covariates)}"
            raise InputError(_WHERE, what, _FORM)
        targets = self._names.targets
        cells = row if isinstance(row, list | tuple | np.ndarray) else [row]
        if len(cells) != len(targets):
            what = f"is {row!r:.40}, and the targets are {', '.join(targets)}"
            raise InputError(_WHERE, what, _FORM)
        return Step(_numbers(targets, cells), np.empty(0), None)

    def _of_dict(self, row: Mapping[str, Any]) -> Step:
        names = self._names
        known = (*_TIMES, *_NAMES, "target", *names.targets, *self._covariates, *names.static)
        for name in row:
            if name not in known:
                raise InputError(_WHERE, f"has {name!r}, which the series do not have", nearest(name, known))
        for name in self._covariates:
            if name not in row:
                raise InputError(_WHERE, f"has no {name!r}", f"{_FORM} (None where one is missing)")
        given = row["target"] if "target" in row else [row.get(name) for name in names.targets]
        cells = given if isinstance(given, list | tuple | np.ndarray) else [given]
        if len(cells) != len(names.targets):
            what = f"has {len(cells)} values, and the targets are {', '.join(names.targets)}"
            raise InputError(_WHERE, what, _FORM)
        time = next((row[name] for name in _TIMES if row.get(name) is not None), None)
        covariates = [row[name] for name in self._covariates]
        return Step(_numbers(names.targets, cells), _numbers(self._covariates, covariates), self._time(time))

    def _time(self, cell: Any) -> np.datetime64 | None:
        if cell is None:
            return None
        (found,) = self._times.read([cell], lambda _: _WHERE).tolist()
        return np.datetime64(found, "us")


def known_ahead(given: Any, names: SeriesNames, horizon: int) -> Floats:
    """(horizon, K) the future covariates of the steps to come, by name.

    Raises:
        InputError: one is not there for each step.
    """
    table = np.empty((horizon, len(names.future)))
    for column, name in enumerate(names.future):
        cells = given.get(name) if isinstance(given, Mapping) else None
        if cells is None or len(cells) < horizon:
            what = (
                f"has {0 if cells is None else len(cells):,} of {name!r}, and {horizon:,} steps are forecast"
            )
            raise InputError("ahead", what, "Give each future covariate for every step: {'NAME': [...]}")
        table[:, column] = _numbers([name] * horizon, cells[:horizon])
        if np.isnan(table[:, column]).any():
            raise InputError("ahead", f"has a missing value of {name!r}", "Give one for each step")
    return table


def _numbers(names: Sequence[str], cells: Iterable[Any]) -> Floats:
    found = np.empty(len(names))
    for place, (name, cell) in enumerate(zip(names, cells, strict=True)):
        try:
            number = math.nan if cell is None else float(cell)
        except (TypeError, ValueError) as error:
            raise InputError(_WHERE, f"{name} is {cell!r:.40}, which is no number", _FORM) from error
        if math.isinf(number):
            raise InputError(_WHERE, f"{name} is infinite", "Give a number, or None where it is missing")
        found[place] = number
    return found
