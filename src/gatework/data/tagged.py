"""Sentences whose tokens have tags: from columns of tokens, from lines side by side, from tables.

- CoNLL's columns: a token a line, sentences parted by empty lines; the token stands first (in CoNLL-U second), the tag
  last, or in the column that is asked for. `-DOCSTART-` lines, comments and CoNLL-U's multiword tokens are passed over.
- Files side by side, or a folder of them: `seq.in` with a sentence's tokens a line, `seq.out` with its tags, and
  `label` with the sentence's label, if there is one; plain or gzip.
- Tables (`gatework.data.tables`) with the columns `tokens` and `tags`: lists, or texts with spaces between.
- Tables with the columns `text` and `spans`: `gatework.data.annotations` says in which shapes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .annotations import (
    document_of_pair,
    read_json_documents,
    span_column,
    spans_of_row,
    tags_of_marked,
)
from .column_names import cell_of, check_columns
from .files import check_exists, read_lines
from .tables import Row, Source, file_format, is_frame, locate_rows, source_paths
from .text import check_characters, text_of
from .word_spans import word_spans

__all__ = ["TaggedSentence", "Tagging", "is_in_columns", "read_tagged", "words_in_columns"]

LINES = ("seq.in", "seq.out", "label")
CONLLU = ".conllu"
_CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_IN_COLUMNS = (".conll", CONLLU, ".iob", ".iob2", ".bio", ".bioes")
_PAIR = "Give as many tags as tokens"


class Tagging(NamedTuple):
    """What a tagger, a baseline or the data says of a sentence: its tags, and its label or None."""

    tags: tuple[str, ...]
    label: str | None = None


class TaggedSentence(NamedTuple):
    """A sentence's tokens with a tag each, its label or None, and where it was found.

    cut: marked spans of characters that did not fit its tokens, and were widened or dropped.
    """

    where: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    label: str | None = None
    cut: int = 0


def read_tagged(
    data: Source, columns: Mapping[str, str], *, tag_column: str = "last", cut_spans: str = "error"
) -> Iterator[TaggedSentence]:
    """The sentences of a source, in order; one without tokens too.

    Args:
        data: see the module.
        columns: the data's own names of `tokens`, `tags`, `text`, `spans` and `label`.
        tag_column: of files of columns: `last`, a number from 1, or in CoNLL-U the name of one (`upos`).
        cut_spans: what is done with a span that begins or ends inside a token, or overlaps another: `error`, `drop` the
            span, or `widen` it to whole tokens.

    Raises:
        InputError: what is wrong with a file or a row, with its line.
    """
    if isinstance(data, list | tuple) and len(data) == 1 and isinstance(data[0], str | os.PathLike):
        (data,) = data
    if isinstance(data, str | os.PathLike) and os.path.isdir(data) and file_format(Path(data)) == "text":
        return _side_by_side(_folder(Path(data)))
    paths = _paths(data)
    texts = [path for path in paths or () if _is_text(path)]
    if not texts:
        return _table(data, paths, columns, cut_spans)
    if columns:
        raise InputError(str(texts[0]), "is plain text, whose columns have no names", "Leave the columns out")
    if len(texts) == len(paths or ()) > 1 and not is_in_columns(texts[0]):
        return _side_by_side(texts)
    return (sentence for path in texts for sentence in _in_columns(path, tag_column))


def _paths(data: Source) -> list[Path] | None:
    if isinstance(data, str | os.PathLike) and str(data).endswith(".json"):
        check_exists(Path(data))
        return [Path(data)]
    return source_paths(data)


def _is_text(path: Path) -> bool:
    return path.suffix != ".json" and file_format(path) == "text"


# Files side by side


def _folder(path: Path) -> list[Path]:
    """The files of a folder, as `LINES` names them."""
    found = []
    for name in LINES:
        there = [path / each for each in (name, name + ".gz") if (path / each).is_file()]
        if there:
            found.append(there[0])
        elif name != "label":
            what = f"has no {name}, nor {name}.gz"
            raise InputError(str(path), what, "Give a folder with seq.in and seq.out, or name the files")
    return found


def _side_by_side(paths: Sequence[Path]) -> Iterator[TaggedSentence]:
    if len(paths) not in (2, 3):
        what = f"and {len(paths) - 1} more were given"
        raise InputError(
            str(paths[0]), what, "Give the file of tokens, that of tags, and that of labels if there is one"
        )
    lines = zip_longest(*(read_lines(path) for path in paths))
    for number, row in enumerate(lines, start=1):
        short = [str(path) for path, line in zip(paths, row, strict=True) if line is None]
        if short:
            what = f"ends before line {number}, which {next(str(path) for path in paths if str(path) not in short)} has"
            raise InputError(short[0], what, "The files have a line for each sentence")
        texts = [line for _, line in row]
        tokens, tags = texts[0].split(), texts[1].split()
        where = f"{paths[0]}, line {number}"
        _check_counts(f"{paths[1]}, line {number}", tokens, tags)
        yield TaggedSentence(where, tuple(tokens), tuple(tags), texts[2].strip() if len(texts) > 2 else None)


def _check_counts(where: str, tokens: Sequence[str], tags: Sequence[str]) -> None:
    if len(tokens) != len(tags):
        what = f"has {len(tags)} tags for {len(tokens)} tokens ({' '.join(tokens):.60})"
        raise InputError(where, what, _PAIR)


# Columns


def is_in_columns(path: Path) -> bool:
    """Whether a text file has its tokens and tags in columns: its name says so."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return bool(suffixes) and suffixes[-1] in _IN_COLUMNS


