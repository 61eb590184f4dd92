"""Examples with labels: a text or a numeric sequence, and the label or labels that belong to it."""

from __future__ import annotations

import ast
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..errors import InputError
from .column_names import cell_of, check_columns, columns_as_text, is_several, matching_columns
from .files import read_blocks, read_lines
from .pairs import read_pairs
from .sequences import holds_label_lines, read_label_lines, read_ts, sequence_of, unpadded
from .tables import Source, file_format, is_frame, locate_rows, named_by_place, source_paths
from .text import check_characters, text_of

__all__ = ["LabelColumns", "Labelled", "check_labels", "label_counts", "read_labelled"]

# The data's own names of `text` (or `sequence`) and `label`: a column, its place, several columns (a list, or as text
# `a|b`), or a pattern with one `*` for several.
LabelColumns: TypeAlias = Mapping[str, "str | int | Sequence[str]"]

_MARK = "__label__"
_MARKED = re.compile(rf"(?:(?<=\s)|^){_MARK}(\S+)\s*")
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")
_LABEL = "Fill it in, or take the row out"


class Labelled(NamedTuple):
    """An example and where it was found.

    Attributes:
        where: a file and a line, for messages.
        input: a text, or a sequence (T, C) in float32.
        output: its label, or a list of its labels where an example may have several.
    """

    where: str
    input: Any
    output: Any


class _Cells(dict[str, Any]):
    """The cells of several columns, by what the columns stand for."""


def read_labelled(
    data: Source, columns: LabelColumns | None = None, *, several: bool = False, numeric: bool = False
) -> Iterator[Labelled]:
    """The examples of a source, in order, one at a time.

    - A table (CSV, TSV, JSON lines, Parquet, dicts, DataFrame, Dataset) with the columns `text` (or `sequence`) and
      `label`. Where an example may have several labels, a cell is a list of them, or they stand in it as `a,b`.
      Labels may also be columns of 0 and 1: several columns, or a pattern (`is_*`, whose labels are what the star
      stands for). The numbers of a sequence may be columns too.
    - A plain text file of fastText's lines: `__label__joy __label__love I like it`; or two, of texts and of
      labels, line by line.
    - A folder with a folder for each label, and in it a file for each text.
    - Of sequences, the `.ts` files of the time-series archives, and lines of a label and numbers.

    A text may be empty.

    Args:
        data: see above.
        columns: the data's own names of its columns.
        several: an example has any number of labels, and not one.
        numeric: an example is a numeric sequence, and not a text.

    Raises:
        InputError: at once for a path that cannot be read, and while iterating for an example without a label, a label
            or an input that cannot be read, or a sequence with other channels than the first.
    """
    columns = columns or {}
    paths = source_paths(data, folders=True)
    if paths is None:
        found = _rows(data, columns, several, numeric)
    elif numeric:
        found = (example for path in paths for example in _sequences(path, columns, several))
    elif _parallel(paths, columns):
        pairs = read_pairs(paths, {})
        found = (Labelled(where, text, _labels(where, label, several)) for where, text, label in pairs)
    else:
        found = (example for path in paths for example in _texts(path, columns, several))
    return _of_equal_channels(found) if numeric else found


def label_counts(outputs: Iterable[str | Sequence[str]]) -> dict[str, int]:
    """How many examples have each label, sorted by label."""
    counts: Counter[str] = Counter()
    for output in outputs:
        counts.update([output] if isinstance(output, str) else set(output))
    return dict(sorted(counts.items()))


def check_labels(counts: Mapping[str, int], several: bool) -> None:
    """Refuse training data of which nothing can be learned.

    Args:
        counts: of each label its examples.
        several: an example has any number of labels.

    Raises:
        InputError: no example has a label, or all have the same one.
    """
    if not counts:
        raise InputError("data", "no example has a label", "Give examples with labels")
    if len(counts) == 1 and not several:
        ((label, count),) = counts.items()
        what = f"all {count:,} examples have the label {label!r}, and a classifier needs two labels"
        raise InputError("data", what, "Give examples of another label too")


# Files


