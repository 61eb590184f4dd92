"""Series that are followed together: their last steps, and the states of the layers after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatework.layers.row_steps import SharedStreams
from gatework.metrics.forecast import Forecast
from gatework.tasks.forecaster.adaptive import AdaptiveWidths, adapted_at_ends
from gatework.tasks.forecaster.backtest import Forecasting, forecasts
from gatework.tasks.forecaster.channels import Channels, Floats, Layout, Singles
from gatework.tasks.forecaster.encoding import SeriesEncoding
from gatework.tasks.forecaster.options import ForecasterOptions
from gatework.tasks.forecaster.running import RunningChannels, RunningLayers, row_axis, states_along

__all__ = ["Following", "SeriesGroup", "joined"]

_ROOM = 64  # steps of a joined group before its last ones are copied to the front


class Following(NamedTuple):
    """What all sessions of a run share.

    network: in eval mode. encoding, layout, options: of the run. streams: of the network's layers.
    """

    network: Forecasting
    encoding: SeriesEncoding
    layout: Layout
    options: ForecasterOptions
    streams: SharedStreams

    def widths(self, rows: int) -> AdaptiveWidths:
        """Of the intervals of so many channels."""
        return AdaptiveWidths(rows, self.layout, self.options.levels, counts=self.network.counts)


class SeriesGroup:
    """S series of one session, or of several that were fed together.

    Args:
        run: whose series they are.
        static: (S C, G) of each of their targets.
        adaptive: whether their intervals are adapted.
        room: as for `RunningChannels`.

    Attributes:
        widths: of their intervals; None: they stay as the network says them.
        sessions: how many sessions' series are here; those of a session that has left stay, and are not used.
    """

    def __init__(self, run: Following, static: Singles, *, adaptive: bool, room: int = _ROOM) -> None:
        targets = len(run.encoding.targets)
        self.static, self.count, self.sessions = static, len(static) // targets, 1
        levels = run.encoding.first_levels(log=run.options.of_prices)
        series, channel = np.repeat(np.arange(self.count), targets), np.tile(np.arange(targets), self.count)
        own = static, np.tile(levels, self.count), room
        self.channels = RunningChannels(run.layout, series, channel, *own)
        network, segment = run.network, run.layout.segment
        self._network = network
        self.layers = RunningLayers(network.layers, network.cell_inputs, len(series), segment, run.streams)
        self._every = np.arange(len(series))
        self.widths = run.widths(len(series)) if adaptive else None

    def begin(self, network: Forecasting, channels: Channels) -> None:
        """Go on from histories of the series; before the first step."""
        if self.widths is not None:
            adapted_at_ends(network, channels, self.widths)
        for row in range(len(channels)):
            rows, places = np.array([row]), channels.ends[[row]] - 1
            self.channels.begin(rows, channels, row, places)
            ((_, states, output),) = states_along(network, channels, row, places)
            self.layers.begin(rows, states, output)

    def step(self, values: Floats, known: Singles, now: Floats) -> None:
        """The next step of every series; arguments as for `RunningChannels.append`."""
        self.channels.append(values, known, now)
        self.layers.step(self.channels.last_segments(), self.channels.counts)
        if self.widths is not None:
            self.widths.see(self._every, self.channels.counts, values)

    def forecast(self) -> Forecast:
        """From the last step of every series, where what is known of the steps to come is in `channels`."""
        places, outputs = self.channels.places, self.layers.output
        found = forecasts(self._network, self.channels, self._every, places, outputs)
        return found if self.widths is None else self.widths.say(self._every, self.channels.counts, found)

    @property
    def _parts(self) -> dict[str, Any]:
        parts = {"channels": self.channels, "layers": self.layers}
        return parts if self.widths is None else parts | {"widths": self.widths}

    @property
    def kind(self) -> tuple[int, bool]:
        """Groups may be joined where theirs are equal: the phase, and whether intervals are adapted."""
        return self.channels.phase, self.widths is not None

    def state(self) -> dict[str, np.ndarray]:
        """What `go_on` takes: copies."""
        return {
            f"{part}.{name}": array
            for part, own in self._parts.items()
            for name, array in own.state().items()
        }

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        for part, own in self._parts.items():
            mine = {n.removeprefix(f"{part}."): a for n, a in state.items() if n.startswith(f"{part}.")}
            own.go_on(mine)

    def part(self, state: Mapping[str, np.ndarray], first: int, count: int) -> dict[str, np.ndarray]:
        """What the group's state holds for some of its series."""
        channels = len(self.static) // self.count
        found = {}
        for name, array in state.items():
            axis, each = _axis(name), 1 if name == "channels.known" else channels
            if axis is None:
                found[name] = array
            else:
                found[name] = array[(slice(None),) * axis + (slice(first * each, (first + count) * each),)]
        return found


def joined(run: Following, parts: Sequence[tuple[SeriesGroup, int, int]]) -> SeriesGroup:
    """One group of some series of others, whose `kind` is equal.

    Args:
        parts: of each group the first series, and how many there are; neighbours of one group stand side by side.
    """
    states = {id(group): group.state() for group, _, _ in parts}
    cut = [group.part(states[id(group)], first, count) for group, first, count in parts]
    channels = len(run.encoding.targets)
    static = [group.static[first * channels : (first + count) * channels] for group, first, count in parts]
    found = SeriesGroup(run, np.concatenate(static), adaptive=parts[0][0].widths is not None)
    found.go_on(
        {
            name: array if (axis := _axis(name)) is None else np.concatenate([own[name] for own in cut], axis)
            for name, array in cut[0].items()
        }
    )
    return found


def _axis(name: str) -> int | None:
    return row_axis(name.partition(".")[2]) if name != "layers.output" else 0
