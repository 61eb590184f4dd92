"""Channels whose steps are appended one by one, and the recurrent layers that follow them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.layers import Recurrent
from gatework.layers.row_steps import SharedStreams
from gatework.tasks.forecaster.backtest import STEPS_AT_ONCE, Forecasting
from gatework.tasks.forecaster.cell_inputs import CellInputs
from gatework.tasks.forecaster.channels import Channels, Floats, Integers, Layout, Mask, Singles
from gatework.tasks.forecaster.running_gaps import RunningGaps
from gatework.tasks.forecaster.running_scale import RunningScale

__all__ = ["RunningChannels", "RunningLayers", "row_axis", "running_at", "states_along"]

_ROOM = 1024

Arrays = Mapping[str, np.ndarray]


class RunningChannels(Channels):
    """R channels of S series, of which the last steps are kept: as many as a forecast reads.

    Step by step one column of a table (R, width) is written; channel r's steps stand at places r · width … .

    Args:
        layout: see `Layout`.
        series: (R,) the series of each channel. channel: (R,) its target there. static: (R, G).
        levels: (R,) what is taken for a channel's value before its first.
        room: steps that are appended before the last ones are copied to the front.

    Attributes:
        counts: (R,) the steps that each channel has had.
    """

    def __init__(
        self,
        layout: Layout,
        series: Integers,
        channel: Integers,
        static: Singles,
        levels: Floats,
        room: int = _ROOM,
    ) -> None:
        super().__init__((), layout, lead=0, tail=0)
        self.series, self.channel, self.static, self.levels = series, channel, static, levels
        self._keep = max(layout.window, 2 * layout.segment, layout.season) + 1
        self._width = self._keep + room
        self._column = self._keep  # that the next step is written to
        rows, reach = len(series), self._width + layout.horizon + layout.segment
        self._values, self._scales = np.zeros((rows, self._width)), np.ones((rows, self._width))
        self._observed = np.zeros((rows, self._width), bool)
        self.values, self.scale = self._values.reshape(-1), self._scales.reshape(-1)
        self.observed = self._observed.reshape(-1)
        width = layout.past + layout.future + layout.calendar
        count = int(series.max()) + 1
        self._known = np.zeros((count, reach, width), np.float32)
        self.known = self._known.reshape(count * reach, width)
        self._rows = np.arange(rows)
        self.ends = (self._rows + 1) * self._width
        self.firsts = self.ends.copy()
        self.shift = series * reach - self._rows * self._width if width else None
        self.counts = np.zeros(rows, np.int64)
        self._lags, self._differences = np.array([layout.season, 1]), np.zeros((2, rows, 2))
        self._running = RunningScale(rows, window=layout.window, kind=layout.scaling)
        self._gaps = RunningGaps(rows, self._width, layout.segment) if layout.gaps else None
        if self._gaps is not None:
            self.between, self.last = self._gaps.between.reshape(-1), self._gaps.last.reshape(-1)
            self.gap = self._gaps.gap.reshape(-1)

    @property
    def places(self) -> Integers:
        """(R,) of the last steps."""
        return self._rows * self._width + self._column - 1

    @property
    def phase(self) -> int:
        """Channels may be joined where theirs are equal."""
        return self._running.place

    @property
    def any_value(self) -> Mask:
        """(R,) whether a value of each channel was observed."""
        return self.firsts < self.ends

    def begin(self, rows: Integers, channels: Channels, index: int, places: Integers) -> None:
        """Go on with some rows (n,) from n places of a channel; before the first `append`."""
        kept = slice(self._column - self._keep, self._column)
        own = places[:, None] + np.arange(1 - self._keep, 1)
        self._values[rows, kept], self._scales[rows, kept] = channels.values[own], channels.scale[own]
        self._observed[rows, kept] = channels.observed[own]
        begin = int(channels.begins[index])
        steps = slice(begin, int(places.max()) + 1)
        values, observed = channels.values[steps], channels.observed[steps]
        self._running.begin(rows, values, observed, places - begin, self.layout.season)
        self.counts[rows] = places - begin + 1
        self.firsts[rows[places >= channels.firsts[index]]] -= self._width
        if self._gaps is not None:
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                self._gaps.begin(row, channels, index, place, kept)
        if channels.shift is not None:
            self._known[self.series[rows], kept] = channels.known[own + channels.shift[index]]

    def branched(self, copies: int, room: int) -> RunningChannels:
        """So many copies of each channel, side by side, which have room for some steps."""
        series, channel, static, levels = (
            np.repeat(array, copies, axis=0)
            for array in (self.series, self.channel, self.static, self.levels)
        )
        found = RunningChannels(self.layout, series, channel, static, levels, room)
        found.go_on({name: _repeated(name, array, copies) for name, array in self.state().items()})
        return found

    def append(self, values: Floats, known: Singles | None = None, clock: Floats | None = None) -> None:
        """A step of every channel.

        Args:
            values: (R,), NaN where missing.
            known: (S, P + K + A), see `ChannelSteps`; None: what `know` said.
            clock: (R,), see `ChannelSteps`; None: the usual distance after the last step.
        """
        if self._column == self._width:
            self._slide()
        column = self._column
        observed = np.isfinite(values)
        new = np.where(observed, values, self._values[:, column - 1])
        first = observed & ~self.any_value
        if first.any():  # before a channel's first value it is read as if that had been there
            self._values[first, :column] = values[first, None]
            self.firsts[first] -= self._width
        if self._gaps is not None:
            now = self._gaps.usual_clock(column) if clock is None else clock
            self._gaps.step(column, new, observed, first, now, self.counts)
        self._values[:, column], self._observed[:, column] = new, observed
        if known is not None:
            self._known[:, column] = known
        self._scales[:, column] = self._running.step(self._squares())
        self._column += 1
        self.counts += 1

    def know(self, ahead: Singles) -> None:
        """What is known of the steps to come: (S, steps, P + K + A), of as many as there is room for and are read at
        once."""
        self._known[:, self._column : self._column + ahead.shape[1]] = ahead

    def last_segments(self) -> Singles:
        """(R, I) what the layers read at the last step."""
        size = self.layout.segment
        return self.segments(self._rows, self.places - size + 1, 1, 1)[0]

    def _squares(self) -> Floats:
        """(2, R, 2) what `RunningScale.step` reads at the present column."""
        then = self._column - self._lags
        change = self._values[:, self._column, None] - self._values[:, then]
        self._differences[1] = self._observed[:, self._column, None] & self._observed[:, then]
        self._differences[0] = change * change * self._differences[1]
        return self._differences

    def _slide(self) -> None:
        kept = slice(self._column - self._keep, self._column)
        for table in (self._values, self._scales, self._observed, self._known):
            table[:, : self._keep] = table[:, kept].copy()
        if self._gaps is not None:
            self._gaps.slide(kept)
        self._column = self._keep

    def state(self) -> dict[str, np.ndarray]:
        """What `go_on` takes: copies."""
        kept = slice(self._column - self._keep, self._column)
        tables = {"values": self._values, "scales": self._scales, "observed": self._observed}
        found = {name: table[:, kept].copy() for name, table in (tables | {"known": self._known}).items()}
        found |= {"counts": self.counts.copy(), "any_value": self.any_value}
        if self._gaps is not None:
            found |= {f"gaps.{name}": array for name, array in self._gaps.state(kept).items()}
        return found | {f"scale.{name}": array for name, array in self._running.state().items()}

    def go_on(self, state: Arrays) -> None:
        """Go on from what `state` gave."""
        self._column = self._keep
        kept = slice(0, self._keep)
        self._values[:, kept], self._scales[:, kept] = state["values"], state["scales"]
        self._observed[:, kept], self._known[:, kept] = state["observed"], state["known"]
        self.counts = state["counts"].copy()
        self.firsts = self.ends - np.where(state["any_value"], self._width, 0)
        self._running.go_on({name: state[f"scale.{name}"] for name in self._running.state()})
        if self._gaps is not None:
            self._gaps.go_on({name: state[f"gaps.{name}"] for name in self._gaps.state(kept)}, kept)


class RunningLayers:
    """The recurrent layers of one network, or of several, that follow R channels a step at a time.

    A state is that after the segments which end s, 2 s, … steps before it: each of s phases has states of its own, of
    which a step moves one.

    Args:
        layers: of each network. inputs: what their cells read. rows: R. phases: s.
        streams: of these layers; None: its own.

    Attributes:
        output: (R, D) after the last step.
    """

    def __init__(
        self,
        layers: Sequence[Recurrent],
        inputs: Sequence[CellInputs],
        rows: int,
        phases: int,
        streams: SharedStreams | None = None,
    ) -> None:
        self._inputs, self._streams = inputs, streams or SharedStreams(layers)
        self._rows, self._phases = torch.arange(rows), phases
        with torch.no_grad():
            first = [_tensors(layer.initial_state(rows)) for layer in layers]
        self._states = [[torch.stack([state] * phases) for state in own] for own in first]  # (s, L, R, size)
        like = self._states[0][0]
        self.output = like.new_zeros((rows, sum(layer.output_size for layer in layers)))

    def begin(self, rows: Integers, states: Sequence[Sequence[Tensor]], outputs: Tensor) -> None:
        """Go on with some rows (n,) from each network's states of the s phases, (s, L, n, size), and outputs (n, D)."""
        where = torch.from_numpy(rows)
        for own, given in zip(self._states, states, strict=True):
            for state, new in zip(own, given, strict=True):
                state[:, :, where] = new
        self.output[where] = outputs

    def of_each_network(self) -> list[RunningLayers]:
        """Those of each network by itself, as they stand."""
        state, widths = self.state(), [layer.output_size for layer in self._streams.layers]
        outputs = np.split(state["output"], np.cumsum(widths)[:-1], axis=1)
        found = []
        for number, (layer, output) in enumerate(zip(self._streams.layers, outputs, strict=True)):
            own = RunningLayers([layer], [self._inputs[number]], len(self._rows), self._phases)
            mine = {name: array for name, array in state.items() if name.startswith(f"{number}.")}
            own.go_on(
                {f"0.{name.partition('.')[2]}": array for name, array in mine.items()} | {"output": output}
            )
            found.append(own)
        return found

    def branched(self, copies: int) -> RunningLayers:
        """So many copies of each row, side by side."""
        rows, streams = len(self._rows) * copies, self._streams
        found = RunningLayers(streams.layers, self._inputs, rows, self._phases, streams)
        found.go_on({name: _repeated(name, array, copies) for name, array in self.state().items()})
        return found

    def step(self, segments: Singles, counts: Integers) -> None:
        """The layers read the R channels' last segments.

        Args:
            segments: (R, I). counts: (R,) the steps of each channel.
        """
        read = torch.from_numpy(segments)
        read = read if self.output.device.type == "cpu" else read.to(self.output.device)
        phases = (counts - 1) % self._phases
        phase = int(phases[0])
        together = len(phases) == 1 or bool((phases == phase).all())
        where: Any = phase if together else (torch.from_numpy(phases), slice(None), self._rows)
        outputs = []
        with self._streams.of(len(self._rows)) as streams:
            for inputs, stream, states in zip(self._inputs, streams, self._states, strict=True):
                own = [state[where] if together else state[where].transpose(0, 1) for state in states]
                stream.state = own[0] if len(own) == 1 else tuple(own)
                found = stream.step(*inputs.of(read))
                outputs.append(found["output"] if isinstance(found, dict) else found)
                for state, new in zip(states, _tensors(stream.state), strict=True):
                    state[where] = new if together else new.transpose(0, 1)
            self.output = torch.cat(outputs, -1)  # a copy: the streams write theirs anew

    def state(self) -> dict[str, np.ndarray]:
        """What `go_on` takes: copies."""
        found = {"output": self.output.cpu().numpy().copy()}
        for number, states in enumerate(self._states):
            found |= {f"{number}.{place}": state.cpu().numpy().copy() for place, state in enumerate(states)}
        return found

    def go_on(self, state: Arrays) -> None:
        """Go on from what `state` gave."""
        self.output.copy_(torch.from_numpy(state["output"]))
        for number, states in enumerate(self._states):
            for place, own in enumerate(states):
                own.copy_(torch.from_numpy(state[f"{number}.{place}"]))


