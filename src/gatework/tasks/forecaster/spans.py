"""Where a series is trained on, validated on and tested: parts of its time that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gatework.data import Series
from gatework.errors import InputError

__all__ = ["Split", "first_forecast_step", "split_series", "step_from", "until"]

HELD_BACK = 0.05


class Split(NamedTuple):
    """A series' steps: 0 … valid - 1 are trained on, valid … test - 1 validated on, the rest is not looked at."""

    series: Series
    valid: int
    test: int


def step_from(series: Series, text: str, option: str) -> int:
    """The first step of a series that is not before a time, or the step of this number.

    Raises:
        InputError: the text is neither.
    """
    if text.strip().isdigit() and (series.times is None or len(text.strip()) != 4):
        return min(int(text), len(series.target))
    if series.times is None:
        what = f"is {text!r}, and the steps of the series have no times"
        raise InputError(f"option {option}", what, "Give the number of a step.")
    try:
        time = np.datetime64(text.strip().replace(" ", "T", 1), "us")
    except ValueError as error:
        what = f"is {text!r}, which is neither a time nor a number"
        raise InputError(f"option {option}", what, "Write it as 2017-06-26 or 2017-06-26T12:00.") from error
    return int(np.searchsorted(series.times, time))


def split_series(
    all_series: Sequence[Series], *, horizon: int, valid_from: str, test_from: str
) -> list[Split]:
    """The parts of each series.

    Args:
        horizon: steps that a validation holds at least, where `valid_from` does not say where it begins.
        valid_from, test_from: see `ForecasterOptions`.

    Raises:
        InputError: no series has a step to be trained on, or none to be validated on.
    """
    splits = []
    for series in all_series:
        test = step_from(series, test_from, "test_from") if test_from else len(series.target)
        held = max(round(HELD_BACK * test), horizon)
        valid = (
            min(step_from(series, valid_from, "valid_from"), test)
            if valid_from
            else (test - held if test >= 2 * held else test)
        )
        splits.append(Split(series, valid, test))
    if all(split.valid < 2 for split in splits):
        raise InputError("option valid_from", "leaves nothing to be trained on", "Give a later time.")
    if all(split.valid == split.test for split in splits):
        if valid_from:
            before = f" and before {test_from}" if test_from else ""
            what = f"is {valid_from}, and no series has a step from there on{before} to be validated on"
            raise InputError("option valid_from", what, "Give an earlier time.")
        longest = max(split.test for split in splits)
        what = f"the longest series has {longest:,} steps, too few to hold back {max(horizon, 1):,} of them"
        raise InputError("data", what, "Give longer series, a shorter horizon, or valid=FILE.")
    return splits


def until(series: Series, stop: int) -> Series:
    """The first `stop` steps of a series, as if nothing had come after them."""
    return replace(
        series,
        times=None if series.times is None else series.times[:stop],
        target=series.target[:stop],
        past=series.past[:stop],
        future=series.future[:stop],
        ahead=None if series.ahead is None else series.ahead[:0],
    )


def first_forecast_step(steps: int, window: int, horizon: int) -> int:
    """The first step of a series that is forecast where nothing else is said: after a window, or, in a shorter series,
    so that a horizon is left."""
    return max(1, min(window, steps - horizon))
