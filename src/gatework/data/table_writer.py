"""Rows as a CSV or TSV file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .tables import file_format

__all__ = ["write_table", "writes_table"]

_TSV_BREAKS = re.compile(r"[\t\r\n]")


def writes_table(path: Path) -> bool:
    """Whether a file of this name is one that `write_table` writes."""
    return path.suffix != ".gz" and file_format(path) in ("csv", "tsv")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows, each when it is there, under the names of the first one's columns.

    A missing value is an empty cell; a list or a dict is written as JSON. TSV has no quoting, as its media type says: a
    tab or a line end in a cell becomes a space there.

    Returns:
        The number of cells in which a space stands for what TSV cannot hold.

    Raises:
        InputError: the file cannot be written, or a row has another column than the first one.
    """
    tabs = file_format(path) == "tsv"
    changed = 0

    def cell(value: Any) -> str:
        nonlocal changed
        text = (
            value
            if isinstance(value, str)
            else ""
            if value is None
            else json.dumps(value, ensure_ascii=False)
        )
        if tabs and _TSV_BREAKS.search(text):
            changed += 1
            return _TSV_BREAKS.sub(" ", text)
        return text

    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(str(path), f"cannot be written ({error.strerror})", "Check the path.") from error
    with file:
        form: dict[str, Any] = (
            {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if tabs else {}
        )
        writer = csv.writer(file, lineterminator="\n", **form)
        header: list[str] = []
        for row in rows:
            if not header:
                header = list(row)
                writer.writerow(map(cell, header))
            further = [name for name in row if name not in header]
            if further:
                what = f"a row has the column {further[0]!r}, and the first row has not"
                raise InputError(str(path), what, "Give all rows the same columns, or write JSON lines.")
            writer.writerow([cell(row.get(name)) for name in header])
            file.flush()
    return changed
