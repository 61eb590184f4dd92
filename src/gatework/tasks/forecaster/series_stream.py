"""Forecasts of series that are followed a step at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatework.data import Series
from gatework.errors import InputError
from gatework.metrics.forecast import Forecast
from gatework.tasks.forecaster.backtest import Forecasting, forecasts
from gatework.tasks.forecaster.channels import Channels, Layout, Singles
from gatework.tasks.forecaster.encoding import SeriesEncoding
from gatework.tasks.forecaster.options import ForecasterOptions
from gatework.tasks.forecaster.records import forecast_records
from gatework.tasks.forecaster.running import RunningChannels, RunningLayers, states_along
from gatework.tasks.forecaster.sampling import Sampling, joined_forecast, paths_after
from gatework.tasks.forecaster.step_clock import StepClock
from gatework.tasks.forecaster.step_rows import StepRows, known_ahead
from gatework.tasks.stream_files import read_stream, weights_digest, write_stream

__all__ = ["SeriesStream", "StreamState", "read_state"]

_MOST_LEFT_OUT = 10_000  # steps between two that are given
_NO_TIME = np.iinfo(np.int64).min


class StreamState(NamedTuple):
    """Where a stream stands: arrays by name, the names of its series, and the digest of its network's weights."""

    arrays: Mapping[str, np.ndarray]
    series: tuple[str, ...]
    weights: str