def running_at(
    channels: Channels, which: Integers, places: Integers, ahead: int
) -> tuple[RunningChannels, Singles]:
    """n channels at a place each, as channels of their own, and what is known of so many steps after it.

    Args:
        which: (n,) channels, in rising order. places: (n,) places of their steps.

    Returns:
        The channels, and (n, ahead, P + K + A).
    """
    layout, rows = channels.layout, np.arange(len(which))
    own = (channels.channel[which], channels.static[which], channels.levels[which])
    running = RunningChannels(layout, rows, *own, room=ahead)
    for index in np.unique(which).tolist():
        some = rows[which == index]
        running.begin(some, channels, index, places[some])
    known = np.zeros((len(which), ahead, channels.known.shape[1]), np.float32)
    if channels.shift is not None:
        after = (places + channels.shift[which])[:, None] + np.arange(1, ahead + 1)
        known[..., layout.past :] = channels.known[after, layout.past :]
    return running, known


@torch.inference_mode()
def states_along(
    network: Forecasting, channels: Channels, index: int, places: Integers
) -> Iterator[tuple[Integers, list[list[Tensor]], Tensor]]:
    """Of some places of one channel, in order, a block at a time, what `RunningLayers.begin` takes.

    Args:
        index: the channel. places: (n,) rising, places of its steps.
    """
    size, begin = channels.layout.segment, int(channels.begins[index])
    count, device = max(STEPS_AT_ONCE // size, 1), next(network.parameters()).device
    carried: Any = None
    before = [
        [state[None, :, 0].repeat(size - 1, 1, 1) for state in _tensors(layer.initial_state(1))]
        for layer in network.layers
    ]  # (s - 1, L, width) after the steps before the block
    for start in range(begin, int(places[-1]) + 1, count * size):
        steps = min(count, -(-(int(places[-1]) + 1 - start) // size))
        read = channels.segments(np.array([index]), np.array([start - size + 1]), steps, size)
        outputs, states, carried = network.encode_states(torch.from_numpy(read).to(device), carried)
        joined = [
            [torch.cat([first, state.flatten(0, 1)]) for first, state in zip(own, each, strict=True)]
            for own, each in zip(before, states, strict=True)
        ]
        before = [[state[len(state) - size + 1 :] for state in own] for own in joined]
        some = places[(places >= start) & (places < start + count * size)]
        if len(some):
            back = ((some - begin)[:, None] - np.arange(size)) % size  # since each phase has moved
            where = torch.from_numpy((some - start)[:, None] + size - 1 - back).to(device)
            found = [[state[where].permute(1, 2, 0, 3) for state in own] for own in joined]
            yield some, found, outputs.flatten(0, 1)[torch.from_numpy(some - start).to(device)]


def row_axis(name: str) -> int | None:
    """The axis of the channels in an array of `RunningChannels.state` or `RunningLayers.state`; None where it has none.

    That of `known` is of the series.
    """
    if name == "scale.place":
        return None
    return 2 if name[0].isdigit() else int(name.startswith("scale."))


def _repeated(name: str, array: np.ndarray, copies: int) -> np.ndarray:
    """What a state holds for each row, for so many copies of it."""
    axis = row_axis(name)
    return array if axis is None or name == "known" else np.repeat(array, copies, axis=axis)


def _tensors(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)
