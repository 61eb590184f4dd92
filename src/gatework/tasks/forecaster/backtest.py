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
ALL_AT_ONCE = 1 << 16  # steps of all channels in one call
ORIGINS_AT_ONCE = 2048  # whose horizons are made in one call


def forecasts_along(
    network: Forecasting, channels: Channels, places: Integers
) -> Iterator[tuple[Integers, Forecast]]:
    """The forecasts from some places, a block at a time, in the series' own units.

    The layers read each channel once, from its first step on, channels of like lengths side by side; each place's
    forecast is what `forecasts_at_ends` gives for a series that ends there. Of one channel places come in order, and of
    channels that are read side by side equal steps together.

    Args:
        places: (n,) rising, places of the channels' steps.
    """
    which, first, counts = np.unique(channels.at(places), return_index=True, return_counts=True)
    lasts = first + counts
    steps = places[lasts - 1] - channels.begins[which] + 1
    for members in _side_by_side(steps):
        own = [places[first[member] : lasts[member]] for member in members]
        rows = np.repeat(np.arange(len(members)), counts[members])
        yield from _forecasts_of(network, channels, which[members], np.concatenate(own), rows)


def _side_by_side(steps: Integers) -> Iterator[Integers]:
    """Which of some channels, of which so many steps are read, are read together: the shortest first, none more than
    twice as long as another."""
    order = np.argsort(steps, kind="stable")
    begin = 0
    for stop in range(1, len(order) + 1):
        if stop < len(order):
            most = int(steps[order[stop]])
            if (
                most <= 2 * steps[order[begin]]
                and (stop + 1 - begin) * min(most, STEPS_AT_ONCE) <= ALL_AT_ONCE
            ):
                continue
        yield order[begin:stop]
        begin = stop


def _forecasts_of(
    network: Forecasting, channels: Channels, which: Integers, places: Integers, rows: Integers
) -> Iterator[tuple[Integers, Forecast]]:
    """Of R channels that are read side by side.

    Args:
        which: (R,) the channels. places: (n,); rows: (n,) which of the R each is of.
    """
    size, begins = channels.layout.segment, channels.begins[which]
    count, steps = max(STEPS_AT_ONCE // size, 1), places - begins[rows]
    state: Any = None
    for start in range(0, int(steps.max()) + 1, count * size):
        read = min(count, -(-(int(steps.max()) + 1 - start) // size))
        segments = channels.segments(which, begins + start - size + 1, read, size)
        with torch.inference_mode():
            states, state = network.encode(_on_device(network, segments), state)
        wanted = np.flatnonzero((steps >= start) & (steps < start + count * size))
        wanted = wanted[np.argsort(steps[wanted], kind="stable")]  # channels side by side
        for some in np.array_split(wanted, -(-len(wanted) // ORIGINS_AT_ONCE)) if len(wanted) else ():
            segment, phase = np.divmod(steps[some] - start, size)
            at = torch.from_numpy(segment), torch.from_numpy(phase * len(which) + rows[some])
            own = states[at[0].to(states.device), at[1].to(states.device)]
            yield places[some], forecasts(network, channels, which[rows[some]], places[some], own)


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
