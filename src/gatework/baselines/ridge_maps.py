"""Ridge regressions on the window for several targets: one for all of them, or one each near it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.base import Rival
from gatework.baselines.ridge_window import RidgeWindow
from gatework.baselines.windows import residual_quantiles
from gatework.metrics.forecast import LEVELS

__all__ = ["RidgeMaps", "WeightedWindows"]

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


class RidgeMaps(Rival):
    """A `RidgeWindow` for all targets together, or one for each: the common one and a ridge regression of what it
    leaves of the target, where that has the smaller squared error on windows that are held back.

    Attributes:
        maps_: one, or one a target.

    Args:
        between: as of `RidgeWindow`.
    """

    name: ClassVar[str] = "ridge"
    unit: ClassVar[str] = "windows"
    most: ClassVar[int] = sys.maxsize  # each takes a sample of many

    maps_: tuple[RidgeWindow, ...]

    def __init__(self, between: bool = False) -> None:
        self.between = between

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
            targets: (O,) which target each window is of, from 0. None, as without `held`: there is one map.
            weights: (O,) of each window's errors. None: all weigh alike.
            held: (O,) booleans, of windows after the others: ridges that are fitted on the others choose the penalties
                on these, and give the residuals there. Then all are fitted.

        Raises:
            InputError, ValueError: as `RidgeWindow.fit`.
        """
        history, future = np.asarray(history, np.float64), np.asarray(future, np.float64)
        one_each = np.ones(len(history)), np.zeros(len(history), np.int64)
        windows = WeightedWindows(
            history,
            future,
            one_each[0] if weights is None else weights,
            one_each[1] if targets is None else targets,
        )
        if held is None or not windows.where(held).any or not windows.where(~held).any:
            self.maps_ = (self._fitted(windows, levels),)
            return self
        earlier, later = windows.where(~held), windows.where(held)
        tried = self._fitted(earlier, levels, later)
        common = self._fitted(windows, levels, like=tried)
        several = range(int(windows.targets.max()) + 1) if windows.targets.any() else ()
        each = [
            self._own(common, tried, levels, windows.of(one), earlier.of(one), later.of(one))
            for one in several
        ]
        self.maps_ = tuple(each) if any(one is not common for one in each) else (common,)
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

    def _own(
        self,
        common: RidgeWindow,
        tried: RidgeWindow,
        levels: Sequence[float],
        windows: WeightedWindows,
        earlier: WeightedWindows,
        later: WeightedWindows,
    ) -> RidgeWindow:
        """The common ridge of all targets with one of what it leaves of this target; or the common one as it is.

        Args:
            tried: the common one of the earlier windows.
            windows, earlier, later: the target's.
        """
        if not earlier.any or not later.any:
            return common
        left = later.less(tried)
        own = self._fitted(earlier.less(tried), levels, left)
        forecast, moves = own.forecast(left.history).mean, own.moves(left.history)
        square = later.weights[:, None] ** 2
        errors = [np.nansum(square * (left.future - mean) ** 2) for mean in (forecast, forecast - moves)]
        if errors[0] >= errors[1]:
            return common
        found = self._fitted(windows.less(common), levels, like=own)
        found.weight_ = found.weight_ + common.weight_
        found.level_ = float(np.nanmean(windows.future))
        return found

    def of(self, target: int) -> RidgeWindow:
        """The one of a target."""
        return self.maps_[target if len(self.maps_) > 1 else 0]

    def predict(self, inputs: Any) -> list[Any]:
        """The means, (H,), of windows of the first target."""
        return self.of(0).predict(inputs)

    def to_arrays(self) -> dict[str, Array]:
        each = [one.to_arrays() for one in self.maps_]
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
        rival.maps_ = tuple(
            RidgeWindow.from_arrays({name: array[index] for name, array in arrays.items()})
            for index in range(count)
        )
        return rival
