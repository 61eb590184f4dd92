"""Series as the arrays that a forecaster reads: what is learned of their covariates is kept in the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, model_validator

from gatework.data import (
    Frequency,
    Series,
    SeriesData,
    SeriesNames,
    calendar_cycles,
    calendar_features,
    next_times,
    season_length,
)
from gatework.data.calendar import CYCLES
from gatework.errors import InputError
from gatework.tasks.artifacts import JsonArtifact
from gatework.tasks.forecaster.channels import ChannelSteps

__all__ = ["SeriesEncoding"]

_LARGEST = 1e100
AGES = 3  # where values are missing: none, one, two and more steps since the last one

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]


class SeriesEncoding(JsonArtifact):
    """What the training series have, and how their covariates become numbers.

    Attributes:
        count, steps: how many series the training data has, and how many steps they have together.
        targets, past, future, static: names, in the order of the arrays' columns.
        frequency: the step of the times, as text; empty: steps are numbered.
        masked: whether a value of the training data is missing.
        gaps: whether gaps are read: of missing values, and of irregular times.
        ages: the numbers of steps since the last observed value that the linear path tells apart.
        distance: microseconds between irregular times, in the middle; 0: steps are counted.
        levels: of each target its mean in the training data, taken for the value of a series that has none yet; of runs
            without: zeros.
        means, deviations: (P + K,) of the covariates in the training data.
        categories: of each static covariate its values, sorted; empty for a number.
        static_means, static_deviations: of the numbers among the static covariates, zero and one for the others.
        cycles: of the calendar, those in which the place of each time is read.
    """

    count: int
    steps: int
    targets: tuple[str, ...]
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    frequency: str = ""
    masked: bool = False
    gaps: bool = False
    ages: Annotated[int, Field(ge=1, le=AGES)] = 1
    distance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    levels: tuple[FiniteFloat, ...] = ()
    means: tuple[FiniteFloat, ...] = ()
    deviations: tuple[FiniteFloat, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    static_means: tuple[FiniteFloat, ...] = ()
    static_deviations: tuple[FiniteFloat, ...] = ()
    cycles: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = len(self.past) + len(self.future)
        of_static = {len(part) for part in (self.categories, self.static_means, self.static_deviations)}
        if not self.targets:
            raise ValueError("targets: there is none")
        if len(self.levels) not in (0, len(self.targets)):
            raise ValueError("levels: there is not one for each target")
        if (len(self.means), len(self.deviations)) != (known, known) or of_static != {len(self.static)}:
            raise ValueError("means: there is not one for each covariate")
        if min((*self.deviations, *self.static_deviations), default=1.0) <= 0:
            raise ValueError("deviations: one is not positive")
        if self.frequency:
            Frequency.parse(self.frequency)
        if not set(self.cycles) <= set(CYCLES):
            raise ValueError("cycles: one is unknown")
        return self

    @classmethod
    def learn(cls, data: SeriesData, train: Sequence[Series], *, calendar: bool) -> Self:
        """What the training parts of some series say."""
        rows = [np.concatenate([one.past, one.future[: len(one.past)]], axis=1) for one in train]
        known = np.concatenate(rows) if rows else np.empty((0, 0))
        means, deviations = _means(known)
        statics = [[one.static[place] for one in train] for place in range(len(data.static))]
        numbers = [name in data.static_numbers for name in data.static]
        of_static = [
            _means(np.array(values, np.float64)[:, None]) if number else ((0.0,), (1.0,))
            for values, number in zip(statics, numbers, strict=True)
        ]
        masked = any(bool(np.isnan(one.target).any()) for one in train)
        irregular = data.frequency is not None and data.frequency.kind == "irregular"
        distance = _middle_distance(train) if irregular else 0.0
        return cls(
            count=len(train),
            steps=sum(len(one.target) for one in train),
            targets=data.targets,
            past=data.past,
            future=data.future,
            static=data.static,
            frequency="" if data.frequency is None else str(data.frequency),
            masked=masked,
            gaps=masked or distance > 0,
            ages=AGES if masked else 1,
            distance=distance,
            levels=_means(np.concatenate([one.target for one in train]))[0],
            means=means,
            deviations=deviations,
            categories=tuple(
                () if number else tuple(sorted({str(value) for value in values}))
                for values, number in zip(statics, numbers, strict=True)
            ),
            static_means=tuple(mean[0] for mean, _ in of_static),
            static_deviations=tuple(deviation[0] for _, deviation in of_static),
            cycles=_cycles(data, train) if calendar else (),
        )

    @property
    def step(self) -> Frequency | None:
        """The step of the times."""
        return Frequency.parse(self.frequency) if self.frequency else None

    @property
    def names(self) -> SeriesNames:
        """What a series to be forecast must have."""
        numbers = tuple(name for name, values in zip(self.static, self.categories, strict=True) if not values)
        return SeriesNames(self.targets, self.past, self.future, self.static, numbers, self.step)

    @property
    def season(self) -> int:
        """The steps of a season, by the frequency."""
        return 1 if self.step is None or self.distance else season_length(self.step)

    @property
    def calendar_size(self) -> int:
        """A, the features of a time."""
        return 2 * len(self.cycles)

    @property
    def static_size(self) -> int:
        """G, the features of a channel: which target it is, where there are several, and static covariates."""
        several = len(self.targets) if len(self.targets) > 1 else 0
        return several + sum(max(len(values), 1) for values in self.categories)

    def encode(self, series: Series, ahead: int, *, log: bool, counts: bool = False) -> ChannelSteps:
        """A series as arrays, with what is known of `ahead` steps beyond it; with `log` its values are logarithms.

        Raises:
            InputError: a target whose square is no number; with `log`, one that is not positive; with `counts`, one
                that is no whole number from 0 on.
        """
        values = self.targets_of(series.target, series.where, log=log, counts=counts)
        counted = not self.distance or series.times is None
        clock = np.arange(float(len(values))) if counted else self.clock_of(cast("Times", series.times))
        levels = self.first_levels(log=log)
        return ChannelSteps(values, self._known(series, ahead), self._static(series), levels, clock)

    def first_levels(self, *, log: bool) -> Floats:
        """(C,) what the targets are taken for before their first observed value, as they are forecast."""
        levels = np.array(self.levels or [0.0] * len(self.targets))
        return np.log(levels) if log and self.levels else levels

    def targets_of(self, values: Floats, where: str, *, log: bool, counts: bool) -> Floats:
        """Steps (N, C) of the targets as they are forecast.

        Raises:
            InputError: as `encode`.
        """
        if (np.abs(values) > _LARGEST).any():
            what = f"holds {values[np.abs(values) > _LARGEST][0]:g}, too much to be squared"
            raise InputError(where, what, "Mend the value, or give the series in a larger unit.")
        if counts:
            refused = ~np.isnan(values) & ((values < 0) | (values != np.rint(values)))
            if refused.any():
                step = int(np.argwhere(refused)[0][0])
                what = f"holds {values[refused][0]:g} at step {step + 1}, which is no whole number from 0 on"
                raise InputError(where, what, "Choose distribution=quantiles, gaussian or student_t.")
        if not log:
            return values
        if (values <= 0).any():
            step = int(np.argwhere(values <= 0)[0][0])
            what = f"holds {values[values <= 0][0]:g} at step {step + 1}, which has no logarithm"
            raise InputError(where, what, "Leave out transform=log.")
        return np.log(values)

    def covariates_of(self, table: Floats) -> npt.NDArray[np.float32]:
        """Covariates (N, P + K) as they are read; NaN where missing."""
        if not table.shape[1]:
            return np.zeros(table.shape, np.float32)
        return np.nan_to_num((table - self.means) / self.deviations).astype(np.float32)

    def clock_of(self, times: Times) -> Floats:
        """Irregular times (N,), in usual distances."""
        return times.astype("datetime64[us]").astype(np.float64) / self.distance

    def times_after(self, series: Series, count: int) -> Times | None:
        """(count,) the times of the steps after a series' last; None where steps are numbered."""
        if series.times is None or self.step is None:
            return None
        given = series.times[:0] if series.ahead is None else series.ahead[:count]
        last = given[-1] if len(given) else series.times[-1]
        return np.concatenate([given, next_times(last, count - len(given), self.step)])

    def _known(self, series: Series, ahead: int) -> npt.NDArray[np.float32]:
        count = len(series.target)
        after = max(len(series.future) - count, ahead)
        table = np.full((count + after, len(self.past) + len(self.future)), np.nan)
        table[:count, : len(self.past)] = series.past
        table[: len(series.future), len(self.past) :] = series.future
        found = self.covariates_of(table)
        if not self.calendar_size or series.times is None or self.step is None:
            return np.concatenate([found, np.zeros((len(found), self.calendar_size), np.float32)], axis=1)
        beyond = self.times_after(series, after)
        times = series.times if beyond is None else np.concatenate([series.times, beyond])
        return np.concatenate([found, calendar_features(times, self.cycles)], axis=1)

    def _static(self, series: Series) -> npt.NDArray[np.float32]:
        several = len(self.targets) if len(self.targets) > 1 else 0
        parts: list[float] = []
        for value, values, mean, deviation in zip(
            series.static, self.categories, self.static_means, self.static_deviations, strict=True
        ):
            if values:
                parts += [float(str(value) == each) for each in values]
            else:
                number = (float(value) - mean) / deviation
                parts.append(number if np.isfinite(number) else 0.0)
        rows = np.tile(np.array(parts, np.float32), (len(self.targets), 1))
        return np.concatenate([np.eye(len(self.targets), dtype=np.float32)[:, :several], rows], axis=1)


