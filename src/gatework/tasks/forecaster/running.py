"""Channels whose steps are appended one by one, and the recurrent layers that follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.layers import Recurrent
from gatework.tasks.forecaster.backtest import Forecasting
from gatework.tasks.forecaster.cell_inputs import CellInputs
from gatework.tasks.forecaster.channels import Channels, Floats, Integers, Layout, Mask, Singles
from gatework.tasks.forecaster.network import ForecastEnsemble
from gatework.tasks.forecaster.running_gaps import RunningGaps
from gatework.tasks.forecaster.running_scale import RunningScale

__all__ = ["RunningChannels", "RunningLayers", "states_at_end"]

_ROOM = 1024  # steps that are appended before the last ones are copied to the front

Arrays = Mapping[str, np.ndarray]


class RunningChannels(Channels):
    """R channels of S series, of which the last steps are kept: as many as a forecast reads.

    Step by step one column of a table (R, width) is written; channel r's steps stand at places r · width … .

    Args:
        layout: see `Layout`.
        series: (R,) the series of each channel. channel: (R,) its target there. static: (R, G).
        levels: (R,) what is taken for a channel's value before its first.

    Attributes:
        counts: (R,) the steps that each channel has had.
    """

    def __init__(
        self, layout: Layout, series: Integers, channel: Integers, static: Singles, levels: Floats
    ) -> None:
        super().__init__((), layout, lead=0, tail=0)
        self.series, self.channel, self.static, self.levels = series, channel, static, levels
        self._keep = max(layout.window, 2 * layout.segment, layout.season) + 1
        self._width = self._keep + max(self._keep, _ROOM)
        self._column = self._keep  # that the next step is written to
        rows, reach = len(series), self._width + layout.segments_ahead * layout.segment
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
    def any_value(self) -> Mask:
        """(R,) whether a value of each channel was observed."""
        return self.firsts < self.ends

    def begin(self, row: int, channels: Channels, index: int) -> None:
        """Go on from the last step of a channel; before the first `append`."""
        begin, end = int(channels.begins[index]), int(channels.ends[index])
        own, kept = slice(end - self._keep, end), slice(self._column - self._keep, self._column)
        self._values[row, kept], self._scales[row, kept] = channels.values[own], channels.scale[own]
        self._observed[row, kept] = channels.observed[own]
        steps = slice(begin, end)
        self._running.begin(row, channels.values[steps], channels.observed[steps], self.layout.season)
        self.counts[row] = end - begin
        if channels.observed[steps].any():
            self.firsts[row] = row * self._width
        if self._gaps is not None:
            self._gaps.begin(row, channels, index, kept)
        if channels.shift is not None:
            last = end + channels.shift[index]
            self._known[self.series[row], kept] = channels.known[last - self._keep : last]

    def append(self, values: Floats, known: Singles, clock: Floats) -> None:
        """A step of every channel.

        Args:
            values: (R,), NaN where missing. known: (S, P + K + A), and clock: (R,), see `ChannelSteps`.
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
            self._gaps.step(column, new, observed, first, clock, self.counts)
        self._values[:, column], self._observed[:, column] = new, observed
        self._known[:, column] = known
        self._scales[:, column] = self._running.step(self._squares())
        self._column += 1
        self.counts += 1

    def know(self, ahead: Singles) -> None:
        """What is known of the steps to come: (S, steps, P + K + A), of as many as are forecast at most."""
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
        found |= {"counts": self.counts.copy(), "firsts": self.firsts.copy()}
        if self._gaps is not None:
            found |= {f"gaps.{name}": array for name, array in self._gaps.state(kept).items()}
        return found | {f"scale.{name}": array for name, array in self._running.state().items()}

    def go_on(self, state: Arrays) -> None:
        """Go on from what `state` gave."""
        self._column = self._keep
        kept = slice(0, self._keep)
        self._values[:, kept], self._scales[:, kept] = state["values"], state["scales"]
        self._observed[:, kept], self._known[:, kept] = state["observed"], state["known"]
        self.counts, self.firsts = state["counts"].copy(), state["firsts"].copy()
        self._running.go_on({name: state[f"scale.{name}"] for name in self._running.state()})
        if self._gaps is not None:
            self._gaps.go_on({name: state[f"gaps.{name}"] for name in self._gaps.state(kept)}, kept)


class RunningLayers:
    """The recurrent layers of one network, or of several, that follow R channels a step at a time.

    A state is that after the segments which end s, 2 s, … steps before it: each of s phases has states of its own, of
    which a step moves one.

    Args:
        layers: of each network. inputs: what their cells read. rows: R. phases: s.

    Attributes:
        output: (R, D) after the last step.
    """

    def __init__(
        self, layers: Sequence[Recurrent], inputs: Sequence[CellInputs], rows: int, phases: int
    ) -> None:
        self._inputs = inputs
        self._streams = [layer.stream(rows) for layer in layers]
        self._rows, self._phases = torch.arange(rows), phases
        self._states = [
            [torch.stack([state] * phases) for state in _tensors(stream.state)] for stream in self._streams
        ]  # (s, L, R, size); of a single phase the streams' own are the true ones
        like = self._states[0][0]
        self.output = like.new_zeros((rows, sum(layer.output_size for layer in layers)))

    def begin(self, rows: Sequence[tuple[Sequence[Any], Tensor]]) -> None:
        """Go on with each row from the networks' states of the s phases, (L, s, size), and the last output, (D,)."""
        for row, (finals, output) in enumerate(rows):
            for states, final in zip(self._states, finals, strict=True):
                for state, given in zip(states, _tensors(final), strict=True):
                    state[:, :, row] = given.transpose(0, 1)
            self.output[row] = output
        self._go_on()

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
        for inputs, stream, states in zip(self._inputs, self._streams, self._states, strict=True):
            if self._phases > 1:
                own = [state[where] if together else state[where].transpose(0, 1) for state in states]
                stream.state = own[0] if len(own) == 1 else tuple(own)
            found = stream.step(*inputs.of(read))
            outputs.append(found["output"] if isinstance(found, dict) else found)
            if self._phases > 1:
                for state, new in zip(states, _tensors(stream.state), strict=True):
                    state[where] = new if together else new.transpose(0, 1)
        self.output = torch.cat(outputs, -1)  # a copy: the streams write theirs anew

    def state(self) -> dict[str, np.ndarray]:
        """What `go_on` takes: copies."""
        if self._phases == 1:
            self._states = [[state[None] for state in _tensors(stream.state)] for stream in self._streams]
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
        self._go_on()

    def _go_on(self) -> None:
        if self._phases == 1:
            for stream, states in zip(self._streams, self._states, strict=True):
                stream.state = states[0][0] if len(states) == 1 else tuple(state[0] for state in states)


@torch.inference_mode()
def states_at_end(network: Forecasting, channels: Channels, index: int) -> tuple[Sequence[Any], Tensor]:
    """What `RunningLayers.begin` takes of a channel: each network's states of the s phases, and the last output."""
    size, count = channels.layout.segment, int(channels.steps[index])
    which, begins = np.array([index]), channels.begins[[index]] - size + 1
    whole, more = divmod(count, size)
    read = torch.from_numpy(channels.segments(which, begins, whole + (more > 0), size))
    lengths = torch.tensor([whole + (phase < more) for phase in range(size)])
    states, finals = network.encode(read.to(next(network.parameters()).device), lengths=lengths)
    output = states[(count - 1) // size, (count - 1) % size]
    return finals if isinstance(network, ForecastEnsemble) else [finals], output


def _tensors(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)
