"""Forecasts from every step of a series in one pass, and from the last step of many series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gatework.metrics.forecast import Forecast
from gatework.tasks.forecaster.channels import Channels, Integers
from gatework.tasks.forecaster.network import ForecastEnsemble, ForecastNetwork

__all__ = ["Forecasting", "forecasts", "forecasts_along", "forecasts_at_ends"]

Forecasting: TypeAlias = ForecastNetwork | ForecastEnsemble

STEPS_AT_ONCE = 4096  # of a channel that the layers read in one call
ORIGINS_AT_ONCE = 2048  # whose horizons are made in one call


def forecasts_along(
    network: Forecasting, channels: Channels, index: int, places: Integers
) -> Iterator[tuple[Integers, Forecast]]:
    """Of one channel the forecasts from some of its places, in order, a block at a time, in the series' own units.

    The layers read the channel once, from its first step on; each place's forecast is what `forecasts_at_ends` gives
    for a series that ends there.

    Args:
        index: the channel. places: (n,) rising, places of its steps.
    """
    size = channels.layout.segment
    begin, last = int(channels.begins[index]), int(places[-1])
    which = np.array([index])
    count = max(STEPS_AT_ONCE // size, 1)
    state: Any = None
    for start in range(begin, last + 1, count * size):
        stop = min(start + count * size, last + 1)
        steps = -(-(stop - start) // size)
        read = channels.segments(which, np.array([start - size + 1]), steps, size)
        with torch.inference_mode():
            states, state = network.encode(_on_device(network, read), state)
            states = states.flatten(0, 1)
        wanted = places[(places >= start) & (places < stop)]
        for some in np.array_split(wanted, -(-len(wanted) // ORIGINS_AT_ONCE)) if len(wanted) else ():
            own = states[torch.from_numpy(some - start).to(states.device)]
            yield some, forecasts(network, channels, np.full(len(some), index), some, own)


@torch.inference_mode()
def forecasts_at_ends(network: Forecasting, channels: Channels, which: Integers) -> Forecast:
    """The forecasts from the last steps of R channels, (R, H) and (R, H, Q)."""
    size = channels.layout.segment
    steps, places = channels.steps[which], channels.ends[which] - 1
    counts = (steps - 1) // size + 1
    begins = channels.begins[which] + (steps - 1) % size - size + 1
    read = channels.segments(which, begins, int(counts.max()), 1)
    lengths = torch.from_numpy(counts)
    states, _ = network.encode(_on_device(network, read), lengths=lengths)
    own = states[lengths.to(states.device) - 1, torch.arange(len(which), device=states.device)]
    return forecasts(network, channels, which, places, own)


@torch.inference_mode()
def forecasts(
    network: Forecasting, channels: Channels, which: Integers, places: Integers, states: Tensor
) -> Forecast:
    """In the series' own units what states (n, D) at n places say."""
    windows = _on_device(network, channels.windows(places))
    targets = _on_device(network, channels.groups(which, places))
    ahead = _on_device(network, channels.ahead(which, places))
    found = network.decode(states, windows, targets, ahead, _on_device(network, channels.units(places)))
    value, scale = channels.last_values(places), channels.scale[places]
    mean = value[:, None] + scale[:, None] * found.mean.double().cpu().numpy()
    quantiles = value[:, None, None] + scale[:, None, None] * found.quantiles.double().cpu().numpy()
    return Forecast(mean, np.maximum(np.rint(quantiles), 0) if network.counts else quantiles)


def _on_device(network: Forecasting, array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).to(next(network.parameters()).device)
