"""Rows with named columns, whatever they come from: the one reader that every task's examples pass through.

A source is a path or a list of paths (CSV, TSV, JSON lines, Parquet, a folder that `datasets` saved, plain text), an
iterable of dicts, a dict of columns, a pandas or polars DataFrame, a `pyarrow.Table` or a `datasets.Dataset`. Rows come
in order, one at a time. A column inside another one is named with a dot: `translation.en`.

CSV and JSON lines are read by the standard library: the rows stay in the file's words (the readers of pandas
and pyarrow turn the text `NA` into a missing value and `2024-01-01` into a time) and an error can name its
line. Parquet is read by pyarrow, a few rows at a time; what `datasets` saved or holds stays memory-mapped.

A plain text file has one column, `text`, and a row a line. TSV has no quoting, as its media type says
(text/tab-separated-values): a quotation mark there is a character.

Columns that are all named by their places, from 1, are those of a CSV or TSV file without a header (a first line that
counts its own cells is one), or of a plain text file whose cells are separated by tabs.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..errors import InputError, MissingExtraError
from .column_names import cell_of, check_columns, top_column
from .files import check_file, open_binary, read_lines

# A path, paths, dicts, a dict of columns, texts, a pandas.DataFrame or a datasets.Dataset (the last two are optional
# packages).
Source: TypeAlias = "str | os.PathLike[str] | Iterable[Any] | Any"
# The source's column for each name (its place, where there is no header); None: every column, under its own name.
Columns: TypeAlias = Mapping[str, str | int] | None
_Named: TypeAlias = Mapping[str, str] | None

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


def read_rows(source: Source, columns: Columns) -> Iterator[dict[str, Any]]:
    """The rows of a source, under the reader's own names.

    Args:
        source: see the module.
        columns: the source's column for each name: `{"text": "review", "label": "stars"}`, or `{"text": 1, "label": 2}`
            where it has no header. None: all of its columns.

    Returns:
        An iterator of dicts with the keys of `columns`. A missing value is None. CSV and TSV cells are text.

    Raises:
        InputError: at once for a path that cannot be read, and while iterating for a missing column (with the
            nearest right one) or a row that cannot be read (with its number).
    """
    return (row.values for row in locate_rows(source, columns))


def locate_rows(source: Source, columns: Columns, *, headless: bool = False) -> Iterator[Row]:
    """As `read_rows`, each row with its place, for checks that must name it.

    Args:
        headless: of CSV and TSV, whose columns are then named by their places; so they are too where `columns` names
            all of its own by their places.
    """
    paths = source_paths(source)
    headless = headless or named_by_place(columns)
    named = None if columns is None else {name: str(column) for name, column in columns.items()}
    if paths is not None:
        return (row for path in paths for row in _path_rows(path, named, headless))
    if _is_instance(source, "pandas", "DataFrame"):
        return _frame_rows(source, named)
    if _is_instance(source, "datasets", "DatasetDict", "IterableDatasetDict"):
        splits: Any = source
        raise InputError("data", "holds several splits", f"Give one of them: {', '.join(splits)}")
    if _is_instance(source, "datasets", "Dataset", "IterableDataset"):
        return _dataset_rows(source, named, "the dataset")
    if _is_arrow(source):
        return _arrow_rows(source, named)
    if isinstance(source, Mapping):
        return _column_rows(source, named)
    if isinstance(source, Iterable):
        return _iterable_rows(source, named)
    fix = "Give a path, rows as dicts, a pandas DataFrame, an Arrow table or a datasets.Dataset"
    raise InputError("data", f"cannot be read from {type(source).__name__}", fix)


def named_by_place(columns: Columns) -> bool:
    """Whether all columns are named by their places, whole numbers from 1: there is no header."""
    places = [str(column) for column in (columns or {}).values()]
    return bool(places) and all(re.fullmatch("[1-9][0-9]*", place) for place in places)


def is_frame(source: Source) -> bool:
    """Whether a source is an object that is a table: a DataFrame, an Arrow table or a Dataset."""
    names = ("Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict")
    frame = _is_instance(source, "pandas", "DataFrame") or _is_arrow(source)
    return frame or _is_instance(source, "datasets", *names)


def source_paths(source: Source, *, folders: bool = False) -> list[Path] | None:
    """The files of a source, checked to be there, or None where it is not made of files.

    A list or tuple of strings is one of paths, unless they are plainly texts: no file has one of these names, and one
    of them at least has spaces and no file's ending.

    Args:
        folders: whether a path may be a folder of files.

    Raises:
        InputError: a path that cannot be read, or a list that is empty.
    """
    paths = _as_paths(source)
    for path in paths or []:
        if file_format(path) != "dataset" and not (folders and os.path.isdir(path)):
            check_file(path)
    if paths == []:
        raise InputError("data", "is an empty list", "Give at least one file or row")
    return paths


def _as_paths(source: Source) -> list[Path] | None:
    if isinstance(source, str | os.PathLike):
        return [Path(source)]
    if not isinstance(source, list | tuple) or not all(isinstance(it, str | os.PathLike) for it in source):
        return None
    texts = any(isinstance(item, str) and _is_text(item) for item in source)
    if texts and not any(os.path.exists(item) for item in source):
        return None
    return [Path(item) for item in source]


def _is_text(name: str) -> bool:
    """Whether a string that could be a path has spaces, and no file's ending."""
    return any(map(str.isspace, name)) and not re.search(r"\w\.[A-Za-z]\w{0,7}$", name)


