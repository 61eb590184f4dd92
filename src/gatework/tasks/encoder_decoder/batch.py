"""Padded batches of pairs of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from gatework.data import Fields
from gatework.tasks.batches import padded
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary

__all__ = ["PairBatch", "collate"]


class PairBatch(NamedTuple):
    """B padded pairs, or their sources alone.

    source: (S, B) ids; source_lengths: (B,).
    target: (T + 1, B) ids, the boundary first and last; target_lengths: (B,) tokens to predict. None where there
        are only sources.
    """

    source: Tensor
    source_lengths: Tensor
    target: Tensor | None = None
    target_lengths: Tensor | None = None


def collate(rows: Sequence[Fields], vocabularies: tuple[Vocabulary, Vocabulary]) -> PairBatch:
    """A batch of encoded pairs.

    Args:
        rows: each with `source` and, in training, `target`: ids with the boundary last.
    """
    source, target = vocabularies
    sources = padded([row["source"] for row in rows], source.boundary)
    if "target" not in rows[0]:
        return PairBatch(*sources)
    start = np.asarray([target.boundary], np.int32)
    targets, lengths = padded([np.concatenate([start, row["target"]]) for row in rows], target.boundary)
    return PairBatch(*sources, targets, lengths - 1)
