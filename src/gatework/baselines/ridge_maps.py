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

    def of(self, target: int) -> WeightedWindows:
        """Those of one target."""
        return WeightedWindows(*(part[self.targets == target] for part in self))

    def weighted(self) -> tuple[Array, Array]:
        """Windows and futures times their weights."""
        return self.history * self.weights[:, None], self.future * self.weights[:, None]


class RidgeMaps(Rival):
    """A `RidgeWindow` for all targets together, or one for each: the common one and a ridge regression of what it
    leaves of the target, where that has the smaller squared error on later windows.

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
        later: WeightedWindows | None = None,
    ) -> Self:
        """Learn from windows (O, L) and their futures (O, H).

        Args:
            history, future, levels: as for `RidgeWindow.fit`.
            targets: (O,) which target each window is of, from 0. None, as without `later`: there is one map.
            weights: (O,) of each window's errors. None: all weigh alike.
            later: windows after those, which choose the penalties and give the residuals.

        Raises:
            InputError, ValueError: as `RidgeWindow.fit`.
        """
        history, future = np.asarray(history, np.float64), np.asarray(future, np.float64)
        weights = np.ones(len(history)) if weights is None else weights
        common = _fitted(RidgeWindow(self.between), history, future, levels, weights, later)
        self.maps_ = (common,)
        if targets is None or later is None or not targets.any():
            return self
        each = []
        for target in range(int(targets.max()) + 1):
            own, after = targets == target, later.of(target)
            if own.any() and len(after.history):
                each.append(_with_own(common, history[own], future[own], levels, weights[own], after))
            else:
                each.append(common)
        if any(one is not common for one in each):
            self.maps_ = tuple(each)
        return self

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


def _fitted(
    ridge: RidgeWindow,
    history: Array,
    future: Array,
    levels: Sequence[float],
    weights: Array,
    later: WeightedWindows | None,
) -> RidgeWindow:
    """The ridge, whose squared errors are weighted; its residuals are not."""
    column = weights[:, None]
    found = ridge.fit(
        history * column, future * column, levels, later=None if later is None else later.weighted()
    )
    found.level_ = float(np.nanmean(future))
    rest = (history, future) if later is None else later[:2]
    found.residuals_ = residual_quantiles(rest[1] - found.forecast(rest[0]).mean, found.levels_)
    return found


def _with_own(
    common: RidgeWindow,
    history: Array,
    future: Array,
    levels: Sequence[float],
    weights: Array,
    later: WeightedWindows,
) -> RidgeWindow:
    """The common ridge of all targets with one of what it leaves of this target; or the common one as it is."""
    left = later._replace(future=later.future - common.moves(later.history))
    own = _fitted(RidgeWindow(common.between), history, future - common.moves(history), levels, weights, left)
    square = later.weights[:, None] ** 2
    errors = [
        np.nansum(square * (left.future - mean) ** 2)
        for mean in (
            own.forecast(left.history).mean,
            own.forecast(left.history).mean - own.moves(left.history),
        )
    ]
    if errors[0] >= errors[1]:
        return common
    own.weight_ = own.weight_ + common.weight_
    own.level_ = float(np.nanmean(future))
    return own
