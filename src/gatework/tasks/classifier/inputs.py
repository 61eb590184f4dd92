"""What a classifier reads: texts or numeric sequences, as arrays, and as batches."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from pydantic import PositiveFloat, model_validator
from torch import Tensor

from gatework.data import Fields, Tokenizer
from gatework.data.sequence_statistics import sequence_statistics
from gatework.data.sequences import read_ts, sequence_of
from gatework.data.tables import file_format, locate_rows, source_paths
from gatework.data.text_features import text_features
from gatework.data.word_spans import word_spans
from gatework.errors import InputError
from gatework.tasks.artifacts import JsonArtifact
from gatework.tasks.batches import side_by_side
from gatework.tasks.classifier.network import SequenceBatch
from gatework.tasks.inputs import InputReader
from gatework.tasks.words import TokenBatch, WordVocabulary, collate_tokens

__all__ = [
    "ClassifierInputs",
    "ClassifierReader",
    "Scales",
    "SequenceInputs",
    "TextInputs",
    "Token",
    "looks_numeric",
    "splitter",
]

Split: TypeAlias = "Callable[[str], list[Token]]"
ARCHIVES = (".ts", ".ts.gz")
FARTHEST = 30.0  # deviations from the mean beyond which a number is as far as this


class Token(NamedTuple):
    """A part of an input: its text, and its characters in the input's text, or None for a step of a sequence."""

    text: str
    span: tuple[int, int] | None


class ClassifierInputs(ABC):
    """One kind of input, as arrays."""

    field: str  # whose length is the input's

    @abstractmethod
    def tokens(self, input: Any) -> list[Token]:
        """The tokens, or steps, that the network reads."""

    @abstractmethod
    def encode(self, input: Any) -> Fields:
        """The arrays of an input. Raises `InputError` for what is none."""

    @abstractmethod
    def collate(self, rows: Sequence[Fields]) -> tuple[TokenBatch | SequenceBatch, tuple[Tensor, ...]]:
        """The source of a batch, and what its side path reads."""


