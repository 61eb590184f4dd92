"""Figures of synthetic speech beside the recorded one: how far their spectra are apart once their times are aligned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["mel_cepstra", "mel_cepstral_distortion", "unaligned_duration_ratio", "warping_path"]

COEFFICIENTS = 13
_DECIBELS = 10 / math.log(10) * math.sqrt(2)  # of a distance of cepstra, as one of logarithmic spectra

Array = npt.NDArray[Any]


def mel_cepstral_distortion(
    outputs: Sequence[Array], references: Sequence[Array], coefficients: int = COEFFICIENTS
) -> Array:
    """(N,) float64, how far each output is from its reference, in decibels (Kubichek 1993), 0 for equal ones.

    Frames are compared by their mel cepstra without the zeroth, so that loudness does not count, and aligned by dynamic
    time warping; the distortion is the mean over the pairs of frames on the path. A distance d of two cepstra is
    10 / ln 10 * sqrt(2) * d decibels.

    Args:
        outputs, references: N arrays each, (T, M) and (S, M), natural logarithms of the energies of mel bands. T and S
            are at least 1.
        coefficients: K, how many cepstra are compared, fewer than M.
    """
    found = np.zeros(len(references))
    for index, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        mine, theirs = (mel_cepstra(each, coefficients)[:, 1:] for each in (output, reference))
        costs = _DECIBELS * np.stack([np.linalg.norm(theirs - frame, axis=1) for frame in mine])
        path = warping_path(costs)
        found[index] = costs[path[:, 0], path[:, 1]].mean()
    return found


def mel_cepstra(log_mel: Array, coefficients: int = COEFFICIENTS) -> Array:
    """(T, K + 1) float64, the mel cepstra c_0 … c_K of log-mel energies, (T, M).

    They are those of the amplitude's logarithm, ln A(w) = c_0 + c_1 cos w + … + c_K cos K w over the mel scale, as in
    the filter that a cepstrum stands for (Imai 1983).

    Raises:
        ValueError: there are not more than K bands.
    """
    bands = log_mel.shape[1]
    if bands <= coefficients:
        raise ValueError(f"{coefficients} cepstra need more than {bands} bands")
    angles = np.pi * (np.arange(bands) + 0.5) / bands
    cosines = np.cos(np.outer(angles, np.arange(coefficients + 1)))  # (M, K + 1)
    cosines[:, 1:] *= 2
    return log_mel.astype(np.float64) / 2 @ cosines / bands


def unaligned_duration_ratio(
    spans: Sequence[Sequence[tuple[float, float]]], seconds: Sequence[float], longest: float = 1.0
) -> float:
    """Of all synthetic speech the share that lies in long gaps between its words.

    A gap that is not longer than `longest` is a pause; what is longer is speech that nobody asked for, or silence. It
    is measured in the manner of Non-Attentive Tacotron (Shen et al. 2020).

    Args:
        spans: of each of N outputs the words that were found in it, by start and end in seconds, in order.
        seconds: (N,) how long each output is.
        longest: see above.
    """
    gaps = 0.0
    for words, length in zip(spans, seconds, strict=True):
        ends = [0.0, *(end for _, end in words)]
        starts = [*(start for start, _ in words), length]
        gaps += sum(gap for start, end in zip(starts, ends, strict=True) if (gap := start - end) > longest)
    total = sum(seconds)
    return gaps / total if total else 0.0


def warping_path(costs: Array) -> Array:
    """(P, 2) int64, the pairs of frames on the path of the least sum (dynamic time warping, Sakoe & Chiba 1978).

    It goes from the first pair to the last by steps of one frame in either or in both.

    Args:
        costs: (T, S) of each pair of frames; T and S are at least 1.
    """
    rows, columns = costs.shape
    # Along its diagonals, at (row + column, row): what a pair builds on stands in the two diagonals before its own.
    # Row -1 and the diagonals that are not there yet are inf.
    sums = np.full((rows + columns - 1, rows + 1), np.inf)
    sums[0, 0] = costs[0, 0]
    for diagonal in range(1, rows + columns - 1):
        own = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        least = np.minimum(sums[diagonal - 1, own], sums[diagonal - 1, own - 1])
        least = np.minimum(least, sums[diagonal - 2, own - 1])
        sums[diagonal, own] = costs[own, diagonal - own] + least
    return _traced(sums, rows, columns)


def _traced(sums: Array, rows: int, columns: int) -> Array:
    """The path to the last pair."""
    row, column = rows - 1, columns - 1
    path = [(row, column)]
    while row or column:
        steps = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        row, column = min(
            (step for step in steps if min(step) >= 0), key=lambda step: float(sums[sum(step), step[0]])
        )
        path.append((row, column))
    return np.asarray(path[::-1])
