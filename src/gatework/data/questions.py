"""Questions about texts, with their answers: SQuAD's JSON, and tables.

- JSON of SQuAD 1.1 and 2.0 (plain or gzip): articles of paragraphs, each with a context and its questions. An
  impossible question of 2.0 has no answer.
- Tables (`gatework.data.tables`, and JSON files that hold a list of objects) with the columns `context`, `question` and
  `answer`: a text, several in a list, or an object with the lists `text` and `answer_start`, as `datasets` keeps SQuAD;
  an empty one is no answer. `answer_start`, if there, is where in the context the answer begins; `id` is a name of the
  question. A context may also be a list of sentences.
- Files of bAbI (`gatework.data.babi`): the context is the list of the facts before the question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .babi import is_babi, read_babi
from .column_names import cell_of, check_columns, top_column
from .files import check_exists, read_lines
from .tables import Row, Source, file_format, locate_rows, source_paths
from .text import text_of

__all__ = ["Answers", "Question", "read_questions"]

_SHAPE = 'Give a text, a list of texts, or {"text": […], "answer_start": […]}'
_OPTIONAL = ("answer_start", "id")


class Answers(NamedTuple):
    """The answers that are right, each one text; none of a question that cannot be answered.

    texts: of each.
    starts: of each the character of the context where the data says that it begins; None: it does not say.
    """

    texts: tuple[str, ...] = ()
    starts: tuple[int | None, ...] = ()


class Question(NamedTuple):
    """A question about a context, and where it was found.

    context: a text, or a list of sentences.
    id: the data's own name of the question, None where it has none.
    """

    where: str
    context: str | list[str]
    question: str
    answers: Answers
    id: str | None = None


def read_questions(data: Source, columns: Mapping[str, str]) -> Iterator[Question]:
    """The questions of a source, in order.

    Args:
        data: see the module.
        columns: the data's own names of `context`, `question`, `answer`, `answer_start` and `id`.

    Raises:
        InputError: what is wrong with a file or a row, with its place.
    """
    paths = _json_paths(data)
    if paths is not None:
        return (question for path in paths for question in _of_json(path, columns))
    stories = source_paths(data) or []
    if stories and file_format(stories[0]) == "text" and is_babi(stories[0]):
        if columns:
            raise InputError(str(stories[0]), "holds stories, which have no columns", "Leave the columns out")
        return (
            Question(each.where, each.facts, each.question, Answers((each.answer,), (None,)))
            for path in stories
            for each in read_babi(path)
        )
    return (_question_of_row(row, columns) for row in _rows(data, columns))


def _json_paths(data: Source) -> list[Path] | None:
    """The paths of a source that are all JSON documents, else None."""
    given = [data] if isinstance(data, str | Path) else data
    if not isinstance(given, list | tuple) or not given or not all(map(_is_document, given)):
        return None
    for path in given:
        check_exists(Path(path))
    return [Path(path) for path in given]


def _is_document(path: Any) -> bool:
    if not isinstance(path, str | Path) or not str(path).lower().endswith((".json", ".json.gz")):
        return False
    try:
        return file_format(Path(path)) != "jsonl"  # which a file that is named .json may be
    except InputError:
        return True


def _rows(data: Source, columns: Mapping[str, str]) -> Iterator[Row]:
    for path in source_paths(data) or ():
        if file_format(path) == "text":
            fix = "Give SQuAD's JSON, or a table (.csv, .tsv, .jsonl, .parquet) with context, question and answer"
            raise InputError(str(path), "is plain text, which has no questions", fix)
    return locate_rows(data, None)


def _of_json(path: Path, columns: Mapping[str, str]) -> Iterator[Question]:
    try:
        document = json.loads("\n".join(line for _, line in read_lines(path)))
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is not valid JSON ({error})", "Write it again") from error
    if isinstance(document, list):
        for number, values in enumerate(document, start=1):
            row = Row(str(path), "row", number, _object(f"{path}, row {number}", values))
            yield _question_of_row(row, columns)
        return
    if columns:
        raise InputError(str(path), "is SQuAD's JSON, which has no columns", "Leave the columns out")
    for number, article in _listed(str(path), document, "data"):
        title = f"{path}, article {number}"
        for place, paragraph in _listed(title, article, "paragraphs"):
            where = f"{title}, paragraph {place}"
            context = text_of(where, _object(where, paragraph).get("context"), "Give its context")
            for count, question in _listed(where, paragraph, "qas"):
                yield _question_of_object(f"{where}, question {count}", context, question)


def _listed(where: str, value: Any, name: str) -> Iterator[tuple[int, Any]]:
    items = _object(where, value).get(name)
    if not isinstance(items, list):
        what = (
            f"has {type(items).__name__} under {name!r}, not a list"
            if items is not None
            else f"has no {name!r}"
        )
        raise InputError(
            where, what, 'SQuAD\'s JSON is {"data": [{"paragraphs": [{"context": …, "qas": […]}]}]}'
        )
    return enumerate(items, start=1)


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(where, f"is {type(value).__name__} {value!r:.40}, not an object", "Give {…}")
    return value


def _question_of_object(where: str, context: str, value: Any) -> Question:
    values = _object(where, value)
    question = text_of(where, values.get("question"), "Give the question")
    texts, starts = [], []
    impossible = values.get("is_impossible") is True
    for number, answer in [] if impossible else _listed(where, values, "answers"):
        place = f"{where}, answer {number}"
        texts.append(text_of(place, _object(place, answer).get("text"), "Give the answer"))
        starts.append(_start(place, answer.get("answer_start")))
    return Question(where, context, question, _given(texts, starts), _id(where, values.get("id")))


def _question_of_row(row: Row, columns: Mapping[str, str]) -> Question:
    names = {name: columns.get(name, name) for name in ("context", "question", "answer")}
    if "answer" not in columns and "answer" not in row.values and "answers" in row.values:
        names["answer"] = "answers"  # as `datasets` names SQuAD's
    check_columns(row.where, names, row.values)
    cells = {name: cell_of(row.where, row.values, column) for name, column in names.items()}
    for name in _OPTIONAL:
        column = columns.get(name, name)
        if name in columns:
            check_columns(row.where, {name: column}, row.values)
        there = top_column(column, row.values) is not None
        cells[name] = cell_of(row.where, row.values, column) if there else None
    where = row.where
    return Question(
        where,
        _context(where, cells["context"]),
        text_of(where, cells["question"], "Give texts"),
        _answers(where, cells["answer"], cells["answer_start"]),
        _id(where, cells["id"]),
    )


def _context(where: str, cell: Any) -> str | list[str]:
    if isinstance(cell, list | tuple | np.ndarray):
        return [text_of(f"{where}, sentence {n}", each, "Give texts") for n, each in enumerate(cell, start=1)]
    return text_of(where, cell, "Give a text, or a list of sentences")


def _answers(where: str, cell: Any, start: Any) -> Answers:
    if isinstance(cell, Mapping):
        if "text" not in cell:
            raise InputError(where, f"the answer {dict(cell)!r:.60} has no 'text'", _SHAPE)
        cell, start = cell["text"], cell.get("answer_start")
    cell, start = (one.tolist() if isinstance(one, np.ndarray) else one for one in (cell, start))
    if cell is None or cell == "":
        return Answers()
    texts = list(cell) if isinstance(cell, list | tuple) else [cell]
    starts = list(start) if isinstance(start, list | tuple) else [start] * len(texts)
    if len(starts) != len(texts):
        raise InputError(where, f"has {len(texts)} answers and {len(starts)} starts", "Give a start for each")
    return _given([text_of(where, text, _SHAPE) for text in texts], [_start(where, each) for each in starts])


def _given(texts: list[str], starts: list[int | None]) -> Answers:
    """The answers that are not empty; of annotators who agree each one's, since two say more than one."""
    kept = [(text, start) for text, start in zip(texts, starts, strict=True) if text.strip()]
    return Answers(tuple(text for text, _ in kept), tuple(start for _, start in kept))


def _start(where: str, value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)  # pandas' column of whole numbers of which some are missing
    if value is None or value == "" or value != value:
        return None
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
        raise InputError(
            where, f"the answer's start is {value!r:.40}", "Give the number of a character, from 0"
        )
    return int(value)


def _id(where: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return text_of(where, value.item() if isinstance(value, np.generic) else value, "Give the id as text")