def describe_source(source: Source) -> str:
    """What a source is, for a message: its files, or what holds it in memory."""
    paths = _as_paths(source)
    if paths is not None:
        return ", ".join(map(str, paths))
    rows = f" of {len(source):,} rows" if isinstance(source, Sized) else ""
    return f"a {type(source).__name__}{rows}"


def file_stamps(source: Source) -> list[FileStamp] | None:
    """Name, size and time of each file of a source; None where one is not a plain file or nothing is named."""
    paths = _as_paths(source)
    if not paths or not all(map(os.path.isfile, paths)):
        return None
    stats = [os.stat(path) for path in paths]
    return [
        FileStamp(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        for path, stat in zip(paths, stats, strict=True)
    ]


def file_format(path: Path) -> str:
    """`csv`, `tsv`, `jsonl`, `parquet`, `dataset` (a folder that `datasets` saved), or `text` for any other
    name. A file that is named `.json` and has an object in each of its first two lines is `jsonl`.
    """
    if os.path.isfile(path / "dataset_info.json"):
        return "dataset"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = suffixes[-2] if compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    if suffix == ".json":
        if os.path.isfile(path) and _has_objects_in_lines(path):
            return "jsonl"
        raise InputError(str(path), "a JSON document has no rows", "Write one object a line, as .jsonl")
    if compressed and _SUFFIXES.get(suffix) == "parquet":
        raise InputError(
            str(path), "Parquet cannot be read through gzip", "Decompress it: it is compressed inside"
        )
    return _SUFFIXES.get(suffix, "text")


def _has_objects_in_lines(path: Path) -> bool:
    lines = list(itertools.islice((line.strip() for _, line in read_lines(path) if line.strip()), 2))
    return len(lines) == 2 and all(line.startswith("{") and line.endswith("}") for line in lines)


def _path_rows(path: Path, columns: _Named, headless: bool) -> Iterator[Row]:
    match file_format(path):
        case "csv":
            rows = _csv_rows(path, columns, headless, quoted=True)
        case "tsv":
            rows = _csv_rows(path, columns, headless, quoted=False)
        case "text" if headless:
            rows = _csv_rows(path, columns, headless, quoted=False)
        case "jsonl":
            rows = _json_rows(path, columns)
        case "parquet":
            rows = _parquet_rows(path, columns)
        case "dataset":
            rows = _dataset_rows(saved_dataset(path), columns, str(path))
        case _:
            rows = _line_rows(path, columns)
    row = None
    for row in rows:
        yield row
    if row is None:
        raise InputError(str(path), "has no rows", "Give a file with data in it")


def _line_rows(path: Path, columns: _Named) -> Iterator[Row]:
    names = _names(str(path), columns, ["text"])
    for number, line in read_lines(path):
        yield Row(str(path), "line", number, dict.fromkeys(names, line))


def _csv_rows(path: Path, columns: _Named, headless: bool, *, quoted: bool) -> Iterator[Row]:
    # The module's limit on a cell is 131,072 characters, one for the whole process; it is only ever raised
    # here.
    csv.field_size_limit(max(csv.field_size_limit(), min(_LONGEST_CELL, sys.maxsize)))
    numbered = read_lines(path)
    first = next(numbered, (1, ""))
    if not headless:
        _check_separator(path, columns, first[1], "," if quoted else "\t")
    lines = (f"{line}\n" for _, line in itertools.chain([first], numbered))
    if quoted:
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    rows = _numbered_cells(path, reader)
    number, header = next(rows, (1, None))
    if header is None:
        raise InputError(str(path), "has no header", "Write the columns' names in the first line")
    if headless and not _counts(header):
        rows = itertools.chain([(number, header)], rows)
        header = [str(place) for place in range(1, len(header) + 1)]
    columns = _names_of_header(path, columns, header)
    places = {name: header.index(column) for name, column in columns.items() if column in header}
    source, width = str(path), len(header)
    for number, cells in rows:
        if len(cells) != width:
            what = f"has {len(cells)} cells where the first line has {width}"
            fix = "Quote cells that hold a comma or a line end" if quoted else "Take tabs out of its cells"
            raise InputError(f"{path}, line {number}", what, fix)
        if len(places) == len(columns):
            values = {name: cells[place] for name, place in places.items()}
        else:  # a column inside another, which a text cannot hold
            values = _picked(f"{path}, line {number}", columns, dict(zip(header, cells, strict=True)))
        yield Row(source, "line", number, values)


def _counts(header: Sequence[str]) -> bool:
    """Whether a line of several cells counts them, from 0 or from 1: 0, 1, 2, …"""
    counted = [[str(place) for place in range(start, start + len(header))] for start in (0, 1)]
    return len(header) > 1 and list(header) in counted


def _names_of_header(path: Path, columns: _Named, header: Sequence[str]) -> Mapping[str, str]:
    try:
        columns = _names(str(path), columns, header)
    except InputError as error:
        if named_by_place(columns):
            raise
        fix = f"{error.fix} (or, where the first line is no header, name columns by their places: 1, 2, …)"
        raise InputError(error.where, error.what, fix) from error
    for column in columns.values():
        if header.count(column) > 1:
            raise InputError(
                str(path), f"has {header.count(column)} columns named {column!r}", "Rename one of them"
            )
    return columns


def _check_separator(path: Path, columns: _Named, header: str, separator: str) -> None:
    """Refuse a header that would have the columns if another character separated its cells."""
    if separator in header or columns is None:
        return
    for other, name in _SEPARATORS.items():
        cells = [cell.strip().strip('"') for cell in header.split(other)]
        if len(cells) > 1 and set(columns.values()) & set(cells):
            what = f"separates its cells by {name}, not by {_SEPARATORS[separator]}"
            fix = "Name it .tsv" if other == "\t" else "Write commas, or tabs with the suffix .tsv"
            raise InputError(f"{path}, line 1", what, fix)


def _numbered_cells(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row of a CSV reader that is not blank, with the number of its first line."""
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            fix = "Double the quotation marks inside a quoted cell, and close it"
            raise InputError(f"{path}, line {number}", f"is not valid CSV ({error})", fix) from error
        if cells is None:
            return
        if cells:
            yield number, cells


def _json_rows(path: Path, columns: _Named) -> Iterator[Row]:
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
            raise InputError(where, what, f'Write it as {{"{_first(columns)}": ...}}')
        yield Row(str(path), "line", number, _picked(where, _names(where, columns, values), values))


def _parquet_rows(path: Path, columns: _Named) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "tasks") from error
    with open_binary(path) as file:
        try:
            table = pyarrow.parquet.ParquetFile(file)
            known = table.schema_arrow.names
            columns = _names(str(path), columns, known)
            number = 0
            for batch in table.iter_batches(_PARQUET_BATCH, columns=_tops(columns, known)):
                for values in batch.to_pylist():
                    number += 1
                    where = f"{path}, row {number}"
                    yield Row(str(path), "row", number, _picked(where, columns, values))
        except (pyarrow.ArrowException, OSError) as error:
            what = f"is not a Parquet file that can be read ({_first_line(error)})"
            raise InputError(str(path), what, "Write it again") from error


def saved_dataset(path: Path) -> Any:
    """The Dataset in a folder that `datasets` saved, memory-mapped.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError("datasets", "tasks") from error
    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # the package raises what its parts raise
        what = f"is not a data set that can be read ({_first_line(error)})"
        raise InputError(str(path), what, "Save it again") from error


def _dataset_rows(dataset: Any, columns: _Named, where: str) -> Iterator[Row]:
    known: Sequence[str] | None = dataset.column_names  # None for a stream that has not been looked into
    if known is not None:
        columns = _names(where, columns, known)
        dataset = dataset.select_columns(_tops(columns, known))
    for number, values in enumerate(dataset, start=1):
        row = f"{where}, row {number}"
        yield Row(where, "row", number, _picked(row, _names(row, columns, values), values))


def _frame_rows(frame: Any, columns: _Named) -> Iterator[Row]:
    where = "the DataFrame"
    names = {str(column): column for column in frame.columns}
    columns = _names(where, columns, names)
    tops = _tops(columns, names)
    # pandas writes a missing value in several ways (NaN, NaT, NA): here it is None, as everywhere.
    series = [frame[names[top]].astype(object) for top in tops]
    cells = [one.where(one.notna(), None) for one in series]
    for number, values in enumerate(zip(*cells, strict=True), start=1):
        row = dict(zip(tops, values, strict=True))
        yield Row(where, "row", number, _picked(f"{where}, row {number}", columns, row))


def _arrow_rows(source: Any, columns: _Named) -> Iterator[Row]:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "tasks") from error
    where = "the table"
    table = source if isinstance(source, pyarrow.Table) else pyarrow.table(source)
    columns = _names(where, columns, table.column_names)
    number = 0
    for batch in table.select(_tops(columns, table.column_names)).to_batches(_PARQUET_BATCH):
        for values in batch.to_pylist():
            number += 1
            yield Row(where, "row", number, _picked(f"{where}, row {number}", columns, values))


def _column_rows(table: Mapping[Any, Any], columns: _Named) -> Iterator[Row]:
    known = {str(name): cells for name, cells in table.items()}
    columns = _names("data", columns, known)
    for name, cells in known.items():
        if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Iterable):
            what = f"is a dict whose {name!r} is {type(cells).__name__}, not a column of cells"
            raise InputError("data", what, "Give a list of rows, [{...}, {...}], or columns: {name: [...]}")
    listed = {name: list(cells) for name, cells in known.items()}
    sizes = {name: len(cells) for name, cells in listed.items()}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise InputError("data", f"has columns of different lengths ({counts})", "Give as many cells in each")
    return _iterable_rows(
        (dict(zip(listed, cells, strict=True)) for cells in zip(*listed.values(), strict=True)), columns
    )


