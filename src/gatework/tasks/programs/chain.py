"""A linear chain of tags (Lafferty et al. 2001): its best sequence, and the probability of every tag."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def best_path(emissions: Array, moves: Array, start: Array, end: Array) -> list[int]:
    """The tags of the highest score (Viterbi's algorithm).

    Args:
        emissions: (T, K). moves: (K, K), the score of tag j after tag i. start, end: (K,), of a first and a last tag.
            Minus infinity forbids.
    """
    if not len(emissions):
        return []
    best, back = emissions[0] + start, []
    for emission in emissions[1:]:
        scores = best[:, None] + moves
        back.append(scores.argmax(0))
        best = scores.max(0) + emission
    path = [int((best + end).argmax())]
    for before in reversed(back):
        path.append(int(before[path[-1]]))
    return path[::-1]


def marginals(emissions: Array, moves: Array, start: Array, end: Array) -> Array:
    """The probability of every tag at every step given the whole sequence, (T, K); arguments as for `best_path`."""
    if not len(emissions):
        return np.zeros_like(emissions)
    forward, backward = _forward(emissions, moves, start), [end]
    for emission in emissions[:0:-1]:
        backward.append(_log_sum(moves + emission + backward[-1], 1))
    scores = np.stack(forward) + np.stack(backward[::-1])
    return np.exp(scores - _log_sum(scores, 1)[:, None])


def log_partition(emissions: Array, moves: Array, start: Array, end: Array) -> float:
    """The logarithm of the sum of exp(score) of all sequences of tags; arguments as for `best_path`. 0 of no steps."""
    if not len(emissions):
        return 0.0
    return float(_log_sum(_forward(emissions, moves, start)[-1] + end, 0))


def _forward(emissions: Array, moves: Array, start: Array) -> list[Array]:
    """Of every step and tag the logarithm of the sum of exp(score) of what leads there, (K,) each."""
    sums = [emissions[0] + start]
    for emission in emissions[1:]:
        sums.append(_log_sum(sums[-1][:, None] + moves, 0) + emission)
    return sums


def _log_sum(values: Array, axis: int) -> Array:
    """log of the sum of exp, along an axis."""
    largest = np.maximum(values.max(axis, keepdims=True), -1e300)
    total: Array = np.log(np.exp(values - largest).sum(axis) + 1e-300) + largest.squeeze(axis)
    return total
