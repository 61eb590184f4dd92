"""Ridge regressions on the window for several targets and ages of the last value: one for all, or one each near it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.base import Rival
from gatework.baselines.linear import check_finite
from gatework.baselines.ridge_window import RidgeWindow
from gatework.baselines.series import Forecasts
from gatework.baselines.windows import residual_quantiles
from gatework.metrics.forecast import LEVELS, Forecast

__all__ = ["RidgeByAge", "RidgeMaps", "WeightedWindows", "ages_of"]

FEW = 100  # windows of an age, with fewer than which it has no residuals of its own

Array = npt.NDArray[Any]


class WeightedWindows(NamedTuple):
    """Windows (O, L), their futures (O, H), the weights of their errors (O,) and their targets (O,)."""

    history: Array
    future: Array
    weights: Array
    targets: Array

    def where(self, chosen: Array) -> WeightedWindows:
        """Those of some, (O,) booleans."""
        return WeightedWindows(*(part[chosen] for part in self))

    def of(self, target: int) -> WeightedWindows:
        """Those of one target."""
        return self.where(self.targets == target)

    def less(self, ridge: RidgeWindow) -> WeightedWindows:
        """With what a ridge leaves of the futures."""
        return self._replace(future=self.future - ridge.moves(self.history))

    @property
    def any(self) -> bool:
        """Whether a future is known."""
        return bool((~np.isnan(self.future)).any())

    def weighted(self) -> tuple[Array, Array]:
        """Windows and futures times their weights."""
        return self.history * self.weights[:, None], self.future * self.weights[:, None]


class RidgeByAge:
    """A ridge for each number of steps since the last known value of a window: for none, one, …, and more.

    Attributes:
        ridges_: of each.
    """

    def __init__(self, ridges: Sequence[RidgeWindow]) -> None:
        self.ridges_, self.levels_ = tuple(ridges), ridges[0].levels_

    def forecast(self, history: Any) -> Forecast:
        """As `SeriesBaseline.forecast`."""
        history = np.asarray(history, np.float64)
        ages = ages_of(history, len(self.ridges_))
        mean = np.empty((len(history), len(self.ridges_[0].residuals_)))
        quantiles = np.empty((*mean.shape, len(self.levels_)))
        for age, ridge in enumerate(self.ridges_):
            mean[ages == age], quantiles[ages == age] = ridge.forecast(history[ages == age])
        return Forecast(mean, quantiles)


def ages_of(history: Array, most: int) -> Array:
    """(O,) how many steps ago the last value of each window (O, L) was known, at most `most` - 1."""
    unknown = np.isnan(history[:, ::-1][:, :most])
    return np.minimum(np.logical_and.accumulate(unknown, axis=1).sum(1), most - 1)


class _Fit(NamedTuple):
    """A ridge of all windows, and the one of the earlier ones by which its penalty was chosen."""

    whole: RidgeWindow
    tried: RidgeWindow


class RidgeMaps(Rival):
    """A `RidgeWindow` for all windows together, or one for each target and each age of the last value: the common one
    and a ridge regression of what it leaves of them, where that has the smaller squared error on windows that are held
    back. An age has quantiles of its own.

    Args:
        between: as of `RidgeWindow`.
        ages: A, the numbers of steps since the last known value that are told apart: 0, …, A - 2, and more.

    Attributes:
        maps_: one; or one for each target and age, the ages of a target side by side.
    """

    name: ClassVar[str] = "ridge"
    unit: ClassVar[str] = "windows"
    most: ClassVar[int] = sys.maxsize  # each takes a sample of many

    maps_: tuple[RidgeWindow, ...]

    def __init__(self, between: bool = False, ages: int = 1) -> None:
        self.between, self.ages = between, ages

    def fit(
        self,
        history: Any,
        future: Any,
        levels: Sequence[float] = LEVELS,
        *,
        targets: Array | None = None,
        weights: Array | None = None,
        held: Array | None = None,
    ) -> Self:
        """Learn from windows (O, L) and their futures (O, H).

        Args:
            history, future, levels: as for `RidgeWindow.fit`.
            targets: (O,) which target each window is of, from 0. None: all are of one.
            weights: (O,) of each window's errors. None: all weigh alike.
            held: (O,) booleans, of windows after the others: ridges that are fitted on the others choose the penalties
                on these, and give the residuals there. Then all are fitted. None: there is one map.

        Raises:
            InputError, ValueError: as `RidgeWindow.fit`.
        """
        history, future = np.asarray(history, np.float64), np.asarray(future, np.float64)
        count = len(history)
        windows = WeightedWindows(
            history,
            future,
            np.ones(count) if weights is None else weights,
            np.zeros(count, np.int64) if targets is None else targets,
        )
        if held is None or not windows.where(held).any or not windows.where(~held).any:
            self.maps_ = (self._fitted(windows, levels),)
            return self
        tried = self._fitted(windows.where(~held), levels, windows.where(held))
        common = _Fit(self._fitted(windows, levels, like=tried), tried)
        ages, each = ages_of(history, self.ages), []
        for target in range(int(windows.targets.max()) + 1):
            own = windows.targets == target
            near = (
                self._near(common, levels, windows.where(own), held[own]) if windows.targets.any() else common
            )
            for age in range(self.ages):
                rows = own & (ages == age)
                aged = self.ages > 1
                each.append(
                    self._near(near, levels, windows.where(rows), held[rows], residuals=True)
                    if aged
                    else near
                )
        same = all(one is common for one in each)
        self.maps_ = (common.whole,) if same else tuple(one.whole for one in each)
        return self

    def _fitted(
        self,
        windows: WeightedWindows,
        levels: Sequence[float],
        later: WeightedWindows | None = None,
        *,
        like: RidgeWindow | None = None,
    ) -> RidgeWindow:
        """A ridge whose squared errors are weighted; its residuals are not.

        Args:
            later: choose the penalty and give the residuals.
            like: a ridge whose penalty and residuals are taken.
        """
        found = RidgeWindow(self.between)
        if like is not None:
            found.fit(*windows.weighted(), levels, penalty=like.penalty_)
        else:
            found.fit(*windows.weighted(), levels, later=None if later is None else later.weighted())
        found.level_ = float(np.nanmean(windows.future))
        rest = windows if later is None else later
        residuals = rest.future - found.forecast(rest.history).mean
        found.residuals_ = (
            like.residuals_ if like is not None else residual_quantiles(residuals, found.levels_)
        )
        return found

    def _near(
        self,
        parent: _Fit,
        levels: Sequence[float],
        windows: WeightedWindows,
        held: Array,
        *,
        residuals: bool = False,
    ) -> _Fit:
        """A ridge and one of what it leaves of some windows, or the ridge as it is.

        Args:
            held: (O,) of the windows.
            residuals: whether the ridge as it is has quantiles of these windows' residuals.
        """
        earlier, later = windows.where(~held), windows.where(held)
        if not earlier.any or not later.any:
            return parent
        left = later.less(parent.tried)
        own = self._fitted(earlier.less(parent.tried), levels, left)
        forecast = own.forecast(left.history).mean
        without = forecast - own.moves(left.history)
        square = later.weights[:, None] ** 2
        errors = [np.nansum(square * (left.future - mean) ** 2) for mean in (forecast, without)]
        if errors[0] < errors[1]:
            whole = self._fitted(windows.less(parent.whole), levels, like=own)
            whole.level_ = own.level_ = float(np.nanmean(windows.future))
            return _Fit(_added(whole, parent.whole), _added(own, parent.tried))
        if not residuals or len(later.future) < FEW:
            return parent
        same = copy.copy(parent.whole)
        same.residuals_ = residual_quantiles(left.future - without, same.levels_)
        return _Fit(same, parent.tried)

    def of(self, target: int) -> Forecasts:
        """The one of a target."""
        if len(self.maps_) == 1:
            return self.maps_[0]
        own = self.maps_[target * self.ages : (target + 1) * self.ages]
        return own[0] if len(own) == 1 else RidgeByAge(own)

    def predict(self, inputs: Any) -> list[Any]:
        """The means, (H,), of windows of the first target."""
        return list(self.of(0).forecast(inputs).mean)

    def to_arrays(self) -> dict[str, Array]:
        each = [{**one.to_arrays(), "ages": np.array([float(self.ages)])} for one in self.maps_]
        return {name: np.stack([arrays[name] for arrays in each]) for name in each[0]}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The rival that `to_arrays` gave.

        Raises:
            ValueError: the arrays are something else.
        """
        rival = cls()
        counts = {len(array) if array.ndim else 0 for array in arrays.values()}
        if len(counts) != 1 or 0 in counts:
            raise ValueError("holds arrays of unequal lengths")
        (count,) = counts
        ages = arrays.get("ages", np.ones((count, 1)))  # rivals kept before there were ages
        check_finite(ages, (count, 1), "ages")
        rival.ages = int(ages[0, 0])
        if rival.ages < 1 or (count > 1 and count % rival.ages):
            raise ValueError(f"holds {count} maps of {rival.ages} ages: damaged")
        rival.maps_ = tuple(
            RidgeWindow.from_arrays({name: array[index] for name, array in arrays.items()})
            for index in range(count)
        )
        return rival


def _added(ridge: RidgeWindow, other: RidgeWindow) -> RidgeWindow:
    ridge.weight_ = ridge.weight_ + other.weight_
    return ridge
