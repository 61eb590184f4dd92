"""CTC, the attention decoder and whatever else is known of the text, in the one search.

Shapes: S steps, N hypotheses, V labels with the blank.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.seq2seq import BLANK, CtcDecoder, Decoder, PrefixScorer, WeightedDecoders, beam_search

__all__ = ["ScorerDecoder", "joint_labels"]


class ScorerDecoder:
    """A scorer of label sequences as a search's decoder, whose state is a list of the hypotheses' own.

    Args:
        scorer: adds to a sequence's log-probability.
        labels: V.
    """

    def __init__(self, scorer: PrefixScorer, labels: int) -> None:
        self._scorer, self._labels = scorer, labels

    def start(self) -> list[Any]:
        """The state of one hypothesis without labels."""
        return [self._scorer.start()]

    def step(self, tokens: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
        """See `gatework.seq2seq.Decoder`."""
        read = [
            one if token == BLANK else self._scorer.extend(one, token)[1]
            for token, one in zip(tokens.tolist(), state, strict=True)
        ]
        found = torch.full((len(read), self._labels), -math.inf, dtype=torch.float64)
        for row, one in enumerate(read):
            found[row, BLANK] = self._scorer.finish(one)
            for label in range(1, self._labels):
                found[row, label] = self._scorer.extend(one, label)[0]
        return found.to(tokens.device), read

    def reorder(self, state: list[Any], index: Tensor) -> list[Any]:
        """See `gatework.seq2seq.Decoder`."""
        return [state[place] for place in index.tolist()]


def joint_labels(
    table: np.ndarray,
    attention: Decoder,
    state: Any,
    weight: float,
    *,
    beam: int,
    count: int,
    scorer: PrefixScorer | None,
) -> list[tuple[int, ...]]:
    """The likeliest label sequences of one segment, best first, at most `count`.

    Args:
        table: (S, V) CTC's log-probabilities in nats.
        attention, state: the second scorer, and its state before its first label.
        weight: of the second scorer's log-probabilities; CTC's have the rest of 1.
        beam: hypotheses that are kept.
        scorer: what is added beside both, or None.
    """
    ctc = CtcDecoder(torch.from_numpy(np.asarray(table, np.float64)))
    decoders: list[Decoder] = [ctc, attention]
    states, weights = [ctc.start(), state], [1 - weight, weight]
    if scorer is not None:
        told = ScorerDecoder(scorer, table.shape[1])
        decoders.append(told)
        states.append(told.start())
        weights.append(1.0)
    (found,) = beam_search(
        WeightedDecoders(decoders, weights),
        torch.tensor([BLANK]),
        tuple(states),
        length=len(table) + 1,
        beam=beam,
        alternatives=min(count, beam),
        ends={BLANK},
    )
    # A hypothesis that no end was found for has labels that are none the less whole.
    return [tuple(token for token in each.tokens if token != BLANK) for each in found]
