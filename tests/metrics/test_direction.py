"""Directions: scikit-learn's accuracy and correlation, what is left out, and intervals over days."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, matthews_corrcoef

from gatework.metrics.direction import direction_sums
from tests.tolerances import MEANS

CLOSE = {"rel": MEANS[torch.float64].relative, "abs": MEANS[torch.float64].relative}


def test_the_figures_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        said, moves = generator.normal(size=(2, int(generator.integers(1, 12))))
        got = direction_sums(said, moves).figures()
        assert got["moves"] == len(moves)
        assert got["accuracy"] == pytest.approx(accuracy_score(moves > 0, said > 0), **CLOSE)
        one_label = len({*(moves > 0), *(said > 0)}) == 1  # of which scikit-learn warns
        mcc = 0.0 if one_label else matthews_corrcoef(moves > 0, said > 0)
        assert got["mcc"] == pytest.approx(mcc, **CLOSE)
        assert got["always_up"] == pytest.approx(np.mean(moves > 0), **CLOSE)
        assert got["above_always_up"] == pytest.approx(got["accuracy"] - got["always_up"], **CLOSE)
        assert got["above_coin"] == pytest.approx(got["accuracy"] - 0.5, **CLOSE)


def test_small_moves_are_left_out() -> None:
    said = np.array([1.0, 1.0, -1.0, -1.0, 0.0, 1.0, np.nan])
    moves = np.array([0.0055, 0.005, -0.005, -0.004, -0.1, np.nan, 0.0])
    sums = direction_sums(said, moves, low=-0.005, high=0.0055)
    assert sums.rows.tolist() == [
        [1, 0, 0, 0],
        [0] * 4,
        [0, 0, 0, 1],
        [0] * 4,
        [0, 0, 0, 1],
        [0] * 4,
        [0] * 4,
    ]
    assert direction_sums(said, moves).figures()["moves"] == 5  # a move of 0 is no direction
    none = direction_sums(said[-1:], moves[-1:]).figures()
    assert none.pop("moves") == 0
    assert all(np.isnan(figure) for figure in none.values())


def test_what_does_not_fit_is_refused() -> None:
    said, moves = np.ones(3), np.array([1.0, -1.0, 1.0])
    for wrong in (said[:2], said[:, None], said[0]):
        with pytest.raises(ValueError, match="wanted are"):
            direction_sums(wrong, moves)
    for bounds in ({"low": 0.1}, {"high": -0.1}, {"low": float("nan")}):
        with pytest.raises(ValueError, match="both sides of 0"):
            direction_sums(said, moves, **bounds)
    with pytest.raises(ValueError, match="origin 1 is NaN"):
        direction_sums(np.array([1.0, np.nan, 1.0]), moves)


def test_intervals_draw_whole_days() -> None:
    """60 stocks that move together: a day's accuracy is that of one guess, and not of 60."""
    generator = np.random.default_rng(1)
    days = np.repeat(np.arange(200), 60)
    moves = generator.normal(size=200)[days] + 0.1 * generator.normal(size=len(days))
    sums = direction_sums(generator.normal(size=200)[days], moves)
    by_day = sums.intervals(days, block=1)
    single = sums.intervals(np.arange(len(days)), block=1)
    width, narrow = (found["accuracy"].high - found["accuracy"].low for found in (by_day, single))
    assert width > 5 * narrow
    assert by_day["above_coin"].low < 0 < by_day["above_coin"].high
    assert by_day["moves"] == (12_000, 12_000)
    better = direction_sums(moves, moves)
    found = better.differences(sums, days, block=1)["accuracy"]
    assert found.value == pytest.approx(1 - sums.figures()["accuracy"], **CLOSE)
    assert found.interval.low > 0.3
