"""Tables of series as blocks of columns, with only those columns that are needed, and typed as they are needed.

CSV and TSV are read by pyarrow, which is many times faster than a dict a row; what it cannot read is then looked for by
the reader of `tables`, which names the line. Parquet, pandas and polars frames, Datasets and dicts of columns are
columns already; rows (JSON lines, iterables) are gathered into blocks.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import InputError, MissingExtraError
from .arrow_cells import plain_array
from .files import open_binary, read_lines
from .series_columns import CellKind
from .tables import Row, Source, file_format, locate_rows
from .times import looks_like_time

__all__ = [
    "MISSING",
    "Block",
    "SeriesTable",
    "kind_of_cells",
    "not_a_number",
    "numbers_of",
    "rows_of",
    "series_table",
    "table_of_file",
    "table_of_rows",
]

if TYPE_CHECKING:
    import numpy.typing as npt

# Of each column its cells: an Arrow array, or a list of Python's objects.
Block: TypeAlias = dict[str, Any]

# Texts that stand for a missing number.
MISSING = (
    "",
    " ",
    "NA",
    "N/A",
    "n/a",
    "NaN",
    "nan",
    "NAN",
    "NULL",
    "null",
    "None",
    "<NA>",
    "#N/A",
    "?",
    "-",
    ".",
)

_SAMPLE = 256  # rows by which the kinds of columns are told, where cells are text
_ROWS = 1 << 16  # of a block that is gathered from rows
_CSV_BYTES = 1 << 22  # of a block of a CSV file


@dataclass(frozen=True)
class SeriesTable:
    """A table that can be read in blocks.

    Attributes:
        where: the file, or what holds it in memory.
        kinds: its columns, and what their cells are.
        blocks: reads it: which columns are needed as numbers, and which as they are, to blocks in order.
        place: where row n, from 0, is, for messages; may be slow.
        rows: its rows, where it is of rows that are dicts; None: it is of columns.
    """

    where: str
    kinds: Mapping[str, CellKind]
    blocks: Callable[[Sequence[str], Sequence[str]], Iterator[Block]]
    place: Callable[[int], str]
    rows: Iterator[Row] | None = None


def series_table(source: Source) -> SeriesTable:
    """A table that is held in memory, or rows that are read one by one."""
    _arrow()
    frame = (
        source.to_frame("target")
        if type(source).__name__ == "Series" and hasattr(source, "to_frame")
        else source
    )
    if hasattr(frame, "iloc"):
        return _pandas_table(frame)
    if hasattr(frame, "with_format") and hasattr(frame, "num_rows"):  # a datasets.Dataset that is no stream
        return _dataset_table(frame, "the dataset")
    if hasattr(frame, "__arrow_c_stream__"):
        return _arrow_table(frame)
    if isinstance(source, Mapping):
        return _table_of_columns(source)
    return table_of_rows(locate_rows(source, None), "data")


def table_of_file(path: Path, *, headless: bool) -> SeriesTable:
    """A file as a table; its first rows are read at once.

    Args:
        headless: of CSV and TSV, whose columns are then named by their places.

    Raises:
        InputError: it cannot be read, or holds no rows.
    """
    _arrow()
    match file_format(path):
        case "parquet":
            return _parquet_table(path)
        case "dataset":
            return _saved_table(path)
        case "jsonl":
            return table_of_rows(locate_rows(path, None), str(path), lambda row: _line(path, row, False))
        case "csv" | "tsv" as kind:
            return _csv_table(path, headless, "," if kind == "csv" else "\t")
        case _:
            fix = "Give a table (.csv, .tsv, .jsonl, .parquet) or a .tsf file"
            raise InputError(str(path), "is no table that can hold series", fix)


def _csv_table(path: Path, headless: bool, separator: str) -> SeriesTable:
    import pyarrow
    import pyarrow.csv

    _check_separator(path, separator)
    head = list(itertools.islice(locate_rows(path, None, headless=headless), _SAMPLE))
    names = list(head[0].values)
    kinds = {name: _kind_of_texts([row.values[name] for row in head]) for name in names}

    def blocks(numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        types = dict.fromkeys(numbers, pyarrow.float64()) | dict.fromkeys(others, pyarrow.string())
        read = pyarrow.csv.ReadOptions(
            column_names=names, skip_rows=head[0].number - 1, block_size=_CSV_BYTES, use_threads=True
        )
        parse = pyarrow.csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if separator == "," else False,
            newlines_in_values=separator == ",",
        )
        convert = pyarrow.csv.ConvertOptions(
            column_types=types, include_columns=list(types), null_values=MISSING, strings_can_be_null=False
        )
        try:
            with open_binary(path) as file:
                for batch in pyarrow.csv.open_csv(file, read, parse, convert):
                    yield dict(zip(types, batch.columns, strict=True))
        except (pyarrow.ArrowException, OSError, EOFError, zlib.error) as error:
            raise _fault(path, headless, numbers, error) from error

    return SeriesTable(str(path), kinds, blocks, lambda row: _line(path, row, headless))


def _fault(path: Path, headless: bool, numbers: Sequence[str], error: Exception) -> InputError:
    """What is wrong with a file that pyarrow does not read, found row by row."""
    for row in locate_rows(path, None, headless=headless):
        for column in numbers:
            cell = row.values[column]
            if cell not in MISSING and not _is_number(cell):
                return not_a_number(row.where, column, cell)
    return InputError(str(path), f"cannot be read ({str(error).splitlines()[0]})", "Write the table again")


def not_a_number(where: str, column: str, cell: Any) -> InputError:
    """The error of a cell that should be a number."""
    what = f"the cell of {column!r} is {cell!r:.40}, not a number"
    return InputError(where, what, "Give a number, or leave the cell empty where it is missing")


def numbers_of(cells: Any, column: str, place: Callable[[int], str]) -> npt.NDArray[np.float64]:
    """Cells as numbers (N,) float64; missing ones are NaN.

    Args:
        cells: (N,) an Arrow array, or a list of Python's objects.
        column: its name, for messages.
        place: where cell n is, for messages.

    Raises:
        InputError: a cell is no number, or infinite.
    """
    import pyarrow
    import pyarrow.compute

    if isinstance(cells, list):
        try:
            cells = pyarrow.array(cells, from_pandas=True)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            return _finite(
                np.array([_number(cell, column, place, row) for row, cell in enumerate(cells)]), column, place
            )
    cells = plain_array(cells)
    kind = cells.type
    if pyarrow.types.is_string(kind):
        texts = pyarrow.compute.utf8_trim_whitespace(cells)
        missing = pyarrow.compute.is_in(texts, pyarrow.array(MISSING, texts.type))
        try:
            cells = pyarrow.compute.if_else(missing, None, texts).cast(pyarrow.float64())
        except pyarrow.ArrowInvalid:
            found = [_number(cell, column, place, row) for row, cell in enumerate(cells.to_pylist())]
            return _finite(np.array(found), column, place)
    elif _kind_of_type(kind) not in ("number", "empty"):
        row = pyarrow.compute.index(cells.is_valid(), True).as_py()
        raise not_a_number(place(row), column, cells[row].as_py())
    numbers = cells.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return _finite(numbers, column, place)


def _number(cell: Any, column: str, place: Callable[[int], str], row: int) -> float:
    if (
        cell is None
        or (isinstance(cell, str) and cell.strip() in MISSING)
        or type(cell).__name__ in ("NAType", "NaTType")
    ):
        return float("nan")
    if not _is_number(cell):
        raise not_a_number(place(row), column, cell)
    return float(cell)


def _finite(
    numbers: npt.NDArray[np.float64], column: str, place: Callable[[int], str]
) -> npt.NDArray[np.float64]:
    bad = np.flatnonzero(np.isinf(numbers))
    if len(bad):
        raise not_a_number(place(int(bad[0])), column, float(numbers[bad[0]]))
    return numbers


def _check_separator(path: Path, separator: str) -> None:
    _, first = next(read_lines(path))
    other = next((mark for mark in ";\t|," if mark in first), None) if separator not in first else None
    if other is not None:
        fix = "Write commas between them (and points in numbers), or tabs with the suffix .tsv"
        raise InputError(f"{path}, line 1", f"has no {separator!r} between its cells but {other!r}", fix)


def _line(path: Path, row: int, headless: bool) -> str:
    """Where row n of a file of lines is."""
    found = next(itertools.islice(locate_rows(path, None, headless=headless), row, None), None)
    return found.where if found is not None else f"{path}, row {row + 1}"


def _parquet_table(path: Path) -> SeriesTable:
    import pyarrow
    import pyarrow.parquet

    next(locate_rows(path, None))  # says what is wrong with a file that cannot be read, or has no rows
    with open_binary(path) as file:
        schema = pyarrow.parquet.read_schema(file)

    def blocks(numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        wanted = [*numbers, *others]
        try:
            with open_binary(path) as file:
                for batch in pyarrow.parquet.ParquetFile(file).iter_batches(_ROWS, columns=wanted):
                    yield {name: batch.column(name) for name in wanted}
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(str(path), f"is a damaged Parquet file ({error})", "Write it again") from error

    return SeriesTable(
        str(path),
        {name: _kind_of_type(schema.field(name).type) for name in schema.names},
        blocks,
        _row_of(path),
    )


def _saved_table(path: Path) -> SeriesTable:
    import datasets

    next(locate_rows(path, None))  # says what is wrong with it
    return _dataset_table(datasets.load_from_disk(str(path)), str(path))


def _dataset_table(dataset: Any, where: str) -> SeriesTable:
    schema = dataset.features.arrow_schema

    def blocks(numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        wanted = [*numbers, *others]
        for table in dataset.select_columns(wanted).with_format("arrow").iter(_ROWS):
            yield {name: table.column(name) for name in wanted}

    if not dataset.num_rows:
        raise InputError(where, "has no rows", "Give at least one")
    kinds = {field.name: _kind_of_type(field.type) for field in schema}
    return SeriesTable(where, kinds, blocks, _row_of(where))


def _arrow_table(source: Any) -> SeriesTable:
    import pyarrow

    table = source if isinstance(source, pyarrow.Table) else pyarrow.table(source)
    where = "the table" if table is source else "the DataFrame"

    def blocks(numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        for batch in table.select([*numbers, *others]).to_batches(_ROWS):
            yield dict(zip([*numbers, *others], batch.columns, strict=True))

    if not table.num_rows:
        raise InputError(where, "has no rows", "Give at least one")
    kinds = {field.name: _kind_of_type(field.type) for field in table.schema}
    return SeriesTable(where, kinds, blocks, _row_of(where))


def _pandas_table(frame: Any) -> SeriesTable:
    import pandas

    where = "the DataFrame"
    index = frame.index
    if index.names != [None] or isinstance(index, pandas.DatetimeIndex | pandas.PeriodIndex):
        names = [name or "time" for name in index.names]
        frame = frame.reset_index(
            names=[name if name not in frame.columns else f"index_{name}" for name in names]
        )
    if not len(frame):
        raise InputError(where, "has no rows", "Give at least one")
    columns = {str(name): frame[name] for name in frame.columns}
    for name, cells in columns.items():
        if cells.ndim > 1:
            raise InputError(where, f"has {cells.shape[1]} columns named {name!r}", "Rename one of them")
        if isinstance(cells.dtype, pandas.PeriodDtype):
            columns[name] = cells.dt.to_timestamp()
    return _table_of_arrays(columns, where)


def _table_of_columns(source: Mapping[Any, Any]) -> SeriesTable:
    next(locate_rows(source, None))  # says what is wrong with it
    columns = {str(name): cells if hasattr(cells, "dtype") else list(cells) for name, cells in source.items()}
    return _table_of_arrays(columns, "data")


def _table_of_arrays(columns: Mapping[str, Any], where: str) -> SeriesTable:
    """Lists and arrays of equal lengths, or the columns of a pandas frame."""
    import pyarrow

    length = len(next(iter(columns.values())))

    def cells_of(name: str, begin: int, end: int) -> Any:
        cells = columns[name]
        part = cells.iloc[begin:end] if hasattr(cells, "iloc") else cells[begin:end]
        if str(getattr(cells, "dtype", "object")) == "object":
            return list(part)
        try:
            return pyarrow.array(part, from_pandas=True)
        except (pyarrow.ArrowException, TypeError, ValueError):  # complex numbers: it is said which cell
            return list(part)

    def blocks(numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        for begin in range(0, length, _ROWS):
            yield {name: cells_of(name, begin, begin + _ROWS) for name in [*numbers, *others]}

    kinds: dict[str, CellKind] = {}
    for name in columns:
        head = cells_of(name, 0, _SAMPLE)
        kinds[name] = kind_of_cells(head) if isinstance(head, list) else _kind_of_array(head)
    return SeriesTable(where, kinds, blocks, _row_of(where))


def table_of_rows(rows: Iterable[Row], where: str, place: Callable[[int], str] | None = None) -> SeriesTable:
    """Rows that are dicts, some thousand at a time; a column that a row does not have is missing there.

    Raises:
        InputError: there are no rows.
    """
    rows = iter(rows)
    head = list(itertools.islice(rows, _SAMPLE))
    if not head:
        raise InputError(where, "has no rows", "Give at least one")
    names = dict.fromkeys(name for row in head for name in row.values)
    kinds = {name: kind_of_cells([row.values.get(name) for row in head]) for name in names}
    every = itertools.chain(head, rows)

    def blocks(numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        while part := [row.values for row in itertools.islice(every, _ROWS)]:
            yield {name: [values.get(name) for values in part] for name in [*numbers, *others]}

    return SeriesTable(where, kinds, blocks, place or _row_of(where), every)


def rows_of(table: SeriesTable) -> Iterator[Row]:
    """The rows of a table, with all of their cells."""
    if table.rows is not None:
        yield from table.rows
        return
    number = 0
    for block in table.blocks((), tuple(table.kinds)):
        cells = [part if isinstance(part, list) else part.to_pylist() for part in block.values()]
        for values in zip(*cells, strict=True):
            number += 1
            yield Row(table.where, "row", number, dict(zip(block, values, strict=True)))


def _row_of(where: object) -> Callable[[int], str]:
    return lambda row: f"{where}, row {row + 1}"


def _kind_of_type(kind: Any) -> CellKind:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _kind_of_type(kind.value_type)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "time"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "list"
    return "empty" if types.is_null(kind) else "text"


def _kind_of_array(array: Any) -> CellKind:
    kind = _kind_of_type(array.type)
    cells = array.drop_null().to_pylist() if kind == "text" else []
    return _kind_of_texts(cells) if cells and isinstance(cells[0], str) else kind


def kind_of_cells(cells: Sequence[Any]) -> CellKind:
    """What Python's objects are, by those that are not missing."""
    known = [cell for cell in cells if cell is not None and not (isinstance(cell, float) and cell != cell)]
    if not known:
        return "empty"
    if all(isinstance(cell, list | tuple | np.ndarray) for cell in known):
        return "list"
    if all(isinstance(cell, str) for cell in known):
        return _kind_of_texts(known)
    if all(hasattr(cell, "year") or isinstance(cell, np.datetime64) for cell in known):
        return "time"
    return "number" if all(_is_number(cell) for cell in known) else "text"


def _kind_of_texts(cells: Sequence[str]) -> CellKind:
    known = [cell for cell in cells if cell not in MISSING]
    if not known:
        return "empty"
    if all(map(_is_number, known)):
        return "number"
    return "time" if all(map(looks_like_time, known)) else "text"


def _is_number(cell: Any) -> bool:
    if isinstance(cell, str) and ("_" in cell or not cell.isascii()):  # Python's own ways of writing numbers
        return False
    if isinstance(cell, complex | np.complexfloating):
        return False
    try:
        float(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _arrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "tasks") from error
