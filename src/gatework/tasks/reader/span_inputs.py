"""Batches of questions about passages, as span mode reads them: windows of passages, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatework.data import Fields
from gatework.data.passages import (
    ATTRIBUTES,
    FEATURES,
    Rarity,
    crossed_rows,
    match_features,
    passage_of,
    question_keys,
)
from gatework.tasks.batches import side_by_side
from gatework.tasks.words import TokenBatch, WordVocabulary, collate_tokens

__all__ = ["KINDS", "KIND_ROWS", "SpanBatch", "SpanInputs"]

KINDS = 3  # of a question: see `question_keys`
KIND_ROWS = 2**12  # of the table of what is learned of each kind

_TOKENS = {
    "words": None,
    "characters": "word_lengths",
    "word_lengths": None,
    "subwords": "subword_counts",
    "subword_counts": None,
}
_QUESTION = "question_"


class SpanBatch(NamedTuple):
    """W windows of at most T words, of the passages of B questions of at most Q words.

    passages: the windows' words; questions: those of the questions.
    owners: (W,) whose passage each window is of; begins: (W,) its first word there.
    own: (T, W) whether spans that begin at this word are the window's own, and no other's.
    features: (T, W, FEATURES) as `match_features` gives them.
    rows: (T, W, R) of the side path's table, of each word; kinds: (B, 3) of that of lengths, of each question.
    spans: (A, 3) of each right answer: its window, its first and its last word there; weights: (A,), which sum to 1 for
        each question that has one. None where there are only inputs.
    none: (B,) whether there is no answer; known: (B,) whether there is one that can be found, or none.
    """

    passages: TokenBatch
    questions: TokenBatch
    owners: Tensor
    begins: Tensor
    own: Tensor
    features: Tensor
    rows: Tensor
    kinds: Tensor
    spans: Tensor | None
    weights: Tensor | None
    none: Tensor | None
    known: Tensor | None


class SpanInputs:
    """From questions about passages to batches.

    Args:
        vocabulary: of words.
        rarity: of words.
        subword_rows: of the table of pieces of words.
        side_rows: of the side path's table.
        window: words of a window; stride: from one window's first word to the next one's.
        longest: words of the longest answer.
    """

    def __init__(
        self,
        vocabulary: WordVocabulary,
        rarity: Rarity,
        *,
        subword_rows: int,
        side_rows: int,
        window: int,
        stride: int,
        longest: int,
    ) -> None:
        self.vocabulary, self.rarity = vocabulary, rarity
        self.subword_rows, self.side_rows = subword_rows, side_rows
        self.window, self.stride, self.longest = window, min(stride, max(1, window - longest)), longest

    def encode(self, context: str, question: str, answers: Sequence[tuple[int, int]] | None = None) -> Fields:
        """The arrays of a question.

        Args:
            answers: the first and the last word of each right answer; None: there are only inputs.
        """
        passage, asked = passage_of(context), passage_of(question)
        # A text without words is one of an empty word.
        fields = dict(self.vocabulary.encode(passage.words or [""], self.subword_rows))
        own = self.vocabulary.encode(asked.words or [""], self.subword_rows)
        fields |= {_QUESTION + name: array for name, array in own.items()}
        fields["features"] = match_features(passage, asked.words, self.rarity).astype(np.float16)
        fields["attributes"] = passage.attributes
        if not passage.words:
            fields["features"] = np.zeros((1, FEATURES), np.float16)
            fields["attributes"] = np.zeros((1, ATTRIBUTES), np.uint32)
        fields["kinds"] = question_keys(asked.keys)
        if answers is not None:
            fields["answers"] = np.asarray(answers, np.int32).reshape(-1, 2)
        return fields

    def windows(self, length: int) -> list[tuple[int, int]]:
        """First and last + 1 word of each window of a passage of so many words: one where it fits."""
        begins = range(0, max(1, length - self.window + self.stride), self.stride)
        return [(begin, min(begin + self.window, length)) for begin in begins]

    def collate(self, rows: Sequence[Fields], no_answer: bool) -> SpanBatch:
        """A batch of encoded questions."""
        pieces: list[Fields] = []
        owners: list[int] = []
        begins: list[int] = []
        own: list[np.ndarray] = []
        spans: list[tuple[int, int, int]] = []
        margin = max(0, (self.window - self.stride - self.longest) // 2)
        for owner, row in enumerate(rows):
            windows = self.windows(len(row["words"]))
            for number, (begin, end) in enumerate(windows):
                first = begin + margin if number else 0
                last = begin + self.stride + margin if number < len(windows) - 1 else end
                starts = np.arange(begin, end)
                own.append((starts >= first) & (starts < last))
                for start, stop in row["answers"].tolist() if "answers" in row else ():
                    if first <= start < last and stop < end and stop - start < self.longest:
                        spans.append((len(owners), start - begin, stop - begin))
                owners.append(owner)
                begins.append(begin)
                pieces.append(_cut(row, begin, end))
        questions = [
            {name: row[_QUESTION + name] for name in _TOKENS if _QUESTION + name in row} for row in rows
        ]
        kinds = np.stack([row["kinds"] for row in rows]).astype(np.uint64)
        attributes = [piece["attributes"] for piece in pieces]
        hashes = [
            crossed_rows(each, kinds[owner], self.side_rows)
            for each, owner in zip(attributes, owners, strict=True)
        ]
        targets = self._targets(rows, owners, spans, no_answer) if "answers" in rows[0] else (None,) * 4
        return SpanBatch(
            collate_tokens(pieces),
            collate_tokens(questions),
            torch.tensor(owners),
            torch.tensor(begins),
            side_by_side([mask[:, None].astype(np.float32) for mask in own])[0][:, :, 0] > 0,
            side_by_side([piece["features"].astype(np.float32) for piece in pieces])[0],
            _padded_rows(hashes),
            torch.from_numpy((kinds % np.uint64(KIND_ROWS)).astype(np.int64)),
            *targets,
        )

    def _targets(
        self,
        rows: Sequence[Fields],
        owners: Sequence[int],
        spans: Sequence[tuple[int, int, int]],
        no_answer: bool,
    ) -> tuple[Tensor, ...]:
        """`spans`, `weights`, `none` and `known` of a batch."""
        table = np.array(spans, np.int64).reshape(-1, 3)
        whose = np.array(owners)[table[:, 0]]
        counts = np.bincount(whose, minlength=len(rows))
        shares = (1 / np.maximum(counts, 1))[whose].astype(np.float32)
        none = np.array([len(row["answers"]) == 0 for row in rows])
        known = (counts > 0) | (none & no_answer)
        return tuple(map(torch.from_numpy, (table, shares, none, known)))


def _cut(row: Fields, begin: int, end: int) -> Fields:
    """The arrays of some words of a passage."""
    whole = begin == 0 and end == len(row["words"])
    names = [name for name in (*_TOKENS, "features", "attributes") if name in row]
    if whole:
        return {name: row[name] for name in names}
    piece = {}
    for name in names:
        counts = _TOKENS.get(name)
        if counts is None:
            piece[name] = row[name][begin:end]
        else:
            until = np.concatenate([[0], np.cumsum(row[counts])])
            piece[name] = row[name][until[begin] : until[end]]
    return piece


def _padded_rows(rows: Sequence[np.ndarray]) -> Tensor:
    """(T, W, R)"""
    table = np.zeros((max(1, *(len(each) for each in rows)), len(rows), rows[0].shape[1]), np.int64)
    for column, each in enumerate(rows):
        table[: len(each), column] = each
    return torch.from_numpy(table)
