"""When words begin and end: their labels say that they are there, the sound's energy how far they reach.

CTC's probabilities are peaks inside of what they stand for (Graves et al. 2006, figure 1). A word therefore reaches
from its labels to the nearest lasting quiet on either side, and where there is none between two words, to where it is
quietest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gatework.tasks.transcriber.transcripts import TimedWord

__all__ = ["loudness", "reaching"]

_FLOOR, _LEVEL = 5, 95  # percentiles of the loudness: quiet, and speech
_LASTING = 8  # frames of a quiet that is not inside of a word, as before a k or t
_SHARE, _MOST = (
    0.25,
    1.5,
)  # of the way from quiet to speech up to which a frame is quiet, and at most, in nats


def loudness(frames: np.ndarray) -> np.ndarray:
    """(T,) the logarithm of the energy of all bands of log-mel frames (T, M)."""
    return np.logaddexp.reduce(frames, axis=1, dtype=np.float32)


def reaching(words: Sequence[TimedWord], loud: np.ndarray) -> list[TimedWord]:
    """Words as far as they reach.

    Args:
        words: their labels' places in frames, in order.
        loud: (T,) the loudness of each frame.
    """
    if not words or not len(loud):
        return list(words)
    floor, level = np.percentile(loud, (_FLOOR, _LEVEL))
    runs = _quiet_runs(loud < floor + min(_SHARE * (level - floor), _MOST))
    places = [_outside(word.start, word.end, runs) for word in words]
    first, last = places[0], places[-1]
    starts = [max((end for _, end in runs if end <= first[0]), default=0)]
    ends = []
    for (_, one), (other, _) in pairwise(places):
        begin, end = _cut(runs, loud, one, max(one, other))
        ends.append(begin)
        starts.append(end)
    ends.append(min((begin for begin, _ in runs if begin >= last[1]), default=len(loud)))
    return [word._replace(start=start, end=end) for word, start, end in zip(words, starts, ends, strict=True)]


def _quiet_runs(quiet: np.ndarray) -> list[tuple[int, int]]:
    """The runs of quiet frames, begin … end - 1, that last; at either end of the sound any run does."""
    edges = np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]]))
    pairs = zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
    return [
        (begin, end) for begin, end in pairs if end - begin >= _LASTING or begin == 0 or end == len(quiet)
    ]


def _outside(start: int, end: int, runs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The place of a word's labels, without quiet: a network may have seen the whole word before it says so."""
    for begin, after in runs:
        if begin <= start < after:
            return (begin - 1, begin) if begin else (after, max(end, after + 1))
        if start < begin < end:
            return start, begin
    return start, end


def _cut(runs: Sequence[tuple[int, int]], loud: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """Where a word ends and where the next begins, between the labels of both: around the longest lasting quiet there,
    or at the quietest frame.
    """
    inside = [(max(first, begin), min(last, end)) for first, last in runs if last > begin and first < end]
    if inside:
        return max(inside, key=lambda run: run[1] - run[0])
    lowest = begin + int(loud[begin:end].argmin()) if end > begin else begin
    return lowest, lowest
