"""The tokens of one side of an encoder-decoder, with the one that begins and ends every sequence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gatework.data import Encoding, Tokenizer

__all__ = ["Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """Texts as ids: those of a tokenizer, and the boundary, which begins and ends every sequence."""

    tokenizer: Tokenizer

    @property
    def boundary(self) -> int:
        """The id that is both the start and the end of a sequence."""
        return self.tokenizer.vocabulary_size

    @property
    def size(self) -> int:
        """V, with the boundary."""
        return self.tokenizer.vocabulary_size + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text, then the boundary."""
        return [*self.tokenizer.encode(text), self.boundary]

    def encode_with_spans(self, text: str) -> Encoding:
        """As `encode`, with the span of each token in the text; the boundary's is empty, at its end."""
        ids, spans = self.tokenizer.encode_with_spans(text)
        return Encoding([*ids, self.boundary], [*spans, (len(text), len(text))])

    @cached_property
    def unknown(self) -> int | None:
        """The id of what is in no vocabulary; None where nothing is unknown."""
        return self.tokenizer.unknown_id
