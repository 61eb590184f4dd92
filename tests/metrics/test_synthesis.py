"""Mel-cepstral distortion: by hand, of spectra that are known, and its path beside all paths."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from gatework.baselines.time_warping import warped_distances
from gatework.metrics.synthesis import (
    mel_cepstra,
    mel_cepstral_distortion,
    unaligned_duration_ratio,
    warping_path,
)
from tests.tolerances import PREDICTIONS, TOTALS, assert_close, close_to


def least(costs: np.ndarray) -> float:
    """The least sum of a path, over every path."""

    @cache
    def until(row: int, column: int) -> float:
        steps = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        return costs[row, column] + min((until(*step) for step in steps if min(step) >= 0), default=0.0)

    return until(len(costs) - 1, costs.shape[1] - 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2), (7, 4), (4, 7), (9, 9)])
def test_the_path_has_the_least_sum(shape: tuple[int, int]) -> None:
    for seed in range(20):
        costs = np.random.default_rng(seed).random(shape)
        path = warping_path(costs)
        assert path[0].tolist() == [0, 0]
        assert path[-1].tolist() == [shape[0] - 1, shape[1] - 1]
        steps = np.diff(path, axis=0)
        assert steps.min(initial=0) >= 0
        assert steps.max(initial=1) == 1
        assert steps.sum(axis=1).min(initial=1) >= 1
        assert costs[path[:, 0], path[:, 1]].sum() == close_to(least(costs), torch.float64)


def test_the_path_is_that_of_the_recogniser_of_words() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.standard_normal((20, 3)), generator.standard_normal((27, 3))
    costs = np.linalg.norm(one[:, None] - other[None], axis=2)
    path = warping_path(costs)
    distance = warped_distances([one.astype(np.float32)], [other.astype(np.float32)])[0, 0]
    assert costs[path[:, 0], path[:, 1]].sum() / 47 == close_to(float(distance), table=PREDICTIONS)


def test_cepstra_give_a_smooth_spectrum_again() -> None:
    at = np.pi * (np.arange(40) + 0.5) / 40
    amplitude = np.exp(0.3 + 0.5 * np.cos(at) - 0.2 * np.cos(3 * at))
    cepstra = mel_cepstra(np.log(amplitude**2)[None])
    expected = np.zeros((1, 14))
    expected[0, [0, 1, 3]] = 0.3, 0.5, -0.2
    assert_close(torch.from_numpy(cepstra), torch.from_numpy(expected), TOTALS)
    with pytest.raises(ValueError, match="13 cepstra need more than 13 bands"):
        mel_cepstra(np.zeros((1, 13)))


def test_distortion_is_the_distance_of_logarithmic_spectra_in_decibels() -> None:
    at = np.pi * (np.arange(40) + 0.5) / 40
    difference = 0.5 * np.cos(2 * at) - 0.1 * np.cos(7 * at)  # of the amplitudes' natural logarithms
    decibels = 20 / np.log(10) * np.sqrt(np.mean(difference**2))
    speech = 3 * np.random.default_rng(1).standard_normal((30, 40))
    for reference, coefficients in ((speech, 39), (np.tile(speech[:1], (30, 1)), 13)):
        (found,) = mel_cepstral_distortion([reference + 2 * difference], [reference], coefficients)
        assert found == close_to(float(decibels), torch.float64)


def test_neither_loudness_nor_speed_count() -> None:
    speech = np.random.default_rng(2).standard_normal((30, 80))
    slower = np.repeat(speech, np.random.default_rng(3).integers(1, 4, 30), axis=0)
    found = mel_cepstral_distortion([speech, speech + 3, slower, speech[::-1]], [speech] * 4)
    assert_close(torch.from_numpy(found[:3]), torch.zeros(3, dtype=torch.float64), TOTALS)
    assert found[3] > 1
    assert mel_cepstral_distortion([], []).shape == (0,)


def test_gaps_that_are_longer_than_a_pause() -> None:
    spans = [[(0.5, 1.0), (1.5, 2.0), (4.0, 5.0)], [(2.0, 3.0)], [(0.0, 1.0)], []]
    assert unaligned_duration_ratio(spans, [5.5, 5.0, 2.0, 3.5]) == (2.0 + 2.0 + 2.0 + 3.5) / 16
    assert unaligned_duration_ratio(spans, [5.5, 5.0, 2.0, 3.5], longest=3.0) == 3.5 / 16
    assert unaligned_duration_ratio([], []) == 0
