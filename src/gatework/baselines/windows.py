"""What the baselines of series share: windows (O, L), oldest value first, NaN where missing; levels and residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gatework.errors import InputError

__all__ = [
    "check_levels",
    "checked_windows",
    "filled",
    "interpolated",
    "known_quantiles",
    "last_known",
    "residual_quantiles",
    "sample",
]

_ROWS_AT_ONCE = 4096
MOST_RESIDUALS = 100_000  # origins whose residuals are sorted; of more a sample

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def checked_windows(history: Any, future: Any) -> tuple[Floats, Floats]:
    """Windows (O, L) and their futures (O, H) as float64.

    Raises:
        InputError: no future is known.
        ValueError: they have other shapes.
    """
    history, future = np.asarray(history, np.float64), np.asarray(future, np.float64)
    if (
        history.ndim != 2
        or future.ndim != 2
        or len(history) != len(future)
        or 0 in (*history.shape, future.shape[1])
    ):
        raise ValueError(
            f"windows have the shape {history.shape}, futures {future.shape}: wanted are (O, L), (O, H)"
        )
    if np.isnan(future).all():
        raise InputError("baselines of series", "no training window has a future", "Give longer series")
    return history, future


def check_levels(levels: Sequence[float] | Array) -> Floats:
    """(Q,) as float64.

    Raises:
        ValueError: they do not rise between 0 and 1.
    """
    levels = np.asarray(levels, np.float64)
    if levels.ndim != 1 or not (np.diff(levels) > 0).all() or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels rise between 0 and 1, and do not in {levels.tolist()}")
    return levels


def last_known(values: Array, default: float | Array = np.nan, axis: int = 1) -> Floats:
    """The last value along an axis that is known; `default` where none is."""
    known = ~np.isnan(values)
    places = values.shape[axis] - 1 - np.flip(known, axis).argmax(axis)
    last = np.take_along_axis(values, np.expand_dims(places, axis), axis).squeeze(axis)
    return np.where(known.any(axis), last, default)


def filled(values: Array, default: float | Array = np.nan) -> Floats:
    """(…, L) with the value before in place of a missing one; `default`, (…) or one, where there is none before."""
    known = ~np.isnan(values)
    if known.all():
        return np.asarray(values, np.float64)
    places = np.maximum.accumulate(np.where(known, np.arange(values.shape[-1]), -1), axis=-1)
    before = np.take_along_axis(values, np.maximum(places, 0), axis=-1)
    return np.where(places >= 0, before, np.expand_dims(default, -1))


def interpolated(values: Floats, default: float | Array = np.nan) -> Floats:
    """(O, L) as `filled`, but a missing value between two known ones stands on the line between them."""
    found, places = filled(values, default), np.arange(values.shape[1])
    if not np.isnan(values).any():
        return found
    for begin in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        known = ~np.isnan(values[rows])
        before = np.maximum.accumulate(np.where(known, places, -1), axis=1)
        after = np.minimum.accumulate(np.where(known, places, len(places))[:, ::-1], axis=1)[:, ::-1]
        inside = ~known & (before >= 0) & (after < len(places))
        share = (places - before)[inside] / (after - before)[inside]
        row = np.broadcast_to(np.arange(len(known))[:, None], known.shape)[inside]
        next_one = values[rows][row, after[inside]]
        found[rows][inside] += share * (next_one - found[rows][inside])
    return found


def sample(count: int, most: int) -> Array | slice:
    """Which rows to take of so many: all, or `most` drawn at random, in their order."""
    if count <= most:
        return slice(None)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def known_quantiles(values: Array, levels: Floats) -> Floats:
    """(…, Q) the quantiles of what is known along the last axis (linear, as numpy's); NaN where nothing is."""
    values = np.sort(values, axis=-1)  # NaN last
    count = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True)
    places = levels * np.maximum(count - 1, 0)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low, high = (np.take_along_axis(values, index, axis=-1) for index in (below, above))
    return low + (high - low) * (places - below)


def residual_quantiles(residuals: Array, levels: Floats) -> Floats:
    """(H, Q) by step ahead, from residuals (O, H), NaN where unknown; a step without any has those of all steps."""
    residuals = residuals[sample(len(residuals), MOST_RESIDUALS)]
    by_step = known_quantiles(np.ascontiguousarray(residuals.T), levels)
    return np.where(np.isnan(by_step), known_quantiles(residuals.ravel(), levels), by_step)
