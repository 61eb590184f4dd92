"""Quantiles that cover their share: split-conformal calibration on the validation data.

Romano, Patterson & Candès 2019, "Conformalized quantile regression" (arXiv:1905.03222): how far what came lies outside
an interval is a score, negative inside it; the interval is widened by the score that its share of the validation data
does not exceed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from gatework.tasks.artifacts import JsonArtifact

__all__ = ["Conformal", "conformal_shifts", "intervals_of"]

Floats = npt.NDArray[np.float64]
_SAME = 1e-9
_LARGEST = 1e100  # of a shift: times the scale of any series it is still a number


class Conformal(JsonArtifact):
    """What the validation data says of a trained network's quantiles.

    Attributes:
        shifts: (H, Q) what is added to each step's quantiles, in scales; empty: nothing.
        correlations: of the steps of a path, with each of those up to it; empty: unknown.
    """

    shifts: tuple[tuple[Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)], ...], ...] = ()
    correlations: tuple[tuple[Annotated[float, Field(ge=-1, le=1)], ...], ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(map(len, self.shifts))) > 1:
            raise ValueError("shifts: the steps have unequal numbers of quantiles")
        if any(len(row) != step + 1 for step, row in enumerate(self.correlations)):
            raise ValueError("correlations: they are not of each step with those up to it")
        return self

    def matrix(self) -> Floats | None:
        """(H, H) the correlations."""
        if not self.correlations:
            return None
        steps = len(self.correlations)
        found = np.array([[*row, *[0.0] * (steps - len(row))] for row in self.correlations])
        return found + np.tril(found, -1).T


def intervals_of(levels: Sequence[float]) -> list[tuple[int, int]]:
    """The places of each level below one half whose opposite is there too, and of this opposite."""
    found = []
    for low, level in enumerate(levels):
        high = next((place for place, other in enumerate(levels) if abs(other - 1 + level) < _SAME), low)
        if high > low:
            found.append((low, high))
    return found


def conformal_shifts(quantiles: Floats, targets: Floats, levels: Sequence[float]) -> Floats:
    """(H, Q) what is added to the quantiles so that intervals between levels q and 1 - q cover 1 - 2 q.

    A level without its opposite has no interval, and is left as it is.

    Args:
        quantiles: (n, H, Q) forecast at n origins of the validation data. targets: (n, H), NaN where missing.
        levels: (Q,) rising.
    """
    shifts = np.zeros(quantiles.shape[1:])
    for low, high in intervals_of(levels):
        level = levels[low]
        scores = np.maximum(quantiles[:, :, low] - targets, targets - quantiles[:, :, high])
        for step, column in enumerate(scores.T):
            known = np.sort(column[~np.isnan(column)])
            rank = math.ceil((len(known) + 1) * (1 - 2 * level))
            if 1 <= rank <= len(known):
                shifts[step, low], shifts[step, high] = -known[rank - 1], known[rank - 1]
    return shifts
