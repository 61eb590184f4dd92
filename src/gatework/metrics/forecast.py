"""Figures of forecasts: how far their means are from what came, and how right their quantiles.

O origins, H steps ahead, Q levels. An origin is a step of one channel of one series, and its future the H values
after it. The definitions are utilsforecast's (Nixtla), with all origins together in place of one series after another
(of the MASE the mean over the series, where weights are given).
A future that is missing (NaN) counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gatework.metrics.origin_sums import Difference, OriginSums, ratio

__all__ = [
    "INTERVALS",
    "LEVELS",
    "Forecast",
    "ForecastSums",
    "forecast_figures",
    "forecast_sums",
]

# Deciles, and the bounds of the intervals.
LEVELS = (0.025, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.975)
INTERVALS = {50: (0.25, 0.75), 80: (0.1, 0.9), 95: (0.025, 0.975)}
_AT_ONCE = 1 << 22  # values of quantiles that are compared at a time
_SAME_LEVEL = 1e-9
_COUNTS = ("count", "squares", "absolutes", "scaled", "scaled_count", "losses", "sizes")

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class Forecast(NamedTuple):
    """What is said at O origins of the H steps after each.

    Attributes:
        mean: (O, H).
        quantiles: (O, H, Q), of the levels in rising order.
    """

    mean: Floats
    quantiles: Floats


@dataclass(frozen=True)
class ForecastSums(OriginSums):
    """What the figures of forecasts are computed from.

    Attributes:
        rows: (O, K) what each origin adds to K sums.
        percents: the intervals that stand in them: 50, 80, 95.
    """

    percents: tuple[int, ...]

    def of(self, sums: Array) -> dict[str, Floats]:
        """mse, mae, rmse, mase, scaled_crps, and coverage_50, width_50, … of each interval, each (…); NaN without a
        future.
        """
        parts = dict(zip(_COUNTS, np.moveaxis(sums, -1, 0), strict=False))
        count, mse = parts["count"], ratio(parts["squares"], parts["count"])
        figures = {
            "mse": mse,
            "mae": ratio(parts["absolutes"], count),
            "rmse": np.sqrt(mse),
            "mase": ratio(parts["scaled"], parts["scaled_count"]),
            "scaled_crps": ratio(parts["losses"], parts["sizes"]),
        }
        for index, percent in enumerate(self.percents):
            place = len(_COUNTS) + 2 * index
            figures[f"coverage_{percent}"] = ratio(sums[..., place], count)
            figures[f"width_{percent}"] = ratio(sums[..., place + 1], count)
        return figures

    def differences(
        self, other: Self, times: Array, *, block: int, resamples: int = 1000, seed: int = 0
    ) -> dict[str, Difference]:
        if other.percents != self.percents:
            raise ValueError(
                f"sums with the intervals {self.percents} stand beside others with {other.percents}"
            )
        return super().differences(other, times, block=block, resamples=resamples, seed=seed)


def forecast_figures(
    forecast: Forecast,
    future: Array,
    levels: Sequence[float],
    *,
    scale: Array | None = None,
    weights: Array | None = None,
) -> dict[str, float]:
    """The figures of all origins together; arguments as for `forecast_sums`."""
    return forecast_sums(forecast, future, levels, scale=scale, weights=weights).figures()


def forecast_sums(
    forecast: Forecast,
    future: Array,
    levels: Sequence[float],
    *,
    scale: Array | None = None,
    weights: Array | None = None,
) -> ForecastSums:
    """What each origin adds to the sums that the figures are made of.

    Args:
        forecast: mean (O, H) and quantiles (O, H, Q).
        future: (O, H) what came; NaN: missing.
        levels: (Q,) of the quantiles, rising. The scaled CRPS is of all of them; an interval has figures where both its
            bounds are among them.
        scale: (O,) of each origin's series, the mean |x_t - x_{t-m}| of the training part, with the season m; an origin
            with none (0 or NaN: a constant series) is in no MASE. None: MASE is NaN.
        weights: (O,) of each origin's values in the MASE: one over how many of its series there are, where each series
            weighs the same. None: each value does.

    Raises:
        ValueError: shapes or levels do not fit, or a forecast is NaN where its future is known.
    """
    mean, quantiles, future = (np.asarray(array) for array in (*forecast, future))
    places = _check(mean, quantiles, future, np.asarray(levels, np.float64))
    scales = np.full(len(future), np.nan) if scale is None else np.asarray(scale, np.float64)
    if scales.shape != future.shape[:1]:
        raise ValueError(f"scales have the shape {scales.shape}, and there are {len(future)} origins")
    shares = np.ones(len(future)) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != scales.shape:
        raise ValueError(f"weights have the shape {shares.shape}, and there are {len(future)} origins")
    many = max(1, _AT_ONCE // max(1, quantiles[0].size if len(quantiles) else 1))
    blocks = [slice(begin, begin + many) for begin in range(0, max(1, len(future)), many)]
    rows = [
        _rows(
            mean[part], quantiles[part], future[part], np.asarray(levels), scales[part], shares[part], places
        )
        for part in blocks
    ]
    return ForecastSums(np.concatenate(rows), tuple(places))


def _rows(
    mean: Array,
    quantiles: Array,
    future: Array,
    levels: Array,
    scale: Array,
    weights: Array,
    places: dict[int, tuple[int, int]],
) -> Floats:
    """(O, K)"""
    future = future.astype(np.float64)
    known = ~np.isnan(future)
    future = np.where(known, future, 0.0)
    errors = np.where(known, future - mean, 0.0)
    absolutes, count = np.abs(errors).sum(axis=1), known.sum(axis=1)
    has_scale = scale > 0
    above = np.where(known[..., None], future[..., None] - quantiles, 0.0)  # (O, H, Q)
    losses = np.maximum(levels * above, (levels - 1) * above).mean(axis=2)
    columns = [
        count,
        np.square(errors).sum(axis=1),
        absolutes,
        weights * np.divide(absolutes, scale, out=np.zeros(len(scale)), where=has_scale),
        weights * count * has_scale,
        2 * losses.sum(axis=1),
        np.abs(future).sum(axis=1),
    ]
    for low, high in places.values():
        lower, upper = quantiles[..., low], quantiles[..., high]
        columns.append(((lower <= future) & (future <= upper) & known).sum(axis=1))
        columns.append(np.where(known, upper - lower, 0.0).sum(axis=1))
    return np.stack(columns, axis=1).astype(np.float64)


def _check(mean: Array, quantiles: Array, future: Array, levels: Array) -> dict[int, tuple[int, int]]:
    """Of each interval whose bounds are among the levels, the places of these bounds."""
    if levels.ndim != 1 or not np.all(np.diff(levels) > 0) or not np.all((levels > 0) & (levels < 1)):
        raise ValueError(f"levels rise between 0 and 1, and do not in {levels.tolist()}")
    if future.ndim != 2 or mean.shape != future.shape or quantiles.shape != (*future.shape, len(levels)):
        raise ValueError(
            f"means have the shape {mean.shape}, quantiles {quantiles.shape}, futures {future.shape}, and there are "
            f"{len(levels)} levels: wanted are (O, H), (O, H, Q), (O, H)"
        )
    unsaid = (np.isnan(mean) | np.isnan(quantiles).any(axis=2)) & ~np.isnan(future)
    if unsaid.any():
        origin, step = np.argwhere(unsaid)[0]
        raise ValueError(f"the forecast of origin {origin}, {step + 1} steps ahead, is NaN")
    found = {}
    for percent, bounds in INTERVALS.items():
        places = [np.flatnonzero(np.abs(levels - bound) < _SAME_LEVEL) for bound in bounds]
        if all(len(place) for place in places):
            found[percent] = (int(places[0][0]), int(places[1][0]))
    return found
