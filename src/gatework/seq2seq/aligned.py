"""Searches that keep what each token attended to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor

from .network import EncoderDecoder
from .search import Draw, Hypothesis

__all__ = ["AlignedDecoder", "gathered_draws", "mean_alignment"]


class AlignedDecoder:
    """An encoder-decoder as a search's decoder, which keeps the alignment of every step in its state."""

    def __init__(self, network: EncoderDecoder) -> None:
        self.network = network

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """As `EncoderDecoder.step_with_alignment`."""
        return self.network.step_with_alignment(tokens, state)

    def best(
        self, tokens: Tensor, state: Any, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor, Any]:
        """The likeliest tokens of a step; see `RankingDecoder`."""
        return self.network.best(tokens, state, count, forbidden, aligned=True)

    def reorder(self, state: Any, index: Tensor) -> Any:
        """The state of rows index; see `Decoder`."""
        return self.network.reorder(state, index)


def mean_alignment(states: Iterable[Any]) -> Tensor | None:
    """The mean over the states of an ensemble's networks of their last alignments, (N, S); None where none has one."""
    alignments = [state.alignment for state in states if state.alignment is not None]
    return torch.stack(alignments).mean(0) if alignments else None


def gathered_draws(draws: Iterable[Draw], rows: int) -> list[list[Hypothesis]]:
    """What `generate` draws step by step, as one hypothesis for each of so many rows."""
    tokens: list[list[int]] = [[] for _ in range(rows)]
    totals = [0.0] * rows
    weights: list[list[Tensor]] = [[] for _ in range(rows)]
    for step in draws:
        for place, row in enumerate(step.rows):
            tokens[row].append(step.tokens[place])
            totals[row] += step.log_probabilities[place]
            if step.alignment is not None:
                weights[row].append(step.alignment[place])
    return [
        [Hypothesis(tuple(ids), total, total, torch.stack(own) if own else None)]
        for ids, total, own in zip(tokens, totals, weights, strict=True)
    ]
