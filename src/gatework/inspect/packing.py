"""Arrays as text of a report: rounded, the differences from step to step deflated, in base 64."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["pack", "pack_within"]

_LEVELS = (255, 127, 63, 31, 15)  # a value is one of so many, and zero, between its array's ends


def pack(array: np.ndarray, levels: int = 255) -> dict[str, Any]:
    """An array (T, size) as what `page/arrays.js` reads.

    The ends are 0 and 1, or -1 and 1, where all values lie between them; else the array's own, around zero where they
    are of both signs.
    """
    low, high = _ends(array)
    scaled = (array.astype(np.float64) - low) / ((high - low) or 1.0)
    placed = np.nan_to_num(np.round(np.clip(scaled, 0, 1) * levels)).astype(np.int16)
    changes = np.diff(placed, axis=0, prepend=np.zeros_like(placed[:1])) % (levels + 1)
    ways = {"plain": _deflated(placed), "changes": _deflated(changes)}
    how = min(ways, key=lambda name: len(ways[name]))
    return {
        "steps": array.shape[0],
        "units": array.shape[1],
        "low": low,
        "high": high,
        "levels": levels,
        "how": how,
        "data": base64.b64encode(ways[how]).decode(),
    }


def _deflated(array: np.ndarray) -> bytes:
    """Unit by unit, the steps of a unit side by side."""
    return zlib.compress(np.ascontiguousarray(array.T.astype(np.uint8)).tobytes(), 6)


def _ends(array: np.ndarray) -> tuple[float, float]:
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= -1 and high <= 1:
        return -1.0, 1.0
    return (-max(-low, high), max(-low, high)) if low < 0 < high else (low, high)


def pack_within(arrays: Sequence[np.ndarray], most: int) -> list[dict[str, Any]] | None:
    """Arrays packed in at most so many characters, as finely as they fit; None where the coarsest does not."""
    for levels in _LEVELS:
        packed = [pack(array, levels) for array in arrays]
        if sum(len(each["data"]) for each in packed) <= most:
            return packed
    return None
