"""Ridge regressions on the window for several targets: one for all of them, or one each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.base import Rival
from gatework.baselines.ridge_window import RidgeWindow
from gatework.metrics.forecast import LEVELS

__all__ = ["RidgeMaps"]

Array = npt.NDArray[Any]


class RidgeMaps(Rival):
    """A `RidgeWindow` for all targets together, or one for each: whichever has the smaller squared error on later
    windows.

    Attributes:
        maps_: one, or one a target.
    """

    name: ClassVar[str] = "ridge"
    unit: ClassVar[str] = "windows"
    most: ClassVar[int] = sys.maxsize  # each takes a sample of many

    maps_: tuple[RidgeWindow, ...]

    def fit(
        self,
        history: Any,
        future: Any,
        levels: Sequence[float] = LEVELS,
        *,
        targets: Array | None = None,
        later: tuple[Any, Any] | None = None,
        later_targets: Array | None = None,
    ) -> Self:
        """Learn from windows (O, L) and their futures (O, H).

        Args:
            history, future, levels, later: as for `RidgeWindow.fit`.
            targets, later_targets: (O,) which target each window is of, from 0. None, as without `later`: there is one
                map.

        Raises:
            InputError, ValueError: as `RidgeWindow.fit`.
        """
        together = (RidgeWindow().fit(history, future, levels, later=later),)
        self.maps_ = together
        if targets is None or later is None or later_targets is None:
            return self
        count = int(targets.max()) + 1
        if count > 1 and all((targets == one).any() and (later_targets == one).any() for one in range(count)):
            each = tuple(
                RidgeWindow().fit(
                    history[targets == one],
                    future[targets == one],
                    levels,
                    later=tuple(part[later_targets == one] for part in later),
                )
                for one in range(count)
            )
            errors = [_squared_error(maps, *later, later_targets) for maps in (together, each)]
            self.maps_ = each if errors[1] < errors[0] else together
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


def _squared_error(maps: Sequence[RidgeWindow], history: Any, future: Any, targets: Array) -> float:
    """The mean over what is known of the futures."""
    total, count = 0.0, 0
    for place, one in enumerate(maps):
        rows = np.ones(len(targets), bool) if len(maps) == 1 else targets == place
        errors = np.square(one.forecast(history[rows]).mean - future[rows])
        total, count = total + float(np.nansum(errors)), count + int((~np.isnan(errors)).sum())
    return total / max(count, 1)
