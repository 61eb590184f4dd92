"""A ridge regression on the window: the line that a forecaster has to be better than."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from gatework.baselines.base import Rival
from gatework.baselines.linear import check_finite
from gatework.baselines.series import SeriesBaseline, check_rising
from gatework.baselines.windows import (
    check_levels,
    checked_windows,
    filled,
    interpolated,
    last_known,
    residual_quantiles,
    sample,
)
from gatework.metrics.forecast import LEVELS, Forecast

__all__ = ["RidgeWindow"]

# Times the mean of the Gram matrix's diagonal, so that the grid fits any data.
PENALTIES = tuple(10.0**exponent for exponent in range(-6, 2))
MIDDLE = 1e-2
MOST_VALUES = 20_000_000  # of all windows in the fit
_ROUNDS = 100  # at most, for the weights
_ROUNDS_TO_CHOOSE = 3  # for each penalty
_SETTLED = 1e-6

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class RidgeWindow(SeriesBaseline, Rival):
    """Ridge regression from the window less its last known value to the future less it, all steps at once, without an
    intercept. A missing value of a window is the one before it, or the last one where there is none before.

    Args:
        between: a missing value stands on the line between the known ones around it, if there are two.

    The penalty is the one with the least squared error on later windows; the quantiles are the mean and those of the
    residuals of the later windows, by step ahead.

    Attributes:
        weight_: (L, H); the last value's row is 0.
        penalty_: in units of the mean square of a window's values less the last one.
        residuals_: (H, Q) their quantiles.
        level_: the mean of the training data's futures, for a window without a known value.
    """

    name: ClassVar[str] = "ridge"
    unit: ClassVar[str] = "windows"
    most: ClassVar[int] = sys.maxsize  # it takes a sample of many

    weight_: Floats
    penalty_: float
    residuals_: Floats
    level_: float

    def __init__(self, between: bool = False) -> None:
        self.between = between

    def fit(
        self,
        history: Any,
        future: Any,
        levels: Sequence[float] = LEVELS,
        *,
        later: tuple[Any, Any] | None = None,
        penalty: float = MIDDLE,
    ) -> Self:
        """Learn from windows (O, L) and their futures (O, H), of which some values may be missing.

        More than 20 million values in windows are drawn from: as many whole windows are taken as have so many.

        Args:
            history, future, levels: as for every baseline of series.
            later: windows and futures after those, which choose the penalty and give the residuals. None: the residuals
                are those of the training windows.
            penalty: without `later`.

        Raises:
            InputError: no future is known.
            ValueError: shapes or levels do not fit.
        """
        history, future = checked_windows(history, future)
        self.levels_ = check_levels(levels)
        taken = sample(len(history), max(1, MOST_VALUES // history.shape[1]))
        history, future = history[taken], future[taken]
        self.level_ = float(np.nanmean(future))
        inputs, targets = self._differences(history, future)
        held = (inputs, targets)
        if later is not None:
            before, after = checked_windows(*later)
            if (before.shape[1], after.shape[1]) != (history.shape[1], future.shape[1]):
                raise ValueError(
                    f"later windows have the shapes {before.shape} and {after.shape}, others {history.shape}"
                )
            taken = sample(len(before), max(1, MOST_VALUES // before.shape[1]))
            held = self._differences(before[taken], after[taken])
        self._choose(inputs, targets, held, (penalty,) if later is None else PENALTIES)
        self.residuals_ = residual_quantiles(held[1] - held[0] @ self.weight_, self.levels_)
        return self

    def forecast(self, history: Any) -> Forecast:
        history = np.asarray(history, np.float64)
        mean = last_known(history, self.level_)[:, None] + self.moves(history)
        return Forecast(mean, mean[..., None] + self.residuals_)

    def moves(self, history: Any) -> Floats:
        """(O, H) the means less the last known value of each window."""
        return self._steps(history, last_known(history, self.level_)) @ self.weight_

    def to_arrays(self) -> dict[str, Array]:
        """All that was learned, in float64."""
        return {
            "weight": self.weight_,
            "penalty": np.array([self.penalty_]),
            "levels": self.levels_,
            "residuals": self.residuals_,
            "level": np.array([self.level_]),
            "between": np.array([float(self.between)]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The rival that `to_arrays` gave.

        Raises:
            ValueError: the arrays are something else.
        """
        rival, between = cls(), arrays.get("between", np.zeros(1))  # rivals kept before there were two ways
        try:
            rival.weight_, residuals, levels = (arrays[name] for name in ("weight", "residuals", "levels"))
            penalty, level = arrays["penalty"], arrays["level"]
        except KeyError as error:
            raise ValueError(f"lacks the array {error}") from error
        check_finite(levels, (levels.size,), "levels")
        rival.levels_, rival.residuals_ = check_levels(levels), residuals
        check_finite(
            residuals, (len(residuals), len(levels)) if residuals.ndim else (), "quantiles of residuals"
        )
        check_rising(residuals, len(levels))
        length = len(rival.weight_) if rival.weight_.ndim else 0
        check_finite(rival.weight_, (max(1, length), len(residuals)), "weights")
        for one in (penalty, level, between):
            check_finite(one, (1,), "penalty, level and way between")
        rival.penalty_, rival.level_, rival.between = float(penalty[0]), float(level[0]), bool(between[0])
        return rival

    def _differences(self, history: Floats, future: Floats) -> tuple[Floats, Floats]:
        """Windows and futures less each window's last known value."""
        last = last_known(history, self.level_)
        return self._steps(history, last), future - last[:, None]

    def _steps(self, history: Floats, last: Floats) -> Floats:
        """(O, L) windows without gaps, less each one's last known value (O,)."""
        whole = interpolated(history, last) if self.between else filled(history, last)
        return whole - last[:, None]

    def _choose(
        self, inputs: Floats, targets: Floats, held: tuple[Floats, Floats], penalties: Sequence[float]
    ) -> None:
        """Fit with each penalty and keep the weights whose squared error on the held-back windows is least."""
        gram = inputs.T @ inputs
        unit = float(np.trace(gram)) / len(gram)
        weight, least = np.zeros((inputs.shape[1], targets.shape[1])), np.inf
        self.weight_, self.penalty_ = weight, penalties[0]
        if unit == 0:  # all windows are constant
            return

        def solution(penalty: float, start: Floats, rounds: int) -> Floats:
            factor = torch.linalg.cholesky(torch.from_numpy(gram + penalty * unit * np.eye(len(gram))))
            return _solution(factor, inputs, targets, start, rounds)

        for penalty in sorted(penalties, reverse=True):
            weight = solution(penalty, weight, _ROUNDS_TO_CHOOSE)  # begun at the neighbour's
            error = float(np.nanmean((held[1] - held[0] @ weight) ** 2))
            if error < least:
                self.weight_, self.penalty_, least = weight, penalty, error
        if np.isnan(targets).any():
            self.weight_ = solution(self.penalty_, self.weight_, _ROUNDS)


def _solution(factor: torch.Tensor, inputs: Floats, targets: Floats, start: Floats, rounds: int) -> Floats:
    """(L, H) the weights of the least squares over what is known of the targets.

    Where some are missing, each round puts the present weights' own values there and solves again: the fixed point is
    the regression of each step on the rows that have it, with one factorisation for all steps.
    """

    def solved(values: Floats) -> Floats:
        return torch.cholesky_solve(torch.from_numpy(inputs.T @ values), factor).numpy()

    missing = np.isnan(targets)
    if not missing.any():
        return solved(targets)
    weight = start
    for _ in range(rounds):
        found = solved(np.where(missing, inputs @ weight, targets))
        change, weight = np.abs(found - weight).max(), found
        if change <= _SETTLED * np.abs(weight).max():
            break
    return weight
