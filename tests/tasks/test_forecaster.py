"""The forecaster: what it may see, what it says from every step, and how sure it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from gatework.data import one_series
from gatework.errors import InputError
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.backtest import forecasts_along, forecasts_at_ends
from gatework.tasks.forecaster.calibration import conformal_shifts
from gatework.tasks.forecaster.chunks import chunk_batch, chunk_places, origins_of
from gatework.tasks.forecaster.scaling import scales
from gatework.tasks.forecaster.spans import until
from tests.tolerances import PREDICTIONS, VALUES, close_to

CLOSE = {"rel": PREDICTIONS[torch.float32].relative, "abs": PREDICTIONS[torch.float32].absolute}
SMALL: dict[str, Any] = {
    "horizon": 6,
    "season": 4,
    "window": 12,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 30,
}


def noisy_season(count: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=count)
    return 20 + 5 * np.sin(np.arange(count) * np.pi / 2) + 0.3 * noise


def table(values: np.ndarray, **further: Any) -> dict[str, Any]:
    times = np.datetime64("2024-01-01T00") + np.arange(len(values))
    return {"time": [str(time) for time in times], "target": values.tolist(), **further}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    return Forecaster(**SMALL).fit(table(noisy_season(300)), out=tmp_path_factory.mktemp("runs") / "run")


def test_learns_a_season(model: Forecaster) -> None:
    figures = model.metrics_
    assert figures["model"]["mse"] < figures["baselines"]["last_value"]["mse"] / 4
    assert figures["model"]["scaled_crps"] < figures["baselines"]["seasonal_naive"]["scaled_crps"]
    assert 0.6 < figures["model"]["coverage_80"] <= 1


def test_one_pass_is_window_by_window(model: Forecaster) -> None:
    assert model.encoding_.cycles == ("day",)  # of the last segment, a part lies beyond the horizon
    values = noisy_season(60, seed=3)
    along = {}
    for cut in range(20, 55, 5):
        (record,) = model.predict(table(values[:cut]))
        along[cut] = record["output"]
    errors = [np.square(np.array(said) - values[cut : cut + 6]) for cut, said in along.items()]
    figures = model.evaluate(table(values), begin="20", stride=5)
    assert figures["examples"] == len(along)
    assert figures["model"]["mse"] == close_to(float(np.mean(errors)), table=PREDICTIONS)


def test_a_stream_of_segments_begins_anywhere(model: Forecaster) -> None:
    # A series' phase, its length modulo the segment, decides which of its first steps are left out, and no more.
    for length in range(1, 9):
        (record,) = model.predict(table(noisy_season(length, seed=5)))
        assert np.isfinite(record["output"]).all()


def test_the_future_changes_nothing(model: Forecaster, tmp_path: Path) -> None:
    values = noisy_season(300)
    changed = np.concatenate([values[:240], np.random.default_rng(9).normal(size=60) * 1e6])
    missing = np.concatenate([values[:240], np.full(59, np.nan), [0.0]])
    split = {"valid_from": "200", "test_from": "240"}
    runs = []
    for number, data in enumerate((values, changed, missing)):
        columns = table(data)
        columns["target"] = [None if np.isnan(value) else value for value in data]
        runs.append(Forecaster(**SMALL, **split).fit(columns, out=tmp_path / str(number)))
    for run in runs[1:]:
        for name, value in runs[0].network_.state_dict().items():
            assert torch.equal(run.network_.state_dict()[name], value), name
        assert run.metrics_ == runs[0].metrics_
        for file in ("series.json", "conformal.json", "last_value.json"):
            assert (run.run_.path / file).read_bytes() == (runs[0].run_.path / file).read_bytes()
    # What is validated on changes no weight.
    other = Forecaster(**SMALL, **split | {"test_from": "230"}).fit(table(values))
    base = runs[0].network_.state_dict()
    recurrent = [name for name in base if name.startswith("recurrent")]
    assert recurrent
    assert other.metrics_ != runs[0].metrics_


def test_no_future_reaches_a_scale() -> None:
    values = np.cumsum(np.random.default_rng(1).normal(size=80))
    for kind in ("rolling", "exponential"):
        whole = scales(values, np.ones(80, bool), season=5, window=20, kind=kind)  # type: ignore[arg-type]
        for cut in (1, 4, 6, 30, 79):
            part = scales(values[:cut], np.ones(cut, bool), season=5, window=20, kind=kind)  # type: ignore[arg-type]
            for got, expected in zip(part, whole, strict=False):
                assert got == close_to(float(expected), torch.float64, VALUES)
    assert scales(np.zeros(6), np.ones(6, bool), season=2, window=3, kind="rolling").tolist() == [1.0] * 6


def test_nothing_is_known_before_the_first_value(model: Forecaster) -> None:
    """What comes later changes no forecast from a step before it, and there is a forecast from such a step."""
    for later in (noisy_season(40), noisy_season(40) + 1e3):
        given = np.concatenate([np.full(10, np.nan), later])
        series = one_series(table(given), model.encoding_.names)
        channels = model._channels([series])
        ((_, early),) = forecasts_along(model.network_, channels, channels.begins[0] + np.arange(10))
        cut = model._channels([until(series, count) for count in range(1, 11)])
        unknown = forecasts_at_ends(model.network_, cut, np.arange(10))
        for said, alone in zip(early, unknown, strict=True):
            assert said == pytest.approx(alone, **CLOSE)
    assert abs(unknown.mean.mean() - 20) < 2  # the mean of the training data
    counts = [
        model.evaluate(table(given), begin=str(begin), intervals=False)["examples"] for begin in (1, 11, 12)
    ]
    assert counts == [34, 34, 33]  # the first origin is the step with the first value


def test_training_begins_at_the_first_value(model: Forecaster) -> None:
    given = np.concatenate([np.full(30, np.nan), noisy_season(100)])
    channels = model._channels([one_series(table(given), model.encoding_.names)])
    layout, generator = channels.layout, np.random.default_rng(0)
    origins = origins_of(layout.warm_up, layout.segment)
    for _ in range(20):
        which, firsts = chunk_places(channels, origins, generator)
        places = firsts + np.arange(origins)[:, None]
        assert set(places.ravel() - channels.begins[0]) >= set(range(30, 129))
        batch = chunk_batch(channels, which, firsts, layout.warm_up, origins)
        assert firsts.min() == channels.begins[0] + 30
        assert batch.weights.isfinite().all()
    early = chunk_batch(channels, which[:1], channels.begins[:1] + 24, layout.warm_up, origins)
    assert not early.weights[:6].any()  # nothing is learned from a step that knows no value
    assert early.weights[6:].all()


def test_scales_by_hand() -> None:
    values = np.array([0.0, 1.0, 3.0, 2.0, 6.0])
    found = scales(values, np.ones(5, bool), season=2, window=2, kind="rolling")
    squares = [9.0, 1.0, 9.0]  # of the differences over two steps, at steps 2, 3 and 4
    expected = 0.99 * (squares[1] + squares[2]) / 2 + 0.01 * sum(squares) / 3
    assert found[4] == close_to(expected**0.5, torch.float64, VALUES)


def test_quantiles_never_cross(model: Forecaster) -> None:
    rng = np.random.default_rng(2)
    for scale in (1e-6, 1.0, 1e6):
        (record,) = model.predict(table(rng.normal(size=40) * scale))
        table_of = np.array(list(record["quantiles"].values()))
        assert (np.diff(table_of, axis=0) >= 0).all()


def test_conformal_shifts_by_hand() -> None:
    targets = np.arange(1.0, 10.0)[:, None]  # 1 ... 9 at one step
    quantiles = np.tile([4.0, 5.0, 6.0], (9, 1, 1))  # of the levels 0.25, 0.5, 0.75
    shifts = conformal_shifts(quantiles, targets, (0.25, 0.5, 0.75))
    # Scores: 3 2 1 0 -1 0 1 2 3; the interval of one half takes the ceil(10 * 0.5) = 5th of them in order: 1.
    np.testing.assert_array_equal(shifts, [[-1.0, 0.0, 1.0]])


def test_coverage_holds_on_what_is_like_the_validation_data() -> None:
    model = Forecaster(**SMALL).fit(table(noisy_season(600)), valid=table(noisy_season(2000, seed=1)))
    figures = model.evaluate(table(noisy_season(2000, seed=2)), intervals=False)["model"]
    for percent in (50, 80, 95):
        assert abs(figures[f"coverage_{percent}"] - percent / 100) < 0.04, percent


def test_a_run_is_loaded_without_the_compiler(model: Forecaster) -> None:
    """Of torch: importing it takes seconds."""
    code = "import sys, gatework as gw; gw.load(sys.argv[1]); print('torch._dynamo' in sys.modules)"
    given = [sys.executable, "-c", code, str(model.run_.path)]
    assert subprocess.run(given, capture_output=True, text=True, check=True).stdout.split() == ["False"]


def test_is_never_worse_than_the_line() -> None:
    data = table(noisy_season(300))
    model = Forecaster(**SMALL | {"max_steps": 5}, learning_rate=0.9, conformal=False).fit(data)
    ridge = model.metrics_["baselines"]["ridge"]
    for name in ("mse", "scaled_crps"):  # training made it worse, and the line that it began as is kept
        assert model.metrics_["model"][name] == close_to(ridge[name], table=PREDICTIONS), name


def test_several_targets_and_covariates() -> None:
    count, rng = 200, np.random.default_rng(4)
    ahead = rng.normal(size=count + 6)
    rows = {
        "time": [str(np.datetime64("2024-01-01T00") + step) for step in range(count)],
        "a": (np.arange(count) % 4 + 3 * ahead[:count]).tolist(),
        "b": rng.normal(size=count).tolist(),
        "plan": ahead[:count].tolist(),
    }
    columns = {"target": "a|b", "future": "plan"}
    model = Forecaster(**SMALL | {"max_steps": 200, "hidden_size": 32}).fit(rows, columns=columns)
    assert model.metrics_["model"]["mse"] < 0.9 * model.metrics_["baselines"]["ridge"]["mse"]
    one = {**rows, "plan": ahead.tolist()}
    with pytest.raises(InputError, match="plan"):
        model.predict({name: cells[:50] for name, cells in rows.items()})
    (record,) = model.predict(one)
    beyond = {**rows, "plan": [*ahead.tolist(), 1e3, 1e3]}
    assert model.predict(beyond)[0]["output"] == record["output"]  # what is after the horizon says nothing
    assert np.shape(record["output"]) == (6, 2)
    assert len(record["times"]) == 6


def test_rows_of_forecasts(model: Forecaster, tmp_path: Path) -> None:
    one, steps = table(noisy_season(50)), {"horizon": 2}
    (record,) = model.predict(one, **steps)
    rows = [dict(zip(one, cells, strict=True)) for cells in zip(*one.values(), strict=True)]
    found = list(model.predict_rows(rows, **steps))
    assert [row["mean"] for row in found] == record["output"]
    assert [row["time"] for row in found] == record["times"]
    assert [row["0.9"] for row in found] == record["quantiles"]["0.9"]
    (whole,) = model.predict_rows([one], **steps)
    assert whole["output"] == record["output"]
    with pytest.raises(InputError, match="hold no series"):
        model.plot([], tmp_path / "a.png")


def test_tables_sorted_by_time(model: Forecaster, tmp_path: Path) -> None:
    one, other = noisy_season(30), noisy_season(30, seed=8)
    times = table(one)["time"]
    rows = [
        {"series": name, "time": time, "target": values[step]}
        for step, time in enumerate(times)
        for name, values in (("b", one), ("a", other))
    ]
    expected = [
        model.predict({"time": times, "target": values.tolist()})[0]["output"] for values in (one, other)
    ]
    path = tmp_path / "rows.csv"
    path.write_text(
        "series,time,target\n" + "".join(f"{r['series']},{r['time']},{float(r['target'])!r}\n" for r in rows)
    )
    for given in ({name: [row[name] for row in rows] for name in rows[0]}, path):
        found = model.predict(given)
        assert [record["input"]["series"] for record in found] == ["b", "a"]
        for record, output in zip(found, expected, strict=True):
            assert record["output"] == [close_to(value, table=PREDICTIONS) for value in output]
    with pytest.raises(InputError, match="do not stand together"):
        model.predict(iter(rows))


def test_what_a_table_lacks_is_said_where_it_is_predicted(
    model: Forecaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table(noisy_season(30))
    path = tmp_path / "days.csv"
    path.write_text("time,target\n" + "".join(f"2024-01-{day + 1:02},{day}\n" for day in range(30)))
    model.predict(path)
    assert "667 of 697 times are missing" in capsys.readouterr().err, "days, where hours were learned"
    model.predict(given)
    assert not capsys.readouterr().err


def test_bad_input(model: Forecaster, tmp_path: Path) -> None:
    values = noisy_season(60)
    with pytest.raises(InputError, match=r"holds 2e\+200, too much"):
        model.predict([1.0, 2e200, 3.0])
    with pytest.raises(InputError, match="this run forecasts 6 steps"):
        model.predict(table(values), horizon=7)
    with pytest.raises(InputError, match="no series with a step before a horizon"):
        model.evaluate(table(values[:5]))
    with pytest.raises(InputError, match="leaves no horizon of 6 steps in any series"):
        model.evaluate(table(values), begin="2024-02-01")
    with pytest.raises(InputError, match="too few to hold back"):
        Forecaster(**SMALL).fit(table(values[:8]))
    with pytest.raises(InputError, match="is 2030-01-01, and no series has a step from there on to be"):
        Forecaster(**SMALL, valid_from="2030-01-01").fit(table(values))
    with pytest.raises(InputError, match="is 30, and no series has a step from there on and before 20 to be"):
        Forecaster(**SMALL, valid_from="30", test_from="20").fit(table(values))
    with pytest.raises(InputError, match="no value at any of the steps that are forecast"):
        model.evaluate(table(np.where(np.arange(60) < 20, values, np.nan)), begin="30")
    with pytest.raises(InputError, match="leaves nothing to be trained on"):
        Forecaster(**SMALL, valid_from="0").fit(table(values))
    with pytest.raises(InputError, match="neither a time nor a number"):
        Forecaster(**SMALL, valid_from="soon").fit(table(values))
    with pytest.raises(InputError, match="has no logarithm"):
        Forecaster(**SMALL, transform="log").fit(table(values - 20))
    with pytest.raises(InputError, match="levels"):
        Forecaster(levels=(0.9, 0.1))
    constant = Forecaster(**SMALL | {"max_steps": 2}).fit(table(np.full(80, 3.0)))
    (record,) = constant.predict(table(np.full(30, 3.0)))
    assert max(abs(value - 3.0) for value in record["output"]) < 0.5


@pytest.mark.parametrize(("steps", "window"), [(14, 12), (60, 80)])
def test_a_series_shorter_than_a_chunk(steps: int, window: int) -> None:
    """What a chunk reaches beyond the end of the last series weighs nothing."""
    short = table(noisy_season(steps))
    options = SMALL | {"max_steps": 1, "window": window, "rivals": False}
    assert len(Forecaster(**options).fit(short).predict(short)[0]["output"]) == 6


def test_trains_without_a_linear_path() -> None:
    model = Forecaster(**SMALL, linear_path=False).fit(table(noisy_season(300)))
    assert model.network_.linear is None
    figures = model.metrics_
    assert figures["model"]["mse"] < figures["baselines"]["last_value"]["mse"]


def test_logarithms_stay_positive() -> None:
    values = np.exp(np.cumsum(np.random.default_rng(6).normal(size=300) * 0.1))
    model = Forecaster(**SMALL, transform="log").fit(table(values))
    (record,) = model.predict(table(values))
    assert min(record["quantiles"]["0.025"]) > 0


def test_prices_stand_beside_volatility_and_a_coin(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    volatility = np.repeat(rng.choice([0.002, 0.05], size=30), 20)
    values = 50 * np.exp(np.cumsum(volatility * rng.normal(size=600)))
    chosen = SMALL | {"transform": "log", "horizon": 1, "segment": 1}
    model = Forecaster(**chosen).fit(table(values), out=tmp_path / "run")
    for one in (model, gw.load(tmp_path / "run")):
        found = one.evaluate(table(values), begin="400")
        assert {"rolling_quantile", "ewma_volatility", "ridge"} < set(found["baselines"])
        moves = np.sign(np.diff(values)[399:])
        said = [
            record["output"][0] for record in one.predict([table(values[:cut]) for cut in range(400, 600)])
        ]
        right = np.mean(np.where(np.array(said) > values[399:-1], 1, -1) == moves)
        figures = found["model"]
        assert figures["direction_accuracy"] == close_to(float(right), table=PREDICTIONS)
        assert figures["direction_above_coin"] == close_to(float(right) - 0.5, table=PREDICTIONS)
        above = float(right - (moves > 0).mean())
        assert figures["direction_above_always_up"] == close_to(above, table=PREDICTIONS)
        low, high = found["intervals"]["direction_accuracy"]
        assert low <= figures["direction_accuracy"] <= high
    baselines = found["baselines"]
    assert baselines["ewma_volatility"]["scaled_crps"] < baselines["last_value"]["scaled_crps"]
    plain = Forecaster(**SMALL | {"max_steps": 1}).fit(table(values))
    assert "direction_accuracy" not in plain.metrics_["model"]


def test_real_hours(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("forecasting/etth1") / "ETTh1.csv.gz"
    split = {"valid_from": "2016-09-01", "test_from": "2016-10-01"}
    model = gw.Forecaster(horizon=24, max_steps=30, hidden_size=32, **split).fit(
        path, columns={"target": "OT"}
    )
    figures = model.metrics_
    assert figures["model"]["scaled_crps"] < figures["baselines"]["last_value"]["scaled_crps"]
