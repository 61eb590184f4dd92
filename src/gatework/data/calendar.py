"""What a calendar says of times: features for a model, a season's length, and the times to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .frequency import Frequency

if TYPE_CHECKING:
    import numpy.typing as npt

    from .frequency import Times

__all__ = ["CYCLES", "calendar_cycles", "calendar_features", "next_times", "season_length"]

_MINUTE, _HOUR, _DAY = 60_000_000, 3_600_000_000, 86_400_000_000
_WEEK, _YEAR = 7 * _DAY, 365.2425 * _DAY
# The cycles, by name: the shortest and longest step for which they say something, and their length; microseconds.
CYCLES: dict[str, tuple[float, float, int]] = {
    "minute": (0, _MINUTE, _MINUTE),
    "hour": (0, _HOUR, _HOUR),
    "day": (0, _DAY, _DAY),
    "week": (0, _WEEK, _WEEK),
    "month": (_HOUR, _WEEK, 30 * _DAY),
    "year": (_MINUTE, _YEAR * 0.9, 365 * _DAY),
}
_STEPS_OF_SEASON = {"s": 3600, "min": 1440, "h": 24, "D": 7, "B": 5, "W": 52, "M": 12}


def calendar_cycles(frequency: Frequency, span: np.timedelta64 | None = None) -> tuple[str, ...]:
    """The cycles of the calendar that steps of this length move in: minute, hour, day, week, month, year.

    Args:
        frequency: the step.
        span: how long the data is: of a cycle that does not turn twice in it nothing can be learned, and it is left
        out.
    """
    return tuple(
        cycle
        for cycle, (least, most, length) in CYCLES.items()
        if least <= frequency.microseconds < most
        and (span is None or span >= np.timedelta64(2 * length, "us"))
    )


def calendar_features(times: Times, cycles: Sequence[str]) -> npt.NDArray[np.float32]:
    """Where times stand in cycles of the calendar: the second of the minute, the minute of the hour, the hour of the
    day, the day of the week, of the month and of the year.

    Args:
        times: (N,) datetime64[us].
        cycles: of `calendar_cycles`.

    Returns:
        (N, 2 * cycles) float32: sine and cosine of each.
    """
    turns = [_turn(times, cycle) for cycle in cycles]
    waves = [wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]
    return np.stack(waves, axis=1).astype(np.float32) if waves else np.zeros((len(times), 0), np.float32)


def season_length(frequency: Frequency) -> int:
    """The steps after which a series is most likely to repeat itself; 1: none is known.

    An hour of seconds, a day of minutes and hours, a week of days, a year of weeks and months; 1 where the step is no
    whole part of that.
    """
    season = _STEPS_OF_SEASON.get(frequency.unit, 1)
    return season // frequency.count if season % frequency.count == 0 else 1


def next_times(last: np.datetime64, count: int, frequency: Frequency) -> Times:
    """The times (count,) after the last one; of `observed` and `irregular` ones, those that the most frequent distance
    makes likely.
    """
    return frequency.at(last.astype("datetime64[us]"), np.arange(1, count + 1))


def _turn(times: Times, cycle: str) -> npt.NDArray[np.float64]:
    """How far each time stands in its cycle, from 0 up to 1."""
    lengths = {"minute": _MINUTE, "hour": _HOUR, "day": _DAY}
    if cycle in lengths:
        return (times.astype(np.int64) % lengths[cycle]) / lengths[cycle]
    if cycle == "week":  # from Monday; 1970-01-01 was a Thursday
        return ((times.astype(np.int64) + 3 * _DAY) % _WEEK) / _WEEK
    unit = "datetime64[M]" if cycle == "month" else "datetime64[Y]"
    begin = times.astype(unit)
    whole = (begin + 1).astype("datetime64[us]") - begin.astype("datetime64[us]")
    return (times - begin.astype("datetime64[us]")) / whole
