"""A rolling-origin backtest: forecasts from every step of every channel, beside those of the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gatework.baselines.series import Forecasts
from gatework.data import Series
from gatework.errors import InputError
from gatework.metrics.direction import DirectionSums, direction_sums
from gatework.metrics.forecast import Forecast, ForecastSums, forecast_sums
from gatework.tasks.forecaster.adaptive import AdaptiveWidths, adapted_along
from gatework.tasks.forecaster.backtest import forecasts_along
from gatework.tasks.forecaster.channels import Channels, Floats, Integers
from gatework.tasks.forecaster.sampling import Sampling, forecasts_drawn_along
from gatework.tasks.forecaster.spans import first_forecast_step

__all__ = ["Backtest", "Origins", "backtest", "every_origin", "finite", "in_scales", "training_loss"]


T = TypeVar("T")


class Origins(NamedTuple):
    """Steps of channels from which forecasts are made.

    places: (n,) of the steps, rising. times: (n,) of each its time in microseconds, or its step. ends: (N,) of each of
    N channels up to which of the origins its own are.
    """

    places: Integers
    times: Integers
    ends: Integers

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.places)

    def every(self, step: int) -> Origins:
        """Of each channel every so many."""
        counts = np.diff(self.ends, prepend=0)
        number = np.arange(len(self.places)) - np.repeat(self.ends - counts, counts)
        kept = number % step == 0
        return Origins(self.places[kept], self.times[kept], np.cumsum(-(-counts // step)))

    def thinned(self, most: int) -> Origins:
        """Of more than `most` every k-th."""
        return self.every(max(1, -(-self.total // most)))


class Backtest(NamedTuple):
    """What was found: the sums of the model and of each baseline, origins' times (O,), the mean loss, and of returns
    whether the next step's sign was said rightly."""

    model: ForecastSums
    baselines: Mapping[str, ForecastSums]
    times: Integers
    loss: float
    direction: DirectionSums | None

    def figures(self) -> dict[str, float]:
        """The model's."""
        direction = {} if self.direction is None else self.direction.figures()
        return {**self.model.figures(), **_of_direction(direction), "loss": self.loss}

    def intervals(self, block: int) -> dict[str, list[float]]:
        """Of the model's figures, the middle 95 % over resamples of blocks of times."""
        found = {**self.model.intervals(self.times, block=block)}
        if self.direction is not None:
            found |= _of_direction(self.direction.intervals(self.times, block=block))
        return {name: list(bounds) for name, bounds in found.items()}


def _of_direction(figures: Mapping[str, T]) -> dict[str, T]:
    """Those that stand in an evaluation."""
    kept = ("accuracy", "above_always_up", "above_coin")
    return {f"direction_{name}": figures[name] for name in kept if name in figures}


def backtest(
    network: Any,
    channels: Channels,
    origins: Origins,
    levels: Sequence[float],
    baselines: Callable[[int], Mapping[str, Forecasts]],
    *,
    returns: bool,
    sampling: Sampling | None = None,
    widths: AdaptiveWidths | None = None,
) -> Backtest:
    """The network's forecasts and the baselines' from the same steps.

    Args:
        network: a `ForecastNetwork`, or several as one, in eval mode.
        levels: of the quantiles.
        baselines: of a target; they read windows over their scale.
        returns: figures are of what comes less the value at the origin, as of logarithms.
        sampling: how an autoregressive network draws its paths. None: what a network says at once is compared.
        widths: of the channels' intervals, that follow what comes; None: they stay.
    """
    names = tuple(baselines(0))
    sums: dict[str, list[ForecastSums]] = {name: [] for name in ("", *names)}
    seen: list[Integers] = []
    moves: list[DirectionSums] = []
    loss = count = 0.0
    errors, shares = _seasonal_errors(channels, origins), _shares(channels, origins)
    for places, forecast in forecasts_from(network, channels, origins, levels, sampling, widths):
        which, future = channels.at(places), channels.known_futures(places)
        start = channels.last_values(places) if returns else np.zeros(len(places))
        part, of = training_loss(forecast, future, channels.typical[which], levels)
        loss, count = loss + part, count + of
        seen.append(places)
        if returns:
            moves.append(direction_sums(forecast.mean[:, 0] - start, future[:, 0] - start))
        said = {"": forecast, **_said(baselines, names, channels, places)}
        for name, own in said.items():
            given = {"scale": errors[which], "weights": shares[which]}
            sums[name].append(forecast_sums(_less(own, start), future - start[:, None], levels, **given))
    model, *others = (_joined(own) for own in sums.values())
    times = origins.times[np.searchsorted(origins.places, np.concatenate(seen))]
    direction = DirectionSums(np.concatenate([own.rows for own in moves])) if moves else None
    return Backtest(model, dict(zip(names, others, strict=True)), times, loss / max(count, 1), direction)