def _cycles(data: SeriesData, train: Sequence[Series]) -> tuple[str, ...]:
    """The cycles that the times of the training parts turn in at least twice."""
    times = [one.times for one in train if one.times is not None and len(one.times)]
    if data.frequency is None or not times:
        return ()
    span = max(own[-1] for own in times) - min(own[0] for own in times)
    return calendar_cycles(data.frequency, span)


def _middle_distance(train: Sequence[Series]) -> float:
    """The median of the microseconds between neighbouring times of the training parts; 1 where there are none."""
    found = [np.diff(one.times.astype(np.float64)) for one in train if one.times is not None]
    every = np.concatenate(found or [np.empty(0)])
    return float(np.median(every)) if len(every) else 1.0


def _means(rows: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column, without what is missing; 0 and 1 where there is nothing, or no
    change."""
    known = np.isfinite(rows)
    counts = known.sum(0)
    means = np.where(known, rows, 0.0).sum(0) / np.maximum(counts, 1)
    squares = (np.where(known, rows - means, 0.0) ** 2).sum(0) / np.maximum(counts, 1)
    deviations = np.sqrt(squares)
    steady = deviations <= 1e-9 * np.abs(means)
    return tuple(means.tolist()), tuple(np.where(steady, 1.0, deviations).tolist())
