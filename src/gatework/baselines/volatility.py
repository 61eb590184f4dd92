"""Forecasts of prices by how much they moved lately: what a model of returns has to be better than.

Windows hold values whose differences are the returns: logarithms of prices. The mean is the last value; what changes
from day to day is how wide the quantiles are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.linear import check_scikit_learn
from gatework.baselines.series import LastValue, whole_number
from gatework.baselines.windows import check_levels, checked_windows, known_quantiles, sample
from gatework.metrics.forecast import LEVELS, Forecast

__all__ = ["EwmaVolatility", "RollingQuantile"]

_FEW = 20  # returns in a window, of which quantiles are taken
_AT_ONCE = 1 << 22
_MOST_FITTED = 20_000  # returns that the degrees of freedom are fitted on; of more a sample
_FREEDOM = (2.05, 200.0)  # from where the variance is all but infinite to where a normal distribution is
_LEAST = 1e-12  # a deviation that returns are divided by

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class RollingQuantile(LastValue):
    """The quantiles of the window's last returns; h steps ahead, of its returns over h steps. A window with fewer than
    20 of them has the quantiles of the training data.

    Args:
        window: how many returns.
    """

    name: ClassVar[str] = "rolling_quantile"

    def __init__(self, window: int = 250) -> None:
        if not window >= _FEW:
            raise ValueError(f"quantiles are of at least {_FEW} returns, not {window}")
        self.window = window

    def forecast(self, history: Any) -> Forecast:
        history = np.asarray(history, np.float64)
        mean, quantiles = super().forecast(history)
        many = max(1, _AT_ONCE // history.shape[1])
        for begin in range(0, len(history), many):
            rows = slice(begin, begin + many)
            for step in range(1, min(mean.shape[1], history.shape[1] - 1) + 1):
                returns = (history[rows, step:] - history[rows, :-step])[:, -self.window :]
                enough = np.count_nonzero(~np.isnan(returns), axis=1, keepdims=True) >= _FEW
                own = mean[rows, :1] + known_quantiles(returns, self.levels_)
                quantiles[rows, step - 1] = np.where(enough, own, quantiles[rows, step - 1])
        return Forecast(mean, quantiles)

    def _learned(self) -> dict[str, Any]:
        return {**super()._learned(), "window": self.window}

    @classmethod
    def _made(cls, learned: Mapping[str, Any]) -> Self:
        return cls(whole_number(learned["window"]))


class EwmaVolatility(LastValue):
    """Returns with a Student t distribution whose variance is the exponentially weighted mean of the window's squared
    returns (RiskMetrics 1996), h times as much h steps ahead. The degrees of freedom are those of the highest
    likelihood on the training data, by step ahead.

    Args:
        decay: of a squared return's weight each day.

    Attributes:
        freedom_: (H,) the degrees of freedom, more than 2.
        variance_: the mean squared return of the training windows, where a window shows no movement.
    """

    name: ClassVar[str] = "ewma_volatility"

    freedom_: Floats
    variance_: float

    def __init__(self, decay: float = 0.94) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"a decay is between 0 and 1, and not {decay}")
        self.decay = decay

    def fit(self, history: Any, future: Any, levels: Sequence[float] = LEVELS) -> Self:
        """As for every baseline of series.

        Raises:
            InputError: no future is known.
            MissingExtraError: scipy, which comes with scikit-learn, is not installed.
            ValueError: shapes or levels do not fit.
        """
        check_scikit_learn()
        history, future = checked_windows(history, future)
        self.levels_, self.level_ = check_levels(levels), float(np.nanmean(future))
        taken = sample(len(history), _MOST_FITTED)
        history, future = history[taken], future[taken]
        squares = np.diff(history, axis=1) ** 2
        self.variance_ = float(np.nanmean(squares)) if not np.isnan(squares).all() else 0.0
        steps = future.shape[1]
        scaled = (future - self._means(history, steps)) / np.maximum(self._deviations(history, steps), _LEAST)
        fits = [_student_t(column[~np.isnan(column)], self.levels_) for column in scaled.T]
        self.freedom_ = np.array([freedom for freedom, _ in fits])
        self.residuals_ = np.stack([quantiles for _, quantiles in fits])
        return self

    def forecast(self, history: Any) -> Forecast:
        history = np.asarray(history, np.float64)
        steps = len(self.residuals_)
        mean, deviations = self._means(history, steps), self._deviations(history, steps)
        return Forecast(mean, mean[..., None] + deviations[..., None] * self.residuals_)

    def _deviations(self, history: Floats, steps: int) -> Floats:
        """(O, H) the standard deviation of the return h steps ahead."""
        squares = np.diff(history, axis=1) ** 2
        known = ~np.isnan(squares)
        weights = self.decay ** np.arange(squares.shape[1])[::-1]
        # No product of matrices: it may add the numbers of a window in another order when it stands among others.
        total = np.where(known, weights, 0.0).sum(1)
        mean = np.where(known, squares * weights, 0.0).sum(1)
        variance = np.divide(mean, total, out=np.full(len(history), self.variance_), where=total > 0)
        return np.sqrt(variance[:, None] * np.arange(1, steps + 1))

    def _learned(self) -> dict[str, Any]:
        own = {"decay": self.decay, "variance": self.variance_, "freedom": self.freedom_.tolist()}
        return {**super()._learned(), **own}

    @classmethod
    def _from_learned(cls, learned: Mapping[str, Any]) -> Self:
        baseline = super()._from_learned(learned)
        baseline.variance_ = float(learned["variance"])
        baseline.freedom_ = np.array(learned["freedom"], np.float64)
        if not np.isfinite(baseline.variance_) or not baseline.variance_ >= 0:
            raise ValueError("its variance is damaged")
        if baseline.freedom_.shape != baseline.residuals_.shape[:1] or not (baseline.freedom_ > 2).all():
            raise ValueError("its degrees of freedom are damaged")
        return baseline

    @classmethod
    def _made(cls, learned: Mapping[str, Any]) -> Self:
        return cls(learned["decay"])


def _student_t(returns: Floats, levels: Floats) -> tuple[float, Floats]:
    """The degrees of freedom with the highest likelihood of returns whose variance is 1, and the quantiles (Q,) of this
    distribution. A normal distribution's degrees of freedom where there are no returns."""
    from scipy import optimize, stats

    low, high = np.log(_FREEDOM)

    def unlikelihood(logarithm: float) -> float:
        freedom = np.exp(logarithm)
        scale = np.sqrt((freedom - 2) / freedom)
        return float(-stats.t.logpdf(returns, freedom, scale=scale).sum())

    best = high
    if len(returns):
        best = optimize.minimize_scalar(unlikelihood, bounds=(low, high), method="bounded").x
    freedom = float(np.exp(best))
    return freedom, stats.t.ppf(levels, freedom) * np.sqrt((freedom - 2) / freedom)
