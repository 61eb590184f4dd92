"""Tags a word at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gatework.data import feature_rows, token_features
from gatework.tasks.tagger.network import TaggerNetwork
from gatework.tasks.tagger.tag_set import TagSet
from gatework.tasks.words import WordVocabulary, collate_tokens

__all__ = ["WordStream"]

_REMEMBERED = 50_000  # spellings whose vectors are kept
_LOOKED_BACK = 4  # words from the last one that its features are made of


class WordStream:
    """A tagger that answers each word before the next one comes; made by `Tagger.word_stream`. One thread's own.

    A tag is the likeliest one that may follow the tag before: with BIO tags every sentence so far is well-formed, with
    BIOES tags the last span may still be open. Of a single word NumPy's operations cost less than torch's.
    """

    def __init__(self, network: TaggerNetwork, vocabulary: WordVocabulary, tag_set: TagSet) -> None:
        self._encoder, self._vocabulary, self._tags = network.encoder, vocabulary, tag_set.tags
        self._layers = network.encoder.recurrent.stream()
        self._inputs: dict[str, Tensor] = {}
        self._weight, self._bias = (part.detach().cpu().numpy() for part in network.emission.parameters())
        self._side = None if network.side is None else network.side.weight.detach().cpu().numpy()
        forbidden = ~np.vstack([tag_set.moves.after, tag_set.moves.first])  # the last row: of a first word
        self._forbidden = np.where(forbidden, -np.inf, 0.0).astype(self._weight.dtype)
        self.reset()

    def reset(self) -> None:
        """Begin another sentence."""
        self._words: list[str] = []
        self._tag = len(self._tags)
        self._layers.reset()

    def step(self, word: str) -> tuple[str, float]:
        """The tag of the sentence's next word, and its probability among those that may follow the tag before."""
        output = self._layers.step(self._input(word))
        state = output["output"] if isinstance(output, dict) else output
        scores = self._weight @ state.numpy()[0] + self._bias + self._forbidden[self._tag]
        if self._side is not None:
            scores += np.add.reduce(self._side.take(self._features(word, len(self._side)), axis=0))
        self._tag = int(scores.argmax())
        return self._tags[self._tag], float(1 / np.exp(scores - scores[self._tag]).sum())

    def _input(self, word: str) -> Tensor:
        """What the layers read for a word, (1, I)."""
        known = self._inputs.get(word)
        if known is None:
            with torch.inference_mode():
                known = self._encoder.inputs(collate_tokens([self._vocabulary.encode([word])]))[0]
            if len(self._inputs) < _REMEMBERED:
                self._inputs[word] = known
        return known

    def _features(self, word: str, table: int) -> list[int]:
        """The rows of the side path's table for the sentence's next word."""
        self._words = [*self._words[1 - _LOOKED_BACK :], word]
        (rows,) = feature_rows(token_features(self._words, ahead=False, first=len(self._words) - 1), table)
        return rows