class TextInputs(ClassifierInputs):
    """Texts as words, characters or byte pairs.

    Args:
        vocabulary: of the tokens.
        split: a text's tokens.
        side_rows: of the side path's table; 0 without one.
        subword_rows: of the table of pieces of words; 0 without one.
        most: tokens of a text that are read: of a longer one the first half of them and the last (Sun et al. 2019).
    """

    field = "words"

    def __init__(
        self, vocabulary: WordVocabulary, split: Split, *, side_rows: int, subword_rows: int, most: int
    ) -> None:
        self.vocabulary, self.side_rows, self.subword_rows = vocabulary, side_rows, subword_rows
        self._split, self.most = split, most

    def pieces(self, text: str) -> list[str]:
        """The tokens of a part of a text, of which there may be none."""
        return [token.text for token in self._split(text)]

    def side_features(self, text: str) -> np.ndarray:
        """(F,), what the side path reads of a text."""
        return text_features([word.text for word in self._cut(words_of(text))], self.side_rows)

    def tokens(self, input: str) -> list[Token]:
        # A text without a token is one of an unknown token.
        return self._cut(self._split(input)) or [Token("", (0, 0))]

    def encode(self, input: Any) -> Fields:
        if not isinstance(input, str):
            what = f"{input!r:.60} is not a text, and this classifier was trained on texts"
            raise InputError("input", what, "Give a text.")
        words = [token.text for token in self.tokens(input)]
        fields = dict(self.vocabulary.encode(words, self.subword_rows))
        if self.side_rows:
            fields["features"] = self.side_features(input)
        return fields

    def collate(self, rows: Sequence[Fields]) -> tuple[TokenBatch, tuple[Tensor, ...]]:
        side = self.side([row["features"] for row in rows]) if self.side_rows else ()
        return collate_tokens(rows), side

    @staticmethod
    def side(features: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """What the side path reads: features of all texts, one after another, and where those of each begin."""
        begins = np.cumsum([0, *map(len, features)])[:-1]
        joined = np.concatenate(features).astype(np.int64)
        return torch.from_numpy(joined), torch.from_numpy(begins)

    def _cut(self, tokens: list[Token]) -> list[Token]:
        if len(tokens) <= self.most:
            return tokens
        half = self.most // 2
        return [*tokens[: self.most - half], *tokens[len(tokens) - half :]]


def words_of(text: str) -> list[Token]:
    """The words of a text."""
    return [Token(text[start:end], (start, end)) for start, end in word_spans(text)]


def splitter(kind: str, tokenizer: Tokenizer | None) -> Split:
    """What gives the tokens of a text: words, characters, or byte pairs as their tokenizer writes them."""
    if kind == "word":
        return words_of
    if kind == "character":
        return lambda text: [Token(character, (i, i + 1)) for i, character in enumerate(text)]
    if tokenizer is None:
        raise ValueError("byte pairs need their tokenizer")

    def pairs(text: str) -> list[Token]:
        ids, spans = tokenizer.encode_with_spans(text)
        return [Token(tokenizer.token(id), span) for id, span in zip(ids, spans, strict=True)]

    return pairs


class Scales(JsonArtifact):
    """What the training data's numeric sequences are like.

    Attributes:
        means, deviations: of each of C channels, over all steps.
        statistic_means, statistic_deviations: of each of S statistics, over the sequences.
    """

    means: tuple[float, ...]
    deviations: tuple[PositiveFloat, ...]
    statistic_means: tuple[float, ...]
    statistic_deviations: tuple[PositiveFloat, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.means or len(self.means) != len(self.deviations):
            raise ValueError(f"there are {len(self.means)} means and {len(self.deviations)} deviations")
        statistics = len(sequence_statistics(np.zeros((1, len(self.means)))))
        if not len(self.statistic_means) == len(self.statistic_deviations) == statistics:
            raise ValueError(f"{len(self.means)} channels have {statistics} statistics")
        return self

    @classmethod
    def learn(cls, sequences: Iterable[np.ndarray]) -> Self:
        """Of sequences (T, C), each its own T."""
        listed = list(sequences)
        joined = np.concatenate(listed).astype(np.float64)
        statistics = np.stack([sequence_statistics(values) for values in listed])
        return cls(
            means=tuple(joined.mean(0).tolist()),
            deviations=_deviations(joined),
            statistic_means=tuple(statistics.mean(0).tolist()),
            statistic_deviations=_deviations(statistics),
        )

    @property
    def channels(self) -> int:
        """C."""
        return len(self.means)

    @property
    def statistics(self) -> int:
        """S."""
        return len(self.statistic_means)


def _deviations(rows: np.ndarray) -> tuple[float, ...]:
    """The standard deviation of each column; 1 where the column is constant."""
    deviations = rows.std(0)
    return tuple(np.where(deviations > 1e-9 * np.abs(rows).max(0), deviations, 1.0).tolist())


class SequenceInputs(ClassifierInputs):
    """Numeric sequences, each channel with mean 0 and deviation 1 over the training data.

    Args:
        scales: of the training data.
        side: whether there is a side path, of statistics.
    """

    field = "values"

    def __init__(self, scales: Scales, *, side: bool) -> None:
        self.scales, self.side = scales, side

    def tokens(self, input: Any) -> list[Token]:
        return [Token(str(step), None) for step in range(len(self.steps(input)))]

    def encode(self, input: Any) -> Fields:
        values = self.steps(input)
        fields = {"values": self.scaled(values)}
        return fields | ({"statistics": self.statistics(values)} if self.side else {})

    def steps(self, input: Any) -> np.ndarray:
        """(T, C) float64. Raises `InputError` for what is none."""
        values = sequence_of("input", input).astype(np.float64)
        if values.shape[1] != self.scales.channels:
            what = f"has {values.shape[1]} numbers a step, and the training data has {self.scales.channels}"
            raise InputError("input", what, "Give as many.")
        return values

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """What the network reads of steps (T, C)."""
        scaled = (values - self.scales.means) / self.scales.deviations
        return np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)

    def statistics(self, values: np.ndarray) -> np.ndarray:
        """(S,), what the side path reads of steps (T, C)."""
        statistics = sequence_statistics(values) - self.scales.statistic_means
        scaled = statistics / self.scales.statistic_deviations
        return np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)

    def collate(self, rows: Sequence[Fields]) -> tuple[SequenceBatch, tuple[Tensor, ...]]:
        batch = SequenceBatch(*side_by_side([row["values"] for row in rows]))
        if not self.side:
            return batch, ()
        return batch, (torch.from_numpy(np.stack([row["statistics"] for row in rows])),)


class ClassifierReader(InputReader):
    """Reads texts and sequences; of a file of the time-series archives its sequences without labels."""

    def _file_items(self, path: Path) -> Iterable[Any]:
        if path.name.endswith(ARCHIVES):
            return (one.sequence.tolist() for one in read_ts(path))
        return super()._file_items(path)


def looks_numeric(data: Any, columns: Mapping[str, str]) -> bool:
    """Whether data is of numeric sequences, as far as one can tell before it is read: files of the time-series
    archives, columns that name a sequence, or a table whose first row has one and no text."""
    if "sequence" in columns or "text" in columns:
        return "sequence" in columns
    try:
        paths = source_paths(data, folders=True) or []
        if paths and all(path.name.endswith(ARCHIVES) for path in paths):
            return True
        no_table = any(os.path.isdir(path) or file_format(path) == "text" for path in paths)
        if no_table or isinstance(data, Iterator):  # which can be read once
            return False
        first = next(locate_rows(data, None), None)
    except InputError:
        return False  # the reader says what is wrong
    return first is not None and "sequence" in first.values and "text" not in first.values
