"""Numbers in 8 bits, as exports hold them."""

from __future__ import annotations

import numpy as np

from gatework.backends.storage import LARGEST
from gatework.export.cell import Array

__all__ = ["rounded_rows"]


def rounded_rows(rows: Array, least: float = 0.0) -> tuple[Array, Array]:
    """Rows of numbers, (…, N), as whole multiples of a scale, and the scale of each, (…): the row's largest magnitude
    over 127, as `stored` of `backends/storage.py` has it.

    Args:
        least: a magnitude; a row of smaller numbers has the scale of this one.
    """
    scales = (np.maximum(np.abs(rows).max(axis=-1), least) / LARGEST).astype(np.float32)
    whole = np.divide(rows, scales[..., None], out=np.zeros_like(rows), where=scales[..., None] > 0)
    return np.rint(whole).astype(np.int8), scales
