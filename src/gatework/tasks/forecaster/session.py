"""Series that are followed a step at a time, and forecast from there."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatework.data import Series
from gatework.errors import InputError
from gatework.metrics.forecast import Forecast
from gatework.tasks.forecaster.channels import Channels, Singles
from gatework.tasks.forecaster.options import ForecastSettings
from gatework.tasks.forecaster.records import forecast_records
from gatework.tasks.forecaster.sampling import Sampling, joined_forecast, paths_after
from gatework.tasks.forecaster.scaling import Floats
from gatework.tasks.forecaster.series_group import Following, SeriesGroup, joined
from gatework.tasks.forecaster.step_clock import StepClock
from gatework.tasks.forecaster.step_rows import Step, StepRows, known_ahead
from gatework.tasks.session import Session
from gatework.tasks.session_state import SessionState, damaged

__all__ = ["SeriesSession"]

_MOST_LEFT_OUT = 10_000  # steps between two that are given
_NO_TIME = np.iinfo(np.int64).min


class _Item(NamedTuple):
    """A step of each series, how many steps it is after the last one, and of each what is known ahead of it."""

    steps: list[Step]
    passed: int
    ahead: list[Floats] | None


class SeriesSession(Session):
    """A forecaster's: `feed` reads the next step of the series, and gives a `partial` event for each series: the
    forecast from there, as `predict` makes it of all steps so far; `finish` gives it as the `record`.

    A step is one of every series at once. Of one series it is a number, None where it is missing; of several targets a
    list with a number for each; or a dict as a row of a table is, with `target` or the targets' names, covariates by
    name, and perhaps `time`: steps that were left out before it are missing ones. Of several series it is a list with
    one for each. Where the run has future covariates, the row's dict holds under `ahead` a dict with their values at
    each step to be forecast, by name; without it the step is read and nothing is forecast. What is kept does not grow
    with the steps.
    """

    settings: ForecastSettings

    def __init__(
        self,
        task: str,
        settings: ForecastSettings,
        run: Following,
        series: Sequence[Series],
        channels: Channels,
    ) -> None:
        if settings.return_paths:
            what = "is true, and a session forecasts quantiles alone"
            raise InputError("option return_paths", what, "Leave it out, or use predict.")
        self._run, self._names = run, tuple(one.name for one in series) or ("",)
        width, targets = run.encoding.static_size, len(run.encoding.targets)
        self._static = channels.static[:, :width] if series else np.eye(targets, width, dtype=np.float32)
        self._horizon = run.options.check_horizon(settings.horizon)
        super().__init__(task, run.network, settings)
        if series:
            self._group.begin(run.network, channels)
            times = [None if one.times is None else one.times[-1] for one in series]
            self._clocks = [StepClock(run.encoding, time) for time in times]

    def step(self, row: Any) -> None:
        """Read the next step of the series, and forecast nothing; errors as for `feed`."""
        with self._lock:
            self.feed(row)
            self._due = False

    def forecast(
        self,
        horizon: int | None = None,
        ahead: Any = None,
        *,
        paths: int | None = None,
        seed: int | None = None,
    ) -> list[dict[str, Any]]:
        """The forecasts from the last step, a record for each series as `predict` gives it, without the input.

        Args:
            horizon: steps; None: those of the settings.
            ahead: where the run has future covariates, a dict with their values at each of these steps, by name; of
                several series a list of dicts.
            paths, seed: of an autoregressive forecaster; None: those of the settings.

        Raises:
            InputError: a series has no value yet; a covariate is not known for each step.
        """
        given = {"horizon": horizon, "paths": paths, "seed": seed}
        chosen = self.settings.model_copy(
            update={n: value for n, value in given.items() if value is not None}
        )
        horizon = self._run.options.check_horizon(chosen.horizon)
        with self._lock:
            self._check_open()
            group = type(self)._gathered([self])
            if not all(type(self)._begun([self])):
                begun = group.channels.any_value.reshape(len(self._names), -1).any(1)
                what = f"is asked for before series {int(np.flatnonzero(~begun)[0]) + 1} has had a value"
                raise InputError("forecast", what, "Give steps first.")
            tables = None
            if self._run.layout.future:
                tables = self._tables([ahead] if len(self._names) == 1 else ahead, horizon)
            return type(self)._forecast([self], [tables], chosen, [horizon])[0]

    # Steps

    def _begin(self) -> None:
        self._group = SeriesGroup(self._run, self._static, adaptive=self.settings.adapt_intervals)
        self._first = 0
        self._clocks = [StepClock(self._run.encoding, None) for _ in self._names]
        self._rows = [StepRows(self._run.encoding.names) for _ in self._names]
        self._ahead: list[Floats] | None = None
        self._due = False  # whether a forecast is to be said

    def _read(self, item: Any) -> _Item:
        rows = [item] if len(self._names) == 1 else item
        if not isinstance(rows, list | tuple) or len(rows) != len(self._names):
            given = f"{len(rows):,} rows" if isinstance(rows, list | tuple) else f"{item!r:.40}"
            what = f"has {given}, and {len(self._names):,} series are followed"
            raise InputError("step", what, "Give one for each series, None where nothing was observed.")
        ahead = None
        if any(isinstance(row, Mapping) for row in rows):
            told = [row.get("ahead") if isinstance(row, Mapping) else None for row in rows]
            ahead = None if any(each is None for each in told) else self._tables(told, self._horizon)
            rows = [_without_ahead(row) for row in rows]
        steps = [reader.read(one) for reader, one in zip(self._rows, rows, strict=True)]
        if all(step.time is None for step in steps):
            return _Item(steps, 1, ahead)
        clocks = [StepClock(self._run.encoding, None) for _ in rows] if self._ended else self._clocks
        passed = {
            clock.steps_to(step.time)
            for clock, step in zip(clocks, steps, strict=True)
            if step.time is not None
        }
        if len(passed) > 1:
            what = f"is {min(passed)} steps after the last one of one series, and {max(passed)} of another"
            raise InputError("step", what, "Follow series of different times by a session each.")
        (count,) = passed
        if count > _MOST_LEFT_OUT:
            what = f"is {count:,} steps after the last one"
            raise InputError("step", what, "Begin a session anew, with the series up to there.")
        return _Item(steps, count, ahead)

    def _tables(self, ahead: Any, horizon: int) -> list[Floats]:
        """(horizon, K) of each series, the future covariates of the steps to come."""
        names = self._run.encoding.names
        if not isinstance(ahead, list | tuple) or len(ahead) != len(self._names) or None in ahead:
            what = f"is missing, and the forecast reads {', '.join(names.future)}"
            raise InputError("ahead", what, "Give their values by name, of several series a list of dicts.")
        return [known_ahead(given, names, horizon) for given in ahead]

    @classmethod
    def _absorb(cls, sessions: Sequence[SeriesSession], items: Sequence[_Item]) -> None:
        encoding, options = sessions[0]._run.encoding, sessions[0]._run.options
        every = [step for item in items for step in item.steps]
        values = np.concatenate([step.values for step in every]).reshape(len(every), -1)
        values = encoding.targets_of(values, "step", **options.read_as)  # (S, C) of all sessions' series
        covariates = np.concatenate([step.covariates for step in every]).reshape(len(every), -1)
        passed = np.array([item.passed for item in items])
        session_of = np.repeat(np.arange(len(items)), [len(item.steps) for item in items])
        for left in range(int(passed.max()), 0, -1):
            kinds: dict[tuple[int, bool], list[int]] = {}
            for place in np.flatnonzero(passed >= left).tolist():
                kinds.setdefault(sessions[place]._group.kind, []).append(place)
            for some in kinds.values():
                chosen = [sessions[place] for place in some]
                rows = np.flatnonzero(np.isin(session_of, some))
                if left == 1:
                    cls._append(chosen, values[rows], covariates[rows], [every[row].time for row in rows])
                else:  # a step that was left out
                    missing = [np.full_like(table[rows], np.nan) for table in (values, covariates)]
                    cls._append(chosen, missing[0], missing[1], [None] * len(rows))
        for session, item in zip(sessions, items, strict=True):
            session._ahead = item.ahead
            session._due = item.ahead is not None or not session._run.layout.future

    @classmethod
    def _append(
        cls,
        sessions: Sequence[SeriesSession],
        values: Floats,
        covariates: Floats,
        times: Sequence[np.datetime64 | None],
    ) -> None:
        """A step of all series of sessions of one kind: values (S, C), covariates (S, P + K) and times (S,)."""
        run, group = sessions[0]._run, cls._gathered(sessions)
        known = run.encoding.covariates_of(covariates)
        clocks = [clock for session in sessions for clock in session._clocks]
        if run.layout.calendar or run.encoding.distance:
            moved = [clock.move(time) for clock, time in zip(clocks, times, strict=True)]
            known = np.concatenate([known, np.stack(moved)], axis=1)
        now = group.channels.counts.astype(np.float64)
        if run.encoding.distance:
            for row, place in enumerate(group.channels.series):
                last = clocks[place].last
                now[row] = now[row] if last is None else run.encoding.clock_of(np.asarray(last))
        group.step(values.reshape(-1), known, now)

    @classmethod
    def _gathered(cls, sessions: Sequence[SeriesSession]) -> SeriesGroup:
        """A group that holds the series of these sessions, in their order, and of no other; theirs is this one now."""
        group, ends = sessions[0]._group, np.cumsum([0, *(len(one._names) for one in sessions)]).tolist()
        here = [one._group is group and one._first == end for one, end in zip(sessions, ends, strict=False)]
        if all(here) and group.sessions == len(sessions):
            return group
        made = joined(sessions[0]._run, [(one._group, one._first, len(one._names)) for one in sessions])
        made.sessions = len(sessions)
        for session, first in zip(sessions, ends, strict=False):
            session._group.sessions -= 1
            session._group, session._first = made, first
        return made

    # Forecasts

    @classmethod
    def _begun(cls, sessions: Sequence[SeriesSession]) -> list[bool]:
        """Of each session whether all its series have had a value."""
        begun: dict[int, np.ndarray] = {}  # of each group the running number of series that have had none
        found = []
        for one in sessions:
            if id(one._group) not in begun:
                values = one._group.channels.any_value.reshape(one._group.count, -1).any(1)
                begun[id(one._group)] = np.cumsum(np.append(False, ~values))
            none_yet = begun[id(one._group)]
            found.append(bool(none_yet[one._first] == none_yet[one._first + len(one._names)]))
        return found

    @property
    def _unsaid(self) -> bool:
        return self._due

    @classmethod
    def _say(cls, sessions: Sequence[SeriesSession]) -> None:
        for session in sessions:
            session._due = False
        groups: dict[tuple[Any, ...], list[SeriesSession]] = {}
        for session, begun in zip(sessions, cls._begun(sessions), strict=True):
            own = session.settings
            drawn = (own.paths, own.seed, session._horizon) if session._run.network.autoregressive else ()
            if begun:
                groups.setdefault((*session._group.kind, *drawn), []).append(session)
        for some in groups.values():
            cls._gathered(some)
            horizons = [one._horizon for one in some]
            found = cls._forecast(some, [one._ahead for one in some], some[0].settings, horizons)
            for session, records in zip(some, found, strict=True):
                session._events += [{"kind": "partial", **record} for record in records]

    @classmethod
    def _forecast(
        cls,
        sessions: Sequence[SeriesSession],
        ahead: Sequence[list[Floats] | None],
        settings: ForecastSettings,
        horizons: Sequence[int],
    ) -> list[list[dict[str, Any]]]:
        """The records of each session's series; their group holds no other."""
        run, group = sessions[0]._run, sessions[0]._group
        drawn, longest = run.network.autoregressive, max(horizons)
        reach = run.layout.segments_ahead * run.layout.segment
        steps = max(reach, (longest + run.layout.segment) * drawn)
        known = cls._known_ahead(sessions, steps, ahead)
        if drawn:
            sampling = Sampling(settings.paths, longest, settings.seed)
            layers = zip(run.network.members, group.layers.of_each_network(), strict=True)
            paths = [paths_after(member, group.channels, known, own, sampling) for member, own in layers]
            found = joined_forecast(run.network, paths, run.options.levels)
        else:
            group.channels.know(known)
            found = group.forecast()
        targets, first, records = len(run.encoding.targets), 0, []
        whole = len(set(horizons)) == 1  # all records are then made at once
        counts = (
            [sum(len(one._names) for one in sessions)] if whole else [len(one._names) for one in sessions]
        )
        clocks = iter([clock for session in sessions for clock in session._clocks])
        for count, horizon in zip(counts, horizons, strict=False):
            own = slice(first * targets, (first + count) * targets)
            part = Forecast(found.mean[own], found.quantiles[own])
            times = [
                clock.times(horizon) if clock.known else None for clock in itertools.islice(clocks, count)
            ]
            series = group.channels.series[own] - first
            records += forecast_records(part, series, times, horizon, run.options)
            first += count
        each = iter(records)
        return [
            [{"series": name, **next(each)} if name else next(each) for name in session._names]
            for session in sessions
        ]

    @staticmethod
    def _known_ahead(
        sessions: Sequence[SeriesSession], steps: int, ahead: Sequence[list[Floats] | None]
    ) -> Singles:
        """(S, steps, P + K + A) of the steps to come of all sessions' series, of each of which `ahead` holds tables."""
        run, layout = sessions[0]._run, sessions[0]._run.layout
        clocks = [clock for session in sessions for clock in session._clocks]
        told = layout.past + layout.future
        known = np.zeros((len(clocks), steps, told + layout.calendar), np.float32)
        row = 0
        for session, tables in zip(sessions, ahead, strict=True):
            for place, given in enumerate(tables or ()):
                table = np.full((len(given), told), np.nan)
                table[:, layout.past :] = given
                known[row + place, : len(given), :told] = run.encoding.covariates_of(table)
            row += len(session._names)
        if layout.calendar:
            for place, clock in enumerate(clocks):
                known[place, :, told:] = clock.features(steps)
        return known

    def _end(self) -> None:
        self._due = False
        if (self._ahead is not None or not self._run.layout.future) and all(type(self)._begun([self])):
            type(self)._gathered([self])
            (records,) = type(self)._forecast([self], [self._ahead], self.settings, [self._horizon])
            self._events += [{"kind": "record", **record} for record in records]

    # Taking a session up again

    def _arrays(self) -> dict[str, np.ndarray]:
        times = [
            _NO_TIME if clock.last is None else int(clock.last.astype(np.int64)) for clock in self._clocks
        ]
        arrays = self._group.part(self._group.state(), self._first, len(self._names))
        arrays |= {"static": self._static, "times": np.array(times, np.int64)}
        return arrays | ({} if self._ahead is None else {"ahead": np.stack(self._ahead)})

    def _known(self) -> dict[str, Any]:
        return {"series": list(self._names), "due": self._due}

    def _restore(self, state: SessionState) -> None:
        names, targets = state.value("series", list), len(self._run.encoding.targets)
        if not names or not all(isinstance(name, str) for name in names):
            raise damaged()
        self._names = tuple(names)
        self._static = state.array("static", (len(names) * targets, self._static.shape[1]))
        self._begin()
        own = {name: array for name, array in state.arrays.items() if name.partition(".")[1]}
        kinds = {name: (array.dtype.kind, array.shape) for name, array in own.items()}
        if kinds != {name: (array.dtype.kind, array.shape) for name, array in self._group.state().items()}:
            raise damaged()
        self._group.go_on(own)
        self._due = state.value("due", bool)
        if "ahead" in state.arrays:
            future = len(self._run.encoding.names.future)
            self._ahead = list(state.array("ahead", (len(names), self._horizon, future)))
        for place, time in enumerate(state.array("times", (len(names),), "i").tolist()):
            last = None if time == _NO_TIME else np.datetime64(time, "us")
            self._clocks[place] = StepClock(self._run.encoding, last)


def _without_ahead(row: Any) -> Any:
    """A step's row, without what is known of later steps."""
    return {name: cell for name, cell in row.items() if name != "ahead"} if isinstance(row, Mapping) else row
