"""Intervals that follow what came: alike in one pass, from the last step and step by step; right after a change."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatework.errors import InputError
from gatework.metrics.forecast import Forecast
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.adaptive import AdaptiveWidths
from gatework.tasks.forecaster.channels import Layout
from tests.tolerances import PREDICTIONS, VALUES, close_to

SMALL: dict[str, Any] = {
    "horizon": 3,
    "season": 4,
    "window": 12,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 20,
}
ADAPTED: dict[str, Any] = {"adapt_intervals": True}


def noise(count: int, seed: int, spread: float = 1.0) -> list[float]:
    return (50 + spread * np.random.default_rng(seed).normal(size=count)).tolist()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """Of two targets; what is not there is a missing value."""
    a, b = noise(400, 0), noise(400, 1)
    a[7] = b[300] = None  # type: ignore[call-overload]
    table = {"a": a, "b": b}
    return Forecaster(**SMALL, scaling="none").fit(
        table, columns={"target": "a|b"}, out=tmp_path_factory.mktemp("runs") / "run"
    )


def rows_of(count: int, seed: int, spread: float = 1.0) -> list[list[float | None]]:
    rows: list[list[float | None]] = np.stack(
        [noise(count, seed, spread), noise(count, seed + 50, spread)], 1
    ).tolist()
    rows[count // 2][0] = None
    return rows


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, wanted in expected["quantiles"].items():
        for one, other in zip(np.ravel(found["quantiles"][name]), np.ravel(wanted), strict=True):
            assert one == close_to(float(other), table=PREDICTIONS), name


def test_widths_by_hand() -> None:
    layout = Layout(segment=1, window=2, horizon=2, season=1)
    widths = AdaptiveWidths(1, layout, (0.1, 0.5, 0.9))
    row, rate = np.array([0]), 0.01
    said = Forecast(np.full((1, 2), 5.0), np.array([[[4.0, 5.0, 6.0], [3.0, 5.0, 7.0]]]))

    def step(count: int, value: float) -> np.ndarray:
        widths.see(row, np.array([count]), np.array([value]))
        return widths.say(row, np.array([count]), said).quantiles[0]

    assert (step(1, 9.0) == said.quantiles[0]).all()  # no window yet: nothing is remembered
    assert (step(2, 9.0) == said.quantiles[0]).all()  # nothing was forecast
    wide = math.exp(rate * (1 - 0.2))  # 9 was missed by the forecast of one step ahead
    first = step(3, 9.0)
    assert first[0].tolist() == close_to([5 - wide, 5.0, 5 + wide], table=VALUES)
    wide *= math.exp(rate * (0.5 - 0.2))  # 6.5 was held by the forecast of two steps ahead alone
    assert step(4, 6.5)[1].tolist() == close_to([5 - 2 * wide, 5.0, 5 + 2 * wide], table=VALUES)
    before = step(5, math.nan)
    assert before[0].tolist() == close_to([5 - wide, 5.0, 5 + wide], table=VALUES)
    wide *= math.exp(-rate * 0.2)
    assert step(6, 5.0)[0].tolist() == close_to([5 - wide, 5.0, 5 + wide], table=VALUES)


def test_widths_stay_finite_and_in_order() -> None:
    layout = Layout(segment=1, window=1, horizon=1, season=1)
    widths, row = AdaptiveWidths(1, layout, (0.025, 0.1, 0.3, 0.9, 0.975)), np.array([0])
    said = Forecast(np.zeros((1, 1)), np.array([[[-2.0, -1.0, 0.0, 1.0, 2.0]]]))
    for count in range(1, 3000):
        widths.see(row, np.array([count]), np.array([1e9]))
        found = widths.say(row, np.array([count]), said).quantiles
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    assert found[0, 0, -1] > 100


def test_one_pass_is_window_by_window_and_step_by_step(model: Forecaster) -> None:
    rows = rows_of(60, seed=5, spread=3.0)
    session = model.session(history=[rows[:20]], **ADAPTED)
    inside: list[np.ndarray] = []
    for cut in range(21, 58):
        (event,) = session.feed(rows[cut - 1])
        (record,) = model.predict([rows[:cut]], **ADAPTED)
        same(event, record)
        low, high = (np.array(record["quantiles"][level]) for level in ("0.1", "0.9"))
        future = np.array(rows[cut : cut + 3], float)
        inside.append(((low <= future) & (future <= high))[~np.isnan(future)])
    table = dict(zip("ab", zip(*rows, strict=True), strict=True))
    given: dict[str, Any] = {"columns": {"target": "a|b"}, "begin": "21", "intervals": False}
    figures = model.evaluate({name: list(column) for name, column in table.items()}, **given, **ADAPTED)
    assert figures["model"]["coverage_80"] == close_to(
        float(np.concatenate(inside).mean()), table=PREDICTIONS
    )
    assert model.predict([rows], **ADAPTED)[0] != model.predict([rows])[0]


def test_sessions_are_taken_up_again_and_stand_side_by_side(model: Forecaster) -> None:
    series = [rows_of(40, seed) for seed in (7, 8, 9)]
    adapted = [True, False, True]
    sessions = [
        model.session(history=[own[:16]], adapt_intervals=how)
        for own, how in zip(series, adapted, strict=True)
    ]
    for step in range(16, 30):
        list(model.feed_together(sessions, [own[step] for own in series]))
    sessions[2] = model.session(state=sessions[2].state(), **ADAPTED)
    for step in range(30, 40):
        list(model.feed_together(sessions, [own[step] for own in series]))
    for session, own, how in zip(sessions, series, adapted, strict=True):
        (event,) = session.finish()
        same(event, model.predict([own], adapt_intervals=how)[0])


@pytest.mark.parametrize("spread", [0.4, 2.5])
def test_coverage_holds_after_a_change(model: Forecaster, spread: float) -> None:
    rows = rows_of(1600, seed=11, spread=spread)
    table = {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}
    given: dict[str, Any] = {"columns": {"target": "a|b"}, "begin": "900", "intervals": False}
    stays = model.evaluate(table, **given)["model"]
    follows = model.evaluate(table, **given, **ADAPTED)["model"]
    assert abs(stays["coverage_80"] - 0.8) > 0.15
    assert abs(follows["coverage_80"] - 0.8) < 0.02
    assert follows["mse"] == stays["mse"]
    assert follows["scaled_crps"] < stays["scaled_crps"]


def test_drawn_paths_have_their_own_intervals(tmp_path: Path) -> None:
    values = {"target": noise(80, 15)}
    drawn = Forecaster(**SMALL | {"max_steps": 1}, decoder="autoregressive").fit(values, out=tmp_path / "run")
    for ask in (drawn.predict, drawn.evaluate):
        with pytest.raises(InputError, match="adapt_intervals"):
            ask(values, **ADAPTED)
    with pytest.raises(InputError, match="adapt_intervals"):
        drawn.session(**ADAPTED)
