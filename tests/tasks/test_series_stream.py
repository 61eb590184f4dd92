"""A forecaster's stream: at every step the numbers of `predict`, wherever it was begun or taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatework.errors import InputError
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.running_scale import RunningScale
from gatework.tasks.forecaster.scaling import scales, squared_differences
from tests.tolerances import PREDICTIONS, VALUES, close_to

SMALL: dict[str, Any] = {
    "horizon": 6,
    "season": 4,
    "window": 12,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 10,
}
COLUMNS = {"target": "a|b", "past": "rain", "future": "plan", "static": "town"}


def rows_of(count: int, seed: int) -> dict[str, Any]:
    """Two targets, of which a seventh is missing, with covariates of each kind."""
    rng = np.random.default_rng(seed)
    a, b = np.cumsum(rng.normal(size=(2, count)), axis=1) + 3 * np.sin(np.arange(count) * np.pi / 2)
    lost = rng.random((2, count)) < 1 / 7
    lost[:, 0] = seed == 2  # a series that begins with nothing
    return {
        "time": [str(np.datetime64("2024-01-01T00") + step) for step in range(count)],
        "a": [None if gone else value for value, gone in zip(a.tolist(), lost[0], strict=True)],
        "b": [None if gone else value for value, gone in zip(b.tolist(), lost[1], strict=True)],
        "rain": rng.normal(size=count).tolist(),
        "plan": rng.normal(size=count).tolist(),
        "town": ["x", "y"][seed % 2],
    }


def until(columns: dict[str, Any], count: int, ahead: int = 0) -> dict[str, Any]:
    """The first steps of a series, with so many more of what is known beforehand."""
    return {
        name: cells if isinstance(cells, str) else cells[: count + ahead * (name == "plan")]
        for name, cells in columns.items()
    }


def row_at(columns: dict[str, Any], step: int) -> dict[str, Any]:
    return {name: cells if isinstance(cells, str) else cells[step] for name, cells in columns.items()}


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["times"] == expected["times"]
    for name in ("output", *expected["quantiles"]):
        got = found["output"] if name == "output" else found["quantiles"][name]
        wanted = expected["output"] if name == "output" else expected["quantiles"][name]
        for one, other in zip(np.ravel(got), np.ravel(wanted), strict=True):
            assert one == close_to(float(other), table=PREDICTIONS), name


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """Of two targets with covariates of each kind, missing values, a calendar and segments of two steps."""
    table = [{**rows_of(120, seed), "series": f"s{seed}"} for seed in (0, 1)]
    model = Forecaster(**SMALL, segment=2, cell="lstm")
    return model.fit(table, columns=COLUMNS, out=tmp_path_factory.mktemp("runs") / "full")


@pytest.fixture(scope="module", params=["exponential", "rolling"])
def plain(request: pytest.FixtureRequest) -> Forecaster:
    values = np.cumsum(np.random.default_rng(3).normal(size=200)) + 50
    return Forecaster(**SMALL | {"segment": 1, "scaling": request.param}).fit({"target": values.tolist()})


def test_every_step_is_what_predict_says(full: Forecaster) -> None:
    columns = rows_of(60, seed=2)
    stream = full.series_stream(until(columns, 3))
    for step in range(3, 50):
        stream.step(row_at(columns, step))
        ahead = {"plan": columns["plan"][step + 1 : step + 7]}
        (expected,) = full.predict(until(columns, step + 1, ahead=6), columns=COLUMNS)
        same(stream.forecast(ahead=ahead)[0], expected)
    (short,) = stream.forecast(2, ahead={"plan": columns["plan"][50:52]})
    (expected,) = full.predict(until(columns, 50, ahead=2), columns=COLUMNS, horizon=2)
    same(short, expected)


def test_a_stream_from_nothing(plain: Forecaster) -> None:
    values = [None, None, *np.cumsum(np.random.default_rng(4).normal(size=60)).tolist()]
    values[20], values[40:43] = None, [None] * 3
    stream = plain.series_stream()
    for step, value in enumerate(values):
        stream.step(value)
        if step < 2:
            with pytest.raises(InputError, match="before series 1 has had a value"):
                stream.forecast()
        else:
            same(stream.forecast()[0], plain.predict(values[: step + 1])[0])
    stream.reset()
    stream.step(5.0)
    same(stream.forecast()[0], plain.predict([5.0])[0])


def test_longer_than_what_is_kept(plain: Forecaster) -> None:
    values = np.cumsum(np.random.default_rng(5).normal(size=3000)).tolist()
    stream = plain.series_stream(values[:10])
    for value in values[10:]:
        stream.step(value)
    same(stream.forecast()[0], plain.predict(values)[0])


def test_many_series_of_unequal_length(full: Forecaster, tmp_path: Path) -> None:
    table = [rows_of(60, seed) for seed in (1, 2, 3)]
    begun = (3, 20, 34)
    for place, one in enumerate(table):  # the same times now, begun at different ones
        one["time"] = [str(np.datetime64("2024-03-01T00") + step - begun[place]) for step in range(60)]
        one["series"] = f"s{place}"
    stream = full.series_stream([until(one, count) for one, count in zip(table, begun, strict=True)])
    for more in range(5):
        stream.step([row_at(one, count + more) for one, count in zip(table, begun, strict=True)])
    ends = [count + 5 for count in begun]
    ahead = [{"plan": one["plan"][end : end + 6]} for one, end in zip(table, ends, strict=True)]
    expected = full.predict([until(one, end, ahead=6) for one, end in zip(table, ends, strict=True)])
    # Taken up again from a file, as another process would.
    stream.save(tmp_path / "stream.safetensors")
    other = full.session(state=(tmp_path / "stream.safetensors").read_bytes())
    for each in (stream, other):
        found = each.forecast(ahead=ahead)
        assert [record["series"] for record in found] == ["s0", "s1", "s2"]
        for record, wanted in zip(found, expected, strict=True):
            same(record, wanted)
    for each in (stream, other):
        each.step([row_at(one, end) for one, end in zip(table, ends, strict=True)])
    same(stream.forecast(ahead=ahead)[2], other.forecast(ahead=ahead)[2])


def test_ensembles_stream(plain: Forecaster) -> None:
    values = np.cumsum(np.random.default_rng(6).normal(size=40)).tolist()
    several = plain.ensemble(plain)
    stream = several.series_stream(values[:20])
    for value in values[20:]:
        stream.step(value)
    same(stream.forecast()[0], several.predict(values)[0])


def test_steps_that_were_left_out_are_missing(full: Forecaster) -> None:
    columns = rows_of(40, seed=1)
    stream = full.series_stream(until(columns, 20))
    stream.step(row_at(columns, 23))
    gap = {name: [None] * 3 if name != "time" else columns["time"][20:23] for name in columns}
    filled = {
        name: cells if isinstance(cells, str) else [*cells[:20], *gap[name], cells[23]]
        for name, cells in columns.items()
    }
    ahead = columns["plan"][24:30]
    filled["plan"] = [*filled["plan"], *ahead]
    filled["plan"][20:23] = [float(np.mean(full.encoding_.means[1]))] * 3
    same(stream.forecast(ahead={"plan": ahead})[0], full.predict(filled)[0])


def test_bad_steps(full: Forecaster, plain: Forecaster) -> None:
    columns = rows_of(40, seed=1)
    stream = full.series_stream(until(columns, 20))
    row = row_at(columns, 20)
    with pytest.raises(InputError, match="without the covariates rain, plan"):
        stream.step([1.0, 2.0])
    with pytest.raises(InputError, match="has no 'plan'"):
        stream.step({name: cell for name, cell in row.items() if name != "plan"})
    with pytest.raises(InputError, match="Did you mean 'rain'"):
        stream.step(row | {"rains": 1.0})
    with pytest.raises(InputError, match="in the order of their times"):
        stream.step(row | {"time": columns["time"][19]})
    with pytest.raises(InputError, match="no whole number of steps"):
        stream.step(row | {"time": "2024-02-01T00:30"})
    with pytest.raises(InputError, match="Begin a session anew"):
        stream.step(row | {"time": "2034-02-01T00:00"})
    with pytest.raises(InputError, match="is infinite"):
        stream.step(row | {"a": float("inf")})
    with pytest.raises(InputError, match="which is no number"):
        stream.step(row | {"a": "much"})
    with pytest.raises(InputError, match="reads plan"):
        stream.forecast()
    with pytest.raises(InputError, match="has 2 of 'plan', and 6 steps"):
        stream.forecast(ahead={"plan": [1.0, 2.0]})
    with pytest.raises(InputError, match="this run forecasts 6 steps"):
        stream.forecast(7)
    with pytest.raises(InputError, match="the run reads town"):
        full.series_stream()
    several = plain.series_stream([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(InputError, match="has 1 rows, and 2 series"):
        several.step([1.0])
    with pytest.raises(InputError, match="of another run"):
        full.session(state=several.state())
    with pytest.raises(InputError, match="is no state of a session"):
        plain.session(state=b"no tensors")


@pytest.mark.parametrize("kind", ["rolling", "exponential", "none"])
def test_running_scales(kind: Any) -> None:
    values = np.cumsum(np.random.default_rng(1).normal(size=80))
    observed = np.random.default_rng(2).random(80) > 0.2
    expected = scales(values, observed, season=5, window=20, kind=kind)
    squares = np.stack([np.stack(squared_differences(values, observed, lag)) for lag in (5, 1)], axis=-1)
    for begun in (1, 3, 19, 47):
        running = RunningScale(1, window=20, kind=kind)
        running.begin(np.array([0]), values[:begun], observed[:begun], np.array([begun - 1]), 5)
        for step in range(begun, 80):
            (found,) = running.step(squares[:, step : step + 1])
            assert found == close_to(float(expected[step]), torch.float64, VALUES)
