"""Statistics of a numeric sequence with logistic regression: what a classifier of sequences has to be better than."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gatework.baselines.linear import LinearRival, check_finite
from gatework.data.sequence_statistics import sequence_statistics

__all__ = ["LinearSeries"]


class LinearSeries(LinearRival):
    """Logistic regression over the statistics of a sequence (`gatework.data.sequence_statistics`), each with the mean 0
    and the standard deviation 1 on the training data.

    Attributes:
        mean_, scale_: (F,) of the statistics.
    """

    name: ClassVar[str] = "statistics"
    unit: ClassVar[str] = "numbers"
    most: ClassVar[int] = 200_000_000

    mean_: npt.NDArray[np.float64]
    scale_: npt.NDArray[np.float64]

    def size(self, inputs: Sequence[Any]) -> int:
        return sum(np.size(sequence) for sequence in inputs)

    def _learn_features(self, inputs: Sequence[Any]) -> Any:
        statistics = _statistics(inputs)
        self.mean_, deviation = statistics.mean(axis=0), statistics.std(axis=0)
        # A statistic that is the same in all training sequences says nothing.
        self.scale_ = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
        return self._scaled(statistics)

    def _features(self, inputs: Sequence[Any]) -> Any:
        return self._scaled(_statistics(inputs))

    def _scaled(self, statistics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (statistics - self.mean_) * self.scale_

    def _feature_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"mean": self.mean_, "scale": self.scale_}

    def _read_features(self, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
        self.mean_, self.scale_ = arrays["mean"], arrays["scale"]
        width = len(self.mean_) if self.mean_.ndim == 1 else 0
        check_finite(self.mean_, (width,), "means")
        check_finite(self.scale_, (width,), "scales")
        return width


def _statistics(inputs: Sequence[Any]) -> npt.NDArray[np.float64]:
    """(N, F)"""
    arrays = [np.asarray(sequence, np.float64) for sequence in inputs]
    return np.stack([sequence_statistics(one if one.ndim == 2 else one[:, None]) for one in arrays])
