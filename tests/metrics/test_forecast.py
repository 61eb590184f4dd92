"""Figures of forecasts: equal to utilsforecast's on random cases, and by hand where a future is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import utilsforecast.losses as peer

from gatework.metrics.forecast import (
    INTERVALS,
    LEVELS,
    Forecast,
    forecast_figures,
    forecast_sums,
)
from tests.tolerances import TOTALS

CLOSE = {"rel": TOTALS[torch.float64].relative, "abs": TOTALS[torch.float64].absolute}
CASES = 10


def random_case(generator: np.random.Generator, missing: float = 0.0) -> tuple[Forecast, Any]:
    origins, steps = int(generator.integers(1, 9)), int(generator.integers(1, 7))
    future = generator.normal(3, 2, (origins, steps))
    future[generator.random(future.shape) < missing] = np.nan
    mean = generator.normal(3, 2, (origins, steps))
    quantiles = np.sort(mean[..., None] + generator.normal(0, 2, (origins, steps, len(LEVELS))), axis=2)
    return Forecast(mean, quantiles), future


def frame(forecast: Forecast, future: Any) -> pd.DataFrame:
    """The long table that utilsforecast reads, without the rows whose value is missing, all of one series."""
    columns = {
        "unique_id": np.zeros(future.size, int),
        "origin": np.repeat(np.arange(len(future)), future.shape[1]),
        "y": future.ravel(),
        "m": forecast.mean.ravel(),
        **{f"q{level}": forecast.quantiles[..., k].ravel() for k, level in enumerate(LEVELS)},
    }
    for percent, (low, high) in INTERVALS.items():
        columns[f"m-lo-{percent}"], columns[f"m-hi-{percent}"] = columns[f"q{low}"], columns[f"q{high}"]
    return pd.DataFrame(columns).dropna()


def value(found: pd.DataFrame) -> float:
    return float(found["m"].iloc[0])


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_figures_are_utilsforecasts(missing: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(CASES):
        forecast, future = random_case(generator, missing)
        future[0, 0] = 1.0
        got = forecast_figures(forecast, future, LEVELS)
        table = frame(forecast, future)
        names = [f"q{level}" for level in LEVELS]
        expected = {
            "mse": value(peer.mse(table, ["m"])),
            "mae": value(peer.mae(table, ["m"])),
            "rmse": value(peer.rmse(table, ["m"])),
            "scaled_crps": value(peer.scaled_crps(table, {"m": names}, np.array(LEVELS))),
        }
        for percent in INTERVALS:
            expected[f"coverage_{percent}"] = value(peer.coverage(table, ["m"], percent))
            width = table[f"m-hi-{percent}"] - table[f"m-lo-{percent}"]
            expected[f"width_{percent}"] = float(width.mean())
        assert np.isnan(got.pop("mase"))
        assert got == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("season", [1, 4])
def test_the_mean_absolute_scaled_error_is_utilsforecasts(season: int) -> None:
    """Of three series, each with as many origins, whose figures the library gives one by one."""
    generator = np.random.default_rng(1)
    trained = generator.normal(size=(3, 40)).cumsum(axis=1)
    scales = np.abs(trained[:, season:] - trained[:, :-season]).mean(axis=1)
    series = np.repeat(np.arange(3), 5)
    future, mean = generator.normal(size=(2, 15, 6))
    forecast = Forecast(mean, np.repeat(mean[..., None], len(LEVELS), axis=2))
    table = frame(forecast, future).assign(unique_id=np.repeat(series, 6))
    train = pd.DataFrame({"unique_id": np.repeat(np.arange(3), 40), "y": trained.ravel()})
    train["ds"] = np.tile(np.arange(40), 3)
    each = peer.mase(table, ["m"], season, train)["m"]
    got = forecast_figures(forecast, future, LEVELS, scale=scales[series])
    assert got["mase"] == pytest.approx(each.mean(), **CLOSE)
    uneven = np.delete(
        np.arange(15), [1, 2, 6]
    )  # the series have three, four and five origins, and weigh the same
    counts = np.bincount(series[uneven])
    got = forecast_figures(
        Forecast(mean[uneven], forecast.quantiles[uneven]),
        future[uneven],
        LEVELS,
        scale=scales[series[uneven]],
        weights=1 / counts[series[uneven]],
    )
    each = peer.mase(table[np.isin(table["origin"], uneven)], ["m"], season, train)["m"]
    assert got["mase"] == pytest.approx(each.mean(), **CLOSE)
    each = peer.mase(table, ["m"], season, train)["m"]
    constant = np.where(series == 1, 0.0, scales[series])
    got = forecast_figures(forecast, future, LEVELS, scale=constant)
    assert got["mase"] == pytest.approx(each[[0, 2]].mean(), **CLOSE)


def test_figures_by_hand() -> None:
    future = np.array([[1.0, np.nan], [4.0, -2.0]])
    forecast = Forecast(
        np.array([[2.0, 9.0], [4.0, 0.0]]), np.array([[[0.0, 1, 3], [9, 9, 9]], [[5, 6, 7], [-2, 0, 1]]])
    )
    got = forecast_figures(forecast, future, [0.1, 0.5, 0.9], scale=np.array([2.0, np.nan]))
    assert got["mse"] == pytest.approx(5 / 3)
    assert got["mae"] == pytest.approx(1)
    assert got["mase"] == pytest.approx(0.5)
    assert got["coverage_80"] == pytest.approx(2 / 3)  # a bound is inside
    assert got["width_80"] == pytest.approx((3 + 2 + 3) / 3)
    assert "coverage_95" not in got
    losses = [0.1 + 0 + 0.2, 0.9 + 1 + 0.3, 0 + 1 + 0.3]
    assert got["scaled_crps"] == pytest.approx(2 * sum(losses) / 3 / 7)


def test_a_future_that_is_missing_everywhere_has_no_figures() -> None:
    forecast, future = random_case(np.random.default_rng(2))
    got = forecast_figures(forecast, np.full(future.shape, np.nan), LEVELS)
    assert all(np.isnan(figure) for figure in got.values())
    none = Forecast(forecast.mean[:0], forecast.quantiles[:0])
    assert all(np.isnan(figure) for figure in forecast_figures(none, future[:0], LEVELS).values())


def test_many_origins_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    forecast, future = random_case(np.random.default_rng(3), 0.2)
    whole = forecast_sums(forecast, future, LEVELS).rows
    monkeypatch.setattr("gatework.metrics.forecast._AT_ONCE", 1)
    assert np.array_equal(forecast_sums(forecast, future, LEVELS).rows, whole)


def test_what_does_not_fit_is_refused() -> None:
    (mean, quantiles), future = random_case(np.random.default_rng(4))
    for levels in ([0.5, 0.1], [0.0, 0.5], [0.5, 0.5], [[0.5]]):
        with pytest.raises(ValueError, match="levels rise"):
            forecast_figures(Forecast(mean, quantiles), future, levels)
    with pytest.raises(ValueError, match="wanted are"):
        forecast_figures(Forecast(mean, quantiles), future, LEVELS[:-1])
    with pytest.raises(ValueError, match="wanted are"):
        forecast_figures(Forecast(mean[:, :0], quantiles), future, LEVELS)
    with pytest.raises(ValueError, match="scales have"):
        forecast_figures(Forecast(mean, quantiles), future, LEVELS, scale=np.ones(99))
    unsaid = quantiles.copy()
    unsaid[-1, -1, 2] = np.nan
    with pytest.raises(ValueError, match=f"origin {len(mean) - 1}, {mean.shape[1]} steps ahead"):
        forecast_figures(Forecast(mean, unsaid), future, LEVELS)
    gone = np.where(np.isnan(unsaid).any(axis=2), np.nan, future)
    assert forecast_figures(Forecast(mean, unsaid), gone, LEVELS)  # where nothing came, nothing is scored


def two_models(origins: int) -> tuple[Any, Any, Any]:
    """Sums of a model and of a worse one, whose errors are for the most part the same; 20 series a time."""
    generator = np.random.default_rng(5)
    times = np.repeat(np.arange(origins // 20), 20)
    shock = generator.normal(size=origins // 20)[times][:, None]  # on all series of a time alike
    future = np.repeat(shock + 0.1 * generator.normal(size=(origins, 1)), 2, axis=1)
    models = []
    for worse in (0.0, 0.05):
        mean = np.full_like(future, worse)
        models.append(
            forecast_sums(Forecast(mean, mean[..., None] + np.array([-1.0, 1])), future, [0.1, 0.9])
        )
    return models[0], models[1], times


def test_intervals_draw_whole_times() -> None:
    """Of 2,000 errors 100 are independent: the interval is as wide as that of 100."""
    model, _, times = two_models(2000)
    got = model.intervals(times, block=1)["mse"]
    single = model.intervals(np.arange(len(times)), block=1)["mse"]
    assert got.low < model.figures()["mse"] < got.high
    assert 3.3 < (got.high - got.low) / (single.high - single.low) < 5.5  # the root of 20
    order = np.random.default_rng(6).permutation(len(times))
    shuffled = replace(model, rows=model.rows[order]).intervals(times[order], block=1)["mse"]
    assert shuffled == pytest.approx(got, **CLOSE)


def test_a_difference_is_of_the_same_times() -> None:
    model, worse, times = two_models(2000)
    found = model.differences(worse, times, block=2)
    figures, others = model.figures(), worse.figures()
    for name, (value, interval) in found.items():
        if name != "mase":
            assert value == pytest.approx(figures[name] - others[name], **CLOSE)
            assert interval.low <= value <= interval.high
    alone = model.intervals(times, block=2)["mae"]
    paired = found["mae"].interval
    assert paired.high - paired.low < (alone.high - alone.low) / 5
    with pytest.raises(ValueError, match="intervals"):
        model.differences(replace(worse, percents=()), times, block=2)
    with pytest.raises(ValueError, match="shape"):
        model.differences(replace(worse, rows=worse.rows[1:]), times, block=2)
