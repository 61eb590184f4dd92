"""Ridges for several targets: what is held back chooses, all is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter

from gatework.baselines.ridge_maps import RidgeMaps, ages_of
from gatework.baselines.ridge_window import MIDDLE, RidgeWindow
from gatework.metrics.forecast import LEVELS
from tests.tolerances import GRADIENTS

CLOSE = {"rtol": GRADIENTS[torch.float64].relative, "atol": GRADIENTS[torch.float64].relative}


def two_targets(count: int) -> tuple[Any, Any, Any]:
    """Windows of two targets in turns that go on in opposite ways, their futures and their targets."""
    generator = np.random.default_rng(0)
    history, targets = generator.normal(size=(count, 8)).cumsum(1), np.arange(count) % 2
    move = history[:, -1:] - history[:, -2:-1]
    future = history[:, -1:] + np.where(targets[:, None] == 0, move, -move) * [1.0, 1.5]
    return history, future + 0.1 * generator.normal(size=(count, 2)), targets


def test_what_is_held_back_chooses_and_all_is_fitted() -> None:
    history, future, _ = two_targets(300)
    future = history[:, -1:] + 0.5 * (history[:, -1:] - history[:, -2:-1]) + np.zeros((1, 2))
    future += 5 * np.random.default_rng(1).normal(size=future.shape)
    held = np.arange(300) >= 240
    found = RidgeMaps().fit(history, future, held=held).of(0)
    tried = RidgeWindow().fit(history[:240], future[:240], later=(history[240:], future[240:]))
    assert found.penalty_ == tried.penalty_ != MIDDLE
    np.testing.assert_allclose(found.residuals_, tried.residuals_, **CLOSE)
    whole = RidgeWindow().fit(history, future, penalty=tried.penalty_)
    np.testing.assert_allclose(found.weight_, whole.weight_, **CLOSE)
    assert not np.allclose(found.weight_, tried.weight_, **CLOSE)


def test_each_target_has_its_own_where_that_is_better() -> None:
    history, future, targets = two_targets(600)
    held = np.arange(600) >= 480
    ridge = RidgeMaps().fit(history, future, targets=targets, held=held)
    assert len(ridge.maps_) == 2
    for target, sign in ((0, 1), (1, -1)):
        mean = ridge.of(target).forecast(history[targets == target]).mean
        assert np.abs(mean - future[targets == target]).mean() < 0.2, sign
    alike = RidgeMaps().fit(history, future * [1, 1], targets=np.zeros(600, int), held=held)
    assert len(alike.maps_) == 1


def test_without_a_future_held_back_all_is_fitted_once() -> None:
    history, future, _ = two_targets(60)
    unknown = np.where(np.arange(60)[:, None] >= 50, np.nan, future)
    for held in (None, np.zeros(60, bool), np.ones(60, bool), np.arange(60) >= 50):
        found = RidgeMaps().fit(history, unknown, LEVELS, held=held).of(0)
        plain = RidgeWindow().fit(history, unknown)
        assert np.array_equal(found.weight_, plain.weight_)
        np.testing.assert_allclose(found.residuals_, plain.residuals_, **CLOSE)


def test_ages_are_told_apart() -> None:
    """A series whose last value is hidden in some windows: what comes is then further from what is known."""
    generator = np.random.default_rng(3)
    walk = generator.normal(size=2000).cumsum()
    whole = np.lib.stride_tricks.sliding_window_view(walk, 9)
    history, future = whole[:, :8].copy(), whole[:, 8:]
    late = generator.random(len(history)) < 0.5
    history[late, -1] = np.nan
    ridge = RidgeMaps(between=True, ages=2).fit(history, future, held=np.arange(len(history)) >= 1500)
    again = RidgeMaps.from_arrays(ridge.to_arrays())
    widths = np.diff(again.of(0).forecast(history).quantiles[:, 0, [1, -2]])
    assert len(np.unique(widths.round(6))) == 2
    assert 1.3 < widths[late].mean() / widths[~late].mean() < 1.5  # sqrt(2): two steps in place of one
    assert ages_of(np.array([[np.nan] * 3, [1, 2, np.nan], [np.nan, 2, 3]]), 3).tolist() == [2, 1, 0]


def test_a_late_value_has_a_map_of_its_own() -> None:
    """Where moves last, the last one says more of what comes when the value after it is hidden."""
    moves = lfilter([1.0], [1.0, -0.9], np.random.default_rng(3).normal(size=3008))
    whole = np.lib.stride_tricks.sliding_window_view(moves.cumsum(), 9)
    history, future = whole[:, :8].copy(), whole[:, 8:]
    history[::2, -1] = np.nan
    held = np.arange(3000) >= 2400
    aged, blind = (RidgeMaps(True, ages).fit(history, future, held=held).of(0) for ages in (2, 1))
    errors = [np.square(each.forecast(history).mean - future)[::2].mean() for each in (aged, blind)]
    assert errors[0] < 0.95 * errors[1]
    assert errors[0] < 1.2 * (1 + 1.9**2)  # of the two moves that nobody can know
