"""The commands of a list: rows of whole numbers, whose fields are named here once.

Who writes a command, who changes one, and the driver's code that reads it take a field's place in the row from here.
Addresses stand in a command as places in a table of addresses.
"""

from __future__ import annotations

RUN, COPY, PACK, OUTER, BARRIER, SOFTMAX, BEST, OUTER_OF_ROWS = range(8)

_OUTER = (
    "left", "left_m", "left_k", "right", "right_k", "right_n", "panel", "depth", "rows", "columns", "result",
)  # fmt: skip
_PACK = "source", "unit_stride", "k_stride", "units", "depth", "packed", "columns", "size", "blocks"

FIELDS: dict[int, tuple[str, ...]] = {
    RUN: ("program", "table", "scalars", "first_step", "last_step", "rows", "by_units"),
    COPY: ("source", "to", "size", "rows"),
    PACK: (*_PACK, "gates", "gate_stride", "storage", "scales"),
    OUTER: (*_OUTER, "result_row", "accumulate"),
    OUTER_OF_ROWS: (*_OUTER, "count"),
    SOFTMAX: ("table", "bias", "normaliser", "mean", "floor", "units", "columns", "gradient"),
    BEST: ("table", "bias", "allowed", "values", "places", "units", "columns", "count"),
    BARRIER: (),
}
"""Names of a command's fields, in order, by its kind: they follow the kind itself, which is the row's first number."""

ROW = 1 + max(map(len, FIELDS.values()))
"""Whole numbers of a command."""


def place(kind: int, name: str) -> int:
    """Where a field stands in the rows of a kind."""
    return 1 + FIELDS[kind].index(name)
