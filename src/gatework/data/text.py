"""Running text from files and tables, in order, a block at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputError
from .files import LONGEST_LINE_BYTES, read_blocks
from .tables import Row, Source, file_format, locate_rows, source_paths

CHUNK_CHARACTERS = 1 << 16
# A space between two words: no tokenizer here joins what stands on its two sides.
_WORD_GAP = re.compile(r"(?<=\S) (?=\S)")


def read_texts(source: Source, *, column: str | None = None) -> Iterator[str]:
    """The text of a source, in order, never the whole of a file at once.

    - A text file (any name without a table's suffix, plain or gzip) comes as it is, in blocks of whole lines
      with their line ends; only `\\r\\n` becomes `\\n` and a byte order mark is dropped.
    - A table (CSV, TSV, JSON lines, Parquet, dicts, DataFrame, Dataset: `gatework.data.tables`) gives a
      document a row. A document that does not end with a line end is given one, so that two never run
      together.
    - A list or tuple of strings that name no files gives a document a string; any other iterable of strings is taken
      as one text, as it is.

    Args:
        source: a path, paths, or data in memory.
        column: the table's column; `text` where None.

    Raises:
        InputError: at once for a path that cannot be read, and while iterating for what a file, a row or a
            cell has wrong with it. A text that is None is refused: an empty one must be said to be empty.
    """
    columns = {"text": "text" if column is None else column}
    paths = source_paths(source)
    if paths is None:
        return (_document(row) for row in locate_rows(source, columns))
    if column not in (None, "text"):
        for path in paths:
            if file_format(path) == "text":
                what = f"is plain text, without a column {column!r}"
                raise InputError(
                    str(path), what, "Leave the column out, or give a table (.csv, .tsv, .jsonl, .parquet)"
                )
    return (text for path in paths for text in _path_texts(path, columns))


def chunks_of_text(texts: Iterable[str], characters: int = CHUNK_CHARACTERS) -> Iterator[str]:
    """A text in chunks that do not depend on how its blocks were cut.

    A chunk ends at a line end; in a line longer than `LONGEST_LINE_BYTES` at a space between two words; in a word
    that is longer still anywhere. The tokens of the text are therefore those of its chunks, one after another (but
    for such a word).

    Args:
        texts: blocks of one text, cut anywhere.
        characters: least characters of a chunk but the last; a chunk has more where its last line has.
    """
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size < characters or ("\n" not in text and size < LONGEST_LINE_BYTES):
            continue
        whole = "".join(waiting)
        start = 0
        while len(whole) - start >= characters:
            cut = whole.find("\n", start + characters - 1) + 1 or whole.rfind("\n", start) + 1
            if not cut:
                if len(whole) - start < LONGEST_LINE_BYTES:
                    break
                cut = max((gap.start() for gap in _WORD_GAP.finditer(whole, start + 1)), default=len(whole))
            yield whole[start:cut]
            start = cut
        waiting = [whole[start:]]
        size = len(whole) - start
    if size:
        yield "".join(waiting)


def text_sha256(texts: Iterable[str]) -> str:
    """The SHA-256 of a text, wherever its blocks were cut."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()


def _path_texts(path: Path, columns: dict[str, str]) -> Iterator[str]:
    if file_format(path) == "text":
        return (block for _, block in read_blocks(path))
    return (_document(row) for row in locate_rows(path, columns))


def _document(row: Row) -> str:
    text = text_of(row.where, row.values["text"], "Give text in this column")
    whole = row.unit != "text"  # a string by itself is a part of one longer text
    return text if text.endswith("\n") or not whole else text + "\n"


def text_of(where: str, value: object, fix: str) -> str:
    """A cell's text. A whole number is its digits: pandas and `datasets` make one of a cell `3` of a CSV file.

    Raises:
        InputError: the cell is missing or holds something else; `fix` says what to give.
    """
    if value is None:
        raise InputError(where, "the text is missing (null)", "Fill it in, or take the row out")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        number = isinstance(value, float)
        fix = "Read the column as text, which keeps its digits: dtype=str" if number else fix
        raise InputError(where, f"the text is {type(value).__name__} {value!r:.40}", fix)
    check_characters(where, value)
    return value


def check_characters(where: str, text: str) -> None:
    """JSON and Python can hold half of a surrogate pair, which is no character and cannot be written as
    UTF-8.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        what = f"character {error.start} of the text is half of a surrogate pair ({text[error.start]!a})"
        raise InputError(where, what, "Write the whole character, or take it out") from error
