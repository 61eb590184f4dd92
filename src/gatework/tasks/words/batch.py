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
    subwords: (P,) rows of the pieces of all spellings, one after another; subword_offsets: (N,), where those of each
        spelling begin. Both are empty where pieces are left out.
    """

    words: Tensor
    lengths: Tensor
    spellings: Tensor
    characters: Tensor
    character_lengths: Tensor
    subwords: Tensor
    subword_offsets: Tensor


def collate_tokens(rows: Sequence[Fields]) -> TokenBatch:
    """A batch of encoded sentences.

    Args:
        rows: each with the fields that `WordVocabulary.encode` gives.
    """
    words, lengths = padded([row["words"] for row in rows], UNKNOWN)
    numbers: dict[tuple[bytes, bytes], int] = {}  # of each spelling: its characters, and its pieces
    spellings = torch.zeros_like(words)
    for column, row in enumerate(rows):
        spelled = _cut(row["characters"], row["word_lengths"])
        pieces = _cut(row["subwords"], row["subword_counts"]) if "subwords" in row else [b""] * len(spelled)
        spellings[: len(spelled), column] = torch.tensor(
            [numbers.setdefault(one, len(numbers)) for one in zip(spelled, pieces, strict=True)],
            dtype=torch.int64,
        )
    distinct = [np.frombuffer(one, np.int32) for one, _ in numbers]
    pieces_of = [np.frombuffer(one, np.int32) for _, one in numbers]
    offsets = np.cumsum([0, *map(len, pieces_of)])[:-1]
    joined = np.concatenate([np.empty(0), *pieces_of])
    return TokenBatch(
        words,
        lengths,
        spellings,
        *padded(distinct or [np.empty(0, np.int32)], UNKNOWN),
        torch.from_numpy(joined.astype(np.int64)),
        torch.from_numpy(offsets.astype(np.int64)),
    )


def _cut(values: np.ndarray, counts: np.ndarray) -> list[bytes]:
    """The values of each word, one after another in an array, as bytes."""
    ends = np.cumsum(counts).tolist()
    return [values[begin:end].tobytes() for begin, end in zip([0, *ends], ends, strict=False)]
