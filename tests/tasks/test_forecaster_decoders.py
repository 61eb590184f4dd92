"""How a forecaster's horizon is made: at once, by a recurrent decoder, or step by step on its own draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.errors import InputError
from gatework.metrics.forecast import LEVELS
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.distributions import DISTRIBUTIONS, Units
from gatework.tasks.forecaster.sampling import Sampling
from tests.tolerances import OPERATIONS, PREDICTIONS, close_to, of_draws

SMALL: dict[str, Any] = {
    "horizon": 6,
    "season": 4,
    "window": 12,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 20,
    "validate_every": 10,
}
COLUMNS = {"target": "a|b", "past": "rain", "future": "plan"}
DRAWS = {"paths": 20, "seed": 3}


def rows_of(count: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    plan = rng.normal(size=count)
    a, b = (
        np.cumsum(rng.normal(size=(2, count)), axis=1) + 3 * np.sin(np.arange(count) * np.pi / 2) + 2 * plan
    )
    lost = rng.random(count) < 1 / 8
    return {
        "time": [str(np.datetime64("2024-01-01T00") + step) for step in range(count)],
        "a": [None if gone else value for value, gone in zip(a.tolist(), lost, strict=True)],
        "b": b.tolist(),
        "rain": rng.normal(size=count).tolist(),
        "plan": plan.tolist(),
    }


def until(columns: dict[str, Any], count: int, ahead: int) -> dict[str, Any]:
    """The first steps, with so many more of what is known beforehand."""
    return {name: cells[: count + ahead * (name == "plan")] for name, cells in columns.items()}


def with_truth(columns: dict[str, Any]) -> np.ndarray:
    return np.array([columns["a"], columns["b"]], np.float64).T


CASES = [
    ("encoder_decoder", "quantiles", "lstm", 2, 1),
    ("autoregressive", "quantiles", "lstm", 2, 2),
    ("autoregressive", "student_t", "gru", 1, 1),
]


@pytest.fixture(scope="module", params=CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    decoder, distribution, cell, segment, layers = request.param
    options = {"decoder": decoder, "distribution": distribution, "cell": cell, "segment": segment}
    made = Forecaster(
        **SMALL, **options, num_layers=layers, scaling="exponential" if segment == 1 else "rolling"
    )
    out = tmp_path_factory.mktemp("runs") / "run"
    return made.fit(rows_of(160, seed=0), columns=COLUMNS, out=out)


def draws_of(model: Forecaster) -> dict[str, Any]:
    return DRAWS if model.options_.decoder == "autoregressive" else {}


def test_one_pass_is_window_by_window(model: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatework.tasks.forecaster.running.STEPS_AT_ONCE", 14)  # read in several blocks
    monkeypatch.setattr("gatework.tasks.forecaster.sampling._ROWS", 60)
    columns = rows_of(50, seed=1)
    truth, squares = with_truth(columns), []
    for cut in range(20, 44, 4):
        (record,) = model.predict(until(columns, cut, 6), columns=COLUMNS, **draws_of(model))
        squares.append(np.square(np.array(record["output"]) - truth[cut : cut + 6]))
    figures = model.evaluate(columns, columns=COLUMNS, begin="20", stride=4, **draws_of(model))
    assert figures["examples"] == 2 * (len(squares) + 1)
    (record,) = model.predict(until(columns, 44, 6), columns=COLUMNS, **draws_of(model))
    squares.append(np.square(np.array(record["output"]) - truth[44:50]))
    assert figures["model"]["mse"] == close_to(float(np.nanmean(squares)), table=PREDICTIONS)


def test_streams_and_loads(model: Forecaster) -> None:
    columns = rows_of(50, seed=2)
    stream = model.series_stream(until(columns, 30, 0), columns=COLUMNS)
    for step in range(30, 44):
        stream.step({name: cells[step] for name, cells in columns.items()})
    (found,) = stream.forecast(ahead={"plan": columns["plan"][44:50]}, **draws_of(model))
    again = gw.load(model.run_.path)
    (expected,) = again.predict(until(columns, 44, 6), columns=COLUMNS, **draws_of(model))
    for level, values in expected["quantiles"].items():
        for got, wanted in zip(np.ravel(found["quantiles"][level]), np.ravel(values), strict=True):
            assert got == close_to(float(wanted), table=PREDICTIONS), level


def test_the_network_learns(model: Forecaster) -> None:
    assert model.metrics_["model"]["mse"] < model.metrics_["baselines"]["last_value"]["mse"]
    assert 0.5 < model.metrics_["model"]["coverage_80"] <= 1
    assert model.network_.linear is not None


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """Of a random walk with steps of variance 1: k steps ahead the variance is k."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=1500))
    options = SMALL | {"horizon": 8, "segment": 1, "season": 1, "window": 50, "conformal": False}
    made = Forecaster(**options, decoder="autoregressive", distribution="gaussian")
    return made.fit({"target": walk.tolist()}, out=tmp_path_factory.mktemp("runs") / "walk")


