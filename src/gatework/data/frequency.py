"""The step of a series' times: told from the times, counted in, and continued.

A regular frequency has one time for every step: a fixed duration (seconds … weeks), business days (Monday to Friday),
or months (a day of the month that repeats, or the month's last). A series' grid of times begins at its own first
time. Where rows themselves are the steps (`observed`: trading days) or times are taken as they are (`irregular`), the
unit is that of the most frequent distance, for the calendar alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from ..errors import InputError, nearest

if TYPE_CHECKING:
    import numpy.typing as npt

    Times: TypeAlias = npt.NDArray[np.datetime64]
    Whole: TypeAlias = npt.NDArray[np.int64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

__all__ = ["Frequency", "infer_frequency", "typical_frequency"]

Unit: TypeAlias = Literal["us", "ms", "s", "min", "h", "D", "W", "B", "M"]
Kind: TypeAlias = Literal["regular", "observed", "irregular"]

_DAY = 86_400_000_000
_MICROSECONDS: dict[str, int] = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "D": _DAY,
    "W": 7 * _DAY,
}
_MEAN_MONTH = 2_629_746_000_000  # microseconds: a twelfth of the Gregorian year
_LAST = 31  # the day of the month that stands for its last one
_WORDS = {
    "us": "microsecond",
    "ms": "millisecond",
    "s": "second",
    "min": "minute",
    "h": "hour",
    "D": "day",
    "W": "week",
    "B": "business day",
    "M": "month",
}
# Names of pandas, old and new, and of the Monash archive, in small letters: unit, count and day of the month.
_NAMES: dict[str, tuple[Unit, int, int]] = {
    "t": ("min", 1, 1),
    "minutely": ("min", 1, 1),
    "half_hourly": ("min", 30, 1),
    "secondly": ("s", 1, 1),
    "seconds": ("s", 1, 1),
    "minutes": ("min", 1, 1),
    "hourly": ("h", 1, 1),
    "hours": ("h", 1, 1),
    "daily": ("D", 1, 1),
    "days": ("D", 1, 1),
    "weekly": ("W", 1, 1),
    "monthly": ("M", 1, 0),
    "ms": ("M", 1, 1),
    "m": ("M", 1, 0),
    "me": ("M", 1, _LAST),
    "quarterly": ("M", 3, 0),
    "qs": ("M", 3, 1),
    "q": ("M", 3, 0),
    "qe": ("M", 3, _LAST),
    "yearly": ("M", 12, 0),
    "ys": ("M", 12, 1),
    "as": ("M", 12, 1),
    "y": ("M", 12, 0),
    "a": ("M", 12, 0),
    "ye": ("M", 12, _LAST),
    "l": ("ms", 1, 1),
    "u": ("us", 1, 1),
    **{_WORDS[unit]: (unit, 1, 0 if unit == "M" else 1) for unit in get_args(Unit)},
    **{unit.lower(): (unit, 1, 1) for unit in ("us", "s", "min", "h", "D", "W", "B")},
}
_EXAMPLES = ("15min", "h", "D", "B", "W", "MS", "ME", "QS", "YS")
_MOST_GAPS = 4  # a grid may have so many steps for each time that there is; else the times are not regular


@dataclass(frozen=True)
class Frequency:
    """A step of time: `count` units.

    Attributes:
        unit: `us` … `W` are durations, `B` business days, `M` months.
        count: how many units a step has, at least 1.
        day: of months, the day of the month that the times have; 31 is the month's last, 0 that of a series' first
            time.
        kind: `regular`; `observed` where rows are steps; `irregular` where times are as they are.
    """

    unit: Unit
    count: int = 1
    day: int = 1
    kind: Kind = "regular"

    @classmethod
    def parse(cls, name: str) -> Frequency:
        """The frequency of a name: pandas' (`15min`, `h`, `B`, `MS`), the Monash archive's (`half_hourly`), or what
        `str` gives.

        Raises:
            InputError: the name is unknown.
        """
        head, _, rest = name.rpartition(":")
        if head in ("observed", "irregular"):
            return replace(cls.parse(rest), kind="observed" if head == "observed" else "irregular")
        match = re.fullmatch(r"\s*(\d*)[ _]?([A-Za-z_ ]+?)(?:-[A-Z]{3})?(?:@(\d+))?\s*", name)
        small = match[2].lower() if match else ""
        found = _NAMES.get("l" if match and match[2] == "ms" else small)  # MS is a month's start, ms is not
        if match is None or found is None or match[1] == "0":
            raise InputError("frequency", f"{name!r} is no frequency", nearest(name, _EXAMPLES).rstrip("."))
        unit, count, day = found
        return cls(unit, count * int(match[1] or 1), int(match[3] or day))

    def __str__(self) -> str:
        count = str(self.count) if self.count > 1 else ""
        name = f"{count}{self.unit}"
        if self.unit == "M":
            years, months = divmod(self.count, 12)
            name = f"{'' if years < 2 else years}Y" if years and not months else f"{count}M"
            name += {0: "", 1: "S", _LAST: "E"}.get(self.day, f"S@{self.day}")
        return name if self.kind == "regular" else f"{self.kind}:{name}"

    @property
    def words(self) -> str:
        """The step for people: `hour`, `15 minutes`, `3 months`."""
        word = _WORDS[self.unit]
        return word if self.count == 1 else f"{self.count} {word}s"

    @property
    def microseconds(self) -> int:
        """The step's duration; of business days and months the mean."""
        of_unit = {**_MICROSECONDS, "B": 7 * _DAY // 5, "M": _MEAN_MONTH}[self.unit]
        return of_unit * self.count

    def settled(self, times: Times) -> Frequency:
        """This frequency; where months have no day yet, with the one that all times have, if they do."""
        if self.unit != "M" or self.day:
            return self
        days = times.astype("datetime64[D]")
        if bool((_day_of_month(days + 1) == 1).all()):
            return replace(self, day=_LAST)
        of_month = np.unique(_day_of_month(days))
        return replace(self, day=int(of_month[0])) if len(of_month) == 1 else self

    def steps(self, times: Times, origin: np.datetime64) -> tuple[Whole, Flags]:
        """How many steps each time is after the origin, and which times are off its grid.

        Args:
            times: (N,) datetime64[us].
            origin: a time on the grid.

        Returns:
            Numbers of steps (N,), rounded down where off the grid, and flags (N,): off the grid.
        """
        if self.unit in _MICROSECONDS:
            number, left = np.divmod((times - origin).astype(np.int64), self.microseconds)
            return number, left != 0
        days, first = times.astype("datetime64[D]"), origin.astype("datetime64[D]")
        day = self.day or int(_day_of_month(first))
        off = (times - days) != (origin - first)
        if self.unit == "B":
            number = np.busday_count(first, days).astype(np.int64)
            off |= ~np.is_busday(days)
        else:
            number = (days.astype("datetime64[M]") - first.astype("datetime64[M]")).astype(np.int64)
            last = _day_of_month(days + 1) == 1
            off |= ~last if day == _LAST else (_day_of_month(days) != day) & ~(last & (day > 28))
        number, left = np.divmod(number, self.count)
        return number, off | (left != 0)

    def at(self, origin: np.datetime64, steps: Whole) -> Times:
        """The times (N,) that are so many steps (N,) after the origin."""
        steps = np.asarray(steps, dtype=np.int64) * self.count
        if self.unit in _MICROSECONDS:
            return origin + (steps * _MICROSECONDS[self.unit]).astype("timedelta64[us]")
        first = origin.astype("datetime64[D]")
        if self.unit == "B":
            days = np.busday_offset(first, steps, roll="backward")
        else:
            day = self.day or int(_day_of_month(first))
            month = first.astype("datetime64[M]") + steps
            last = (month + 1).astype("datetime64[D]") - 1
            days = np.minimum(month.astype("datetime64[D]") + (day - 1), last)
        return days.astype("datetime64[us]") + (origin - first)


def infer_frequency(times: Times, begins: Whole) -> Frequency | None:
    """The regular frequency that all series share.

    Args:
        times: (N,) datetime64[us], rising within each series.
        begins: (S,) where each series begins in `times`.

    Returns:
        The longest step on whose grids all times are; None where there is none, where three quarters of its steps would
        have no time, or where no series has two times.
    """
    distances = _distances(times, begins)
    if not len(distances):
        return None
    ends = np.append(begins[1:], len(times)) - 1
    for found in (_months(times, distances), _fixed(times, distances)):
        if found is None:
            continue
        counts = [
            int(found.steps(times[end : end + 1], times[begin])[0][0]) + 1
            for begin, end in zip(begins, ends, strict=True)
        ]
        if sum(counts) <= _MOST_GAPS * len(times):
            return found
    return None


def typical_frequency(times: Times, begins: Whole, kind: Kind) -> Frequency:
    """The most frequent distance of times that need not be regular, with its kind; of single times a day."""
    distances = _distances(times, begins)
    if not len(distances):
        return Frequency("D", kind=kind)
    found = _months(times, distances)
    if found is None:
        values, counts = np.unique(distances, return_counts=True)
        found = _fixed(times, values[[np.argmax(counts)]])
    return replace(found, kind=kind)


def _distances(times: Times, begins: Whole) -> Whole:
    """Microseconds between neighbours in one series."""
    distances = np.diff(times.astype(np.int64))
    return np.delete(distances, begins[1:] - 1)


def _fixed(times: Times, distances: Whole) -> Frequency:
    step = int(np.gcd.reduce(np.unique(distances)))
    days = times.astype("datetime64[D]")
    if step == _DAY and len(times) > 5 and bool(np.is_busday(days).all()):
        return Frequency("B")
    unit = next(unit for unit in reversed(_MICROSECONDS) if step % _MICROSECONDS[unit] == 0)
    return Frequency(unit, step // _MICROSECONDS[unit])  # type: ignore[arg-type]


def _months(times: Times, distances: Whole) -> Frequency | None:
    """Months, where all times are of one day of the month, or its last, and of one time of the day."""
    if distances.min() < 28 * _DAY:
        return None
    days = times.astype("datetime64[D]")
    of_month = _day_of_month(days)
    if len(np.unique(times - days)) > 1:
        return None
    if bool((_day_of_month(days + 1) == 1).all()):
        day = _LAST
    elif len(np.unique(of_month)) == 1:
        day = int(of_month[0])
    else:
        return None
    months = days.astype("datetime64[M]").astype(np.int64)
    count = math.gcd(*np.unique(np.diff(months)).tolist())  # of several series their distance too: a divisor
    return Frequency("M", count, day) if count else None


def _day_of_month(days: Any) -> Whole:
    return (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