class SeriesStream:
    """Series that are followed a step at a time; made by `Forecaster.series_stream`. One thread's own.

    A step is one of every series at once. The forecasts are those that `predict` makes of the series up to the last
    step; what is kept does not grow with the steps.

    Args:
        network: in eval mode.
        encoding, layout, options: of the run.
        names: of the S series.
        static: (S C, G) of each of their targets.
    """

    def __init__(
        self,
        network: Forecasting,
        encoding: SeriesEncoding,
        layout: Layout,
        options: ForecasterOptions,
        names: Sequence[str],
        static: Singles,
    ) -> None:
        self._network, self._encoding, self._layout, self._options = network, encoding, layout, options
        self._names, self._static = tuple(names), static
        self._known = encoding.names
        self.reset()

    def reset(self) -> None:
        """Begin the same series again, before their first step."""
        count, targets = len(self._names), len(self._encoding.targets)
        self._channels = RunningChannels(
            self._layout,
            np.repeat(np.arange(count), targets),
            np.tile(np.arange(targets), count),
            self._static,
            np.tile(self._encoding.first_levels(log=self._options.transform == "log"), count),
        )
        network, rows = self._network, count * targets
        self._layers = RunningLayers(network.layers, network.cell_inputs, rows, self._layout.segment)
        self._clocks = [StepClock(self._encoding, None) for _ in range(count)]
        self._rows = [StepRows(self._known) for _ in range(count)]

    def begin(self, series: Sequence[Series], channels: Channels) -> None:
        """Go on from histories; before the first step.

        Args:
            series: the S series. channels: theirs.
        """
        for row in range(len(channels)):
            rows, places = np.array([row]), channels.ends[[row]] - 1
            self._channels.begin(rows, channels, row, places)
            ((_, states, output),) = states_along(self._network, channels, row, places)
            self._layers.begin(rows, states, output)
        for place, one in enumerate(series):
            if one.times is not None:
                self._clocks[place] = StepClock(self._encoding, one.times[-1])

    def step(self, row: Any) -> None:
        """The next step of the series.

        Args:
            row: of one series a number, None where it is missing; of several targets a list with a number for each; or
                a dict as a row of a table is, with `target` or the targets' names, covariates by name, and perhaps
                `time`: steps that were left out before it are missing ones. Of several series a list with one for each.

        Raises:
            InputError: it is none of these, or a time is not after the last one.
        """
        rows = [row] if len(self._names) == 1 else row
        if len(rows) != len(self._names):
            what = f"has {len(rows):,} rows, and {len(self._names):,} series are followed"
            raise InputError("step", what, "Give one for each series, None where nothing was observed.")
        steps = [reader.read(one) for reader, one in zip(self._rows, rows, strict=True)]
        passed = {
            clock.steps_to(step.time)
            for clock, step in zip(self._clocks, steps, strict=True)
            if step.time is not None
        } or {1}
        if len(passed) > 1:
            what = f"is {min(passed)} steps after the last one of one series, and {max(passed)} of another"
            raise InputError("step", what, "Follow series of different times by a stream each.")
        (count,) = passed
        if count > _MOST_LEFT_OUT:
            what = f"is {count:,} steps after the last one"
            raise InputError("step", what, "Begin a stream anew, with the series up to there.")
        as_read = self._options.read_as
        given = np.concatenate([step.values for step in steps]) if len(steps) > 1 else steps[0].values
        values = self._encoding.targets_of(given, "step", **as_read)
        covariates = np.array([step.covariates for step in steps])
        for _ in range(count - 1):
            self._append(np.full_like(values, np.nan), np.full_like(covariates, np.nan), None)
        self._append(values, covariates, [step.time for step in steps])

    def _append(
        self, values: np.ndarray, covariates: np.ndarray, times: Sequence[np.datetime64 | None] | None
    ) -> None:
        known = self._encoding.covariates_of(covariates)
        if self._layout.calendar or self._encoding.distance:
            moved = [
                clock.move(time)
                for clock, time in zip(self._clocks, times or [None] * len(self._clocks), strict=True)
            ]
            known = np.concatenate([known, np.stack(moved)], axis=1)
        self._channels.append(values, known, self._now())
        self._layers.step(self._channels.last_segments(), self._channels.counts)

    def _now(self) -> np.ndarray:
        """(R,) the time of the step to be appended, as `ChannelSteps.clock` has it."""
        now = self._channels.counts.astype(np.float64)
        if self._encoding.distance:
            for row, place in enumerate(self._channels.series):
                last = self._clocks[place].last
                now[row] = now[row] if last is None else self._encoding.clock_of(np.asarray(last))
        return now

    def forecast(
        self, horizon: int | None = None, ahead: Any = None, *, paths: int = 200, seed: int = 0
    ) -> list[dict[str, Any]]:
        """The forecasts from the last step, a record for each series as `predict` gives it, without the input.

        Args:
            horizon: steps; None: those that were trained.
            ahead: where the run has future covariates, a dict with their values at each of these steps, by name; of
                several series a list of dicts.
            paths, seed: of an autoregressive forecaster, as the settings of `predict`.

        Raises:
            InputError: a series has no value yet; a covariate is not known for each step.
        """
        horizon = self._options.check_horizon(horizon)
        begun = self._channels.any_value.reshape(len(self._names), -1).any(1)
        if not begun.all():
            what = f"is asked for before series {int(np.flatnonzero(~begun)[0]) + 1} has had a value"
            raise InputError("forecast", what, "Give steps first.")
        known = self._known_ahead(horizon, [ahead] if len(self._names) == 1 else ahead)
        drawn = self._network.autoregressive
        found = self._drawn(known, Sampling(paths, horizon, seed)) if drawn else self._said(known)
        times = [clock.times(horizon) if clock.known else None for clock in self._clocks]
        records = forecast_records(found, self._channels.series, times, horizon, self._options)
        named = zip(self._names, records, strict=True)
        return [{"series": name, **record} if name else record for name, record in named]

    def _said(self, known: Singles) -> Forecast:
        self._channels.know(known)
        rows = np.arange(len(self._channels.series))
        return forecasts(self._network, self._channels, rows, self._channels.places, self._layers.output)

    def _drawn(self, known: Singles, sampling: Sampling) -> Forecast:
        layers = zip(self._network.members, self._layers.of_each_network(), strict=True)
        paths = [paths_after(member, self._channels, known, own, sampling) for member, own in layers]
        return joined_forecast(self._network, paths, self._options.levels)

    def _known_ahead(self, horizon: int, ahead: Any) -> Singles:
        """(S, steps, P + K + A) of the steps to come."""
        layout = self._layout
        steps = max(
            layout.segments_ahead * layout.segment, (horizon + layout.segment) * self._network.autoregressive
        )
        known = np.zeros((len(self._names), steps, layout.past + layout.future + layout.calendar), np.float32)
        if layout.future:
            if not isinstance(ahead, list | tuple) or len(ahead) != len(self._names) or None in ahead:
                what = f"is missing, and the forecast reads {', '.join(self._known.future)}"
                raise InputError(
                    "ahead", what, "Give their values by name, of several series a list of dicts."
                )
            for place, given in enumerate(ahead):
                table = np.full((horizon, layout.past + layout.future), np.nan)
                table[:, layout.past :] = known_ahead(given, self._known, horizon)
                known[place, :horizon, : table.shape[1]] = self._encoding.covariates_of(table)
        if layout.calendar:
            for place, clock in enumerate(self._clocks):
                known[place, :, layout.past + layout.future :] = clock.features(steps)
        return known

    # Taking a stream up again

    @property
    def state(self) -> StreamState:
        """Where the stream stands: a copy."""
        times = [
            _NO_TIME if clock.last is None else int(clock.last.astype(np.int64)) for clock in self._clocks
        ]
        arrays = {f"channels.{name}": array for name, array in self._channels.state().items()}
        arrays |= {f"layers.{name}": array for name, array in self._layers.state().items()}
        arrays |= {"static": self._static.copy(), "times": np.array(times, np.int64)}
        return StreamState(arrays, self._names, weights_digest(self._network))

    @state.setter
    def state(self, state: StreamState) -> None:
        if state.weights != weights_digest(self._network):
            what = "is of a stream of another run"
            raise InputError("state", what, "Give one of this run's streams.")
        self._names, self._static = tuple(state.series), np.asarray(state.arrays["static"], np.float32)
        self.reset()
        own = self.state.arrays
        shapes = {name: array.shape for name, array in state.arrays.items()}
        if shapes != {name: array.shape for name, array in own.items()}:
            raise InputError("state", "is damaged", "Take another copy.")
        for part, name in ((self._channels, "channels."), (self._layers, "layers.")):
            part.go_on(
                {key.removeprefix(name): array for key, array in state.arrays.items() if key.startswith(name)}
            )
        for place, time in enumerate(state.arrays["times"].tolist()):
            last = None if time == _NO_TIME else np.datetime64(time, "us")
            self._clocks[place] = StepClock(self._encoding, last)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a safetensors file, which `Forecaster.series_stream(saved=…)` goes on from, in another
        process too."""
        state = self.state
        write_stream(path, state.arrays, {"series": state.series, "weights": state.weights})


def read_state(path: str | os.PathLike[str]) -> StreamState:
    """What `SeriesStream.save` wrote.

    Raises:
        RunError: the file is missing or damaged.
        InputError: it is no state of a stream.
    """
    arrays, known = read_stream(path)
    try:
        series, weights = tuple(map(str, known["series"])), str(known["weights"])
    except (KeyError, TypeError) as error:
        fix = "Give a file that `save` wrote."
        raise InputError(os.fspath(path), "is no state of a stream of series", fix) from error
    return StreamState(arrays, series, weights)