def _iterable_rows(source: Iterable[Any], columns: _Named) -> Iterator[Row]:
    where, number = "data", 0
    unit = "row" if isinstance(source, list | tuple) else "text"  # of a string
    for number, values in enumerate(source, start=1):
        if isinstance(values, str):
            names = _names(f"{where}, {unit} {number}", columns, ["text"])
            yield Row(where, unit, number, dict.fromkeys(names, values))
            continue
        if not isinstance(values, Mapping):
            what = f"is {type(values).__name__}, not a dict"
            fix = f'Give each row as {{"{_first(columns)}": ...}}'
            raise InputError(f"{where}, row {number}", what, fix)
        row = f"{where}, row {number}"
        yield Row(where, "row", number, _picked(row, _names(row, columns, values), values))
    if number == 0:
        raise InputError(where, "has no rows", "Give at least one")


def _tops(columns: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """The known columns that hold the given ones, which were checked."""
    tops = {top_column(column, known) for column in columns.values()}
    return sorted(top for top in tops if top is not None)


def _names(where: str, columns: _Named, known: Iterable[str]) -> Mapping[str, str]:
    """The column for each name, checked to be there."""
    if columns is None:
        return {name: name for name in known}
    check_columns(where, columns, known)
    return columns


def _picked(where: str, columns: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cell_of(where, values, column) for name, column in columns.items()}


def _first(columns: _Named) -> str:
    """A column for an example."""
    return next(iter((columns or {}).values()), "text")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _is_instance(source: Source, package: str, *names: str) -> bool:
    """Whether `source` is of a class of an optional package, without importing the package to ask."""
    module = sys.modules.get(package)
    kinds = [getattr(module, name, None) for name in names]
    return any(isinstance(kind, type) and isinstance(source, kind) for kind in kinds)


def _is_arrow(source: Source) -> bool:
    """Whether a source is a table that gives itself as Arrow's: one of pyarrow, or a frame of polars."""
    return hasattr(source, "__arrow_c_stream__") and not _is_instance(source, "pandas", "DataFrame", "Series")
