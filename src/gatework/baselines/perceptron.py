"""A linear-chain tagger of hashed features, trained by the averaged perceptron."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from gatework.baselines.base import Rival
from gatework.data import Tagging, feature_rows, token_features
from gatework.data.text_features import text_features

__all__ = ["AveragedPerceptron"]

_ROWS = 2**18
_EPOCHS = 5
_Bags = tuple[
    np.ndarray, np.ndarray
]  # rows of the table, one thing's after another's, and where each thing's begin


class AveragedPerceptron(Rival):
    """The structured perceptron of Collins (2002) over the usual features of words, and one for the sentence's label.

    The best tags by Viterbi's algorithm are compared with the right ones; where they differ, the features of the right
    ones gain 1 and those of the others lose 1. The weights are the means of those after every sentence.
    """

    name = "perceptron"
    unit = "words"
    most = 400_000

    _tags: tuple[str, ...]
    _labels: tuple[str, ...]

    def size(self, inputs: Sequence[Any]) -> int:
        return sum(map(len, inputs))

    def fit(self, inputs: Sequence[Sequence[str]], outputs: Sequence[Tagging]) -> Self:
        """Train for 5 epochs."""
        self._tags = tuple(sorted({tag for each in outputs for tag in each.tags}))
        self._labels = tuple(sorted({each.label for each in outputs if each.label is not None}))
        tag_ids = {tag: id for id, tag in enumerate(self._tags)}
        label_ids = {label: id for id, label in enumerate(self._labels)}
        bags = [_bags(words) for words in inputs]
        texts = [text_features(words, _ROWS) for words in inputs] if self._labels else []
        answers = [np.asarray([tag_ids[tag] for tag in each.tags]) for each in outputs]
        words, moves = _Averaged(_ROWS, len(self._tags)), _Averaged(len(self._tags) + 1, len(self._tags))
        labels = _Averaged(_ROWS, len(self._labels))
        order = list(range(len(inputs)))
        chooser = random.Random(0)
        for _ in range(_EPOCHS):
            chooser.shuffle(order)
            for index in order:
                for table in (words, moves, labels):
                    table.step += 1
                right = answers[index]
                if len(right):
                    found = _viterbi(_sums(words.now, *bags[index]), moves.now)
                    _learn_tags(words, moves, bags[index], right, found)
                if self._labels and outputs[index].label is not None:
                    right_label = label_ids[outputs[index].label or ""]
                    found_label = int(labels.now[texts[index]].sum(0).argmax())
                    if found_label != right_label:
                        labels.add(texts[index], right_label, 1.0)
                        labels.add(texts[index], found_label, -1.0)
        self._words, self._moves, self._texts = words.mean(), moves.mean(), labels.mean()
        return self

    def predict(self, inputs: Sequence[Sequence[str]]) -> list[Tagging]:
        return [Tagging(self._tags_of(words), self._label_of(words)) for words in inputs]

    def _tags_of(self, words: Sequence[str]) -> tuple[str, ...]:
        if not words:
            return ()
        return tuple(self._tags[id] for id in _viterbi(_sums(self._words, *_bags(words)), self._moves))

    def _label_of(self, words: Sequence[str]) -> str | None:
        if not self._labels:
            return None
        return self._labels[int(self._texts[text_features(words, _ROWS)].sum(0).argmax())]

    def to_arrays(self) -> dict[str, np.ndarray]:
        names = json.dumps({"tags": self._tags, "labels": self._labels}).encode()
        arrays = {"names": np.frombuffer(names, np.uint8).copy(), "moves": self._moves}
        for name, table in (("words", self._words), ("texts", self._texts)):
            rows, columns = np.nonzero(table)
            arrays[f"{name}_rows"], arrays[f"{name}_columns"] = (
                rows.astype(np.int32),
                columns.astype(np.int32),
            )
            arrays[f"{name}_weights"] = table[rows, columns]
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        rival = cls()
        try:
            names = json.loads(bytes(arrays["names"]))
            rival._tags, rival._labels = tuple(names["tags"]), tuple(names["labels"])
            count = len(rival._tags)
            rival._moves = arrays["moves"].reshape(count + 1, count)
            rival._words = _table(arrays, "words", count)
            rival._texts = _table(arrays, "texts", len(rival._labels))
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"holds no perceptron ({error!r})") from error
        if not all(isinstance(name, str) for name in (*rival._tags, *rival._labels)) or not rival._tags:
            raise ValueError("holds tags that are no texts, or none")
        return rival


class _Averaged:
    """A table of weights and their mean over the steps so far, of which a sparse step costs what it changes.

    The mean of w after steps 0 … n, w_0 being 0, is w_n less the sum of step * change, over n + 1.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.now = np.zeros((rows, columns), np.float32)
        self.late = np.zeros((rows, columns), np.float32)
        self.step = 0

    def add(self, rows: np.ndarray, columns: Any, change: float) -> None:
        """Add to the weights (row, column); one that is named twice twice."""
        np.add.at(self.now, (rows, columns), change)
        np.add.at(self.late, (rows, columns), change * self.step)

    def mean(self) -> np.ndarray:
        return self.now - self.late / (self.step + 1)


def _bags(words: Sequence[str]) -> _Bags:
    """The features of T words, and where those of each begin."""
    rows = feature_rows(token_features(words), _ROWS)
    counts = [len(own) for own in rows]
    return np.asarray([row for own in rows for row in own], np.int64), np.cumsum([0, *counts[:-1]])


def _sums(table: np.ndarray, rows: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """(T, K), the sum of each word's rows."""
    return np.add.reduceat(table[rows], begins, axis=0)


def _learn_tags(
    words: _Averaged, moves: _Averaged, bags: _Bags, right: np.ndarray, found: np.ndarray
) -> None:
    wrong = np.nonzero(right != found)[0]
    if not len(wrong):
        return
    rows, begins = bags
    ends = np.append(begins[1:], len(rows))
    for step in wrong:
        own = rows[begins[step] : ends[step]]
        words.add(own, right[step], 1.0)
        words.add(own, found[step], -1.0)
    for tags, change in ((right, 1.0), (found, -1.0)):
        moves.add(np.concatenate([[len(moves.now) - 1], tags[:-1]]), tags, change)


def _viterbi(emissions: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The T tags of the highest score; the last row of `moves` is the start."""
    steps, count = emissions.shape
    into = moves[:-1].T.copy()  # (K to, K from)
    back = np.zeros((steps, count), np.int64)
    best = emissions[0] + moves[-1]
    every = np.arange(count)
    for step in range(1, steps):
        scores = into + best
        back[step] = scores.argmax(1)
        best = scores[every, back[step]] + emissions[step]
    tags = np.zeros(steps, np.int64)
    tags[-1] = best.argmax()
    for step in range(steps - 1, 0, -1):
        tags[step - 1] = back[step, tags[step]]
    return tags


def _table(arrays: Mapping[str, np.ndarray], name: str, columns: int) -> np.ndarray:
    table = np.zeros((_ROWS, columns), np.float32)
    table[arrays[f"{name}_rows"], arrays[f"{name}_columns"]] = arrays[f"{name}_weights"]
    return table
