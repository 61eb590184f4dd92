"""Whether forecasts say rightly that something rises or falls, beside a coin and beside saying always that it rises.

O origins, each with a move: a return, or what comes less the last value. Moves between two bounds are left out, as
papers on stock prices do: StockNet (Xu & Cohen 2018) counts returns of at least 0.55 % and of at most -0.5 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gatework.metrics.origin_sums import OriginSums, ratio

__all__ = ["DirectionSums", "direction_sums"]

COIN = 0.5

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DirectionSums(OriginSums):
    """What the figures of directions are computed from: of each origin whether it rose and was said to, fell and was
    said to rise, rose and was said to fall, fell and was said to.
    """

    def of(self, sums: Array) -> dict[str, Floats]:
        """moves (how many), accuracy, mcc (Matthews' correlation, 0 where a direction is never said or never comes),
        always_up (the accuracy of saying always that it rises), and the accuracy less that of always_up and of a coin;
        each (…). NaN without a move.
        """
        rise_right, fall_wrong, rise_wrong, fall_right = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
        moves = rise_right + fall_wrong + rise_wrong + fall_right
        accuracy = ratio(rise_right + fall_right, moves)
        always_up = ratio(rise_right + rise_wrong, moves)
        product = (
            (rise_right + fall_wrong)
            * (rise_right + rise_wrong)
            * (fall_right + fall_wrong)
            * (fall_right + rise_wrong)
        )
        covariance = rise_right * fall_right - fall_wrong * rise_wrong
        mcc = np.divide(covariance, np.sqrt(product), out=np.zeros(np.shape(product)), where=product > 0)
        return {
            "moves": moves,
            "accuracy": accuracy,
            "mcc": np.where(moves > 0, mcc, np.nan),
            "always_up": always_up,
            "above_always_up": accuracy - always_up,
            "above_coin": accuracy - COIN,
        }


def direction_sums(said: Array, moves: Array, *, low: float = 0.0, high: float = 0.0) -> DirectionSums:
    """What each origin adds to the sums.

    Args:
        said: (O,) the forecast moves: above 0 is a rise, everything else a fall.
        moves: (O,) what came; NaN: missing.
        low, high: a fall is a move below 0 and at most `low`, a rise one above 0 and at least `high`; other moves are
            left out.

    Raises:
        ValueError: shapes do not fit, `low` is above 0 or `high` below, or a forecast is NaN where its move counts.
    """
    said, moves = np.asarray(said, np.float64), np.asarray(moves, np.float64)
    if said.ndim != 1 or said.shape != moves.shape:
        raise ValueError(
            f"forecasts have the shape {said.shape}, moves {moves.shape}: wanted are (O,) and (O,)"
        )
    if not low <= 0 <= high:
        raise ValueError(f"bounds of small moves are on both sides of 0, and not {low} and {high}")
    rose, fell = (moves > 0) & (moves >= high), (moves < 0) & (moves <= low)
    unsaid = np.isnan(said) & (rose | fell)
    if unsaid.any():
        raise ValueError(f"the forecast of origin {int(unsaid.argmax())} is NaN")
    up = said > 0
    return DirectionSums(np.stack([up & rose, up & fell, ~up & rose, ~up & fell], axis=1).astype(np.float64))
