"""Paths of a forecaster that says its steps at once: quantiles as they were said, steps that belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from gatework.errors import InputError
from gatework.metrics.forecast import LEVELS
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.copula import calibrated, correlations, normal_scores
from tests.tolerances import OPERATIONS, close_to, of_draws

SMALL: dict[str, Any] = {
    "horizon": 8,
    "season": 1,
    "segment": 1,
    "window": 12,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 20,
    "validate_every": 10,
}


def test_scores_by_hand() -> None:
    quantiles = np.array([[stats.norm.ppf(LEVELS), np.zeros(13)]])
    targets = np.array([[0.7, 0.0], [np.nan, 0.0], [-9.0, 1.0]])
    found = normal_scores(quantiles.repeat(3, axis=0), targets, LEVELS)
    assert found[0, 0] == close_to(0.7, torch.float64, OPERATIONS)
    assert np.isnan(found[1, 0])
    assert found[2, 0] == -3.0
    assert np.isfinite(found[:, 1]).all()


def test_correlations_are_found_again() -> None:
    rng, chain = np.random.default_rng(0), 0.8
    scores = np.empty((20_000, 5))
    scores[:, 0] = rng.normal(size=20_000)
    for step in range(1, 5):
        scores[:, step] = chain * scores[:, step - 1] + np.sqrt(1 - chain**2) * rng.normal(size=20_000)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    found = correlations(scores)
    away = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    assert np.abs(found - chain**away).max() < of_draws(20_000 // 2)
    assert (np.linalg.eigvalsh(correlations(np.full((4, 3), np.nan))) > 0).all()
    kept = calibrated(np.zeros((6, 2, 1)), np.zeros((6, 2)), (0.5,), shifted=True, correlated=False)
    assert kept.matrix() is None


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """Of a random walk, whose steps k and l ahead have the correlation sqrt(k / l)."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=3000)).tolist()
    data, valid = {"target": walk[:1500]}, {"target": walk[1500:]}
    return Forecaster(**SMALL).fit(data, valid=valid, out=tmp_path_factory.mktemp("runs") / "walk")


def test_paths_belong_together(walker: Forecaster) -> None:
    history = np.cumsum(np.random.default_rng(5).normal(size=100)).tolist()
    (record,) = walker.predict(history, paths=2000, return_paths=True)
    paths = np.array(record["paths"])
    assert paths.shape == (2000, 8)
    assert abs(np.corrcoef(paths[:, 3], paths[:, 7])[0, 1] - np.sqrt(0.5)) < 0.1
    assert np.diff(paths, axis=1).std() < 1.3  # 3 and more, if each step were drawn by itself
    for level, values in record["quantiles"].items():
        share = (paths <= np.array(values)).mean(0)
        assert np.abs(share - float(level)).max() < 0.03, level
    (short,) = walker.predict(history, paths=2000, return_paths=True, horizon=3)
    assert np.array(short["paths"]).shape == (2000, 3)
    assert "paths" not in walker.predict(history)[0]


def test_runs_without_correlations(walker: Forecaster) -> None:
    model = Forecaster(**SMALL, levels=(0.5,)).fit({"target": np.arange(100.0).tolist()})
    with pytest.raises(InputError, match="keeps no correlations"):
        model.predict([1.0, 2.0], return_paths=True)
    (several,) = walker.ensemble(walker).predict([1.0, 2.0, 1.5], return_paths=True, paths=10)
    (alone,) = walker.predict([1.0, 2.0, 1.5], return_paths=True, paths=10)
    assert np.ravel(several["paths"]).tolist() == [close_to(value) for value in np.ravel(alone["paths"])]
