"""Transcripts: what is learned of a text, and where its words are once its labels are found in the frames."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from gatework.data import Tokenizer
from gatework.seq2seq import AlignedLabel

__all__ = [
    "TextKind",
    "TimedWord",
    "labels_of_text",
    "prepared",
    "text_of_labels",
    "timed_words",
    "word_records",
]

TextKind = Literal["words", "lowercase", "as_written"]

# Letters and digits, with apostrophes, hyphens, points and commas between them.
_WORD = re.compile(r"[^\W_]+(?:['’\-.,][^\W_]+)*")
_FIRST_LABEL = 1  # of the tokenizer's id 0; 0 is the blank


class TimedWord(NamedTuple):
    """A word, its steps start … end - 1, and how sure it is."""

    word: str
    start: int
    end: int
    confidence: float


def prepared(text: str, kind: TextKind) -> str:
    """What is learned and scored of a transcript: white space is one space in all kinds."""
    if kind == "words":
        return " ".join(_WORD.findall(text.lower().replace("’", "'")))
    text = " ".join(text.split())
    return text.lower() if kind == "lowercase" else text


def labels_of_text(text: str, tokenizer: Tokenizer) -> list[int]:
    """The labels of a text, from 1 on; what the vocabulary lacks has none."""
    unknown = tokenizer.unknown_id
    return [id + _FIRST_LABEL for id in tokenizer.encode(text) if id != unknown]


def unknown_label(tokenizer: Tokenizer) -> int | None:
    """The label of what the vocabulary lacks, which no text has."""
    return None if tokenizer.unknown_id is None else tokenizer.unknown_id + _FIRST_LABEL


def text_of_labels(labels: Sequence[int], tokenizer: Tokenizer) -> str:
    """The text of labels."""
    return " ".join(tokenizer.decode(label - _FIRST_LABEL for label in labels).split())


def word_records(words: Sequence[TimedWord], step: float) -> list[dict[str, Any]]:
    """Words with their times in seconds, of which a step has so many."""
    return [
        {
            "word": word.word,
            "start": round(word.start * step, 3),
            "end": round(word.end * step, 3),
            "confidence": word.confidence,
        }
        for word in words
    ]


def timed_words(aligned: Sequence[AlignedLabel], tokenizer: Tokenizer) -> list[TimedWord]:
    """The words of labels whose steps are known. A label that ends one word and begins the next counts for both."""
    detokenizer = tokenizer.detokenizer()
    words: list[TimedWord] = []
    letters: list[tuple[str, AlignedLabel]] = []

    def close() -> None:
        if letters:
            own = list(dict.fromkeys(label for _, label in letters))
            mean = sum(math.log(max(label.confidence, 1e-30)) for label in own) / len(own)
            word = "".join(character for character, _ in letters)
            words.append(TimedWord(word, own[0].start, own[-1].end, math.exp(mean)))
            letters.clear()

    for label in aligned:
        for character in detokenizer.push(label.label - _FIRST_LABEL):
            if character.isspace():
                close()
            else:
                letters.append((character, label))
    close()
    return words
