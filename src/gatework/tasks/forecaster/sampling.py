"""Paths of an autoregressive forecaster: a step is drawn from what the network says of it, and read as if it had come.

Ancestral sampling as in DeepAR (Salinas, Flunkert & Gasthaus 2017, arXiv:1704.04110). All paths of many origins are
rows of the same calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from gatework.metrics.forecast import Forecast
from gatework.tasks.forecaster.backtest import Forecasting
from gatework.tasks.forecaster.channels import Channels, Floats, Integers, Singles
from gatework.tasks.forecaster.distributions import NetworkForecast
from gatework.tasks.forecaster.network import ForecastNetwork
from gatework.tasks.forecaster.running import RunningChannels, RunningLayers, running_at, states_along

__all__ = ["Sampling", "forecasts_drawn_along", "forecasts_drawn_at_ends", "joined_forecast", "paths_after"]

_ROWS = 4096  # paths that are drawn side by side


class Sampling(NamedTuple):
    """How paths are drawn.

    Attributes:
        paths: P, of each origin.
        horizon: steps of a path.
        seed: of the draws, which are the same for each origin, and different for each target of a series: paths of
            different series are not to be added up.
    """

    paths: int
    horizon: int
    seed: int = 0

    def uniforms(self, targets: int) -> Iterator[Floats]:
        """For each step (2, targets, P) numbers between 0 and 1, in each row one in each P-th part."""
        generators = [np.random.default_rng([self.seed, target]) for target in range(targets)]
        for _ in range(self.horizon):
            yield np.stack([self._step(generator) for generator in generators], axis=1)

    def _step(self, generator: np.random.Generator) -> Floats:
        places = generator.permuted(np.tile(np.arange(self.paths), (2, 1)), axis=1)
        return np.asarray((places + generator.uniform(1e-6, 1 - 1e-6, (2, self.paths))) / self.paths)


class Paths(NamedTuple):
    """From R origins P paths each, (R, P, horizon), in the series' own units; scale: (R,) there."""

    values: Floats
    scale: Floats


@torch.inference_mode()
def paths_after(
    network: ForecastNetwork,
    channels: RunningChannels,
    known: Singles,
    layers: RunningLayers,
    sampling: Sampling,
) -> Paths:
    """The paths from the last steps of R channels of S series, which stay as they are.

    Args:
        known: (S, horizon + s, P + K + A) what is known of the steps to come.
        layers: the network's, after the channels' last steps.
    """
    rows, count = len(channels.series), sampling.paths
    drawn, many = channels.branched(count, room=sampling.horizon), layers.branched(count)
    drawn.know(known)
    every, device = np.arange(rows * count), next(network.parameters()).device
    found = np.empty((rows * count, sampling.horizon))
    for step, uniforms in enumerate(sampling.uniforms(int(channels.channel.max()) + 1)):
        places = drawn.places
        windows, units = drawn.windows(places), drawn.units(places)
        ahead, groups = drawn.ahead(every, places), drawn.groups(every, places)
        read = [torch.from_numpy(array).to(device) for array in (windows, ahead, units, groups)]
        values, scale = drawn.last_values(places), drawn.scale[places]
        own = torch.from_numpy(uniforms[:, channels.channel].reshape(2, -1)).to(device)
        draws = network.draw(many.output, read[0], read[1], read[2], read[3], own)
        found[:, step] = values + scale * draws.double().cpu().numpy()
        if network.counts:
            found[:, step] = np.rint(found[:, step])
        drawn.append(found[:, step])
        many.step(drawn.last_segments(), drawn.counts)
    return Paths(found.reshape(rows, count, -1), channels.scale[channels.places])