def _seasonal_errors(channels: Channels, origins: Origins) -> Floats:
    """(N,) of each channel that of the steps before its first origin (`Channels.seasonal_error`)."""
    found, begins = np.full(len(channels), np.nan), origins.ends - np.diff(origins.ends, prepend=0)
    for index in np.flatnonzero(origins.ends > begins).tolist():
        found[index] = channels.seasonal_error(index, int(origins.places[begins[index]]))
    return found


def _shares(channels: Channels, origins: Origins) -> Floats:
    """(N,) one over the values that are forecast of each channel, so that channels weigh the same; zero without any."""
    counts = np.bincount(
        channels.at(origins.places), channels.known_steps(origins.places), minlength=len(channels)
    )
    return np.divide(1.0, counts, out=np.zeros(len(channels)), where=counts > 0)


def _said(
    baselines: Callable[[int], Mapping[str, Forecasts]],
    names: Sequence[str],
    channels: Channels,
    places: Integers,
) -> dict[str, Forecast]:
    """What each baseline says at some places."""
    if not names:
        return {}
    histories, scale = channels.histories(places), channels.scale[places]
    targets = channels.channel[channels.at(places)]
    found: dict[str, Forecast] = {}
    for target in np.unique(targets).tolist():
        rows = targets == target
        for name, baseline in baselines(target).items():
            own = _unscaled(baseline.forecast(histories[rows]), scale[rows])
            whole = found.setdefault(name, Forecast(*(np.empty((len(places), *of.shape[1:])) for of in own)))
            for table, values in zip(whole, own, strict=True):
                table[rows] = values
    return found


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
    widths: AdaptiveWidths | None = None,
) -> Iterator[tuple[Integers, Forecast]]:
    """The forecasts from some origins, a block at a time: its places, and what is said there."""
    if widths is not None:
        yield from adapted_along(network, channels, origins.places, widths)
        return
    if sampling is None:
        yield from forecasts_along(network, channels, origins.places)
        return
    for index, end in enumerate(origins.ends):
        places = origins.places[origins.ends[index - 1] if index else 0 : end]
        if len(places):
            yield from forecasts_drawn_along(network, channels, index, places, sampling, levels)


def in_scales(
    network: Any,
    channels: Channels,
    origins: Origins,
    levels: Sequence[float],
    sampling: Sampling | None = None,
) -> tuple[Floats, Floats]:
    """The quantiles from some origins, (n, H, Q), and what came, (n, H), less the value there and over its scale."""
    quantiles, targets = [], []
    for places, forecast in forecasts_from(network, channels, origins, levels, sampling):
        start, scale = channels.last_values(places)[:, None], channels.scale[places, None]
        quantiles.append((forecast.quantiles - start[..., None]) / scale[..., None])
        targets.append((channels.known_futures(places) - start) / scale)
    return np.concatenate(quantiles), np.concatenate(targets)


def every_origin(series: Sequence[Series], channels: Channels, first: Sequence[int] | None = None) -> Origins:
    """The steps, from the first observed value on, whose whole horizon is there and begins at a series' step `first` or
    later.

    Args:
        series: those that the channels are of.

    Raises:
        InputError: there is none, or all of what would be forecast is missing.
    """
    layout = channels.layout
    horizon, places, times, observed = layout.horizon, [], [], False
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
        if len(steps):
            observed |= bool(channels.observed[places[-1][0] + 1 : channels.ends[index]].any())
        times.append(steps + own.first if own.times is None else own.times[steps].astype(np.int64))
    ends = np.cumsum([len(own) for own in places])
    found = Origins(np.concatenate(places), np.concatenate(times), ends)
    if not found.total:
        if first is not None and any(len(one.target) > horizon for one in series):
            what = f"leaves no horizon of {horizon:,} steps in any series"
            raise InputError("where forecasts begin", what, "Give an earlier time.")
        what = f"holds no series with a step before a horizon of {horizon:,} steps"
        raise InputError("data", what, "Give longer series, or train with a shorter horizon.")
    if not observed:
        what = "has no value at any of the steps that are forecast, so that no forecast can be compared"
        raise InputError("data", what, "Fill some in, or let forecasts begin earlier.")
    return found


def _less(forecast: Forecast, start: Floats) -> Forecast:
    return Forecast(forecast.mean - start[:, None], forecast.quantiles - start[:, None, None])


def _unscaled(forecast: Forecast, scale: Floats) -> Forecast:
    return Forecast(forecast.mean * scale[:, None], forecast.quantiles * scale[:, None, None])


def _joined(sums: Sequence[ForecastSums]) -> ForecastSums:
    return ForecastSums(np.concatenate([one.rows for one in sums]), sums[0].percents)


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures without those that there are not, such as the scaled error of constant series."""
    return {name: value for name, value in figures.items() if np.isfinite(value)}
