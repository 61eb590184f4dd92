"""Figures over origins of time: what each origin adds to some sums, and intervals that draw whole times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gatework.metrics.bootstrap import Interval, block_intervals, sums_by_time

__all__ = ["Difference", "OriginSums", "ratio"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class Difference(NamedTuple):
    """A model's figure less another's, and from which value to which it is in resamples of the times."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class OriginSums(ABC):
    """What figures over O origins are computed from.

    Attributes:
        rows: (O, K) what each origin adds to K sums.
    """

    rows: Floats

    @abstractmethod
    def of(self, sums: Array) -> dict[str, Floats]:
        """Each figure, (…), of sums (…, K)."""

    def figures(self) -> dict[str, float]:
        """The figures of all origins together."""
        return {name: float(value) for name, value in self.of(self.rows.sum(axis=0)).items()}

    def intervals(
        self, times: Array, *, block: int, resamples: int = 1000, seed: int = 0
    ) -> dict[str, Interval]:
        """Of each figure, the middle 95 % over resamples of whole times (`gatework.metrics.bootstrap.block_intervals`).

        Args:
            times: (O,) of each origin; all origins of one time stay together.
            block: consecutive times that are drawn together, at least H: the errors of near origins are of the same
                steps.
            resamples, seed: how many, and of their draws.
        """
        sums = sums_by_time(self.rows, times)
        return block_intervals(sums, self.of, block=block, resamples=resamples, seed=seed)

    def differences(
        self, other: Self, times: Array, *, block: int, resamples: int = 1000, seed: int = 0
    ) -> dict[str, Difference]:
        """Of each figure, this one's less the other's, with both over the same resamples of whole times.

        Args:
            other: of the same origins.
            times, block, resamples, seed: as for `intervals`.

        Raises:
            ValueError: the other sums are of other origins or figures.
        """
        if other.rows.shape != self.rows.shape:
            raise ValueError(
                f"sums of the shape {self.rows.shape} stand beside others of the shape {other.rows.shape}"
            )
        both = np.concatenate([self.rows, other.rows], axis=1)

        def less(sums: Array) -> Mapping[str, Array]:
            own, others = (self.of(half) for half in np.split(sums, 2, axis=-1))
            return {name: own[name] - others[name] for name in own}

        values = less(both.sum(axis=0))
        sums = sums_by_time(both, times)
        found = block_intervals(sums, less, block=block, resamples=resamples, seed=seed)
        return {name: Difference(float(values[name]), found[name]) for name in found}


def ratio(part: Array, whole: Array) -> Floats:
    """part / whole; NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
