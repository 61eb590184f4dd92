"""What an exported network reads of words: their rows, their pieces and their characters, as its encoder does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatework.tasks.programs.tables import Array, Tables
from gatework.tasks.words.subwords import subwords

UNKNOWN = 0  # the id of a word, or of a character, that the training data does not have


class Words:
    """Words as the states of the recurrent layers.

    Args:
        parts: what runs the parts, of `onnx_parts` or `c_parts`.
        facts: of `model.json`: the vocabulary.
    """

    def __init__(self, parts: Any, facts: Mapping[str, Any], tables: Tables) -> None:
        self.parts, self.facts, self.tables = parts, facts, tables
        self.ids = {word: id for id, word in enumerate(facts["words"], start=1)}
        self.characters = {character: id for id, character in enumerate(facts["characters"], start=1)}
        self.known: dict[str, Array] = {}

    def states(self, words: Sequence[str]) -> Array:
        """(T, D)"""
        if not words:
            return np.zeros((0, self.facts["states"]), np.float32)
        inputs = np.stack([self.input(word) for word in words])
        output: Array = self.parts.sequence("layers", inputs)[0]["output"]
        return output

    def input(self, word: str) -> Array:
        """What the layers read of a word, (I,)."""
        if word not in self.known:
            own = word.lower() if self.facts["lowercase"] else word
            row = self.tables["embedding"][self.ids.get(own, UNKNOWN)]
            if "subwords" in self.tables:
                pieces = subwords(own, self.facts["subword_rows"])
                row = row + self.tables.rows("subwords", pieces).sum(0) / len(pieces)
            self.known[word] = (
                np.concatenate([row, self.spelled(word)]) if "characters" in self.parts.facts else row
            )
        return self.known[word]

    def spelled(self, word: str) -> Array:
        """The last states of the layer that reads a word's characters, in both directions."""
        most = self.facts["longest_word"]
        if len(word) > most:
            word = word[: most // 2] + word[-most // 2 :]
        if not word:
            return np.zeros(self.facts["spelled"], np.float32)
        ids = np.array([self.characters.get(character, UNKNOWN) for character in word])
        states = self.parts.sequence("characters", ids)[1]
        return np.concatenate([states["h_l0"], states["h_l0_reverse"]])