def words_in_columns(path: Path) -> Iterator[list[str]]:
    """The tokens of each sentence of a file of columns, which needs no tags."""
    word_column = "2" if CONLLU in path.suffixes else "1"
    return (list(sentence.tokens) for sentence in _in_columns(path, word_column))


def _in_columns(path: Path, tag_column: str) -> Iterator[TaggedSentence]:
    universal = CONLLU in path.suffixes
    begin = 0
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in read_lines(path):
        if universal and line.startswith("#"):
            continue
        if not line.strip():
            if tokens:
                yield TaggedSentence(f"{path}, line {begin}", tuple(tokens), tuple(tags))
            tokens, tags = [], []
            continue
        cells = line.split("\t") if universal or "\t" in line else line.split()
        if cells[0] == "-DOCSTART-" or (
            universal and not cells[0].isdigit()
        ):  # 3-4 and 3.1 are no words of a text
            continue
        where = f"{path}, line {number}"
        begin = begin if tokens else number
        tokens.append(_cell(where, cells, 1 if universal else 0))
        tags.append(_cell(where, cells, _tag_index(where, cells, tag_column, universal)))
    if tokens:
        yield TaggedSentence(f"{path}, line {begin}", tuple(tokens), tuple(tags))


def _tag_index(where: str, cells: Sequence[str], column: str, universal: bool) -> int:
    if column.isdigit() and column != "0":
        return int(column) - 1
    if universal:
        name = "upos" if column == "last" else column.lower()
        if name in _CONLLU_COLUMNS:
            return _CONLLU_COLUMNS.index(name)
    elif column == "last":
        if len(cells) < 2:
            what = f"has one column, {cells[0]!r:.40}"
            raise InputError(where, what, "Give a token and its tag, with a space or a tab between")
        return len(cells) - 1
    known = ", ".join(_CONLLU_COLUMNS) if universal else "last"
    raise InputError(
        "option tag_column", f"there is no column {column!r}", f"Known: {known}, or a number from 1."
    )


def _cell(where: str, cells: Sequence[str], index: int) -> str:
    if index >= len(cells):
        what = f"has {len(cells)} columns, and column {index + 1} is asked for"
        raise InputError(where, what, "Mend the line, or choose another with tag_column")
    if not cells[index].strip():
        raise InputError(where, f"has nothing in column {index + 1}", "Fill it in")
    return cells[index]


# Tables


def _table(
    data: Source, paths: Sequence[Path] | None, columns: Mapping[str, str], cut_spans: str
) -> Iterator[TaggedSentence]:
    if paths is not None and len(paths) == 1 and paths[0].suffix == ".json":
        rows: Iterator[Row] = read_json_documents(paths[0])
    else:
        plain = isinstance(data, str | os.PathLike | Mapping) or is_frame(data)
        if paths is None and not plain and isinstance(data, Iterable):
            data = [document_of_pair(item) for item in data]
        rows = locate_rows(data, None)
    names = {name: columns.get(name, name) for name in ("tokens", "tags")}
    labels = columns.get("label", "label")
    for row in rows:
        spans = span_column(row, columns)
        if spans is None or names["tokens"] in row.values:
            check_columns(row.where, names, row.values)
            tokens, tags = (_items(row, names[name], name) for name in names)
            _check_counts(row.where, tokens, tags)
            yield TaggedSentence(row.where, tokens, tags, _label(row, labels, "label" in columns))
            continue
        text, marked = spans_of_row(row, columns, spans)
        words = word_spans(text)
        tags, cut = tags_of_marked(row.where, text, words, marked, cut_spans)
        label = None if spans == labels else _label(row, labels, "label" in columns)
        yield TaggedSentence(row.where, tuple(text[a:b] for a, b in words), tags, label, cut)


def _items(row: Row, column: str, name: str) -> tuple[str, ...]:
    """The texts of a cell: a list, or a text with spaces between."""
    value = cell_of(row.where, row.values, column)
    if isinstance(value, np.ndarray):  # what pandas reads from Parquet
        value = value.tolist()
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list | tuple):
        what = f"the {name} are {type(value).__name__} {value!r:.40}"
        raise InputError(row.where, what, f'Give a list of texts: {{"{column}": [...]}}')
    for number, item in enumerate(value, start=1):
        if not isinstance(item, str) or not item:
            kind = "an empty text" if item == "" else f"{type(item).__name__} {item!r:.40}"
            fix = "Give texts: of numbered tags their names" if name == "tags" else "Give texts"
            raise InputError(f"{row.where}, {name} {number}", f"is {kind}", fix)
        check_characters(f"{row.where}, {name} {number}", item)
    return tuple(value)


def _label(row: Row, column: str, asked: bool) -> str | None:
    if column not in row.values and not asked:
        return None
    check_columns(row.where, {"label": column}, row.values)
    return text_of(row.where, cell_of(row.where, row.values, column), "Give a label in this column")
