"""A person's own documents as the context of a question: the best paragraphs of text files."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from gatework.data import read_texts
from gatework.data.passages import passage_of
from gatework.errors import InputError

__all__ = ["Excerpt", "Paragraph", "best_paragraphs", "excerpt_of", "in_documents", "read_paragraphs"]

_GAP = re.compile(r"\n[ \t]*\n\s*")  # between two paragraphs
_READ = 20  # paragraphs that are read for a question
_SEAM = "\n\n"
_KEPT = 4096  # files whose paragraphs are kept for the next question


class Paragraph(NamedTuple):
    """A paragraph of a document, the character of the document with which it begins, and its words' keys."""

    document: str
    start: int
    text: str
    keys: frozenset[str]


class Excerpt(NamedTuple):
    """Paragraphs as one context."""

    paragraphs: tuple[Paragraph, ...]

    @property
    def text(self) -> str:
        return _SEAM.join(each.text for each in self.paragraphs)

    def place(self, start: int, end: int) -> tuple[Paragraph, int, int]:
        """The paragraph in which a character of the context stands, and start and end as characters of its document.

        An answer does not go from one paragraph into the next: what reaches over is cut off.
        """
        begin = 0
        for paragraph in self.paragraphs[:-1]:
            if start < begin + len(paragraph.text) + len(_SEAM):
                break
            begin += len(paragraph.text) + len(_SEAM)
        else:
            paragraph = self.paragraphs[-1]
        shift = paragraph.start - begin
        return paragraph, start + shift, min(end + shift, paragraph.start + len(paragraph.text))


def read_paragraphs(paths: Sequence[str | os.PathLike[str]]) -> list[Paragraph]:
    """The paragraphs of text files, and of those in folders by the order of their names; a blank line parts two.

    Raises:
        InputError: a file that cannot be read, or there is no word in any.
    """
    found: list[Paragraph] = []
    for path in paths:
        folder = Path(path)
        files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else [folder]
        for file in files:
            found.extend(_of_file(file))
    if not found:
        raise InputError(", ".join(map(str, paths)), "holds no text", "Give text files, or a folder of them.")
    return found


def _of_file(file: Path) -> tuple[Paragraph, ...]:
    """The paragraphs of a file: those that are kept from the last question, unless it was written since."""
    try:
        known = file.stat()
    except OSError:
        return _paragraphs(file, 0, 0)  # which says what is wrong with it
    return _paragraphs(file, known.st_mtime_ns, known.st_size)


@lru_cache(_KEPT)
def _paragraphs(file: Path, written: int, size: int) -> tuple[Paragraph, ...]:
    found = []
    text, begin = "".join(read_texts(file)), 0
    for gap in [*_GAP.finditer(text), None]:
        end = len(text) if gap is None else gap.start()
        own = text[begin:end]
        if own.strip():
            found.append(Paragraph(str(file), begin, own, frozenset(passage_of(own).keys)))
        begin = end if gap is None else gap.end()
    return tuple(found)


def best_paragraphs(question: str, paragraphs: Sequence[Paragraph]) -> Excerpt:
    """The paragraphs that have most of the question's words, at most twenty, in their order.

    A word that n of N paragraphs have weighs ln((1 + N) / (1 + n)) (inverse document frequency).
    """
    if len(paragraphs) <= _READ:
        return Excerpt(tuple(paragraphs))
    own = [each.keys for each in paragraphs]
    asked = {key for key in passage_of(question).keys if any(map(str.isalnum, key))}
    weights = {key: math.log((1 + len(own)) / (1 + sum(key in keys for keys in own))) for key in asked}
    values = [sum(weights[key] for key in asked & keys) for keys in own]
    order = sorted(range(len(paragraphs)), key=lambda index: -values[index])[:_READ]
    return Excerpt(tuple(paragraphs[index] for index in sorted(order)))


def excerpt_of(
    question: str, documents: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
) -> Excerpt:
    """What is read of a document, or of several, for a question."""
    several = [documents] if isinstance(documents, (str, os.PathLike)) else documents
    return best_paragraphs(question, read_paragraphs(several))


def in_documents(record: Mapping[str, Any], excerpt: Excerpt) -> dict[str, Any]:
    """A record of an excerpt with the places of its answers and sentences in their documents.

    A sentence that goes on in the next paragraph is two.
    """

    def placed(piece: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        start = piece["start"]
        while start < piece["end"]:
            paragraph, first, last = excerpt.place(start, piece["end"])
            text = paragraph.text[first - paragraph.start : last - paragraph.start]
            if text:  # what a seam alone is made of has no place
                yield {**piece, "text": text, "start": first, "end": last, "document": paragraph.document}
            start += max(last - first, 0) + len(_SEAM)

    answers = [next(placed(each)) for each in record["answers"]]
    sentences = [part for each in record["sentences"] for part in placed(each)]
    output = answers[0]["text"] if record["output"] else ""
    return {**record, "output": output, "answers": answers, "sentences": sentences}
