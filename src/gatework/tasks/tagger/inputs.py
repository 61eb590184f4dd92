"""What a tagger's `predict` reads: texts, and sentences that are words already."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gatework.data.tagged import is_in_columns, words_in_columns
from gatework.data.word_spans import word_spans
from gatework.tasks.inputs import InputReader

__all__ = ["SentenceReader", "is_one_word", "with_places"]


class SentenceReader(InputReader):
    """Reads texts and sentences; of a file with words in columns its sentences, whose tags are not looked at."""

    def _file_items(self, path: Path) -> Iterable[Any]:
        if is_in_columns(path) and not self.columns:
            return words_in_columns(path)
        return super()._file_items(path)


def is_one_word(item: Any) -> bool:
    """Whether an item is a text of one word."""
    return isinstance(item, str) and len(word_spans(item)) == 1


def with_places(input: Any, words: Iterable[str]) -> tuple[str, list[tuple[int, int]]]:
    """An input's text, and of each of its words the characters in it."""
    if isinstance(input, str):
        return input, word_spans(input)
    words = list(words)
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    return " ".join(words), [(end - 1 - len(word), end - 1) for end, word in zip(ends, words, strict=True)]
