"""The baselines of a forecaster: fitted on windows of its training data, in scales."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatework.baselines.ridge_maps import RidgeMaps, WeightedWindows
from gatework.baselines.series import Drift, Forecasts, LastValue, NaiveForecast, SeasonalNaive
from gatework.baselines.volatility import EwmaVolatility, RollingQuantile
from gatework.errors import InputError, RunError
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.forecaster.channels import Channels, Integers, Mask
from gatework.tasks.forecaster.options import ForecasterOptions
from gatework.tasks.rivals import read_rivals
from gatework.training import RunFolder

__all__ = ["FITTED", "LineUp", "fit_naive", "kept_ridge", "read_naive", "training_windows", "windows_of"]

HELD_BACK = 0.2
FITTED = 60_000  # origins that baselines are fitted on
NAIVE: tuple[type[LastValue | Drift | SeasonalNaive], ...] = (LastValue, Drift, SeasonalNaive)
OF_PRICES: tuple[type[RollingQuantile | EwmaVolatility], ...] = (RollingQuantile, EwmaVolatility)


def windows_of(channels: Channels, places: Integers) -> WeightedWindows:
    """The windows and futures at some places over the scale there, with errors weighted as in training."""
    return WeightedWindows(
        channels.histories(places),
        channels.scaled_futures(places),
        channels.importance(places),
        channels.channel[channels.at(places)],
    )


class TrainingWindows(NamedTuple):
    """Windows, and which (O,) are of the last fifth of their channel."""

    windows: WeightedWindows
    held: Mask


def training_windows(train: Channels) -> TrainingWindows:
    """At all steps of the training data, from a first observed value on, that have one after them; of many every k-th.

    Raises:
        InputError: no two values stand after each other.
    """
    spans = zip(train.firsts, train.ends, strict=True)
    every = np.concatenate([np.arange(begin, end - 1) for begin, end in spans])
    places = every[:: max(1, -(-len(every) // FITTED))]
    places = places[train.futures(places)[1].any(1)]
    if not len(places):
        raise InputError("data", "holds no two values after each other", "Give longer series.")
    which = train.at(places)
    cut = train.ends - HELD_BACK * (train.ends - train.firsts)
    return TrainingWindows(windows_of(train, places), places >= cut[which])


class LineUp(NamedTuple):
    """The baselines of a run: the naive ones by name, and the ridge, if there is one."""

    naive: Mapping[str, NaiveForecast]
    ridge: RidgeMaps | None

    def of(self, target: int) -> Mapping[str, Forecasts]:
        """Those of a target."""
        if self.ridge is None:
            return self.naive
        return {**self.naive, self.ridge.name: self.ridge.of(target)}


def fit_naive(
    windows: WeightedWindows, keep: Artifacts, options: ForecasterOptions
) -> dict[str, NaiveForecast]:
    """The naive baselines, kept in the run; of logarithms of prices also those whose quantiles follow how far prices
    moved of late: by the last 250 returns, and where scikit-learn is installed by an exponentially weighted variance.
    """

    levels = options.levels

    def last_value() -> LastValue:
        return LastValue().fit(windows.history, windows.future, levels)

    def drift() -> Drift:
        return Drift().fit(windows.history, windows.future, levels)

    def seasonal() -> SeasonalNaive:
        return SeasonalNaive(options.season).fit(windows.history, windows.future, levels)

    def quantiles() -> RollingQuantile:
        return RollingQuantile().fit(windows.history, windows.future, levels)

    def volatility() -> EwmaVolatility:
        return EwmaVolatility().fit(windows.history, windows.future, levels)

    found: dict[str, NaiveForecast] = {
        LastValue.name: keep.own(_file(LastValue), LastValue, last_value),
        Drift.name: keep.own(_file(Drift), Drift, drift),
        SeasonalNaive.name: keep.own(_file(SeasonalNaive), SeasonalNaive, seasonal),
    }
    if options.of_prices:
        found[RollingQuantile.name] = keep.own(_file(RollingQuantile), RollingQuantile, quantiles)
    if options.of_prices and find_spec("sklearn"):
        found[EwmaVolatility.name] = keep.own(_file(EwmaVolatility), EwmaVolatility, volatility)
    return found


def read_naive(keep: Artifacts, options: ForecasterOptions) -> dict[str, NaiveForecast]:
    """The naive baselines that a finished run keeps; of prices those that it has.

    Raises:
        RunError: one is damaged.
    """
    found: dict[str, NaiveForecast] = {kind.name: keep.read(_file(kind), kind) for kind in NAIVE}
    for kind in OF_PRICES if options.of_prices else ():
        if Path(keep.where, _file(kind)).is_file():
            found[kind.name] = keep.read(_file(kind), kind)
    wanted = (options.horizon, len(options.levels))
    for baseline in found.values():
        if (shape := baseline.residuals_.shape) != wanted:
            what = f"holds residuals of the shape {shape}, not {wanted}"
            raise RunError(f"{keep.where}/{_file(type(baseline))}", what, "Restore the file from a copy.")
    return found


def kept_ridge(run: RunFolder, *, window: int, horizon: int, levels: int, targets: int) -> RidgeMaps | None:
    """The ridge that a run keeps, if it does.

    Raises:
        RunError: the file is damaged.
    """
    found = read_rivals([RidgeMaps], run).get(RidgeMaps.name)
    if not isinstance(found, RidgeMaps):
        return None
    own = found.maps_[0]
    sizes = (own.weight_.shape, len(own.levels_), len(found.maps_))
    if sizes not in [((window, horizon), levels, count) for count in (1, targets * found.ages)]:
        what = f"has {len(found.maps_)} maps of the shape {own.weight_.shape}, not {(window, horizon)}"
        raise RunError(f"{run.path}/rival-{found.name}.safetensors", what, "Restore the file from a copy.")
    return found


def _file(kind: type[NaiveForecast]) -> str:
    return f"{kind.name}.json"
