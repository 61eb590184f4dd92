"""Every target of every series as a row of numbers, laid one after another, so that what a batch reads is a slice."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.windows import filled
from gatework.tasks.forecaster.scaling import Scaling, gaps, scales

__all__ = ["ChannelSteps", "Channels", "Layout", "lead_of"]

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_FARTHEST = 100.0  # scales from the step: what moved farther is read as if it had moved so far

_FEW = 4096  # numbers that are sooner gathered one by one than as slices, whose view takes longer to make


class Layout(NamedTuple):
    """What a forecast is made from, in numbers.

    Attributes:
        segment: s, the steps that the recurrent layers read as one.
        window: L, the steps that the linear path reads, and that a rolling scale looks back.
        horizon: H, the steps that are forecast at once.
        season: m, the steps of a season.
        masked: whether it is read which values were missing.
        ages: A, the numbers of steps since the last observed value that the linear path tells apart.
        gaps: whether it is read how long ago values were observed, and missing ones stand on the line between those
            around them. Runs without it read the last value before.
        past: P, covariates known up to now.
        future: K, covariates known beforehand.
        calendar: A, features of a time.
        timed: whether the times of steps to come are known, as irregular ones are not.
        static: G, features of a channel.
        scaling: what values are divided by.
    """

    segment: int
    window: int
    horizon: int
    season: int
    masked: bool = False
    gaps: bool = False
    ages: int = 1
    past: int = 0
    future: int = 0
    calendar: int = 0
    timed: bool = True
    static: int = 0
    scaling: Scaling = "rolling"

    @property
    def read(self) -> int:
        """The numbers that are read of a segment."""
        values = self.segment * (1 + self.masked + self.gaps) + 1
        return values + self.segment * (self.past + self.future) + self.calendar + self.static

    @property
    def ahead(self) -> int:
        """F, what is known beforehand of a segment of the horizon."""
        return self.segment * self.future + self.calendar * self.timed + self.static

    @property
    def segments_ahead(self) -> int:
        """J, the segments of the horizon."""
        return -(-self.horizon // self.segment)

    @property
    def warm_up(self) -> int:
        """Segments that the layers read before their first forecast in training."""
        return -(-self.window // self.segment)


class ChannelSteps(NamedTuple):
    """The N steps of one series, as arrays.

    values: (N, C), NaN where missing. known: (N + X, P + K + A) float32 covariates, those of the past first and zero
    after N, and features of the times, X >= 0 steps beyond the values. static: (C, G) float32. levels: (C,) what the
    values are taken for before the first that is observed. clock: (N,) the times of the steps, in usual distances.
    """

    values: Floats
    known: Singles
    static: Singles
    levels: Floats
    clock: Floats


class Channels:
    """N channels. A place is an index into `values`: a channel's steps stand at places begins[i] … ends[i] - 1. Before
    them `lead` places stand, after them `tail`, as if nothing had been observed there.

    A missing value is the last one before it; a later step that knows the next one too may read it on the line between
    them (`Layout.gaps`). Before the first observed value, which later steps alone know, that one stands, so that they
    find no jump there; `last_values` is what a step itself knows.

    Args:
        series: the series; channel i is a target of one of them.
        layout: see `Layout`.
        lead, tail: at least `lead_of(layout)` and the layout's horizon.

    Attributes:
        values: (S,), none missing. observed: (S,) whether each was given. scale: (S,), see `scales`.
        begins, ends: (N,) places. firsts: (N,) those of the first observed values; where there is none, the end.
        levels: (N,) what is taken for a channel's value before them.
        series: (N,) the series of each channel; channel: (N,) its target there.
        between: (S,) the values, missing ones on the line between their neighbours; last: (S,) the place of the last
            observed value up to each; gap: (S,) the logarithm of each value's gap (`CellInputs`); clock: (S,) the times
            of the steps, in usual distances; with `Layout.gaps`.
        typical: (N,) the root mean square of each channel's scale.
        static: (N, G).
        known: (V, P + K + A); `shift` (N,) is what is added to a place for the row there.
    """

    def __init__(self, series: Sequence[ChannelSteps], layout: Layout, *, lead: int, tail: int) -> None:
        self.layout, self.lead, self.tail = layout, lead, tail
        counts = [one.values.shape for one in series]
        rows = np.array([steps for steps, targets in counts for _ in range(targets)], np.int64)
        self.series = np.repeat(np.arange(len(counts)), [targets for _, targets in counts])
        self.channel = np.concatenate(
            [np.arange(targets) for _, targets in counts] or [np.empty(0, np.int64)]
        )
        self.ends = np.cumsum(rows + lead + tail) - tail
        self.begins = self.ends - rows
        total = int(self.ends[-1]) + tail if len(rows) else 0
        self.values, self.scale = np.empty(total), np.empty(total)
        self.typical = np.ones(len(rows))
        self.observed = np.zeros(total, bool)
        self.firsts = self.ends.copy()
        self.levels = np.concatenate([one.levels for one in series] or [np.empty(0)])
        read = total if layout.gaps else 0
        self.between, self.last, self.gap = np.empty(read), np.arange(read), np.zeros(read, np.float32)
        self.clock = np.zeros(read)
        for index, (one, target) in enumerate(zip(self.series, self.channel, strict=True)):
            self._lay(index, series[int(one)].values[:, target])
            if layout.gaps:
                self._lay_gaps(index, series[int(one)].clock)
        self.static = np.concatenate(
            [one.static for one in series] or [np.empty((0, layout.static), np.float32)]
        )
        self._lay_known(series)

    def _lay(self, index: int, given: Floats) -> None:
        layout, begin, end = self.layout, self.begins[index], self.ends[index]
        own = slice(begin - self.lead, end + self.tail)
        observed = ~np.isnan(given)
        first = int(observed.argmax()) if observed.any() else len(given)
        self.firsts[index] += first - len(given)
        values = filled(given, given[first] if first < len(given) else self.levels[index])
        scale = np.ones(0)
        if len(values):
            scale = scales(values, observed, season=layout.season, window=layout.window, kind=layout.scaling)
            self.typical[index] = np.sqrt(np.square(scale).mean())
        padding = (self.lead, self.tail)
        self.observed[begin:end] = observed
        self.values[own] = np.pad(values, padding, mode="edge") if len(values) else 0.0
        self.scale[own] = np.pad(scale, padding, mode="edge") if len(values) else 1.0

    def _lay_gaps(self, index: int, clock: Floats) -> None:
        begin, end = int(self.begins[index]), int(self.ends[index])
        own, steps = slice(begin - self.lead, end + self.tail), slice(begin, end)
        known = self.observed[steps]
        self.between[own], self.clock[steps] = self.values[own], clock
        if not known.any():
            return
        places = np.arange(end - begin)
        self.between[steps] = np.interp(clock, clock[known], self.values[steps][known])
        last = np.maximum.accumulate(np.where(known, places, -1))
        self.last[steps] = begin + last
        self.last[end : end + self.tail] = self.last[end - 1]
        self.gap[steps] = np.log(gaps(clock, known, self.layout.segment))

    def _lay_known(self, series: Sequence[ChannelSteps]) -> None:
        """One table of the series' covariates, with the rows of `lead` and `tail` like those of the channels."""
        width = self.layout.past + self.layout.future + self.layout.calendar
        parts, starts, total = [], [], 0
        for one in series:
            missing = len(one.values) + self.tail - len(one.known)
            after = np.repeat(one.known[-1:], max(missing, 0), axis=0)
            after[:, : self.layout.past] = 0
            before = np.repeat(one.known[:1], self.lead, axis=0)
            part = np.concatenate([before, one.known[: len(one.values) + self.tail], after])
            starts.append(total + self.lead)
            parts.append(part)
            total += len(part)
        self.known = np.concatenate(parts) if width and parts else np.zeros((0, width), np.float32)
        self.shift = np.array(starts, np.int64)[self.series] - self.begins if width else None

    def __len__(self) -> int:
        return len(self.begins)

    def sha256(self) -> str:
        """What data they hold."""
        found = hashlib.sha256()
        for array in (self.begins, self.ends, self.values, self.observed, self.known, self.static):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    @property
    def steps(self) -> Integers:
        """(N,) the steps of each channel."""
        return self.ends - self.begins

    def at(self, places: Integers) -> Integers:
        """(n,) the channels in which n places are; one beyond the last channel's end is in that one."""
        return np.minimum(np.searchsorted(self.ends, places, side="right"), len(self.ends) - 1)

    def last_values(self, places: Integers) -> Floats:
        """(n,) the last observed value up to each of n places; before a channel's first one its level."""
        which = self.at(places)
        return np.where(places < self.firsts[which], self.levels[which], self.values[places])

    def reaching(self, horizon: int) -> Self:
        """The same channels, for forecasts of so many steps."""
        found = copy.copy(self)
        found.layout = self.layout._replace(horizon=horizon)
        return found

    def units(self, places: Integers) -> Singles:
        """(n, 2) the last observed value up to each of n places, and the scale there."""
        return np.stack([self.last_values(places), self.scale[places]], axis=1).astype(np.float32)

    def groups(self, which: Integers, places: Integers) -> Integers:
        """(n,) of n places, of the channels `which` (n,), the number of their target and of how many steps ago a value
        was observed: target · A + age."""
        if self.layout.ages == 1:
            return self.channel[which]
        return self.channel[which] * self.layout.ages + self.ages(places)

    def ages(self, places: Integers) -> Integers:
        """(n,) how many steps ago a value was observed, at most A - 1."""
        return np.minimum(places - self.last[places], self.layout.ages - 1)

    def segments(self, which: Integers, begins: Integers, count: int, phases: int) -> Singles:
        """What the recurrent layers read: (count, phases · R, `Layout.read`) of R rows, phase after phase.

        Row r of phase p reads the segments of s steps that begin at place begins[r] + p + k s, k = 0 … count - 1: the
        values less the segment's last one, and how far that is from the segment's before, both over the scale at the
        segment's end; which were observed, and how long ago; the covariates of the segment's steps; features of its
        last time.

        Args:
            which: (R,) channels. begins: (R,) places.
        """
        layout, size = self.layout, self.layout.segment
        ends = begins[:, None] + np.arange(count * size)[None, :] + size - 1
        if phases == 1:
            ends = ends[:, ::size]
        ends = np.minimum(ends.reshape(len(begins), count, phases), len(self.values) - 1).transpose(1, 2, 0)
        last, scale = self.values[ends], self.scale[ends]
        read = (self._values_up_to(ends, size + 1) - last[..., None]) / scale[..., None]
        found: list[npt.NDArray[Any]] = [read[..., 1:], -read[..., :1]]
        if layout.masked:
            found.append(_before(self.observed, ends, size))
        if layout.gaps:
            found.append(_before(self.gap, ends, size))
        if self.shift is not None:
            rows = np.clip(ends + self.shift[which], size - 1, len(self.known) - 1)
            given = layout.past + layout.future
            if given:
                steps = _before(self.known[:, :given], rows, size)
                found.append(steps.reshape(*ends.shape, given * size))
            found.append(self.known[rows, given:])
        if layout.static:
            found.append(np.broadcast_to(self.static[which], (*ends.shape, layout.static)))
        joined = np.concatenate(found, axis=-1, dtype=np.float32)
        joined = joined.reshape(count, phases * len(begins), -1)
        return np.maximum(np.minimum(joined, _FARTHEST, out=joined), -_FARTHEST, out=joined)

    def windows(self, places: Integers) -> Singles:
        """(n, L) the values up to each of n places less the value there, over its scale."""
        steps = self._values_up_to(places, self.layout.window) - self.values[places, None]
        return np.clip(steps / self.scale[places, None], -_FARTHEST, _FARTHEST).astype(np.float32)

    def _values_up_to(self, ends: Integers, count: int) -> Floats:
        """(…, count) the values up to each of some places, as they are known there."""
        if not self.layout.gaps:
            return _before(self.values, ends, count)
        found = _before(self.between, ends, count)
        late = ~self.observed[ends]  # the next value is not known there
        after = ends[late][:, None] + np.arange(1 - count, 1) > self.last[ends[late]][:, None]
        found[late] = np.where(after, self.values[ends[late]][:, None], found[late])
        return found

    def ahead(self, which: Integers, places: Integers) -> Singles:
        """(n, J, F) what is known beforehand of the segments after each of n places, of the channels `which` (n,)."""
        layout, size = self.layout, self.layout.segment
        ends = places[:, None] + size * np.arange(1, layout.segments_ahead + 1)
        found = []
        if self.shift is not None:
            rows = np.minimum(ends + self.shift[which][:, None], len(self.known) - 1)
            if layout.future:
                given = _before(self.known[:, layout.past : layout.past + layout.future], rows, size)
                beyond = size * layout.segments_ahead - layout.horizon  # steps of the last segment
                if beyond:
                    given = given.copy()
                    given[:, -1, size - beyond :] = 0
                found.append(given.reshape(*rows.shape, layout.future * size))
            if layout.timed:
                found.append(self.known[rows, layout.past + layout.future :])
        if layout.static:
            found.append(np.broadcast_to(self.static[which][:, None], (*ends.shape, layout.static)))
        if not found:
            return np.zeros((*ends.shape, 0), np.float32)
        return np.concatenate([np.asarray(part, np.float32) for part in found], axis=-1)

    def histories(self, places: Integers) -> Floats:
        """(n, L) the values up to each of n places over the scale there; NaN where missing."""
        window = self.layout.window
        values = _before(self.values, places, window) / self.scale[places, None]
        return np.where(_before(self.observed, places, window), values, np.nan)

    def scaled_futures(self, places: Integers) -> Floats:
        """(n, H) the values after each of n places over the scale there; NaN where missing."""
        return self.known_futures(places) / self.scale[places, None]

    def known_futures(self, places: Integers) -> Floats:
        """(n, H) the values after each of n places; NaN where missing."""
        values, observed = self.futures(places)
        return np.where(observed, values, np.nan)

    def importance(self, places: Integers) -> Floats:
        """(n,) the scale at each place over that of its channel: what makes errors over the scale ones of a unit that
        does not change along the channel, in which they count alike."""
        return self.scale[places] / self.typical[self.at(places)]

    def known_steps(self, places: Integers) -> Integers:
        """(n,) how many of the H values after each of n places are there."""
        known = np.concatenate([[0], np.cumsum(self.observed)])
        return known[places + 1 + self.layout.horizon] - known[places + 1]

    def seasonal_error(self, index: int, place: int) -> float:
        """Of a channel's steps before a place, the mean absolute difference over a season; NaN where there is none."""
        season, begin = self.layout.season, int(self.begins[index])
        if place - begin <= season:
            return float("nan")
        both = self.observed[begin + season : place] & self.observed[begin : place - season]
        differences = np.abs(self.values[begin + season : place] - self.values[begin : place - season])
        return float(differences[both].mean()) if both.any() else float("nan")

    def futures(self, places: Integers) -> tuple[Floats, Mask]:
        """(n, H) the values after each of n places, and whether each was observed."""
        after = places + self.layout.horizon
        return _before(self.values, after, self.layout.horizon), _before(
            self.observed, after, self.layout.horizon
        )


def lead_of(layout: Layout, warm_up: int = 0) -> int:
    """Places that stand before a channel's first step, where `warm_up` segments are read before it."""
    return max(layout.window, (warm_up + 2) * layout.segment)


def _before(table: npt.NDArray[Any], ends: Integers, count: int) -> npt.NDArray[Any]:
    """The `count` rows of a table up to and with each of some places: (…, count), or (…, count, width)."""
    if ends.size * count <= _FEW:
        return table[ends[..., None] + np.arange(1 - count, 1)]
    view = np.lib.stride_tricks.sliding_window_view(table, count, axis=0)
    found = view[ends - count + 1]
    return found if table.ndim == 1 else np.moveaxis(found, -1, -2)
