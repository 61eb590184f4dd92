"""What a calendar says of times: features for a model, a season's length, and the times to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .frequency import Frequency

if TYPE_CHECKING:
    import numpy.typing as npt

    from .frequency import Times

__all__ = ["calendar_features", "calendar_names", "next_times", "season_length"]

_MINUTE, _HOUR, _DAY = 60_000_000, 3_600_000_000, 86_400_000_000
_WEEK, _YEAR = 7 * _DAY, 365.2425 * _DAY
# The cycles, by name: from which step, in microseconds, and below which step they say something.
_CYCLES: dict[str, tuple[float, float]] = {
    "minute": (0, _MINUTE),
    "hour": (0, _HOUR),
    "day": (0, _DAY),
    "week": (0, _WEEK),
    "month": (_HOUR, _WEEK),
    "year": (_MINUTE, _YEAR * 0.9),
}
_STEPS_OF_SEASON = {"s": 3600, "min": 1440, "h": 24, "D": 7, "B": 5, "W": 52, "M": 12}


def calendar_names(frequency: Frequency) -> tuple[str, ...]:
    """The names of `calendar_features`' columns: sine and cosine of each cycle that steps of this length move in."""
    return tuple(f"{cycle}_{wave}" for cycle in _cycles(frequency) for wave in ("sin", "cos"))


def calendar_features(times: Times, frequency: Frequency) -> npt.NDArray[np.float32]:
    """Where times stand in the cycles of the calendar: in their minute, hour, day, week, month and year.

    Args:
        times: (N,) datetime64[us].
        frequency: their step; of cycles that it skips over, or hardly moves in, there are no features.

    Returns:
        (N, F) float32 between -1 and 1, with the columns that `calendar_names` names.
    """
    turns = [_turn(times, cycle) for cycle in _cycles(frequency)]
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


def _cycles(frequency: Frequency) -> list[str]:
    step = frequency.microseconds
    return [cycle for cycle, (least, bound) in _CYCLES.items() if least <= step < bound]


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
