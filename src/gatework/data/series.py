"""Series over time, and what the series of some data have in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import InputError
from .frequency import Frequency
from .series_columns import TableColumns
from .series_groups import shown_name, shown_time

if TYPE_CHECKING:
    import numpy.typing as npt

    from .frequency import Times

    Floats: TypeAlias = npt.NDArray[np.float64]

__all__ = ["Series", "SeriesData", "SeriesNames", "check_known"]

_KNOWN = "Give it for each step of the horizon, as rows after the target's last (with the target left empty)"


@dataclass(frozen=True)
class Series:
    """A series on N steps of equal frequency, or as observed.

    Attributes:
        name: what tells it from others; empty where the data have one series without a name.
        times: (N,) datetime64[us], rising; None: steps are numbered.
        target: (N, C) float64, a column a channel; NaN: missing.
        past: (N, P), covariates that are known up to now.
        future: (N + F, K), covariates that are known beforehand, of F >= 0 steps beyond the target.
        static: a value for each static covariate.
        where: file and rows, for messages.
        ahead: (F,) the times of the steps beyond the target; None: steps are numbered.
        first: the number of the first step, where steps are numbered.
        filled: how many of the steps had no row in the data.
    """

    name: str
    times: Times | None
    target: Floats
    past: Floats
    future: Floats
    static: tuple[str | float, ...]
    where: str
    ahead: Times | None = None
    first: int = 0
    filled: int = 0

    @property
    def missing(self) -> int:
        """How many numbers of the target are missing at steps that had a row."""
        return int(np.isnan(self.target).sum()) - self.filled * self.target.shape[1]


@dataclass(frozen=True)
class SeriesNames:
    """What each series of some data has.

    Attributes:
        targets, past, future: the names of channels and covariates, in the order of the arrays' columns.
        static: the names of static covariates, in the order of `Series.static`.
        static_numbers: those of them that are numbers; the others are categories.
        frequency: the step of the times; None: steps are numbered.
    """

    targets: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]
    static_numbers: tuple[str, ...]
    frequency: Frequency | None


@dataclass(frozen=True)
class SeriesData(SeriesNames):
    """Series with what they have in common.

    Attributes:
        series: the series, in the order in which they were first read.
        columns: the data's columns by role, where they are a table: what was recognised, and what was left unread.
        notes: sentences to be said to the user: what was put in order, converted, left unread.
    """

    series: tuple[Series, ...]
    columns: TableColumns | None
    notes: tuple[str, ...]

    def missing_words(self) -> str:
        """How much is missing, in which series, as a sentence; empty where nothing is."""
        parts = []
        for word, counts in (
            ("times", [one.filled for one in self.series]),
            ("values", [one.missing for one in self.series]),
        ):
            most = int(np.argmax(counts))
            total, affected = sum(counts), sum(count > 0 for count in counts)
            if total:
                every = sum(one.target.size if word == "values" else len(one.target) for one in self.series)
                where = f" in {affected:,} of {len(counts):,} series" if len(counts) > 1 else ""
                worst = f", most in {self.series[most].name!r} ({counts[most]:,})" if affected > 1 else ""
                parts.append(f"{total:,} of {every:,} {word} are missing{where}{worst}")
        parts += self._distance_words()
        words = "; ".join(parts)
        return f"{words[0].upper()}{words[1:]}." if parts else ""

    def _distance_words(self) -> list[str]:
        """Of irregular times how far apart they are."""
        if self.frequency is None or self.frequency.kind != "irregular":
            return []
        found = [np.diff(one.times.astype(np.int64)) for one in self.series if one.times is not None]
        distances = np.concatenate(found) if found else np.empty(0, np.int64)
        if not len(distances):
            return []
        least, middle, most = (
            timedelta(microseconds=float(of(distances))) for of in (np.min, np.median, np.max)
        )
        return [f"the times are {least} to {most} apart, {middle} in the middle"]


def check_known(series: Series, horizon: int, names: SeriesNames) -> None:
    """Refuse a series whose future covariates are not known for each step of a horizon.

    Raises:
        InputError: they end before, or one is missing.
    """
    if not names.future:
        return
    count = len(series.target)
    given = len(series.future) - count
    if given < horizon:
        what = f"{shown_name(series.name)}the future covariates ({', '.join(names.future)}) are known for {given:,}"
        raise InputError(series.where, f"{what} of the {horizon:,} steps to be forecast", _KNOWN)
    bad = np.argwhere(np.isnan(series.future[count : count + horizon]))
    if len(bad):
        step, column = bad[0]
        time = (
            f" ({shown_time(series.ahead[step].astype(np.int64), False)})" if series.ahead is not None else ""
        )
        what = f"{shown_name(series.name)}the future covariate {names.future[column]!r} is missing at step {step + 1}"
        raise InputError(series.where, f"{what} after the target's last{time}", _KNOWN)