def _parallel(paths: Sequence[Path], columns: LabelColumns) -> bool:
    """Whether two files are one of texts and one of labels."""
    if (
        len(paths) != 2
        or columns
        or any(os.path.isdir(path) or file_format(path) != "text" for path in paths)
    ):
        return False
    _, first = next(read_lines(paths[0]), (1, ""))
    return _MARK not in first


def _texts(path: Path, columns: LabelColumns, several: bool) -> Iterator[Labelled]:
    kind = file_format(path)
    if kind != "dataset" and os.path.isdir(path):
        return _folder(path, several)
    if kind == "text" and not named_by_place(columns_as_text(columns)):
        if columns:
            what = "is plain text, which has no columns"
            raise InputError(str(path), what, "Leave them out, or name them by their places: 1, 2, …")
        return _marked_lines(path, several)
    return _rows(path, columns, several, numeric=False)


def _sequences(path: Path, columns: LabelColumns, several: bool) -> Iterator[Labelled]:
    kind = file_format(path)
    if kind != "dataset" and os.path.isdir(path):
        raise InputError(str(path), "is a folder", "Name the files in it")
    if kind == "text":
        found = read_ts(path) if ".ts" in path.suffixes else read_label_lines(path)
    elif kind in ("csv", "tsv") and not columns and holds_label_lines(path):
        found = read_label_lines(path)
    else:
        return _rows(path, columns, several, numeric=True)
    return (Labelled(one.where, one.sequence, _labels(one.where, one.label, several)) for one in found)


def _marked_lines(path: Path, several: bool) -> Iterator[Labelled]:
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        labels, text = _marked(line)
        if not labels:
            fix = f"Begin the line with {_MARK}NAME, or give a table (.csv, .tsv, .jsonl, .parquet)"
            raise InputError(where, "has no label", fix)
        yield Labelled(where, text, _labels(where, labels, several))


def _marked(line: str) -> tuple[list[str], str]:
    """The labels that stand in a line, and its text without them."""
    return _MARKED.findall(line), _MARKED.sub("", line).strip()


def _folder(path: Path, several: bool) -> Iterator[Labelled]:
    labels = [one for one in sorted(path.iterdir()) if one.is_dir() and not one.name.startswith(".")]
    if not labels:
        raise InputError(str(path), "is a folder without a folder for each label", "Name the files in it")
    for label in labels:
        files = [one for one in sorted(label.iterdir()) if not one.name.startswith(".")]
        if not files:
            raise InputError(
                str(label), "holds no texts", "Take the folder out, or put a file for each text in it"
            )
        for file in files:
            if file.is_dir():
                what = "is a folder inside that of a label"
                raise InputError(
                    str(file), what, "Put the files of a label's texts into the label's own folder"
                )
            text = "".join(block for _, block in read_blocks(file)).strip() if os.path.getsize(file) else ""
            yield Labelled(str(file), text, _labels(str(file), label.name, several))


# Rows


def _rows(data: Source, columns: LabelColumns, several: bool, numeric: bool) -> Iterator[Labelled]:
    field = "sequence" if numeric else "text"
    names = {name: columns.get(name, name) for name in (field, "label")}
    if not numeric:
        data = _with_marks_read(data, columns_as_text(names))
    for where, cells in _cells_of_rows(data, names):
        labels, value = cells["label"], cells[field]
        if isinstance(value, _Cells):
            value = unpadded([_cell_number(where, cell, part) for part, cell in value.items()])
        output = (
            _of_columns(where, labels, several)
            if isinstance(labels, _Cells)
            else _labels(where, labels, several)
        )
        yield Labelled(
            where, sequence_of(where, value) if numeric else text_of(where, value, "Give texts"), output
        )


def _with_marks_read(data: Source, names: Mapping[str, str]) -> Source:
    """The source; where it is strings in memory, they are fastText's lines, and it gives rows."""
    if isinstance(data, str | os.PathLike | Mapping) or not isinstance(data, Iterable) or is_frame(data):
        return data
    if isinstance(data, list | tuple):
        return list(_marks_read(data, names)) if any(isinstance(item, str) for item in data) else data
    return _marks_read(data, names)


