"""Tags a word at a time."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from gatework.data import feature_rows, token_features
from gatework.tasks.tagger.network import TaggerNetwork
from gatework.tasks.tagger.tag_set import TagSet
from gatework.tasks.words import SidePath, WordVocabulary, collate_tokens

__all__ = ["WordStream"]

_REMEMBERED = 50_000  # spellings whose vectors are kept
_LOOKED_BACK = 4  # words from the last one that its features are made of


class WordStream:
    """A tagger that answers each word before the next one comes; made by `Tagger.word_stream`. One thread's own.

    A tag is the likeliest one that may follow the tag before: with BIO tags every sentence so far is well-formed, with
    BIOES tags the last span may still be open.
    """

    def __init__(self, network: TaggerNetwork, vocabulary: WordVocabulary, tag_set: TagSet) -> None:
        self._network, self._vocabulary, self._tag_set = network, vocabulary, tag_set
        self._layers = network.encoder.recurrent.stream()
        self._inputs: dict[str, torch.Tensor] = {}
        moves = tag_set.moves
        self._forbidden = torch.where(torch.from_numpy(moves.after), 0.0, -torch.inf)
        self._forbidden_first = torch.where(torch.from_numpy(moves.first), 0.0, -torch.inf)
        self.reset()

    def reset(self) -> None:
        """Begin another sentence."""
        self._words: list[str] = []
        self._tag: int | None = None
        self._layers.reset()

    def step(self, word: str) -> tuple[str, float]:
        """The tag of the sentence's next word, and its probability among those that may follow the tag before."""
        self._words.append(word)
        with torch.inference_mode():
            output = self._layers.step(self._input(word))
            if isinstance(output, dict):
                output = output["output"]
            scores = self._network.emission(output)[0]
            if self._network.side is not None:
                scores = scores + self._features(self._network.side)
            forbidden = self._forbidden_first if self._tag is None else self._forbidden[self._tag]
            probability, tag = (scores + forbidden).softmax(-1).max(-1)
        self._tag = int(tag)
        return self._tag_set.tags[self._tag], float(probability)

    def _input(self, word: str) -> torch.Tensor:
        """What the layers read for a word, (1, I)."""
        known = self._inputs.get(word)
        if known is None:
            known = self._network.encoder.inputs(collate_tokens([self._vocabulary.encode([word])]))[0]
            if len(self._inputs) < _REMEMBERED:
                self._inputs[word] = known
        return known

    def _features(self, side: SidePath) -> torch.Tensor:
        """What the side path says of the last word, (K,)."""
        recent = self._words[-_LOOKED_BACK:]
        (rows,) = feature_rows(token_features(recent, ahead=False)[-1:], len(side.weight))
        return F.embedding(torch.tensor(rows), side.weight).sum(0)
