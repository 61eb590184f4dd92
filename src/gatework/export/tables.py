"""Tables of an export that no part holds, rows of vectors that a program looks up, as one file: `tables.bin`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gatework.export.cell import Array
from gatework.export.rounding import rounded_rows

__all__ = ["packed_tables", "rounded_table"]

_DEVIATIONS = 8  # root mean squares of a table: a finer scale than theirs says nothing, and packs worse


def packed_tables(tables: Mapping[str, Array], *, int8: bool) -> tuple[bytes, dict[str, Any]]:
    """Tables as one file of little-endian numbers, and its index, as `gatework.tasks.programs.tables` reads them.

    Rows of zeros are left out where they are more than a few: a side path learns the rows that its data has.

    Args:
        int8: tables of two axes are kept as `rounded_table` says.
    """
    parts: list[bytes] = []
    index: dict[str, Any] = {}
    at = 0  # numbers of 4 bytes so far
    for name, table in tables.items():
        array = np.ascontiguousarray(table, "<f4")
        index[name] = {"shape": list(array.shape), "at": at}
        kept = np.flatnonzero(array.any(1)) if array.ndim == 2 else np.arange(len(array))
        own: list[Array] = []
        numbers, scales = rounded_table(array) if int8 and array.ndim == 2 else (array, None)
        if len(kept) < 0.9 * len(array):
            index[name]["kept"] = len(kept)
            own.append(np.diff(kept, prepend=0).astype("<i4"))
            numbers, scales = numbers[kept], None if scales is None else scales[kept]
        if scales is not None:
            index[name]["int8"] = True
            own.append(scales)
        content = b"".join(part.tobytes() for part in (*own, numbers))
        content += bytes(-len(content) % 4)
        parts.append(content)
        at += len(content) // 4
    return b"".join(parts), index


def rounded_table(table: Array) -> tuple[Array, Array]:
    """A table in 8 bits: whole multiples, (N, width), of a scale for each row, (N,).

    A row's scale is its largest magnitude over 127, or 8 root mean squares of the table over 127 where that is more: a
    number is off by at most half of it. Rows of small numbers need be no finer than those that they are added to.
    """
    least = _DEVIATIONS * np.sqrt(np.mean(np.square(table, dtype=np.float64)))
    return rounded_rows(table, least)
