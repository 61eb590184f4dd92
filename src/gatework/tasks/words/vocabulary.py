"""Words and their characters as ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Self

import numpy as np
from pydantic import NonNegativeInt, model_validator

from gatework.data import Fields
from gatework.errors import InputError
from gatework.tasks.artifacts import JsonArtifact
from gatework.tasks.words.subwords import subwords

__all__ = ["LONGEST_WORD", "UNKNOWN", "WordVocabulary"]

UNKNOWN = 0  # the id of a word, or of a character, that the training data does not have
LONGEST_WORD = 64  # characters of a word that are read: of a longer one its first and its last ones


class WordVocabulary(JsonArtifact):
    """The words of the training data by falling frequency, and all of their characters.

    Word i of `words` has the id i + 1, and so has a character; `UNKNOWN` is what is not there.

    Attributes:
        words: as they are looked up: in lower case if `lowercase`.
        counts: how often the training data has each word.
        characters: in the order of their code points, in the case of the text.
        lowercase: whether words that differ in case alone are one.
    """

    words: tuple[str, ...]
    counts: tuple[NonNegativeInt, ...]
    characters: tuple[str, ...]
    lowercase: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.words) != len(self.counts):
            raise ValueError(f"there are {len(self.words)} words and {len(self.counts)} counts")
        for name, values in (("words", self.words), ("characters", self.characters)):
            if len(set(values)) != len(values):
                raise ValueError(f"one of the {name} stands there twice")
        return self

    @classmethod
    def learn(
        cls,
        sentences: Iterable[Sequence[str]],
        *,
        lowercase: bool = False,
        min_frequency: int = 1,
        vocabulary_size: int | None = None,
    ) -> Self:
        """The vocabulary of sentences, each a sequence of words.

        Args:
            lowercase: look words up in lower case; their characters keep theirs.
            min_frequency: rarer words are unknown.
            vocabulary_size: words at most, the most frequent ones.

        Raises:
            InputError: every word is too rare.
        """
        spelled: Counter[str] = Counter()
        for sentence in sentences:
            spelled.update(sentence)
        counts: Counter[str] = Counter()
        for word, count in spelled.items():
            counts[word.lower() if lowercase else word] += count
        if counts and max(counts.values()) < min_frequency:
            what = f"min_frequency is {min_frequency}, and no token of the text is that frequent"
            raise InputError("option min_frequency", what, "Give a smaller one, or more text.")
        kept = [pair for pair in counts.most_common(vocabulary_size) if pair[1] >= min_frequency]
        return cls(
            words=tuple(word for word, _ in kept),
            counts=tuple(count for _, count in kept),
            characters=tuple(sorted(set().union(*spelled))),
            lowercase=lowercase,
        )

    @property
    def size(self) -> int:
        """Ids of words, the unknown one among them."""
        return len(self.words) + 1

    @property
    def character_count(self) -> int:
        """Ids of characters, the unknown one among them."""
        return len(self.characters) + 1

    @cached_property
    def _words(self) -> dict[str, int]:
        return {word: id for id, word in enumerate(self.words, start=1)}

    @cached_property
    def _characters(self) -> dict[str, int]:
        return {character: id for id, character in enumerate(self.characters, start=1)}

    def word_id(self, word: str) -> int:
        """The id of a word in the case of the text."""
        return self._words.get(word.lower() if self.lowercase else word, UNKNOWN)

    def character_ids(self, word: str) -> list[int]:
        """The ids of a word's characters; of those of a very long word the first and the last ones."""
        if len(word) > LONGEST_WORD:
            word = word[: LONGEST_WORD // 2] + word[-LONGEST_WORD // 2 :]
        return [self._characters.get(character, UNKNOWN) for character in word]

    def encode(self, words: Sequence[str], subword_rows: int = 0) -> Fields:
        """A sentence of T words as arrays.

        Args:
            subword_rows: of the table of pieces of words; 0: their pieces are left out.

        Returns:
            `words`, (T,): the ids of the words; `characters`, (C,): those of all their characters, word after word;
            `word_lengths`, (T,): characters of each word. With `subword_rows` also `subwords`, (P,): the rows of all
            their pieces, word after word; `subword_counts`, (T,): pieces of each word.
        """
        spelled = [self.character_ids(word) for word in words]
        fields = {
            "words": np.asarray([self.word_id(word) for word in words], np.int32),
            "characters": np.asarray([id for ids in spelled for id in ids], np.int32),
            "word_lengths": np.asarray([len(ids) for ids in spelled], np.int32),
        }
        if subword_rows:
            pieces = [subwords(word.lower() if self.lowercase else word, subword_rows) for word in words]
            fields["subwords"] = np.asarray([row for some in pieces for row in some], np.int32)
            fields["subword_counts"] = np.asarray([len(some) for some in pieces], np.int32)
        return fields
