"""What a forecaster says of a step: its distributions beside SciPy's, and runs with each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import gatework as gw
from gatework.errors import InputError
from gatework.metrics.forecast import LEVELS
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.count_quantiles import count_quantiles
from gatework.tasks.forecaster.distributions import (
    Gaussian,
    NegativeBinomial,
    Quantiles,
    StudentT,
    Targets,
    Units,
)
from gatework.tasks.forecaster.student_quantiles import student_quantiles
from tests.tolerances import OPERATIONS, PREDICTIONS, VALUES, assert_close, close_to

SMALL: dict[str, Any] = {
    "horizon": 6,
    "season": 4,
    "window": 12,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 40,
}
EACH = ["gaussian", "student_t", "negative_binomial"]


def counts_of(steps: int, seed: int = 0) -> list[int]:
    """Counts with a season of four steps and more spread than Poisson's."""
    rng = np.random.default_rng(seed)
    mean = np.tile([2.0, 9.0, 5.0, 20.0], steps // 4 + 1)[:steps]
    return rng.poisson(mean * rng.gamma(4.0, 0.25, steps)).tolist()


@pytest.fixture(scope="module", params=EACH)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    options = SMALL | {"distribution": request.param}
    out = tmp_path_factory.mktemp("runs") / "run"
    return Forecaster(**options).fit(
        {"target": counts_of(400)}, valid={"target": counts_of(400, seed=1)}, out=out
    )


def units(value: float = 7.0, scale: float = 2.5, level: float = 6.0) -> Units:
    return Units(*(torch.full((1, 1), number, dtype=torch.float64) for number in (value, scale, level)))


def numbers(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def targets_of(futures: torch.Tensor) -> Targets:
    return Targets(futures, torch.ones_like(futures))


def quantiles_of(exact: Any) -> torch.Tensor:
    """(n, H, Q) of SciPy's distributions (n, H)."""
    return torch.from_numpy(np.moveaxis(exact.ppf(np.array(LEVELS)[:, None, None]), 0, -1))


def test_quantiles_of_student_t() -> None:
    freedom = np.concatenate([[2.0, 2.001, 1e9], 2 + np.exp(np.random.default_rng(0).normal(size=50) * 2)])
    found = student_quantiles(LEVELS, torch.from_numpy(freedom))
    assert_close(found, torch.from_numpy(stats.t.ppf(np.array(LEVELS), freedom[:, None])), OPERATIONS)


@pytest.mark.parametrize("largest", [3.0, 3000.0])
def test_quantiles_of_counts(largest: float) -> None:
    rng = np.random.default_rng(2)
    mean, shape = rng.random((2, 3, 40)) * largest
    mean[0, 0], shape[0, 1] = 1e-9, 1e-3
    found = count_quantiles(LEVELS, mean, shape)
    expected = stats.nbinom.ppf(np.array(LEVELS), shape[..., None], (shape / (shape + mean))[..., None])
    np.testing.assert_array_equal(found, np.maximum(expected, 0))
    some = count_quantiles(np.array(LEVELS)[None, None, :3].repeat(3, 0).repeat(40, 1), mean, shape)
    np.testing.assert_array_equal(some, found[..., :3])


def test_gaussian_beside_scipy() -> None:
    kind, futures = Gaussian(LEVELS), numbers(4, 3, seed=2)
    given = numbers(4, 3), numbers(4, 3, 1)
    mean, spread = said = kind.read(*given, units())
    exact = stats.norm(mean.numpy(), spread.numpy())
    loss = kind.losses(*given, targets_of(futures), units()).sum()
    assert float(loss) == close_to(-exact.logpdf(futures).sum(), torch.float64, VALUES)
    found = kind.forecast(said, units()).quantiles
    assert_close(found, quantiles_of(exact), VALUES)


def test_student_t_beside_scipy() -> None:
    kind, futures = StudentT(LEVELS), numbers(4, 3, seed=2)
    given = numbers(4, 3), numbers(4, 3, 2)
    mean, spread, freedom = said = kind.read(*given, units())
    exact = stats.t(freedom.numpy(), mean.numpy(), spread.numpy())
    loss = kind.losses(*given, targets_of(futures), units()).sum()
    assert float(loss) == close_to(-exact.logpdf(futures).sum(), torch.float64, VALUES)
    found = kind.forecast(said, units()).quantiles
    assert_close(found, quantiles_of(exact), OPERATIONS)


def test_negative_binomial_beside_scipy() -> None:
    kind, given, read = NegativeBinomial(LEVELS), units(), (numbers(4, 3), numbers(4, 3, 1))
    mean, dispersion = said = kind.read(*read, given)
    counts = np.random.default_rng(3).integers(0, 30, (4, 3))
    shape = (1 / dispersion).numpy()
    exact = stats.nbinom(shape, shape / (shape + mean.numpy()))
    assert_close(torch.from_numpy(exact.var()), mean + dispersion * mean.square(), OPERATIONS)
    futures = (torch.from_numpy(counts) - given.value) / given.scale
    loss = kind.losses(*read, targets_of(futures), given).sum()
    assert float(loss) == close_to(-exact.logpmf(counts).sum(), torch.float64, OPERATIONS)
    found = kind.forecast(said, given)
    assert_close(found.quantiles * 2.5 + 7.0, quantiles_of(exact), VALUES)
    assert_close(found.mean * 2.5 + 7.0, mean, VALUES)
    # Above a third of the level a mean is what the linear path says, and nowhere is it below zero.
    straight = kind.read(torch.full((1, 1), 0.4).double(), numbers(1, 1, 1), given)[0]
    assert float(straight) == close_to(8.0, table=PREDICTIONS)
    assert float(kind.read(torch.full((1, 1), -50.0).double(), numbers(1, 1, 1), given)[0]) >= 0


def test_each_begins_as_what_the_line_leaves() -> None:
    levels = np.array(LEVELS)
    heavy = torch.from_numpy(3.0 * stats.t.ppf(levels, 4.0))[None, None]
    _, spread, freedom = StudentT(LEVELS).read(torch.zeros(1, 1), StudentT(LEVELS).begin(heavy), units())
    assert (float(spread), float(freedom)) == (
        close_to(3.0, torch.float64, OPERATIONS),
        close_to(4.0, torch.float64, OPERATIONS),
    )
    normal = torch.from_numpy(3.0 * stats.norm.ppf(levels))[None, None]
    _, spread = Gaussian(LEVELS).read(torch.zeros(1, 1), Gaussian(LEVELS).begin(normal), units())
    assert float(spread) == close_to(3.0, torch.float64, OPERATIONS)
    kind = Quantiles(LEVELS)
    said = kind.read(torch.zeros(1, 1).double(), kind.begin(normal), units())
    assert_close(said.quantiles, normal, OPERATIONS)


def test_what_is_missing_is_not_learned_from() -> None:
    futures = numbers(2, 3)
    kind = StudentT(LEVELS)
    mean = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    some = Targets(futures, torch.tensor([[1.0, 0, 1], [0, 1, 1]]))
    kind.losses(mean, numbers(2, 3, 2), some, units()).sum().backward()
    assert ((mean.grad == 0).numpy() == [[False, True, False], [True, False, False]]).all()


def test_runs_with_each(model: Forecaster, tmp_path: Path) -> None:
    """Figures, intervals, quantiles, the picture, a load, an ensemble and a stream."""
    figures = model.metrics_
    assert figures["model"]["scaled_crps"] < figures["baselines"]["last_value"]["scaled_crps"]
    test = model.evaluate({"target": counts_of(600, seed=9)}, intervals=False)["model"]
    assert abs(test["coverage_80"] - 0.8) < 0.1
    history = counts_of(60, seed=5)
    (record,) = model.predict(history)
    quantiles = np.array(list(record["quantiles"].values()))
    assert quantiles.shape == (13, 6)
    assert (np.diff(quantiles, axis=0) >= 0).all()
    if model.options_.distribution == "negative_binomial":
        assert (quantiles >= 0).all()
        assert (quantiles == np.rint(quantiles)).all()
    again = gw.load(model.run_.path)
    assert again.predict(history) == [record]
    model.plot(history, tmp_path / "counts.png")
    assert (tmp_path / "counts.png").stat().st_size > 0
    several = model.ensemble(again).predict(history)[0]
    assert several["output"] == [close_to(value, table=PREDICTIONS) for value in record["output"]]
    stream = model.series_stream(history[:50])
    for value in history[50:]:
        stream.step(value)
    assert stream.forecast()[0]["output"] == [
        close_to(value, table=PREDICTIONS) for value in record["output"]
    ]


def test_counts_alone_are_counted() -> None:
    with pytest.raises(InputError, match=r"holds 2\.5 at step 4, which is no whole number from 0 on"):
        Forecaster(**SMALL, distribution="negative_binomial").fit({"target": [1, 2, 3, 2.5] * 30})
    with pytest.raises(InputError, match="holds -1 at step 2"):
        Forecaster(**SMALL, distribution="negative_binomial").fit({"target": [1, -1, 3, 2] * 30})
    with pytest.raises(InputError, match="leave out transform=log"):
        Forecaster(distribution="negative_binomial", transform="log")


def test_a_spread_follows_how_far_a_series_moved_of_late() -> None:
    """Wild and calm times that last for twenty steps and that the scale, of a long window, does not follow."""
    rng = np.random.default_rng(0)

    def walk() -> list[float]:
        wild = np.repeat(rng.random(100) < 0.5, 20)
        return np.cumsum(rng.normal(size=2000) * np.where(wild, 3.0, 0.3)).tolist()

    options = SMALL | {
        "horizon": 1,
        "season": 1,
        "window": 200,
        "max_steps": 60,
        "learning_rate": 0.02,
        "validate_every": 30,
    }
    data, later = {"target": walk()}, {"target": walk()}
    plain, path = (
        Forecaster(**options | {"hidden_size": 1}, distribution="student_t", spread_path=spread).fit(data)
        for spread in (False, True)
    )
    found = [one.evaluate(later, intervals=False)["model"]["scaled_crps"] for one in (plain, path)]
    assert found[1] < 0.97 * found[0]
    assert path.network_.spread is not None
    with pytest.raises(InputError, match="which have a spread"):
        Forecaster(spread_path=True)
