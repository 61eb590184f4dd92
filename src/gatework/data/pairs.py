"""Pairs of texts: from a table with two columns, or from two parallel files, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..errors import InputError
from .files import read_lines
from .tables import Source, file_format, locate_rows, named_by_place, source_paths
from .text import text_of

__all__ = ["Pair", "read_pairs"]

_BOTH = "Give texts in both columns"
_LOOKED_AT = 20_000  # lines whose lengths say where two files part
_SUSPICIOUS = 4.0  # times longer or shorter than is usual between the two


class Pair(NamedTuple):
    """Two texts that belong together, and where they were found."""

    where: str
    source: str
    target: str


def read_pairs(data: Source, columns: Mapping[str, str]) -> Iterator[Pair]:
    """The pairs of a table (TSV, CSV, JSON lines, Parquet, dicts, DataFrame, Dataset), or of two text files of the
    same number of lines, the source's first.

    Args:
        columns: the data's own names of `source` and `target`, or their places where there is no header: `{"source": 1,
            "target": 2}`.

    Raises:
        InputError: what is wrong with a file or a row; two files of different numbers of lines.
    """
    paths = source_paths(data)
    texts = [path for path in paths or [] if file_format(path) == "text"]
    if texts and not named_by_place(columns):
        if len(paths or []) != 2 or len(texts) != 2:
            raise InputError(
                str(texts[0]),
                f"is plain text, and {len(paths or [])} file(s) were given",
                "Give two parallel files, the source first, or tables with two columns (.tsv, .csv, .jsonl, .parquet); "
                "columns of a text file that are separated by tabs are named by their places, 1 and 2",
            )
        if columns:
            raise InputError(str(texts[0]), "is plain text, which has no columns", "Leave the columns out")
        return _parallel(*texts)
    names = {name: columns.get(name, name) for name in ("source", "target")}
    return (
        Pair(row.where, *(text_of(row.where, row.values[side], _BOTH) for side in ("source", "target")))
        for row in locate_rows(data, names)
    )


def _parallel(source: Path, target: Path) -> Iterator[Pair]:
    counts, last = [0, 0], ["", ""]
    for side, path in enumerate((source, target)):
        for _, line in read_lines(path):
            counts[side] += 1
            last[side] = line
    if counts[0] != counts[1]:
        longer = int(counts[1] > counts[0])
        if counts[longer] == counts[1 - longer] + 1 and not last[longer].strip():
            raise InputError(
                f"{(source, target)[longer]}, line {counts[longer]:,}",
                f"is empty, and {(source, target)[1 - longer]} ends a line before it",
                "Take the empty line out, or the line of the other file is missing",
            )
        raise InputError(
            f"{source} and {target}",
            f"have {counts[0]:,} and {counts[1]:,} lines; {_where_they_part(source, target)}",
            "Mend the files: line by line, one is the translation of the other",
        )
    sides = zip(read_lines(source), read_lines(target), strict=True)
    return (Pair(f"{source}, line {number}", left, right) for (number, left), (_, right) in sides)


def _where_they_part(source: Path, target: Path) -> str:
    """The first line whose two sides do not look like one another's translation."""
    lengths = []
    for (_, left), (_, right) in zip(read_lines(source), read_lines(target), strict=False):
        lengths.append((len(left.strip()), len(right.strip())))
        if len(lengths) == _LOOKED_AT:
            break
    ratios = [right / left for left, right in lengths if left and right]
    usual = median(ratios) if ratios else 1.0
    for number, (size, other) in enumerate(lengths, start=1):
        if bool(size) != bool(other):
            return f"line {number} is empty in one of them"
        if size and not 1 / _SUSPICIOUS < other / size / usual < _SUSPICIOUS:
            return f"line {number} is the first whose sides differ much in length"
    return f"up to line {len(lengths)} their lengths give no hint where they part"
