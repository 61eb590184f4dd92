"""When words begin and end: their labels say that they are there, the sound's energy how far they reach.

CTC's probabilities are peaks, mostly inside of what they stand for (Graves et al. 2006, figure 1), but nothing holds
them there. What is loud between two lasting quiets is a stretch; the words are put into the stretches in their order,
each as near to its labels as may be, so that no long stretch is left without a word. A word reaches over its stretch,
and where several share one, to where it is quietest between them.

How loud a frame is counts in each band beside what is always there: the end of "two" is a low tone, softer than the
hiss of the bands above it, and heard.

Shapes: T frames, M mel bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from gatework.tasks.transcriber.transcripts import TimedWord

__all__ = ["FLOOR", "LEVEL", "loudness", "quiet_below", "reaching"]

FLOOR, LEVEL = 5, 95  # percentiles of the loudness: quiet, and speech
_AROUND = 2  # frames before and after one that its loudness is a mean of: noise is now louder, now quieter
_LASTING = 4  # frames of a quiet that is not inside of a word
_HISS = 15  # percentile of a band's frames that is always there
_SHARE = 0.25  # of the way from quiet to speech up to which a frame is quiet
_MOST, _MOST_ABOVE = 1.5, 1.0  # that is at most, in nats, of the loudness and of what is above the hiss
_SHORT, _NOISE = 5, 30  # frames of a stretch that may be without a word at no cost; what more cost at most
_NEAR = 15  # frames of a quiet before or after a word, up to which a stretch without a word belongs to it


def loudness(frames: np.ndarray) -> np.ndarray:
    """(T,) the logarithm of the energy of all bands of log-mel frames (T, M)."""
    return np.logaddexp.reduce(frames, axis=1, dtype=np.float32)


def quiet_below(floor: float, level: float, most: float = _MOST) -> float:
    """The loudness below which a frame is quiet, where quiet and speech are so loud.

    Args:
        most: that it is above `floor` at most, in nats.
    """
    return floor + min(_SHARE * (level - floor), most)


def reaching(words: Sequence[TimedWord], frames: np.ndarray) -> list[TimedWord]:
    """Words as far as they reach.

    Args:
        words: their labels' places in frames, in order.
        frames: (T, M) log-mel frames.
    """
    if not words or not len(frames):
        return list(words)
    loud = loudness(frames - np.percentile(frames, _HISS, axis=0))
    steady = _steady(loud)
    floor, level = np.percentile(steady, (FLOOR, LEVEL))
    least = quiet_below(floor, level, _MOST_ABOVE)
    runs = _quiet_runs(steady < least)
    stretches = [_trimmed(*each, loud >= least) for each in _stretches(runs, len(loud))]
    if not stretches:
        return list(words)
    timed: list[TimedWord] = []
    for begin, end, own in _joined(stretches, _shared_out(words, stretches)):
        edges = [begin, *_cuts(own, steady, begin, end), end]
        timed += [
            word._replace(start=start, end=stop)
            for word, (start, stop) in zip(own, pairwise(edges), strict=len(own) > 0)
        ]
    return timed


def _steady(loud: np.ndarray) -> np.ndarray:
    """The mean of each frame's loudness and that of the frames around it; at either end of those that there are."""
    window = np.ones(2 * _AROUND + 1)
    inside = slice(_AROUND, _AROUND + len(loud))
    return (np.convolve(loud, window) / np.convolve(np.ones(len(loud)), window))[inside]


def _trimmed(begin: int, end: int, heard: np.ndarray) -> tuple[int, int]:
    """A stretch, begin … end - 1, without the quiet frames at its ends that a loud one beside them has made loud."""
    places = np.flatnonzero(heard[begin:end])
    if not len(places):
        return begin, end
    return begin + min(int(places[0]), _AROUND), max(end - _AROUND, begin + int(places[-1]) + 1)


def _stretches(runs: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """What is not in the runs of quiet, of so many frames."""
    edges = [0, *(edge for run in runs for edge in run), count]
    return [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin < end]


def _shared_out(
    words: Sequence[TimedWord], stretches: Sequence[tuple[int, int]]
) -> list[Sequence[TimedWord]]:
    """The words of each stretch: of all ways to share them out in order the one that moves labels the least; a stretch
    without a word costs as much as labels that are moved by its length, within limits.
    """
    counts = len(words) + 1
    cost = np.full(counts, np.inf)  # of the first n words in the stretches so far
    cost[0] = 0.0
    came: list[np.ndarray] = []
    for begin, end in stretches:
        away = [max(begin - word.end, word.start - end, 0) for word in words]
        total = np.concatenate([[0.0], np.cumsum(away)])
        alone = cost + min(max(0, end - begin - _SHORT), _NOISE)
        # ways[n, m]: the first m words stand before, the words m … n - 1 here
        ways = cost[None] + total[:, None] - total[None]
        ways[np.triu_indices(counts)] = np.inf
        np.fill_diagonal(ways, alone)
        came.append(ways.argmin(1))
        cost = ways.min(1)
    shares: list[Sequence[TimedWord]] = []
    last = len(words)
    for choice in reversed(came):
        first = int(choice[last])
        shares.append(words[first:last])
        last = first
    return shares[::-1]


def _joined(
    stretches: Sequence[tuple[int, int]], shares: Sequence[Sequence[TimedWord]]
) -> Iterator[tuple[int, int, Sequence[TimedWord]]]:
    """The stretches with words, each with those without that are near to it: as the end of "six" after its k."""
    held = [place for place, own in enumerate(shares) if own]
    reach = {place: list(stretches[place]) for place in held}
    for place, (begin, end) in enumerate(stretches):
        before = max((each for each in held if each < place), default=None)
        after = min((each for each in held if each > place), default=None)
        if place in reach:
            continue
        gaps = []
        if before is not None:
            gaps.append((begin - reach[before][1], before))
        if after is not None:
            gaps.append((reach[after][0] - end, after))
        gap, nearest = min(gaps)
        if gap <= _NEAR:
            reach[nearest] = [min(begin, reach[nearest][0]), max(end, reach[nearest][1])]
    for place in held:
        yield reach[place][0], reach[place][1], shares[place]


def _cuts(words: Sequence[TimedWord], loud: np.ndarray, begin: int, end: int) -> list[int]:
    """Where words that share the frames begin … end - 1 end, all but the last: the quietest frame between the labels of
    both. Labels that are not in order inside of the frames count as where equal parts of the frames would put them.
    """
    size = (end - begin) / max(1, len(words))
    cuts: list[int] = []
    for number, (one, other) in enumerate(pairwise(words), start=1):
        least = cuts[-1] + 1 if cuts else begin + 1
        first, after = max(one.end, least), min(other.start, end - 1)
        if first >= after:
            first, after = max(least, int(begin + size * (number - 0.5))), int(begin + size * (number + 0.5))
        cuts.append(first + int(loud[first:after].argmin()) if first < after else min(first, end))
    return cuts


def _quiet_runs(quiet: np.ndarray) -> list[tuple[int, int]]:
    """The runs of quiet frames, begin … end - 1, that last; at either end of the sound any run does."""
    edges = np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]]))
    pairs = zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
    return [
        (begin, end) for begin, end in pairs if end - begin >= _LASTING or begin == 0 or end == len(quiet)
    ]
