"""Intervals over times: blocks that are drawn as they are said to be, and as wide as what they are an interval of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gatework.metrics.bootstrap import block_intervals, percentile_intervals, sums_by_time
from tests.tolerances import MEANS

CLOSE = {"rel": MEANS[torch.float64].relative, "abs": MEANS[torch.float64].relative}


def mean(sums: Any) -> dict[str, Any]:
    return {"mean": sums[:, 0] / sums[:, 1]}


def autocorrelated(generator: np.random.Generator, times: int, memory: float) -> Any:
    noise = generator.normal(size=times + 100)
    values = np.zeros(times + 100)
    for step in range(1, times + 100):
        values[step] = memory * values[step - 1] + noise[step]
    return values[100:]


def test_rows_of_one_time_are_added() -> None:
    times = np.array(["2020-01-03", "2020-01-01", "2020-01-03", "2020-01-02"], "datetime64[D]")
    rows = np.array([[1.0, 10], [2, 20], [4, 40], [8, 80]])
    assert sums_by_time(rows, times).tolist() == [[2, 20], [8, 80], [5, 50]]
    assert sums_by_time(np.zeros((3, 0)), np.arange(3)).shape == (3, 0)
    with pytest.raises(ValueError, match="4 rows"):
        sums_by_time(rows, times[:-1])


@pytest.mark.parametrize("times", [1, 3, 4, 5, 11, 12, 13])
def test_a_resample_is_made_of_blocks_of_consecutive_times(times: int) -> None:
    """Each time has a sum of its own: how often it was drawn."""
    seen = []
    counts = np.eye(times)

    def keep(sums: Any) -> dict[str, Any]:
        seen.append(sums)
        return {"times": sums.sum(axis=1)}

    intervals = block_intervals(counts, keep, block=3, resamples=500)
    assert intervals["times"] == (times, times)
    block = max(1, min(3, times // 4))
    (drawn,) = seen
    assert drawn.shape == (500, times)
    assert (drawn >= 0).all()
    assert drawn.max() > 1 or times == 1
    blocks, rest = divmod(times, block)
    expected = blocks * drawn_with(times, block) + (drawn_with(times, rest) if rest else 0)
    error = 4 * drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - expected) <= error).all()
    if block == 3:
        assert np.corrcoef(drawn[:, 4], drawn[:, 5])[0, 1] > 0.3
        assert np.corrcoef(drawn[:, 2], drawn[:, 8])[0, 1] < 0.1


def drawn_with(times: int, block: int) -> Any:
    """(T,) how often each time stands in one block that is begun anywhere."""
    starts = np.arange(times - block + 1)
    return np.bincount((starts[:, None] + np.arange(block)).ravel(), minlength=times) / len(starts)


def test_draws_of_single_times_are_the_ordinary_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=400)
    sums = np.stack([values, np.ones(400)], axis=1)
    got = block_intervals(sums, mean, block=1, resamples=4000)["mean"]
    half = 1.96 * values.std() / 20
    assert got.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert got.high == pytest.approx(values.mean() + half, abs=half / 10)
    assert block_intervals(sums, mean, block=1, resamples=4000)["mean"] == got
    assert block_intervals(sums, mean, block=1, resamples=4000, seed=1)["mean"] != got
    narrow = block_intervals(sums, mean, block=1, resamples=4000, level=0.5)["mean"]
    assert got.low < narrow.low < narrow.high < got.high


def test_blocks_see_that_near_times_are_alike() -> None:
    """The mean of 600 values of which each is 0.8 of the one before and noise: its interval has to hold 0."""
    generator = np.random.default_rng(1)
    held = {1: 0, 25: 0}
    for _ in range(100):
        values = autocorrelated(generator, 600, 0.8)
        sums = np.stack([values, np.ones(600)], axis=1)
        for block in held:
            low, high = block_intervals(sums, mean, block=block, resamples=300)["mean"]
            held[block] += low <= 0 <= high
    assert held[1] < 60  # as if there were 600 independent values: a third of the width
    assert held[25] > 82


def test_a_sum_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no times"):
        block_intervals(np.zeros((0, 2)), mean, block=1)
    with pytest.raises(ValueError, match="not 0"):
        block_intervals(np.ones((9, 2)), mean, block=0)


def test_many_resamples_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.stack([np.random.default_rng(2).normal(size=103), np.ones(103)], axis=1)
    whole = block_intervals(sums, mean, block=10, resamples=64)
    monkeypatch.setattr("gatework.metrics.bootstrap._BLOCK", 103 * 5)
    assert block_intervals(sums, mean, block=10, resamples=64)["mean"] == pytest.approx(
        whole["mean"], **CLOSE
    )


def test_counts_that_are_mostly_nothing_have_the_same_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    counts = np.zeros((50, 90))
    counts[np.arange(50), generator.integers(0, 80, 50)] = generator.integers(
        1, 5, 50
    )  # some columns are empty
    given: dict[str, Any] = {"times": generator.integers(1, 9, 50), "resamples": 40}

    def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {str(column): sums[:, column] for column in range(90)}

    found = percentile_intervals(counts, figures, **given)
    assert any(interval.high > 0 for interval in found.values())
    monkeypatch.setattr("gatework.metrics.bootstrap._SPARSE", 10**9)
    assert percentile_intervals(counts, figures, **given) == found
    assert percentile_intervals(np.zeros((50, 90)), figures)["0"] == (0, 0)
