"""Batches of sentences: ids of words, and the distinct words' characters beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatework.data import Fields
from gatework.tasks.batches import padded
from gatework.tasks.words.vocabulary import UNKNOWN

__all__ = ["TokenBatch", "collate_tokens"]


class TokenBatch(NamedTuple):
    """B sentences of at most T words, which have N different spellings of at most C characters.

    words: (T, B) ids; lengths: (B,) words of each sentence.
    spellings: (T, B), which of the N spellings each word has.
    characters: (C, N) ids; character_lengths: (N,).
    """

    words: Tensor
    lengths: Tensor
    spellings: Tensor
    characters: Tensor
    character_lengths: Tensor


def collate_tokens(rows: Sequence[Fields]) -> TokenBatch:
    """A batch of encoded sentences.

    Args:
        rows: each with the fields that `WordVocabulary.encode` gives.
    """
    words, lengths = padded([row["words"] for row in rows], UNKNOWN)
    numbers: dict[bytes, int] = {}
    spellings = torch.zeros_like(words)
    for column, row in enumerate(rows):
        ends = np.cumsum(row["word_lengths"]).tolist()
        characters = row["characters"]
        spelled = [characters[start:end].tobytes() for start, end in zip([0, *ends], ends, strict=False)]
        spellings[: len(spelled), column] = torch.tensor(
            [numbers.setdefault(one, len(numbers)) for one in spelled], dtype=torch.int64
        )
    distinct = [np.frombuffer(one, np.int32) for one in numbers]
    return TokenBatch(words, lengths, spellings, *padded(distinct or [np.empty(0, np.int32)], UNKNOWN))