def test_paths_spread_as_a_walk_does(walker: Forecaster) -> None:
    history = np.cumsum(np.random.default_rng(5).normal(size=200)).tolist()
    (record,) = walker.predict(history, paths=1000, return_paths=True, horizon=32)
    paths = np.array(record["paths"])
    assert paths.shape == (1000, 32)
    assert len(record["output"]) == 32  # farther than it was trained to
    assert record["output"] == [close_to(value, torch.float64) for value in paths.mean(0)]
    spread = (paths - history[-1]).std(0)
    ratio = spread[[3, 15]] / spread[0] / np.sqrt([4, 16])
    assert (np.abs(ratio - 1) < 0.25).all()
    # A path is one: its steps belong together.
    moves = np.diff(paths, axis=1)
    assert np.abs(np.corrcoef(paths[:, 15], paths[:, 31])[0, 1] - 0.7) < 0.15
    assert np.abs(moves.std() / spread[0] - 1) < 0.25


def test_draws_repeat_and_differ(walker: Forecaster) -> None:
    history = list(np.cumsum(np.random.default_rng(6).normal(size=60)))
    first, again, other = (walker.predict(history, seed=seed)[0]["output"] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    long = walker.predict(history, seed=1, horizon=20)[0]["output"]
    assert long[:8] == [close_to(value, table=PREDICTIONS) for value in first]
    alone = [walker.predict(one)[0]["output"] for one in (history, history[:30])]
    both = [record["output"] for record in walker.predict([history, history[:30]])]
    for one, beside in zip(alone, both, strict=True):
        assert one == [close_to(value, table=PREDICTIONS) for value in beside]
    several = walker.ensemble(walker).predict(history, seed=1)[0]["output"]
    assert several == [close_to(value, table=PREDICTIONS) for value in first]


def test_uniforms_are_one_in_each_part() -> None:
    first, _ = Sampling(50, 2, 1).uniforms(3)
    assert first.shape == (2, 3, 50)
    assert (np.sort((first * 50).astype(int), axis=-1) == np.arange(50)).all()
    assert not (first[:, 0] == first[:, 1]).any()


@pytest.mark.parametrize("name", list(DISTRIBUTIONS))
def test_draws_have_the_distribution(name: Any) -> None:
    """As many draws lie below each quantile as its level says."""
    count, kind = 4000, DISTRIBUTIONS[name](LEVELS)
    units = Units(*(torch.full((count, 1), number, dtype=torch.float64) for number in (7.0, 2.5, 6.0)))
    others = torch.tensor([0.3] * (kind.outputs - 1), dtype=torch.float64).expand(count, 1, -1)
    said = kind.read(torch.full((count, 1), 0.4, dtype=torch.float64), others, units)
    uniforms = torch.from_numpy(np.random.default_rng(4).random((2, count)))
    drawn = kind.draw(tuple(part[:, 0] for part in said), Units(*(part[:, 0] for part in units)), uniforms)
    quantiles, slack = kind.forecast(said, units).quantiles[0, 0], OPERATIONS[torch.float64].absolute
    for level, quantile in zip(LEVELS, quantiles, strict=True):
        below = float((drawn <= quantile + slack).double().mean())
        least = float((drawn < quantile - slack).double().mean())
        assert least - of_draws(count, level) <= level <= below + of_draws(count, level), level


def test_counts_are_drawn_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sold = rng.poisson(np.tile([1.0, 6.0, 3.0, 12.0], 80)).tolist()
    options = SMALL | {"decoder": "autoregressive", "distribution": "negative_binomial"}
    model = Forecaster(**options).fit({"target": sold})
    (record,) = model.predict(sold, return_paths=True, paths=50)
    for table in (record["paths"], list(record["quantiles"].values())):
        assert (np.array(table) == np.rint(table)).all()
        assert (np.array(table) >= 0).all()


def test_bad_decoders(model: Forecaster) -> None:
    with pytest.raises(InputError, match="give two levels or more"):
        Forecaster(decoder="autoregressive", levels=(0.5,))
    with pytest.raises(InputError, match="paths"):
        model.predict([[1.0, 2.0]], paths=1)
    if model.options_.decoder != "autoregressive":
        with pytest.raises(InputError, match="this run forecasts 6 steps"):
            model.predict(until(rows_of(40, seed=1), 30, 7), columns=COLUMNS, horizon=7)
