"""Intervals whose widths follow what came.

Adaptive conformal inference (Gibbs & Candès 2021, arXiv:2106.00193) on the scale of quantile trackers (Angelopoulos,
Candès & Tibshirani 2023, "Conformal PID control for time series prediction", arXiv:2307.16895): an interval that has
missed what came becomes a little wider, one that has covered it a little narrower, by amounts that cancel out where it
covers its share. What is moved is the logarithm of a width, one of each interval for all steps of a horizon, by the
mean over the forecasts of the step that has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gatework.metrics.forecast import Forecast
from gatework.tasks.forecaster.backtest import Forecasting, forecasts_along, forecasts_at_ends
from gatework.tasks.forecaster.calibration import intervals_of
from gatework.tasks.forecaster.channels import Channels, Floats, Integers, Layout

__all__ = ["AdaptiveWidths", "adapted_along", "adapted_at_ends"]

_RATE = 0.01  # of the logarithms at a step
_MOST = 5.0  # of a logarithm: intervals of a series that never moves cannot grow forever
_WARM_UP = 1000  # forecasts before the first one that is wanted, made for the widths alone


class AdaptiveWidths:
    """What R channels' intervals are widened by, and the forecasts that have not all come true yet.

    Args:
        rows: R.
        layout: with the horizon H, and the window, before whose end forecasts count for nothing.
        levels: (Q,) of the quantiles, rising; those without their opposite stay as they are.
        counts: whether quantiles are whole numbers from 0 on.

    Attributes:
        logarithms: (R, I) of each interval's width over what the network says.
        bounds: (R, H, H, I, 2) of the forecast after n steps at n modulo H: of each step ahead; NaN where none was
            made.
    """

    def __init__(self, rows: int, layout: Layout, levels: Sequence[float], *, counts: bool = False) -> None:
        self._window, self._horizon, self._counts = layout.window, layout.horizon, counts
        self._levels, self._pairs = np.asarray(levels), np.array(intervals_of(levels)).reshape(-1, 2)
        below, above = np.flatnonzero(self._levels <= 0.5), np.flatnonzero(self._levels >= 0.5)
        self._inner = [below[-1] if len(below) else 0, above[0] if len(above) else -1]  # around the middle
        self.logarithms = np.zeros((rows, len(self._pairs)))
        self.bounds = np.full((rows, *[layout.horizon] * 2, len(self._pairs), 2), np.nan, np.float32)

    def see(self, rows: Integers, counts: Integers, values: Floats) -> None:
        """What came at the next step of some channels, before it is forecast from there.

        Args:
            rows: (n,) the channels. counts: (n,) their steps, this one among them. values: (n,), NaN where missing.
        """
        ahead = np.arange(1, self._horizon + 1)
        made = (counts[:, None] - ahead) % self._horizon
        said = self.bounds[rows[:, None], made, ahead - 1]  # (n, H, I, 2)
        known = ~np.isnan(said[..., 0]) & ~np.isnan(values)[:, None, None]
        missed = known & ((values[:, None, None] < said[..., 0]) | (values[:, None, None] > said[..., 1]))
        of, low = known.sum(1), self._levels[self._pairs[:, 0]]
        share = np.divide(missed.sum(1), of, out=np.zeros(of.shape), where=of > 0)
        moved = self.logarithms[rows] + _RATE * np.where(of > 0, share - 2 * low, 0.0)
        self.logarithms[rows] = moved.clip(-_MOST, _MOST)
        self.bounds[rows, counts % self._horizon] = np.nan

    def say(self, rows: Integers, counts: Integers, forecast: Forecast) -> Forecast:
        """The forecast from the last step of some channels, with their own widths; it is kept until its steps come.

        Args:
            rows: (n,) the channels. counts: (n,) their steps. forecast: (n, H) and (n, H, Q) of the network.
        """
        quantiles = forecast.quantiles.copy()
        middle = quantiles[..., self._inner].mean(-1, keepdims=True)
        factors = np.exp(self.logarithms[rows])[:, None]
        for side in self._pairs.T:
            quantiles[..., side] = middle + factors * (quantiles[..., side] - middle)
        quantiles.sort(-1)
        if self._counts:
            quantiles = np.maximum(np.rint(quantiles), 0)
        old = counts >= self._window
        self.bounds[rows[old], counts[old] % self._horizon] = quantiles[old][..., self._pairs]
        return Forecast(forecast.mean, quantiles)

    def state(self) -> dict[str, np.ndarray]:
        """What `go_on` takes: copies, by channels along their first axis."""
        return {"logarithms": self.logarithms.copy(), "bounds": self.bounds.copy()}

    def go_on(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Go on from what `state` gave."""
        self.logarithms[:], self.bounds[:] = state["logarithms"], state["bounds"]


def adapted_along(
    network: Forecasting, channels: Channels, places: Integers, widths: AdaptiveWidths
) -> Iterator[tuple[Integers, Forecast]]:
    """As `forecasts_along`, with the widths of what came up to each place: of a channel forecasts are made from every
    step between the first and the last of its places, and up to 1,000 before them.

    Args:
        widths: of all channels; afterwards it stands at their last places.
    """
    which, first, counts = np.unique(channels.at(places), return_index=True, return_counts=True)
    begins = np.maximum(channels.firsts[which], channels.begins[which] + channels.layout.window - 1)
    begins = np.minimum(np.maximum(begins, places[first] - _WARM_UP), places[first])
    every = [
        np.arange(begin, last + 1) for begin, last in zip(begins, places[first + counts - 1], strict=True)
    ]
    for some, forecast in forecasts_along(network, channels, np.concatenate(every)):
        rows, adapted = channels.at(some), forecast.quantiles.copy()
        steps = some - channels.begins[rows] + 1
        values = np.where(channels.observed[some], channels.values[some], np.nan)
        for now in np.split(np.arange(len(some)), np.flatnonzero(np.diff(steps)) + 1):
            widths.see(rows[now], steps[now], values[now])
            own = Forecast(forecast.mean[now], forecast.quantiles[now])
            adapted[now] = widths.say(rows[now], steps[now], own).quantiles
        wanted = np.isin(some, places)
        if wanted.any():
            yield some[wanted], Forecast(forecast.mean[wanted], adapted[wanted])


def adapted_at_ends(network: Forecasting, channels: Channels, widths: AdaptiveWidths | None) -> Forecast:
    """`forecasts_at_ends` of all channels, with the widths of what came before, if there are any."""
    if widths is None:
        return forecasts_at_ends(network, channels, np.arange(len(channels)))
    places = channels.ends - 1
    found = list(adapted_along(network, channels, places, widths))
    order = np.argsort(np.concatenate([some for some, _ in found]))
    mean, quantiles = (np.concatenate(part)[order] for part in zip(*(own for _, own in found), strict=True))
    return Forecast(mean, quantiles)
