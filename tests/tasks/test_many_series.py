"""Many series: channels that are read side by side, the weights of their figures, and what is read once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import utilsforecast.losses as peer

import gatework as gw
from gatework.baselines.ridge_maps import RidgeMaps
from gatework.data import read_series
from gatework.tasks.forecaster import Forecaster
from gatework.tasks.forecaster.backtest import forecasts_along
from gatework.tasks.forecaster.evaluation import every_origin
from tests.tolerances import PREDICTIONS

CLOSE = {"rel": PREDICTIONS[torch.float32].relative, "abs": PREDICTIONS[torch.float32].absolute}
SMALL: dict[str, Any] = {
    "horizon": 3,
    "season": 4,
    "segment": 2,
    "window": 8,
    "hidden_size": 8,
    "dropout": 0.0,
    "max_steps": 5,
}
LENGTHS = (40, 17, 25, 31, 80, 12, 90, 40)


def table(lengths: tuple[int, ...]) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    return [
        {"series": f"s{number}", "target": (10 * number + generator.normal(size=count).cumsum()).tolist()}
        for number, count in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    return Forecaster(**SMALL).fit(table((60, 50)), out=tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize(("steps", "together"), [(4096, 1 << 16), (16, 64), (10, 20)])
def test_side_by_side_is_one_by_one(
    model: Forecaster, monkeypatch: pytest.MonkeyPatch, steps: int, together: int
) -> None:
    series = read_series(table(LENGTHS), {}, like=model.encoding_.names).series
    channels = model._channels(series)
    origins = every_origin(series, channels).every(2)
    monkeypatch.setattr("gatework.tasks.forecaster.backtest.STEPS_AT_ONCE", steps)
    monkeypatch.setattr("gatework.tasks.forecaster.backtest.ALL_AT_ONCE", together)
    blocks = list(forecasts_along(model.network_, channels, origins.places))
    seen = np.concatenate([places for places, _ in blocks])
    assert sorted(seen.tolist()) == origins.places.tolist()
    mean = np.concatenate([forecast.mean for _, forecast in blocks])[np.argsort(seen)]
    begin = 0
    for end in origins.ends:
        alone = list(forecasts_along(model.network_, channels, origins.places[begin:end]))
        assert np.concatenate([one.mean for _, one in alone]) == pytest.approx(mean[begin:end], **CLOSE)
        begin = end
    assert (
        origins.ends.tolist() == np.cumsum([-(-(count - max(8, 1) - 2) // 2) for count in LENGTHS]).tolist()
    )


def test_series_weigh_the_same_in_the_scaled_error(model: Forecaster) -> None:
    rows = table((80, 20))
    found = model.evaluate(rows, begin="10", intervals=False)["baselines"]["last_value"]["mase"]
    said, came = [], []
    for row in rows:
        values = np.array(row["target"])
        for origin in range(9, len(values) - 3):
            said += [
                {"unique_id": row["series"], "y": values[origin + step], "m": values[origin]}
                for step in (1, 2, 3)
            ]
        came += [{"unique_id": row["series"], "ds": step, "y": values[step]} for step in range(9)]
    each = peer.mase(pd.DataFrame(said), ["m"], SMALL["season"], pd.DataFrame(came))["m"]
    assert found == pytest.approx(each.mean(), **CLOSE)


def test_the_kept_ridge_is_read_once(model: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, calls = gw.load(model.run_.path), []
    read = RidgeMaps.from_arrays
    monkeypatch.setattr(RidgeMaps, "from_arrays", lambda arrays: calls.append(1) or read(arrays))
    figures = [loaded.evaluate(table((40,)), intervals=False) for _ in range(3)]
    assert figures[0] == figures[2]
    assert len(calls) == 1
