"""A rolling-origin backtest: forecasts from every step of every channel, beside those of the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatework.baselines.series import Forecasts
from gatework.data import Series
from gatework.errors import InputError
from gatework.metrics.forecast import Forecast, ForecastSums, forecast_sums
from gatework.tasks.forecaster.backtest import forecasts_along
from gatework.tasks.forecaster.channels import Channels, Floats, Integers
from gatework.tasks.forecaster.sampling import Sampling, forecasts_drawn_along
from gatework.tasks.forecaster.spans import first_forecast_step

__all__ = ["Backtest", "Origins", "backtest", "every_origin", "forecasts_from", "training_loss"]


class Origins(NamedTuple):
    """Steps of channels from which forecasts are made.

    places: of each channel, those of its steps, rising. times: of each place its time in microseconds, or its step.
    """

    places: Sequence[Integers]
    times: Sequence[Integers]

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(map(len, self.places))

    def thinned(self, most: int) -> Origins:
        """Of more than `most` every k-th."""
        every = max(1, -(-self.total // most))
        return Origins([own[::every] for own in self.places], [own[::every] for own in self.times])


class Backtest(NamedTuple):
    """What was found: the sums of the model and of each baseline, the origins' times (O,), and the mean loss."""

    model: ForecastSums
    baselines: Mapping[str, ForecastSums]
    times: Integers
    loss: float


def backtest(
    network: Any,
    channels: Channels,
    origins: Origins,
    levels: Sequence[float],
    baselines: Callable[[int], Mapping[str, Forecasts]],
    *,
    returns: bool,
    sampling: Sampling | None = None,
) -> Backtest:
    """The network's forecasts and the baselines' from the same steps.

    Args:
        network: a `ForecastNetwork`, or several as one, in eval mode.
        levels: of the quantiles.
        baselines: of a target; they read windows over their scale.
        returns: figures are of what comes less the value at the origin, as of logarithms.
        sampling: how an autoregressive network draws its paths. None: what a network says at once is compared.
    """
    model: list[ForecastSums] = []
    others: dict[str, list[ForecastSums]] = {name: [] for name in baselines(0)}
    times: list[Integers] = []
    loss = count = 0.0
    for index, places, forecast in forecasts_from(network, channels, origins, levels, sampling):
        future = channels.known_futures(places)
        start = channels.last_values(places) if returns else np.zeros(len(places))
        scale = np.full(len(places), channels.seasonal_error(index, int(origins.places[index][0])))
        model.append(forecast_sums(_less(forecast, start), future - start[:, None], levels, scale=scale))
        own = channels.scale[places]
        part, of = training_loss(forecast, future, np.full(len(own), channels.typical[index]), levels)
        loss, count = loss + part, count + of
        where = np.searchsorted(origins.places[index], places)
        times.append(origins.times[index][where])
        if others:
            histories = channels.histories(places)
            for name, baseline in baselines(int(channels.channel[index])).items():
                said = _unscaled(baseline.forecast(histories), own)
                others[name].append(
                    forecast_sums(_less(said, start), future - start[:, None], levels, scale=scale)
                )
    joined = {name: _joined(sums) for name, sums in others.items()}
    return Backtest(_joined(model), joined, np.concatenate(times), loss / max(count, 1))


def training_loss(
    forecast: Forecast, future: Floats, scale: Floats, levels: Sequence[float]
) -> tuple[float, int]:
    """The loss of forecasts as training has it, of errors over scales (n,), summed; and the number of its targets."""
    known = ~np.isnan(future)
    errors = np.where(known, (forecast.mean - future) / scale[:, None], 0.0)
    above = np.where(known[..., None], (future[..., None] - forecast.quantiles) / scale[:, None, None], 0.0)
    level = np.asarray(levels)
    pinball = np.maximum(level * above, (level - 1) * above).mean(-1)
    return float(np.square(errors).sum() + pinball.sum()), int(known.sum())


def forecasts_from(
    network: Any,
    channels: Channels,
    origins: Origins,
    levels: Sequence[float],
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, Integers, Forecast]]:
    """The forecasts from some origins, a block at a time: its channel, its places, and what is said there."""
    for index, places in enumerate(origins.places):
        if not len(places):
            continue
        if sampling is None:
            yield from ((index, *found) for found in forecasts_along(network, channels, index, places))
        else:
            drawn = forecasts_drawn_along(network, channels, index, places, sampling, levels)
            yield from ((index, *found) for found in drawn)


def every_origin(series: Sequence[Series], channels: Channels, first: Sequence[int] | None = None) -> Origins:
    """The steps, from the first observed value on, whose whole horizon is there and begins at a series' step `first` or
    later.

    Args:
        series: those that the channels are of.

    Raises:
        InputError: there is none.
    """
    layout = channels.layout
    horizon, places, times = layout.horizon, [], []
    for index, begin in enumerate(channels.begins):
        own = series[channels.series[index]]
        count = len(own.target)
        start = (
            first_forecast_step(count, layout.window, horizon)
            if first is None
            else first[channels.series[index]]
        )
        known = int(channels.firsts[index] - begin)
        steps = np.arange(max(start - 1, known), count - horizon)
        places.append(begin + steps)
        times.append(steps + own.first if own.times is None else own.times[steps].astype(np.int64))
    found = Origins(places, times)
    if not found.total:
        if first is not None and any(len(one.target) > horizon for one in series):
            what = f"leaves no horizon of {horizon:,} steps in any series"
            raise InputError("where forecasts begin", what, "Give an earlier time.")
        what = f"holds no series with a step before a horizon of {horizon:,} steps"
        raise InputError("data", what, "Give longer series, or train with a shorter horizon.")
    return found


def _less(forecast: Forecast, start: Floats) -> Forecast:
    return Forecast(forecast.mean - start[:, None], forecast.quantiles - start[:, None, None])


def _unscaled(forecast: Forecast, scale: Floats) -> Forecast:
    return Forecast(forecast.mean * scale[:, None], forecast.quantiles * scale[:, None, None])


def _joined(sums: Sequence[ForecastSums]) -> ForecastSums:
    return ForecastSums(np.concatenate([one.rows for one in sums]), sums[0].percents)
