"""Missing values and irregular times: what a forecaster's cell is told of them; no step knows the next value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatework import cells
from gatework.data import one_series
from gatework.errors import InputError
from gatework.graph import Input, cell
from gatework.graph.language import linear
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.backtest import forecasts_along, forecasts_at_ends
from gatework.tasks.forecaster.cell_inputs import CellInputs
from gatework.tasks.forecaster.channels import Channels, ChannelSteps, Layout, lead_of
from gatework.tasks.forecaster.scaling import gaps
from gatework.tasks.forecaster.spans import until
from tests.tolerances import PREDICTIONS, ROUNDING, close_to

CLOSE = {"rel": PREDICTIONS[torch.float32].relative, "abs": PREDICTIONS[torch.float32].absolute}
ROUNDED = {"rel": ROUNDING[torch.float64].relative, "abs": ROUNDING[torch.float32].absolute}
SMALL: dict[str, Any] = {
    "horizon": 4,
    "window": 12,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 20,
}
LAYOUT = Layout(segment=2, window=6, horizon=4, season=2, masked=True, gaps=True)
NAN = float("nan")


def holed(count: int, seed: int = 0) -> list[float | None]:
    generator = np.random.default_rng(seed)
    values = 20 + 5 * np.sin(np.arange(count) * np.pi / 2) + 0.3 * generator.normal(size=count)
    present = generator.random(count) > 0.3
    present[[0, -1]] = True
    return [value if there else None for value, there in zip(values.tolist(), present, strict=True)]


def hourly(values: list[float | None]) -> dict[str, Any]:
    start = np.datetime64("2024-01-01T00")
    return {"time": [str(start + step) for step in range(len(values))], "target": values}


def irregular(values: list[float | None], seed: int = 0) -> dict[str, Any]:
    minutes = np.random.default_rng(seed).integers(5, 200, len(values)).cumsum()
    times = np.datetime64("2024-01-01T00:00") + minutes
    return {"time": [str(time) for time in times], "target": values}


@pytest.fixture(scope="module", params=["gru_d", "cfc", "gru", "gru_d, irregular"])
def model(request: pytest.FixtureRequest) -> Forecaster:
    name, _, times = request.param.partition(", ")
    if times:
        return Forecaster(**SMALL, cell=name, frequency=times).fit(irregular(holed(200)))
    return Forecaster(**SMALL, cell=name, season=4, segment=2).fit(hourly(holed(200)))


def told(model: Forecaster, values: list[float | None]) -> dict[str, Any]:
    return irregular(values) if model.encoding_.distance else hourly(values)


def test_every_origin_is_what_is_known_there(model: Forecaster) -> None:
    values = holed(60, seed=1)
    series = one_series(told(model, values), model.encoding_.names)
    channels = model._channels([series])
    places = channels.begins[0] + np.arange(60)
    ((_, along),) = forecasts_along(model.network_, channels, places)
    cut = model._channels([until(series, count) for count in range(1, 61)])
    alone = forecasts_at_ends(model.network_, cut, np.arange(60))
    for one, other in zip(along, alone, strict=True):
        assert one == pytest.approx(other, **CLOSE)
    changed = [*values[:40], *(None if value is None else value * 9 for value in values[40:])]
    later = model._channels([one_series(told(model, changed), model.encoding_.names)])
    ((_, same),) = forecasts_along(model.network_, later, places[:40])
    assert np.array_equal(same.quantiles, along.quantiles[:40])
    (record,) = model.predict(told(model, values))
    assert record["output"] == [close_to(value, table=PREDICTIONS) for value in along.mean[-1].tolist()]


def test_what_is_missing_changes_what_is_said(model: Forecaster) -> None:
    """A value that is there says something else than the same value, filled in."""
    if not model.encoding_.distance:
        values = holed(40)
        place = next(step for step in range(20, 40) if values[step] is None)
        filled = [*values[:place], values[place - 1] or 20.0, *values[place + 1 :]]
        (one,), (other,) = (model.predict(hourly(each[: place + 1])) for each in (values, filled))
    else:
        near, far = irregular(holed(40)), irregular(holed(40), seed=2)
        (one,), (other,) = model.predict(near), model.predict(far)
    assert one["output"] != other["output"]


@pytest.mark.parametrize("room", [1, 1024])
def test_a_stream_follows_gaps(
    model: Forecaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr("gatework.tasks.forecaster.running._ROOM", room)  # steps between two copies
    values = [None, None, *holed(60, seed=3)]
    columns = told(model, values)
    empty, begun = model.series_stream(), model.series_stream({name: of[:20] for name, of in columns.items()})
    for step, (time, value) in enumerate(zip(columns["time"], values, strict=True)):
        for stream in (empty, begun) if step >= 20 else (empty,):
            stream.step({"time": time, "target": value})
        if step == 41:
            begun.save(tmp_path / "stream.safetensors")
            begun = model.series_stream(saved=tmp_path / "stream.safetensors")
        if step in (5, 20, 37, 40, 61):
            (record,) = model.predict({name: of[: step + 1] for name, of in columns.items()})
            for stream in (empty, begun) if step >= 20 else (empty,):
                assert stream.forecast()[0]["output"] == pytest.approx(record["output"], **CLOSE), step


def test_gaps_by_hand() -> None:
    clock, seen = np.arange(6.0), np.array([True, False, False, True, True, True])
    assert gaps(clock, seen, 1).tolist() == [1, 1, 2, 3, 1, 1]
    # Places of segments of two: 0, 2 and 4 of the first, 1, 3 and 5 of the second, which stood at -1 before.
    assert gaps(clock, seen, 2).tolist() == [1, 1, 1, 2, 2, 1]
    assert gaps(np.array([0.0, 0.5, 3.0]), np.ones(3, bool), 1).tolist() == [1, 0.5, 2.5]


def channels_of(values: list[float]) -> Channels:
    count = len(values)
    empty = np.zeros((count + 8, 0), np.float32)
    steps = ChannelSteps(
        np.array(values)[:, None], empty, np.zeros((1, 0), np.float32), np.zeros(1), np.arange(float(count))
    )
    return Channels([steps], LAYOUT._replace(scaling="none"), lead=lead_of(LAYOUT), tail=8)


def test_a_window_knows_no_later_value() -> None:
    channels = channels_of([1.0, NAN, 5.0, NAN, NAN, 11.0])
    windows = channels.windows(channels.begins[0] + np.arange(1, 6))
    assert windows[:, -5:].tolist() == [
        [0, 0, 0, 0, 0],
        [-4, -4, -4, -2, 0],
        [-4, -4, -2, 0, 0],
        [-4, -2, 0, 0, 0],
        [-8, -6, -4, -2, 0],
    ]


def test_what_the_cells_read() -> None:
    channels = channels_of([1.0, NAN, 5.0, NAN, NAN, 11.0])
    (read,) = torch.from_numpy(channels.segments(np.array([0]), channels.begins[:1] + 4, 1, 1))
    values, moved, seen, gap = [-2.0, 0.0], 4.0, [0.0, 1.0], [1.0, 3.0]  # of steps 4 and 5; none at 3 and 1
    assert read[0].tolist() == pytest.approx([*values, moved, *seen, *np.log(gap)], **CLOSE)
    of_gru_d = CellInputs(cells.get("gru_d"), LAYOUT)
    x, further = of_gru_d.of(read)
    assert (of_gru_d.size, x.tolist()) == (3, [[*values, moved]])
    assert further is not None
    assert further["mask"].tolist() == [[*seen, seen[-1]]]
    assert further["gap"][0].tolist() == pytest.approx([*gap, gap[-1]], **CLOSE)
    of_cfc = CellInputs(cells.get("cfc"), LAYOUT)
    x, further = of_cfc.of(read)
    assert (of_cfc.size, x.tolist()) == (5, [[*values, moved, *seen]])
    assert further is not None
    assert further["gap"].tolist() == [[pytest.approx(gap[-1], **CLOSE)]]
    whole = LAYOUT._replace(masked=False, gaps=False)
    x, further = CellInputs(cells.get("gru_d"), whole).of(read[:, :3])
    assert further is not None
    assert (x.tolist(), further["mask"].tolist()) == ([[*values, moved]], [[1, 1, 1]])
    assert CellInputs(cells.get("gru"), LAYOUT).of(read) == (read, None)


@cell
def of_two_inputs(x: Any, h: Any, wind: Input("input_size")) -> Any:
    return h + linear("wind", wind) + linear("x", x)


def test_other_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="reads 'wind'"):
        Forecaster(**SMALL, season=4, cell=of_two_inputs).fit(hourly(holed(100)))


def test_distances_of_irregular_times_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    Forecaster(**SMALL | {"max_steps": 1}, frequency="irregular").fit(irregular(holed(100)))
    said = capsys.readouterr().err
    assert "100 values are missing" in said
    assert "apart, 1:4" in said
