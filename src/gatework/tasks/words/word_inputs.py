"""What recurrent layers read for a word, remembered by spelling."""

from __future__ import annotations

from torch import Tensor

from gatework.tasks.words.batch import collate_tokens
from gatework.tasks.words.token_encoder import TokenEncoder
from gatework.tasks.words.vocabulary import WordVocabulary
from gatework.training.nested import to_device

__all__ = ["WordInputs"]

_REMEMBERED = 50_000  # spellings
_LONG = 100  # characters of a word that is not remembered


class WordInputs:
    """A trained encoder's inputs of single words; safe in several threads.

    Args:
        encoder: in eval mode. vocabulary, subword_rows: as its words are encoded.
    """

    def __init__(self, encoder: TokenEncoder, vocabulary: WordVocabulary, subword_rows: int) -> None:
        self._encoder, self._vocabulary, self._subword_rows = encoder, vocabulary, subword_rows
        self._known: dict[str, Tensor] = {}

    def of(self, word: str) -> Tensor:
        """(1, I)"""
        known = self._known.get(word)
        if known is None:
            fields = self._vocabulary.encode([word], self._subword_rows)
            batch = to_device(collate_tokens([fields]), self._encoder.embedding.weight.device)
            known = self._encoder.inputs(batch)[0]
            if len(self._known) < _REMEMBERED and len(word) < _LONG:
                self._known[word] = known
        return known