def _marks_read(data: Iterable[Any], names: Mapping[str, str]) -> Iterator[Any]:
    for item in data:
        if isinstance(item, str):
            labels, text = _marked(item)
            yield {names["text"]: text, names["label"]: labels or None}
        else:
            yield item


def _cells_of_rows(data: Source, names: LabelColumns) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each row, the cell of each name, or where several columns have it, their cells by what they stand for."""
    plain = columns_as_text(names)
    wide = {name: column for name, column in plain.items() if is_several(column)}
    if not wide:
        yield from ((row.where, row.values) for row in locate_rows(data, plain))
        return
    single = {name: column for name, column in plain.items() if name not in wide}
    found: dict[str, dict[str, str]] = {}
    for row in locate_rows(data, None):
        if not found:
            check_columns(row.where, single, row.values)
            found = {
                name: matching_columns(row.where, column, row.values, single.values())
                for name, column in wide.items()
            }
        cells = {name: cell_of(row.where, row.values, column) for name, column in single.items()}
        for name, columns in found.items():
            cells[name] = _Cells(
                {key: cell_of(row.where, row.values, column) for key, column in columns.items()}
            )
        yield row.where, cells


def _cell_number(where: str, cell: Any, part: str) -> float:
    try:
        return float(cell) if cell not in (None, "", "?") else float("nan")
    except (TypeError, ValueError) as error:
        what = f"the sequence's column {part!r} is {cell!r:.40}, not a number"
        raise InputError(where, what, "Give a number") from error


# Labels


def _labels(where: str, value: Any, several: bool) -> Any:
    """The label of a cell, or the list of its labels."""
    if isinstance(value, str) and not several:
        return _name(where, value)
    found = _listed(where, value, several)
    names = list(dict.fromkeys(_name(where, one) for one in found))
    if several:
        return names
    if len(names) != 1:
        what = f"has {len(names)} labels ({', '.join(names)})" if names else "has no label"
        raise InputError(where, what, "Say that an example has several (several=true), or give one")
    return names[0]


def _listed(where: str, value: Any, several: bool) -> Sequence[Any]:
    if value is None:
        fix = "Give an empty list where an example has none of the labels" if several else _LABEL
        raise InputError(where, "the label is missing (null)", fix)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if not several or not isinstance(value, str):
        return [value]
    if value.strip().startswith("["):
        return _list_in_text(where, value.strip())
    return value.split(",") if value.strip() else []


def _list_in_text(where: str, text: str) -> Sequence[Any]:
    """A list that is written as JSON, or as Python writes it."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    raise InputError(where, f"the labels {text!r:.40} are no list", 'Write ["a", "b"], or a,b')


def _name(where: str, value: Any) -> str:
    """A label as text; a whole number is its digits, however it is held."""
    name = value if isinstance(value, str) else _name_of_number(where, value)
    name = name.strip()
    if not name:
        raise InputError(where, "the label is missing", _LABEL)
    check_characters(where, name)
    return name


def _name_of_number(where: str, value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value != value:
        raise InputError(where, "the label is missing", _LABEL)
    if not isinstance(value, int | float):
        raise InputError(
            where, f"the label is {type(value).__name__} {value!r:.40}", "Give a text or a number"
        )
    try:
        return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)
    except ValueError as error:  # Python writes integers up to some thousand digits
        raise InputError(where, "the label is an integer of too many digits", "Write it as text") from error


def _of_columns(where: str, cells: Mapping[str, Any], several: bool) -> Any:
    """The labels whose columns are 1."""
    names = []
    for label, cell in cells.items():
        sign = str(cell).strip().lower()
        if sign not in (*_YES, *_NO):
            raise InputError(
                where, f"the column of label {label!r} is {cell!r:.40}, neither 0 nor 1", "Write 0 or 1"
            )
        if sign in _YES:
            names.append(label)
    return _labels(where, names, several)


def _of_equal_channels(examples: Iterable[Labelled]) -> Iterator[Labelled]:
    first: Labelled | None = None
    for example in examples:
        first = first or example
        count, wanted = example.input.shape[1], first.input.shape[1]
        if count != wanted:
            what = f"has {count} channels where {first.where} has {wanted}"
            raise InputError(example.where, what, "Give as many channels in each example")
        yield example
