"""Rows with named columns, whatever they come from: the one reader that every task's examples pass through.

A source is a path or a list of paths (CSV, TSV, JSON lines, Parquet, a folder that `datasets` saved, plain
text), an iterable of dicts, a pandas DataFrame or a `datasets.Dataset`. Rows come in order, one at a time.

CSV and JSON lines are read by the standard library: the rows stay in the file's words (the readers of pandas
and pyarrow turn the text `NA` into a missing value and `2024-01-01` into a time) and an error can name its
line. Parquet is read by pyarrow, a few rows at a time; what `datasets` saved or holds stays memory-mapped.

A plain text file has one column, `text`, and a row a line. TSV has no quoting, as its media type says
(text/tab-separated-values): a quotation mark there is a character.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..errors import InputError, MissingExtraError, nearest
from .files import check_file, open_binary, read_lines

# A path, paths, dicts, texts, a pandas.DataFrame or a datasets.Dataset (the last two are optional packages).
Source: TypeAlias = "str | os.PathLike[str] | Iterable[Any] | Any"

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_PARQUET_BATCH = 1024
_LONGEST_CELL = 1 << 30


class FileStamp(NamedTuple):
    """A file as it is: what changes with its content, all but for certain, without reading it."""

    path: str
    size: int
    modified_ns: int


class Row(NamedTuple):
    """One row and where it was found."""

    source: str
    unit: str  # what the source counts in: "line", "row", or "text" for a string that stands for itself
    number: int  # from 1
    values: dict[str, Any]

    @property
    def where(self) -> str:
        """`reviews.csv, line 17`, for error messages."""
        return f"{self.source}, {self.unit} {self.number}"


def read_rows(source: Source, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The rows of a source, under the reader's own names.

    Args:
        source: see the module.
        columns: the source's column for each name: `{"text": "review", "label": "stars"}`.

    Returns:
        An iterator of dicts with the keys of `columns`. A missing value is None. CSV and TSV cells are text.

    Raises:
        InputError: at once for a path that cannot be read, and while iterating for a missing column (with the
            nearest right one) or a row that cannot be read (with its number).
    """
    return (row.values for row in locate_rows(source, columns))


def locate_rows(source: Source, columns: Mapping[str, str]) -> Iterator[Row]:
    """As `read_rows`, each row with its place, for checks that must name it."""
    paths = source_paths(source)
    if paths is not None:
        return (row for path in paths for row in _path_rows(path, columns))
    if _is_instance(source, "pandas", "DataFrame"):
        return _frame_rows(source, columns)
    if _is_instance(source, "datasets", "DatasetDict", "IterableDatasetDict"):
        splits: Any = source
        raise InputError("data", "holds several splits", f"Give one of them: {', '.join(splits)}")
    if _is_instance(source, "datasets", "Dataset", "IterableDataset"):
        return _dataset_rows(source, columns, "the dataset")
    if isinstance(source, Mapping):
        raise InputError("data", "is a single mapping", "Give a list of rows: [{...}, {...}]")
    if isinstance(source, Iterable):
        return _iterable_rows(source, columns)
    fix = "Give a path, rows as dicts, a pandas DataFrame or a datasets.Dataset"
    raise InputError("data", f"cannot be read from {type(source).__name__}", fix)


def source_paths(source: Source) -> list[Path] | None:
    """The files of a source, checked to be there, or None where it is not made of files.

    A list or tuple of strings is a list of paths; texts themselves come as dicts or from any other iterable.

    Raises:
        InputError: a path that cannot be read, or a list that is empty.
    """
    if isinstance(source, str | os.PathLike):
        paths = [Path(source)]
    elif isinstance(source, list | tuple):
        if not source:
            raise InputError("data", "is an empty list", "Give at least one file or row")
        if not all(isinstance(item, str | os.PathLike) for item in source):
            return None
        paths = [Path(item) for item in source]
    else:
        return None
    for path in paths:
        if file_format(path) != "dataset":
            check_file(path)
    return paths


