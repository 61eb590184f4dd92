"""Naive forecasts of a series: the last value, the drift, the last season.

Histories are windows (O, L), oldest value first, futures (O, H); a missing value is NaN, in front too where a series is
shorter than a window. Series of different sizes are brought to one scale before.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.base import Baseline
from gatework.baselines.windows import check_levels, checked_windows, filled, last_known, residual_quantiles
from gatework.metrics.forecast import LEVELS, Forecast

__all__ = [
    "Drift",
    "Forecasts",
    "LastValue",
    "NaiveForecast",
    "SeasonalNaive",
    "SeriesBaseline",
    "check_rising",
    "whole_number",
]

Floats = npt.NDArray[np.float64]


class Forecasts(Protocol):
    """What forecasts windows."""

    def forecast(self, history: Any) -> Forecast:
        """As `SeriesBaseline.forecast`."""


class SeriesBaseline(Baseline):
    """A simple forecast of series.

    Attributes:
        name: under which its figures stand.
        levels_: (Q,) of its quantiles.
    """

    name: ClassVar[str]
    levels_: Floats

    @abstractmethod
    def fit(self, history: Any, future: Any, levels: Sequence[float] = LEVELS) -> Self:
        """Learn from windows (O, L) and their futures (O, H); `levels` (Q,) of the quantiles, rising.

        Raises:
            InputError: no future is known.
            ValueError: shapes or levels do not fit.
        """

    @abstractmethod
    def forecast(self, history: Any) -> Forecast:
        """Means (O, H) and quantiles (O, H, Q) after windows (O, L); never NaN."""

    def predict(self, history: Any) -> list[Any]:
        """The means, (H,) of each window."""
        return list(self.forecast(history).mean)


class NaiveForecast(SeriesBaseline):
    """A mean from the window alone, and quantiles at the distance of those of the training data's residuals, by step
    ahead.

    Attributes:
        residuals_: (H, Q) their quantiles.
        level_: the mean of the training data's futures, for a window without a known value.
    """

    residuals_: Floats
    level_: float

    @abstractmethod
    def _means(self, history: Floats, steps: int) -> Floats:
        """(O, H)"""

    def fit(self, history: Any, future: Any, levels: Sequence[float] = LEVELS) -> Self:
        history, future = checked_windows(history, future)
        self.levels_, self.level_ = check_levels(levels), float(np.nanmean(future))
        residuals = future - self._means(history, future.shape[1])
        self.residuals_ = residual_quantiles(residuals, self.levels_)
        return self

    def forecast(self, history: Any) -> Forecast:
        mean = self._means(np.asarray(history, np.float64), len(self.residuals_))
        return Forecast(mean, mean[..., None] + self.residuals_)

    def to_json(self) -> str:
        """`{"last_value": {"levels": […], "residuals": [[…], …], "level": …}}`, by the baseline's name."""
        return json.dumps({self.name: self._learned()}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: the text is something else.
        """
        value = json.loads(text)
        learned = value.get(cls.name) if isinstance(value, dict) else None
        if not isinstance(learned, dict):
            raise ValueError(f'holds nothing under "{cls.name}"')
        try:
            return cls._from_learned(learned)
        except (KeyError, TypeError) as error:
            raise ValueError(f'"{cls.name}" is damaged') from error

    def _learned(self) -> dict[str, Any]:
        return {
            "levels": self.levels_.tolist(),
            "residuals": self.residuals_.tolist(),
            "level": self.level_,
        }

    @classmethod
    def _from_learned(cls, learned: Mapping[str, Any]) -> Self:
        baseline = cls._made(learned)
        baseline.levels_ = check_levels(learned["levels"])
        baseline.residuals_ = np.array(learned["residuals"], np.float64)
        baseline.level_ = float(learned["level"])
        check_rising(baseline.residuals_, len(baseline.levels_))
        if not np.isfinite(baseline.level_):
            raise ValueError("its level is damaged")
        return baseline

    @classmethod
    def _made(cls, learned: Mapping[str, Any]) -> Self:
        return cls()


class LastValue(NaiveForecast):
    """The last known value of the window, at every step."""

    name: ClassVar[str] = "last_value"

    def _means(self, history: Floats, steps: int) -> Floats:
        return np.repeat(last_known(history, self.level_)[:, None], steps, axis=1)


class Drift(NaiveForecast):
    """The straight line through the first and the last known value of the window."""

    name: ClassVar[str] = "drift"

    def _means(self, history: Floats, steps: int) -> Floats:
        known = ~np.isnan(history)
        first = last_known(history[:, ::-1], self.level_)
        last = last_known(history, self.level_)
        distance = history.shape[1] - 1 - known.argmax(axis=1) - known[:, ::-1].argmax(axis=1)
        slope = np.where(known.sum(axis=1) > 1, (last - first) / np.maximum(distance, 1), 0.0)
        # The last value may be some steps old.
        ahead = known[:, ::-1].argmax(axis=1)[:, None] + np.arange(1, steps + 1)
        return last[:, None] + slope[:, None] * ahead


class SeasonalNaive(NaiveForecast):
    """The value of the last season at the same place of it; where that is missing, of the season before.

    Args:
        season: how many steps one has.
    """

    name: ClassVar[str] = "seasonal_naive"

    def __init__(self, season: int) -> None:
        if season < 1:
            raise ValueError(f"a season has at least one step, not {season}")
        self.season = season

    def _means(self, history: Floats, steps: int) -> Floats:
        origins, length = history.shape
        if length < self.season:
            raise ValueError(f"windows of {length} values hold no season of {self.season} steps")
        front = np.full((origins, -length % self.season), np.nan)
        seasons = np.concatenate([front, history], axis=1).reshape(
            origins, -(-length // self.season), self.season
        )
        last = last_known(seasons, np.nan)  # (O, season)
        # A place of the season of which nothing is known has the value before it, or the last one at all.
        last = filled(last, last_known(history, self.level_))
        return last[:, np.arange(steps) % self.season]

    def _learned(self) -> dict[str, Any]:
        return {**super()._learned(), "season": self.season}

    @classmethod
    def _made(cls, learned: Mapping[str, Any]) -> Self:
        return cls(whole_number(learned["season"]))


def whole_number(value: Any) -> int:
    """The value, or a `ValueError` where it is anything but a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no whole number")
    return value


def check_rising(quantiles: Floats, levels: int) -> None:
    """Refuse quantiles by step ahead, (H, Q), of another shape, not finite or not rising, with a `ValueError`."""
    shaped = quantiles.ndim == 2 and len(quantiles) > 0 and quantiles.shape[1] == levels
    if not shaped or not np.isfinite(quantiles).all() or (np.diff(quantiles, axis=1) < 0).any():
        raise ValueError("its quantiles of residuals are damaged")
