"""From probabilities of the spans of a passage to answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gatework.tasks.reader.span_inputs import SpanBatch
from gatework.tasks.reader.span_network import SpanScores

__all__ = ["Candidates", "candidates_of", "expected_f1"]

_MOST = 64  # likeliest spans that are weighed against one another

Floats = npt.NDArray[np.float64]


class Candidates(NamedTuple):
    """The likeliest spans of a passage.

    first, last: (N,) words of each; probabilities: (N,), falling.
    begins: (T,) of each word of the passage, the probability that the answer begins there.
    none: the probability that there is no answer.
    """

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    probabilities: Floats
    begins: Floats
    none: float


def candidates_of(scores: SpanScores, batch: SpanBatch) -> list[Candidates]:
    """The likeliest spans of each of B questions."""
    counts = torch.bincount(batch.owners, minlength=len(batch.kinds)).tolist()
    longest = scores.spans.shape[2]
    found = []
    end = 0
    for number, count in enumerate(counts):
        begin, end = end, end + count
        windows = scores.spans[begin:end]
        top = windows.flatten().topk(min(_MOST, windows.numel()))
        values, places = top.values.double().cpu().numpy(), top.indices.cpu().numpy()
        window, rest = np.divmod(places, windows.shape[1] * longest)
        first, more = np.divmod(rest, longest)
        lengths = batch.passages.lengths[begin:end].cpu().numpy()
        own = batch.own[:, begin:end].cpu().numpy()
        there = (first + more < lengths[window]) & own[first, window]
        values, window, first, more = values[there], window[there], first[there], more[there]
        first = first + batch.begins[begin:end].cpu().numpy()[window]
        found.append(
            Candidates(
                first,
                first + more,
                np.exp(values),
                _begins(windows, batch, begin, end),
                float(scores.none[number].double().exp()),
            )
        )
    return found


def _begins(windows: torch.Tensor, batch: SpanBatch, begin: int, end: int) -> Floats:
    masses = windows.logsumexp(2).double().exp().cpu().numpy()  # (windows, T)
    firsts = batch.begins[begin:end].tolist()
    lengths = batch.passages.lengths[begin:end].tolist()
    total = np.zeros(firsts[-1] + lengths[-1])
    for mass, first, length in zip(masses, firsts, lengths, strict=True):
        total[first : first + length] += mass[:length]  # of spans that are not the window's own it is 0
    return total


def expected_f1(found: Candidates, counts: npt.NDArray[Any]) -> Floats:
    """(N,) of each candidate, the mean F1 of its words with those of the candidates, weighed by their probabilities.

    The answer of the highest expected F1 has the least Bayes risk (Goel & Byrne 2000, of word errors): where the
    likeliest spans overlap, it is what they share.

    Args:
        counts: (T,) of each word of the passage, 1 if it counts in F1, else 0.
    """
    until = np.concatenate([[0], np.cumsum(counts)])
    first, last = found.first, found.last
    sizes = until[last + 1] - until[first]
    begin = np.maximum(first[:, None], first)
    common = until[np.maximum(np.minimum(last[:, None], last) + 1, begin)] - until[begin]
    totals = sizes[:, None] + sizes
    shares = np.divide(2 * common, totals, out=np.zeros(common.shape), where=totals > 0)
    return shares @ found.probabilities
