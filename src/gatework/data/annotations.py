"""Texts with marked spans of characters, as annotation tools write them.

A row has a text and its spans, each with its start, its end (the character after its last) and its type:

- doccano: `{"text": "…", "label": [[0, 5, "city"]]}`, or `"entities": [{"start_offset": 0, "end_offset": 5, "label":
  "city"}]`;
- Label Studio: `{"data": {"text": "…"}, "annotations": [{"result": [{"value": {"start": 0, "end": 5, "labels":
  ["city"]}}]}]}`, or its smaller form `{"text": "…", "label": [{"start": 0, "end": 5, "labels": ["city"]}]}`;
- spaCy: `{"text": "…", "ents": [{"start": 0, "end": 5, "label": "city"}]}`, or `"entities": [[0, 5, "city"]]`; and its
  pairs, `["…", {"entities": [[0, 5, "city"]]}]`, in a JSON file or in Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .column_names import cell_of, check_columns
from .files import read_lines
from .tables import Row
from .tag_schemes import Span, tags_of
from .text import text_of

__all__ = [
    "MarkedSpan",
    "document_of_pair",
    "read_json_documents",
    "span_column",
    "spans_of_row",
    "tags_of_marked",
]

_COLUMNS = ("spans", "entities", "ents", "annotations", "labels", "label")
_SHAPE = 'Give each as [start, end, "type"] or {"start": …, "end": …, "label": "type"}'


class MarkedSpan(NamedTuple):
    """Characters start … end - 1 of a text, which are of a type together."""

    start: int
    end: int
    type: str


def read_json_documents(path: Path) -> Iterator[Row]:
    """The objects of a JSON file that holds a list of them, as Label Studio exports it."""
    text = "\n".join(line for _, line in read_lines(path))
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is not valid JSON ({error})", "Export it again") from error
    if not isinstance(rows, list) or not rows:
        raise InputError(str(path), f"is {type(rows).__name__}, not a list of objects", "Write [{…}, {…}]")
    for number, values in enumerate(map(document_of_pair, rows), start=1):
        if not isinstance(values, dict):
            what = f"is {type(values).__name__} {values!r:.40}, not an object"
            raise InputError(f"{path}, row {number}", what, 'Give {"text": …, "spans": …}')
        yield Row(str(path), "row", number, values)


def document_of_pair(item: Any) -> Any:
    """The row that spaCy's pair of a text and its marks is; what is no such pair, as it is."""
    if isinstance(item, list | tuple) and len(item) == 2:
        text, marks = item
        if isinstance(text, str) and isinstance(marks, Mapping):
            return {"text": text, **marks}
    return item


def span_column(row: Row, columns: Mapping[str, str]) -> str | None:
    """The column of a row that holds spans: the one that is named so, else the first that a tool would write."""
    if "spans" in columns:
        check_columns(row.where, {"spans": columns["spans"]}, row.values)
        return columns["spans"]
    return next(
        (name for name in _COLUMNS if isinstance(row.values.get(name), list | tuple | np.ndarray)), None
    )


def spans_of_row(row: Row, columns: Mapping[str, str], column: str) -> tuple[str, list[MarkedSpan]]:
    """The text of a row and its spans, by their starts.

    Raises:
        InputError: there is no text, a span has another shape, or lies outside the text.
    """
    values: Mapping[str, Any] = row.values
    name = columns.get("text", "text")
    if "text" not in columns and "text" not in values and isinstance(values.get("data"), Mapping):
        name = "data.text"
    check_columns(row.where, {"text": name}, values)
    text = text_of(row.where, cell_of(row.where, values, name), "Give text in this column")
    items = cell_of(row.where, values, column)
    if isinstance(items, np.ndarray):
        items = items.tolist()
    if not isinstance(items, list | tuple):
        raise InputError(row.where, f"the spans are {type(items).__name__} {items!r:.40}", _SHAPE)
    spans = []
    for number, item in enumerate(_flat(items), start=1):
        where = f"{row.where}, span {number}"
        span = _span(where, item)
        if not 0 <= span.start < span.end <= len(text):
            what = f"goes from character {span.start} to {span.end} of a text of {len(text)}"
            raise InputError(
                where, what, "Offsets count characters from 0, and the end is the one after the last"
            )
        spans.append(span)
    return text, sorted(spans)


def _flat(items: Sequence[Any]) -> Iterator[Any]:
    """Spans; of Label Studio's annotations those of the first that was not cancelled."""
    whole = [item for item in items if isinstance(item, Mapping) and "result" in item]
    if not whole:
        yield from items
        return
    kept = next((item for item in whole if not item.get("was_cancelled")), None)
    for result in (kept or {}).get("result") or ():
        value = result.get("value") if isinstance(result, Mapping) else result
        if isinstance(value, Mapping) and "start" not in value:
            continue  # a choice for the whole text, not a span
        yield value


def _span(where: str, item: Any) -> MarkedSpan:
    if isinstance(item, Mapping):
        start, end = (item.get(side, item.get(f"{side}_offset")) for side in ("start", "end"))
        kind = item.get("label", item.get("labels", item.get("type")))
        if isinstance(kind, list | tuple) and len(kind) == 1:
            (kind,) = kind
    elif isinstance(item, list | tuple | np.ndarray) and len(item) == 3:
        start, end, kind = item
    else:
        raise InputError(where, f"is {item!r:.60}", _SHAPE)
    numbers = [int(value) if isinstance(value, str) and value.isdigit() else value for value in (start, end)]
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in numbers)
    if not whole or not isinstance(kind, str) or not kind:
        raise InputError(where, f"is {item!r:.60}", _SHAPE)
    return MarkedSpan(int(numbers[0]), int(numbers[1]), kind)


def tags_of_marked(
    where: str, text: str, words: Sequence[tuple[int, int]], spans: Sequence[MarkedSpan], cut: str
) -> tuple[tuple[str, ...], int]:
    """The BIO tags of a text's tokens, and how many spans did not fit them.

    Args:
        words: of the text, as `word_spans` gives them.
        spans: by their starts.
        cut: what is done with a span that begins or ends inside a token, or overlaps the one before: `error`, `drop`,
            or `widen`, after which one that still overlaps is dropped.

    Raises:
        InputError: there is such a span, and `cut` is `error`.
    """
    starts, ends = (
        {start: i for i, (start, _) in enumerate(words)},
        {end: i for i, (_, end) in enumerate(words)},
    )
    kept: list[Span] = []
    unfit = 0
    for number, (start, end, kind) in enumerate(spans, start=1):
        piece = text[start:end]
        first, last = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
        inside = [i for i, (a, b) in enumerate(words) if a < last and b > first]
        whole = first in starts and last in ends
        free = bool(inside) and (not kept or kept[-1].end <= inside[0])
        if inside and free and (whole or cut == "widen"):
            kept.append(Span(inside[0], inside[-1] + 1, kind))
            unfit += not whole
        elif cut == "error":
            what = f"{piece!r:.40} (characters {start} to {end}, {kind}) " + (
                "overlaps the span before it" if inside and not free else "begins or ends inside a token"
            )
            fix = "Move its ends, or give cut_spans=drop or cut_spans=widen"
            raise InputError(f"{where}, span {number}", what, fix)
        else:
            unfit += 1
    return tuple(tags_of(kept, len(words), "BIO")), unfit
