"""The search for the likeliest outputs of a decoder: greedy, or by a beam (Graves 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Decoder(Protocol):
    """What the search asks of a network: it reads a token a row, and carries a state a row."""

    def step(self, tokens: Array) -> tuple[Array, Array | None]:
        """Reads tokens, (N,): the next token's log-probabilities, (N, V), and the weights, (N, S), with which the step
        has attended to the source; None where it attends to nothing."""

    def select(self, index: Array) -> None:
        """Row n of the states becomes row index[n] of those before."""


@dataclass(frozen=True)
class Hypothesis:
    """An output.

    Attributes:
        tokens: its ids, the end among them.
        log_probability: of all of them, in nats.
        score: what hypotheses are ranked by.
        alignment: (T, S), the weights of each token's step; None where the decoder attends to nothing.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    alignment: Array | None


def beam_search(
    decoder: Decoder,
    first: int,
    *,
    end: int,
    length: int,
    beam: int = 1,
    banned: Sequence[int] = (),
    min_length: int = 0,
    length_penalty: float = 1.0,
    alternatives: int = 1,
) -> list[Hypothesis]:
    """The likeliest outputs, best first. A hypothesis that ends leaves the beam with its place.

    Args:
        decoder: with one row, before its first step.
        first: the token that it reads first.
        end: the token after which an output is finished.
        length: tokens at most. min_length: tokens at least, before the end.
        beam: hypotheses that are kept; 1: the likeliest token is taken at each step.
        banned: tokens that are never taken.
        length_penalty: the exponent of ((5 + length) / 6), which the log-probability is divided by (Wu et al. 2016,
            equation 14). 0 ranks by probability.
        alternatives: hypotheses that are returned, `beam` at most.
    """
    tokens, totals = np.array([first]), np.zeros(1)
    paths: list[tuple[int, ...]] = [()]
    seen: list[tuple[Array, ...]] = [()]
    finished: list[Hypothesis] = []
    for step in range(1, length + 1):
        log_probs, alignment = decoder.step(tokens)
        log_probs = log_probs.copy()
        log_probs[:, [*banned, *([end] if step <= min_length else [])]] = -np.inf
        size = log_probs.shape[1]
        scores = (totals[:, None] + log_probs).ravel()
        best = np.argsort(-scores, kind="stable")[: beam - len(finished)]
        kept, rows, chosen = [], [], []
        for place in best[scores[best] > -np.inf]:
            row, token = divmod(int(place), size)
            path, total = (*paths[row], token), float(scores[place])
            weights = seen[row] if alignment is None else (*seen[row], alignment[row])
            if token == end or step == length:
                score = total / ((5 + len(path)) / 6) ** length_penalty
                finished.append(Hypothesis(path, total, score, np.stack(weights) if weights else None))
            else:
                kept.append((path, total, weights))
                rows.append(row)
                chosen.append(token)
        if not kept:
            break
        decoder.select(np.array(rows))
        paths, seen = [path for path, _, _ in kept], [weights for _, _, weights in kept]
        tokens, totals = np.array(chosen), np.array([total for _, total, _ in kept])
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[:alternatives]