def describe_source(source: Source) -> str:
    """What a source is, for a message: its files, or what holds it in memory."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    if isinstance(source, list | tuple) and all(isinstance(item, str | os.PathLike) for item in source):
        return ", ".join(map(str, source))
    rows = f" of {len(source):,} rows" if isinstance(source, Sized) else ""
    return f"a {type(source).__name__}{rows}"


def file_stamps(source: Source) -> list[FileStamp] | None:
    """Name, size and time of each file of a source; None where one is not a plain file or nothing is named."""
    if isinstance(source, str | os.PathLike):
        source = [source]
    if not isinstance(source, list | tuple) or not source:
        return None
    if not all(isinstance(item, str | os.PathLike) and os.path.isfile(item) for item in source):
        return None
    stats = [(Path(item).resolve(), os.stat(item)) for item in source]
    return [FileStamp(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def file_format(path: Path) -> str:
    """`csv`, `tsv`, `jsonl`, `parquet`, `dataset` (a folder that `datasets` saved), or `text` for any other
    name.
    """
    if os.path.isfile(path / "dataset_info.json"):
        return "dataset"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = suffixes[-2] if compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    if suffix == ".json":
        raise InputError(str(path), "a JSON document has no rows", "Write one object a line, as .jsonl")
    if compressed and _SUFFIXES.get(suffix) == "parquet":
        raise InputError(
            str(path), "Parquet cannot be read through gzip", "Decompress it: it is compressed inside"
        )
    return _SUFFIXES.get(suffix, "text")


def _path_rows(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    match file_format(path):
        case "csv":
            rows = _csv_rows(path, columns, quoted=True)
        case "tsv":
            rows = _csv_rows(path, columns, quoted=False)
        case "jsonl":
            rows = _json_rows(path, columns)
        case "parquet":
            rows = _parquet_rows(path, columns)
        case "dataset":
            rows = _saved_rows(path, columns)
        case _:
            rows = _line_rows(path, columns)
    row = None
    for row in rows:
        yield row
    if row is None:
        raise InputError(str(path), "has no rows", "Give a file with data in it")


def _line_rows(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    check_columns(str(path), columns, ["text"])
    for number, line in read_lines(path):
        yield Row(str(path), "line", number, dict.fromkeys(columns, line))


def _csv_rows(path: Path, columns: Mapping[str, str], *, quoted: bool) -> Iterator[Row]:
    # The module's limit on a cell is 131,072 characters, one for the whole process; it is only ever raised
    # here.
    csv.field_size_limit(max(csv.field_size_limit(), min(_LONGEST_CELL, sys.maxsize)))
    numbered = read_lines(path)
    first = next(numbered, (1, ""))
    _check_separator(path, columns, first[1], "," if quoted else "\t")
    lines = (f"{line}\n" for _, line in itertools.chain([first], numbered))
    if quoted:
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = _next_cells(path, reader, 1)
    if header is None:
        raise InputError(str(path), "has no header", "Write the columns' names in the first line")
    check_columns(str(path), columns, header)
    for column in columns.values():
        if header.count(column) > 1:
            raise InputError(
                str(path), f"has {header.count(column)} columns named {column!r}", "Rename one of them"
            )
    places = {name: header.index(column) for name, column in columns.items()}
    while True:
        number = reader.line_num + 1
        cells = _next_cells(path, reader, number)
        if cells is None:
            return
        if not cells:  # a blank line
            continue
        if len(cells) != len(header):
            what = f"has {len(cells)} cells where the header has {len(header)}"
            fix = "Quote cells that hold a comma or a line end" if quoted else "Take tabs out of its cells"
            raise InputError(f"{path}, line {number}", what, fix)
        yield Row(str(path), "line", number, {name: cells[place] for name, place in places.items()})


def _check_separator(path: Path, columns: Mapping[str, str], header: str, separator: str) -> None:
    """Refuse a header that would have the columns if another character separated its cells."""
    if separator in header:
        return
    for other, name in _SEPARATORS.items():
        cells = [cell.strip().strip('"') for cell in header.split(other)]
        if len(cells) > 1 and set(columns.values()) & set(cells):
            what = f"separates its cells by {name}, not by {_SEPARATORS[separator]}"
            fix = "Name it .tsv" if other == "\t" else "Write commas, or tabs with the suffix .tsv"
            raise InputError(f"{path}, line 1", what, fix)


def _next_cells(path: Path, reader: Iterator[list[str]], number: int) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        fix = "Double the quotation marks inside a quoted cell, and close it"
        raise InputError(f"{path}, line {number}", f"is not valid CSV ({error})", fix) from error


def _json_rows(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        where = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(where, f"is not valid JSON ({error})", "Write one JSON object a line") from error
        if not isinstance(values, dict):
            what = f"is a JSON {type(values).__name__}, not an object"
            raise InputError(where, what, f'Write it as {{"{next(iter(columns.values()), "text")}": ...}}')
        check_columns(where, columns, values)
        yield Row(str(path), "line", number, {name: values[column] for name, column in columns.items()})


def _parquet_rows(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "tasks") from error
    with open_binary(path) as file:
        try:
            table = pyarrow.parquet.ParquetFile(file)
            check_columns(str(path), columns, table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches(_PARQUET_BATCH, columns=sorted(set(columns.values()))):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(
                        str(path), "row", number, {name: values[column] for name, column in columns.items()}
                    )
        except (pyarrow.ArrowException, OSError) as error:
            what = f"is not a Parquet file that can be read ({_first_line(error)})"
            raise InputError(str(path), what, "Write it again") from error


def _saved_rows(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError("datasets", "tasks") from error
    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # the package raises what its parts raise
        what = f"is not a data set that can be read ({_first_line(error)})"
        raise InputError(str(path), what, "Save it again") from error
    return _dataset_rows(dataset, columns, str(path))


def _dataset_rows(dataset: Any, columns: Mapping[str, str], where: str) -> Iterator[Row]:
    known: Sequence[str] | None = dataset.column_names  # None for a stream that has not been looked into
    if known is not None:
        check_columns(where, columns, known)
        dataset = dataset.select_columns(sorted(set(columns.values())))
    for number, values in enumerate(dataset, start=1):
        if known is None:
            check_columns(f"{where}, row {number}", columns, values)
        yield Row(where, "row", number, {name: values[column] for name, column in columns.items()})


def _frame_rows(frame: Any, columns: Mapping[str, str]) -> Iterator[Row]:
    where = "the DataFrame"
    names = {str(column): column for column in frame.columns}
    check_columns(where, columns, names)
    series = [frame[names[column]] for column in columns.values()]
    # pandas writes a missing value in several ways (NaN, NaT, NA): here it is None, as everywhere.
    cells = [one.astype(object).where(one.notna(), None) for one in series]
    for number, values in enumerate(zip(*cells, strict=True), start=1):
        yield Row(where, "row", number, dict(zip(columns, values, strict=True)))


def _iterable_rows(source: Iterable[Any], columns: Mapping[str, str]) -> Iterator[Row]:
    where, number = "data", 0
    for number, values in enumerate(source, start=1):
        if isinstance(values, str):
            check_columns(f"{where}, text {number}", columns, ["text"])
            yield Row(where, "text", number, dict.fromkeys(columns, values))
            continue
        if not isinstance(values, Mapping):
            what = f"is {type(values).__name__}, not a dict"
            fix = f'Give each row as {{"{next(iter(columns.values()), "text")}": ...}}'
            raise InputError(f"{where}, row {number}", what, fix)
        check_columns(f"{where}, row {number}", columns, values)
        yield Row(where, "row", number, {name: values[column] for name, column in columns.items()})
    if number == 0:
        raise InputError(where, "has no rows", "Give at least one")


def check_columns(where: str, columns: Mapping[str, str], known: Iterable[str]) -> None:
    """Refuse columns that are not among the known ones, naming the nearest."""
    known = list(known)
    for name, column in columns.items():
        if column not in known:
            map_it = f" (or map another: --columns {name}=COLUMN)" if name == column else ""
            raise InputError(where, f"has no column {column!r}{map_it}", nearest(column, known).rstrip("."))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _is_instance(source: Source, package: str, *names: str) -> bool:
    """Whether `source` is of a class of an optional package, without importing the package to ask."""
    module = sys.modules.get(package)
    kinds = [getattr(module, name, None) for name in names]
    return any(isinstance(kind, type) and isinstance(source, kind) for kind in kinds)