def _forecast_of(network: ForecastNetwork, paths: Paths, levels: Sequence[float]) -> Forecast:
    """The means and quantiles of paths, moved by the network's shifts; of later steps than these by the last one's."""
    mean, wanted = paths.values.mean(1), np.array(levels)
    if network.counts:
        found = np.quantile(paths.values, wanted, axis=1, method="inverted_cdf")
    else:
        found = np.quantile(paths.values, wanted, axis=1)
    quantiles = np.moveaxis(found, 0, -1)
    if network.shifts is None:
        return Forecast(mean, quantiles)
    steps = np.minimum(np.arange(mean.shape[1]), len(network.shifts) - 1)
    shifts = network.shifts.double().cpu()[steps] * torch.from_numpy(paths.scale)[:, None, None]
    moved = network.shifted(NetworkForecast(torch.from_numpy(mean), torch.from_numpy(quantiles)), shifts)
    quantiles = moved.quantiles.numpy()
    return Forecast(mean, np.maximum(np.rint(quantiles), 0) if network.counts else quantiles)


def forecasts_drawn_along(
    network: Forecasting,
    channels: Channels,
    index: int,
    places: Integers,
    sampling: Sampling,
    levels: Sequence[float],
) -> Iterator[tuple[Integers, Forecast]]:
    """Of one channel the forecasts from some of its places, in order, a block at a time; of several networks the mean
    of their forecasts.

    Args:
        index: the channel. places: (n,) rising, places of its steps.
        levels: (Q,) of the quantiles.
    """
    each = [_paths_along(member, channels, index, places, sampling) for member in network.members]
    for blocks in zip(*each, strict=True):
        yield blocks[0][0], joined_forecast(network, [paths for _, paths in blocks], levels)


def forecasts_drawn_at_ends(
    network: Forecasting, channels: Channels, sampling: Sampling, levels: Sequence[float]
) -> tuple[Forecast, Floats]:
    """The forecasts from the last steps of R channels, and their paths (R, P, horizon), of several networks P each."""
    found, values = [], []
    channels, every = channels.reaching(1), np.arange(len(channels))
    for which in np.array_split(every, -(-len(every) // max(_ROWS // sampling.paths, 1))):
        places, paths = channels.ends[which] - 1, []
        for member in network.members:
            running, known = running_at(channels, which, places, sampling.horizon + channels.layout.segment)
            layers = RunningLayers(member.layers, member.cell_inputs, len(which), channels.layout.segment)
            for row, index in enumerate(which.tolist()):
                ((_, states, output),) = states_along(member, channels, index, places[[row]])
                layers.begin(np.array([row]), states, output)
            paths.append(paths_after(member, running, known, layers, sampling))
        found.append(joined_forecast(network, paths, levels))
        values.append(np.concatenate([own.values for own in paths], axis=1))
    mean, quantiles = (np.concatenate(part) for part in zip(*found, strict=True))
    return Forecast(mean, quantiles), np.concatenate(values)


def joined_forecast(network: Forecasting, paths: Sequence[Paths], levels: Sequence[float]) -> Forecast:
    """The mean of the forecasts that each network's paths are."""
    each = [_forecast_of(own, some, levels) for own, some in zip(network.members, paths, strict=True)]
    mean, quantiles = (np.mean(part, axis=0) for part in zip(*each, strict=True))
    return Forecast(mean, np.rint(quantiles) if network.counts else quantiles)


def _paths_along(
    network: ForecastNetwork, channels: Channels, index: int, places: Integers, sampling: Sampling
) -> Iterator[tuple[Integers, Paths]]:
    channels, most = channels.reaching(1), max(_ROWS // sampling.paths, 1)
    for some, states, outputs in states_along(network, channels, index, places):
        for begin in range(0, len(some), most):
            part = slice(begin, begin + most)
            rows = np.arange(len(some[part]))
            ahead = sampling.horizon + channels.layout.segment
            running, known = running_at(channels, np.full(len(rows), index), some[part], ahead)
            layers = RunningLayers(network.layers, network.cell_inputs, len(rows), channels.layout.segment)
            layers.begin(rows, [[state[:, :, part] for state in each] for each in states], outputs[part])
            yield some[part], paths_after(network, running, known, layers, sampling)
