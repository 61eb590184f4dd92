"""A rolling-origin backtest: forecasts from every step of every channel, beside those of the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatework.baselines.series import SeriesBaseline
from gatework.metrics.forecast import Forecast, ForecastSums, forecast_sums
from gatework.tasks.forecaster.backtest import forecasts_along
from gatework.tasks.forecaster.channels import Channels, Floats, Integers

__all__ = ["Backtest", "Origins", "backtest", "forecasts_from", "training_loss"]


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
    baselines: Callable[[int], Mapping[str, SeriesBaseline]],
    *,
    returns: bool,
) -> Backtest:
    """The network's forecasts and the baselines' from the same steps.

    Args:
        network: a `ForecastNetwork`, or several as one, in eval mode.
        levels: of the quantiles.
        baselines: of a target; they read windows over their scale.
        returns: figures are of what comes less the value at the origin, as of logarithms.
    """
    model: list[ForecastSums] = []
    others: dict[str, list[ForecastSums]] = {name: [] for name in baselines(0)}
    times: list[Integers] = []
    loss = count = 0.0
    for index, places, forecast in forecasts_from(network, channels, origins):
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
    network: Any, channels: Channels, origins: Origins
) -> Iterator[tuple[int, Integers, Forecast]]:
    """The forecasts from some origins, a block at a time: its channel, its places, and what is said there."""
    for index, places in enumerate(origins.places):
        if len(places):
            for some, forecast in forecasts_along(network, channels, index, places):
                yield index, some, forecast


def _less(forecast: Forecast, start: Floats) -> Forecast:
    return Forecast(forecast.mean - start[:, None], forecast.quantiles - start[:, None, None])


def _unscaled(forecast: Forecast, scale: Floats) -> Forecast:
    return Forecast(forecast.mean * scale[:, None], forecast.quantiles * scale[:, None, None])


def _joined(sums: Sequence[ForecastSums]) -> ForecastSums:
    return ForecastSums(np.concatenate([one.rows for one in sums]), sums[0].percents)
