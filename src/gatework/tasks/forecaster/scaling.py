"""What a series' values are divided by at each step: how far it moved of late, known from its past alone.

A difference is taken over a season, x_t - x_(t-m), as in the mean absolute scaled error (Hyndman & Koehler 2006).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "DECAY",
    "LEAST_GAP",
    "Scaling",
    "combined",
    "decaying_sum",
    "gaps",
    "scales",
    "squared_differences",
]

Scaling = Literal["rolling", "exponential", "none"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DECAY = 0.94  # a step, of the exponential mean: that of RiskMetrics for days
# Share of the whole past's mean square in a step's: what stood still for a while does not make its next move huge.
LONG_SHARE = 0.01
LEAST_GAP = 1e-3  # segments


def gaps(clock: Floats, observed: Mask, segment: int) -> Floats:
    """(N,) at each step the time since the value at the same place of an earlier segment was observed, in segments;
    before the first one, since the series began, as if there had been one.

    Args:
        clock: (N,) rising. observed: (N,) whether a step's value was.
        segment: s.
    """
    count = len(clock)
    rows = -(-count // segment) + 1  # with one before the series
    times = np.full(rows * segment, -np.inf)
    times[segment : segment + count] = np.where(observed, clock, -np.inf)
    times[:segment] = clock[0] - segment + np.arange(segment)
    last = np.maximum.accumulate(times.reshape(rows, segment), axis=0)[:-1].reshape(-1)[:count]
    return np.maximum((clock - last) / segment, LEAST_GAP)


def scales(values: Floats, observed: Mask, *, season: int, window: int, kind: Scaling) -> Floats:
    """(N,) at each step t the root mean square of the differences over a season up to t.

    Args:
        values: (N,), none missing.
        observed: (N,) whether each was; differences of observed values alone count.
        season: m.
        window: steps that a rolling mean looks back.
        kind: the mean: of the last `window` steps, or with weights that fall by 0.94 a step. `none`: ones.

    Returns:
        Where there is no difference yet, or all are zero, that of all differences of one step so far, else 1.
    """
    count = len(values)
    if kind == "none":
        return np.ones(count)
    squares, known = squared_differences(values, observed, season)
    whole = _ratio(squares.cumsum(), known.cumsum())
    if kind == "rolling":
        recent = _ratio(_rolling_sum(squares, window), _rolling_sum(known, window))
    else:
        recent = _ratio(decaying_sum(squares), decaying_sum(known))
    steps, of_steps = squared_differences(values, observed, 1)
    return combined(recent, whole, _ratio(steps.cumsum(), of_steps.cumsum()))


def combined(recent: Floats, whole: Floats, single: Floats) -> Floats:
    """(N,) the scale at each of N steps, of three mean squares of differences, NaN where there is none: of late and of
    the whole past, over a season; of the whole past, over a step."""
    recent = np.where(np.isnan(recent), whole, recent)
    found = np.sqrt((1 - LONG_SHARE) * recent + LONG_SHARE * whole)
    if (found > 0).all():
        return found
    found = np.where(found > 0, found, np.sqrt(single))
    return np.where(found > 0, found, 1.0)


def squared_differences(values: Floats, observed: Mask, lag: int) -> tuple[Floats, Floats]:
    """(N,) at each step the square of its difference from `lag` steps before, zero where one is missing; and (N,) one
    where none is."""
    squares, known = np.zeros(len(values)), np.zeros(len(values))
    if len(values) > lag:
        both = observed[lag:] & observed[:-lag]
        squares[lag:] = np.where(both, (values[lag:] - values[:-lag]) ** 2, 0.0)
        known[lag:] = both
    return squares, known


def _ratio(sums: Floats, counts: Floats) -> Floats:
    """Means, NaN where there is nothing."""
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _rolling_sum(values: Floats, window: int) -> Floats:
    """(N,) of the last `window` values up to each; by blocks of one window, so that no error of a long sum remains."""
    count = len(values)
    blocks = np.zeros((-(-count // window) + 1, window))
    blocks.reshape(-1)[window : window + count] = values
    ahead = blocks.cumsum(1)  # of each block up to a place
    left = blocks[:, ::-1].cumsum(1)[:, ::-1]  # and from a place on
    before = np.concatenate([left[:-1, 1:], np.zeros((len(blocks) - 1, 1))], axis=1)
    return (before + ahead[1:]).reshape(-1)[:count]


def decaying_sum(values: Floats) -> Floats:
    """(…, N) the sum of the values up to each, weighted by DECAY to the power of their distance."""
    from scipy.signal import lfilter  # comes with scikit-learn; takes time to import

    return np.asarray(lfilter([1.0], [1.0, -DECAY], values))
