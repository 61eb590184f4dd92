"""Series as they were read to series on steps of one frequency, with missing times filled in and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .frequency import Frequency, infer_frequency, typical_frequency
from .series_groups import RawSeries, shown_name, shown_time

if TYPE_CHECKING:
    import numpy.typing as npt

    from .frequency import Times

    Floats = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]

__all__ = ["StepSeries", "check_rising", "steps_of"]

_FIX = (
    "Say frequency='observed' where rows are the steps (trading days), 'irregular' where gaps are to be seen as they "
    "are, or mend the times"
)
_SPARSE = 1000  # a grid may have so many times more steps than there are times, in one series
_SMALL = 100_000  # steps, up to which it may be sparser still


@dataclass(frozen=True)
class StepSeries:
    """A series on its steps.

    Attributes:
        raw: the series, its numbers on the steps.
        times: (N,) of the target's steps; None: steps are numbered.
        ahead: (F,) of the steps beyond the target, as the data have them or the frequency gives them.
        first: the number of the first step, where steps are numbered.
        filled: how many steps had no row.
    """

    raw: RawSeries
    times: Times | None
    ahead: Times | None
    first: int
    filled: int


def steps_of(
    raw: Sequence[RawSeries], frequency: str, known: Frequency | None = None
) -> tuple[list[StepSeries], Frequency | None]:
    """All series on steps of one frequency.

    Args:
        raw: the series, at least one.
        frequency: `auto`, `observed`, `irregular`, or a frequency's name.
        known: the frequency, where it is known from other data.

    Returns:
        The series, and the frequency; None where steps are numbered.

    Raises:
        InputError: times that fit no regular frequency where one is asked for; series with and without times.
    """
    timed = [one.times is not None and not one.numbered for one in raw]
    if not all(timed):
        if any(timed):
            other, one = raw[timed.index(False)], raw[timed.index(True)]
            raise InputError(
                other.where, f"has no dates where {one.where} has", "Give times in all, or in none"
            )
        return _numbered(raw, frequency), None
    chosen = known or _chosen(raw, frequency)
    if chosen.kind == "regular":
        _check_stated(raw, chosen)
        return [_on_grid(one, chosen) for one in raw], chosen
    return [_as_observed(one, chosen) for one in raw], chosen


def _check_stated(raw: Sequence[RawSeries], chosen: Frequency) -> None:
    for one in raw:
        stated = Frequency.parse(one.frequency) if one.frequency else chosen
        if (stated.unit, stated.count) != (chosen.unit, chosen.count):
            what = f"{shown_name(one.name)}its frequency is stated as {one.frequency}, and {chosen} is wanted"
            raise InputError(one.where, what, "Give series of one frequency")


def check_rising(one: RawSeries) -> RawSeries:
    """A series with its steps in the order of their times.

    Raises:
        InputError: two steps have the same time; times out of order where there are steps beyond the target.
    """
    if one.times is None or not len(one.times):
        return one
    distances = np.diff(one.times)
    if (distances < 0).any():
        order = np.argsort(one.times, kind="stable")
        if len(one.future) != len(one.target) or len(one.times) != len(one.target):
            step = int(np.flatnonzero(distances < 0)[0]) + 1
            what = f"{shown_name(one.name)}its times are not in order (step {step + 1})"
            raise InputError(one.where, what, "Sort the steps by time")
        one = replace(
            one,
            times=one.times[order],
            target=one.target[order],
            past=one.past[order],
            future=one.future[order],
        )
        distances = np.sort(distances)
    if (distances == 0).any():
        step = int(np.flatnonzero(distances == 0)[0])
        time = shown_time(one.times[step], one.numbered)  # type: ignore[index]
        raise InputError(
            one.where, f"{shown_name(one.name)}the time {time} is there twice", "Keep one of them"
        )
    return one


def _numbered(raw: Sequence[RawSeries], frequency: str) -> list[StepSeries]:
    """Series without times, or whose steps have numbers."""
    if frequency not in ("auto", "observed"):
        what = f"the series have no times, and frequency={frequency!r} is asked for"
        raise InputError(raw[0].where, what, "Name the column of times: columns={'time': 'COLUMN'}")
    distances = [np.unique(np.diff(one.times)) for one in raw if one.times is not None]
    step = int(np.gcd.reduce(np.concatenate(distances))) if distances else 1
    found = []
    for one in raw:
        if one.times is None or frequency == "observed":
            found.append(StepSeries(one, None, None, int(one.times[0]) if one.times is not None else 0, 0))
            continue
        numbers = (one.times - one.times[0]) // max(step, 1)
        filled, count = _filled(one, numbers)
        found.append(StepSeries(filled, None, None, int(one.times[0]), count))
    return found


def _chosen(raw: Sequence[RawSeries], frequency: str) -> Frequency:
    begins, times = _joined(raw)
    if frequency == "observed":
        return typical_frequency(times, begins, "observed")
    if frequency == "irregular":
        return typical_frequency(times, begins, "irregular")
    if frequency != "auto":
        return Frequency.parse(frequency).settled(times)
    stated = next((one.frequency for one in raw if one.frequency), None)
    if stated is not None:
        return Frequency.parse(stated).settled(times)
    found = infer_frequency(times, begins)
    if found is None:
        raise _irregular(raw, times, begins)
    return found


def _joined(raw: Sequence[RawSeries]) -> tuple[Whole, Times]:
    """Where each series begins, and the times of all."""
    arrays = [one.times for one in raw if one.times is not None]
    begins = np.cumsum([0, *(len(array) for array in arrays[:-1])])
    return begins, np.concatenate(arrays).view("datetime64[us]")


def _irregular(raw: Sequence[RawSeries], times: Times, begins: Whole) -> InputError:
    """The error of times that fit no regular frequency."""
    likely = typical_frequency(times, begins, "regular")
    if len(times) == len(begins):
        what = "no series has two times, so that the step of time is unknown"
        return InputError(raw[0].where, what, "Say it: frequency='h' or 'D' or 'MS'")
    for one in raw:
        assert one.times is not None
        own = one.times.view("datetime64[us]")
        steps, off = likely.steps(own, own[0])
        if off.any():
            return _off_grid(one, int(np.flatnonzero(off)[0]), likely, f"most steps are a {likely.words}")
        if int(steps[-1]) + 1 > len(own) * 4:
            break
    what = f"most steps are a {likely.words}, but so many times are missing that this is no regular frequency"
    return InputError(raw[0].where, what, f"{_FIX}; or fill the gaps in all the same: frequency='{likely}'")


def _off_grid(one: RawSeries, place: int, frequency: Frequency, why: str) -> InputError:
    assert one.times is not None
    time, first = shown_time(one.times[place], False), shown_time(one.times[0], False)
    what = f"{shown_name(one.name)}the time {time} is no whole number of steps after {first}, and {why}"
    return InputError(one.where, what, _FIX)


def _on_grid(one: RawSeries, frequency: Frequency) -> StepSeries:
    assert one.times is not None
    own = one.times.view("datetime64[us]")
    steps, off = frequency.steps(own, own[0])
    if off.any():
        raise _off_grid(one, int(np.flatnonzero(off)[0]), frequency, f"the frequency is {frequency}")
    same = np.flatnonzero(np.diff(steps) == 0)
    if len(same):
        times = " and ".join(shown_time(one.times[place], False) for place in (same[0], same[0] + 1))
        what = f"{shown_name(one.name)}the times {times} are in one step of frequency {frequency}"
        raise InputError(one.where, what, _FIX)
    filled, count = _filled(one, steps)
    every, length = own, max(len(filled.target), len(filled.future))
    if length != len(own) or count:
        every = frequency.at(own[0], np.arange(length))
    return StepSeries(filled, every[: len(filled.target)], every[len(filled.target) :], 0, count)


def _as_observed(one: RawSeries, frequency: Frequency) -> StepSeries:
    assert one.times is not None
    own, count = one.times.view("datetime64[us]"), len(one.target)
    beyond = len(one.future) - len(own)  # steps without times: at the usual distance
    every = np.append(own, frequency.at(own[-1], 1 + np.arange(beyond))) if beyond > 0 else own
    return StepSeries(one, every[:count], every[count:], 0, 0)


def _filled(one: RawSeries, steps: Whole) -> tuple[RawSeries, int]:
    """A series with NaN at the steps that had no row, and how many they were.

    Args:
        steps: (M,) the number of each row's step from the first.
    """
    count = len(one.target)
    last = int(steps[-1])
    if last + 1 == len(steps):
        return one, 0
    if last + 1 > max(_SMALL, _SPARSE * len(steps)):
        place = int(np.argmax(np.diff(steps))) + 1
        times = " and ".join(shown_time(one.times[at], one.numbered) for at in (place - 1, place))  # type: ignore[index]
        what = f"{shown_name(one.name)}between {times} {int(np.diff(steps).max()) - 1:,} steps are missing"
        raise InputError(one.where, what, "Mend the times, or say frequency='observed'")
    beyond = len(one.future) - len(steps)  # steps that are given without times go on after the last
    every = np.concatenate([steps, last + 1 + np.arange(max(beyond, 0))])
    known = int(steps[count - 1]) + 1
    filled = replace(
        one,
        target=_spread(one.target, steps[:count], known),
        past=_spread(one.past, steps[:count], known),
        future=_spread(one.future, every, int(every[-1]) + 1),
    )
    return filled, last + 1 - len(steps)


def _spread(values: Floats, steps: Whole, count: int) -> Floats:
    spread = np.full((count, values.shape[1]), np.nan)
    spread[steps] = values
    return spread
