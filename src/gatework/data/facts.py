"""A context as facts, and a sentence as words without signs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from .passages import passage_of, text_words
from .remembered import remembered

__all__ = ["facts_of", "words_of"]


def facts_of(context: str | Sequence[str]) -> list[str]:
    """The facts of a context: a list's entries, or a text's sentences."""
    if not isinstance(context, str):
        return list(context)
    passage = passage_of(context)
    begins = np.flatnonzero(np.diff(passage.sentences, prepend=-1)).tolist()
    return [
        context[passage.spans[first][0] : passage.spans[stop - 1][1]]
        for first, stop in zip(begins, [*begins[1:], len(passage.words)][: len(begins)], strict=True)
    ]


@remembered(1 << 14, 1000)  # stories repeat their sentences
def words_of(sentence: str) -> tuple[str, ...]:
    """The words of a sentence that have a letter or a digit, composed where Unicode can (NFC)."""
    words = (unicodedata.normalize("NFC", sentence[start:end]) for start, end in text_words(sentence))
    return tuple(word for word in words if any(map(str.isalnum, word)))
