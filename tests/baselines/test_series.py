"""Naive forecasts by hand, and their quantiles beside numpy's; volatility beside scipy's fit; a run's JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from gatework.baselines import (
    Drift,
    EwmaVolatility,
    LastValue,
    RollingQuantile,
    SeasonalNaive,
    SeriesBaseline,
)
from gatework.baselines.series import NaiveForecast
from gatework.baselines.windows import known_quantiles
from gatework.errors import InputError, MissingExtraError
from gatework.metrics.forecast import LEVELS
from tests.tolerances import MINIMA, TOTALS

CLOSE = {"rel": TOTALS[torch.float64].relative, "abs": TOTALS[torch.float64].absolute}
FOUND = {"rel": MINIMA[torch.float64].relative * 100}  # where a likelihood is highest: its maximum is flat
GAP = np.nan


def walks(origins: int, length: int, steps: int, seed: int = 0) -> tuple[Any, Any]:
    values = np.random.default_rng(seed).normal(size=(origins, length + steps)).cumsum(axis=1)
    return values[:, :length], values[:, length:]


def holed(values: Any, share: float, seed: int = 1) -> Any:
    return np.where(np.random.default_rng(seed).random(values.shape) < share, GAP, values)


def every() -> list[NaiveForecast]:
    return [LastValue(), Drift(), SeasonalNaive(3), RollingQuantile(20), EwmaVolatility()]


def means(baseline: SeriesBaseline, history: Any, steps: int) -> Any:
    """After a fit on futures whose mean is 7."""
    history = np.array(history, np.float64)
    return baseline.fit(history, np.full((len(history), steps), 7.0)).forecast(history).mean


def test_the_last_known_value_is_repeated() -> None:
    got = means(LastValue(), [[1, 2, 3], [4, GAP, GAP], [GAP, GAP, GAP]], 2)
    assert got.tolist() == [[3, 3], [4, 4], [7, 7]]


def test_a_drift_is_the_line_through_first_and_last_value() -> None:
    histories = [[1, 5, 3], [GAP, 2, 4], [1, GAP, GAP], [2, 4, GAP], [GAP, GAP, GAP]]
    assert means(Drift(), histories, 2) == pytest.approx(
        np.array([[4, 5], [6, 8], [1, 1], [8, 10], [7, 7]]), **CLOSE
    )


def test_the_last_season_is_repeated() -> None:
    assert means(SeasonalNaive(2), [[9, 8, 1, 2], [1, 2, GAP, 4], [GAP, GAP, 3, GAP]], 5).tolist() == [
        [1, 2, 1, 2, 1],
        [1, 4, 1, 4, 1],
        [3, 3, 3, 3, 3],
    ]
    assert means(SeasonalNaive(3), [[5, 1, 2, 3]], 4).tolist() == [[1, 2, 3, 1]]
    assert means(SeasonalNaive(3), [[GAP, 1, 2, GAP]], 4).tolist() == [[1, 2, 2, 1]]
    with pytest.raises(ValueError, match="hold no season of 5"):
        means(SeasonalNaive(5), [[1, 2, 3]], 1)
    with pytest.raises(ValueError, match="not 0"):
        SeasonalNaive(0)


@pytest.mark.parametrize("baseline", every()[:3], ids=lambda it: it.name)
def test_quantiles_are_those_of_the_training_residuals(baseline: NaiveForecast) -> None:
    history, future = walks(300, 8, 4)
    future = holed(future, 0.2)
    future[:, 2] = GAP  # a step that no window has: the residuals of all steps stand for it
    baseline.fit(history, future, [0.1, 0.5, 0.8])
    new, _ = walks(5, 8, 4, seed=2)
    mean, quantiles = baseline.forecast(new)
    residuals = future - baseline.forecast(history).mean
    for step in (0, 1, 3):
        expected = np.nanquantile(residuals[:, step], [0.1, 0.5, 0.8])
        assert quantiles[:, step] == pytest.approx(mean[:, [step]] + expected, **CLOSE)
    assert quantiles[:, 2] == pytest.approx(
        mean[:, [2]] + np.nanquantile(residuals, [0.1, 0.5, 0.8]), **CLOSE
    )


def test_quantiles_of_what_is_known_are_numpys() -> None:
    generator = np.random.default_rng(3)
    levels = np.array(LEVELS)
    for share in (0.0, 0.4, 0.9):
        values = holed(generator.normal(size=(20, 9)), share)
        values[3] = 1.5
        got = known_quantiles(values, levels)
        for row, found in zip(values, got, strict=True):
            if np.isnan(row).all():
                assert np.isnan(found).all()
            else:
                assert found == pytest.approx(np.nanquantile(row, levels), **CLOSE)
    assert np.isnan(known_quantiles(np.full((2, 3), GAP), levels)).all()


@pytest.mark.parametrize("baseline", every(), ids=lambda it: it.name)
def test_every_baseline_answers_every_window(baseline: NaiveForecast) -> None:
    """Missing values, nothing but missing values, a constant, one origin and none."""
    history, future = walks(120, 40, 3)
    baseline.fit(holed(history, 0.3), holed(future, 0.3))
    asked = holed(history, 0.5)
    asked[0], asked[1], asked[2, :-1] = GAP, 4.0, GAP
    mean, quantiles = baseline.forecast(asked)
    assert quantiles.shape == (120, 3, len(LEVELS))
    assert np.isfinite(mean).all()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()
    for some in (slice(5, 6), slice(0, 0)):
        part = baseline.forecast(asked[some])
        assert np.array_equal(part.mean, mean[some])
        assert np.array_equal(part.quantiles, quantiles[some])
    assert np.array_equal(np.array(baseline.predict(asked)), mean)


@pytest.mark.parametrize("baseline", every(), ids=lambda it: it.name)
def test_what_is_kept_gives_it_back(baseline: NaiveForecast) -> None:
    history, future = walks(60, 30, 2)
    baseline.fit(history, future)
    text = baseline.to_json()
    again = type(baseline).from_json(text)
    assert again.to_json() == text
    got, expected = again.forecast(history), baseline.forecast(history)
    assert np.array_equal(got.mean, expected.mean)
    assert np.array_equal(got.quantiles, expected.quantiles)


@pytest.mark.parametrize("baseline", every(), ids=lambda it: it.name)
def test_what_is_no_baseline_is_refused(baseline: NaiveForecast) -> None:
    kind = type(baseline)
    learned = json.loads(baseline.fit(*walks(60, 30, 2)).to_json())[baseline.name]
    for text in ("[]", "{}", '{"last": 1}', f'{{"{baseline.name}": 3}}'):
        with pytest.raises(ValueError, match="holds nothing"):
            kind.from_json(text)
    for key in learned:
        negative = [] if key == "level" else [-1]
        for wrong in (None, "x", [], [[1.0]], {}, float("nan"), float("inf"), [0.5, 0.1], *negative):
            with pytest.raises(ValueError, match=r"."):
                kind.from_json(json.dumps({baseline.name: {**learned, key: wrong}}))
        less = {name: value for name, value in learned.items() if name != key}
        with pytest.raises(ValueError, match="damaged"):
            kind.from_json(json.dumps({baseline.name: less}))


def test_data_that_cannot_be_fitted_are_refused() -> None:
    history, future = walks(5, 4, 2)
    for baseline in every()[:2]:
        with pytest.raises(InputError, match="no training window has a future"):
            baseline.fit(history, np.full_like(future, GAP))
        for wrong in (
            (history[:4], future),
            (history[:, :0], future),
            (history[0], future),
            (history, future[:, :0]),
        ):
            with pytest.raises(ValueError, match="wanted are"):
                baseline.fit(*wrong)
        with pytest.raises(ValueError, match="levels rise"):
            baseline.fit(history, future, [0.9, 0.1])


def test_many_residuals_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    history, future = walks(2000, 4, 1)
    all_of_them = LastValue().fit(history, future, [0.5]).residuals_
    monkeypatch.setattr("gatework.baselines.windows.MOST_RESIDUALS", 500)
    some = LastValue().fit(history, future, [0.5]).residuals_
    assert 0 < np.abs(some - all_of_them).max() < 0.2


def test_a_rolling_quantile_is_of_the_windows_last_returns() -> None:
    history, future = walks(6, 60, 2)
    history[0, :-10] = GAP  # nine returns: the training data's quantiles stand for them
    baseline = RollingQuantile(30).fit(history, future)
    quantiles = baseline.forecast(history).quantiles
    for step in (1, 2):
        returns = (history[:, step:] - history[:, :-step])[1:, -30:]
        expected = history[1:, -1:] + np.quantile(returns, LEVELS, axis=1).T
        assert quantiles[1:, step - 1] == pytest.approx(expected, **CLOSE)
    assert quantiles[0] == pytest.approx(history[0, -1] + baseline.residuals_, **CLOSE)
    short = RollingQuantile(30).fit(history[:, -1:], future).forecast(history[:, -1:])
    assert np.isfinite(short.quantiles).all()
    with pytest.raises(ValueError, match="not 5"):
        RollingQuantile(5)


def test_many_windows_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    history, future = walks(7, 40, 2)
    baseline = RollingQuantile(20).fit(history, future)
    whole = baseline.forecast(history).quantiles
    monkeypatch.setattr("gatework.baselines.volatility._AT_ONCE", 80)
    assert np.array_equal(baseline.forecast(history).quantiles, whole)


def test_the_volatility_is_the_recursion_of_riskmetrics() -> None:
    """variance <- decay * variance + (1 - decay) * return², begun long before."""
    history, future = walks(5, 400, 3)
    baseline = EwmaVolatility(0.94).fit(history, future, [0.2, 0.5, 0.9])
    variance = np.zeros(5)
    for returns in np.diff(history, axis=1).T:
        variance = 0.94 * variance + 0.06 * returns**2
    mean, quantiles = baseline.forecast(history)
    for step, freedom in enumerate(baseline.freedom_):
        unit = stats.t.ppf([0.2, 0.5, 0.9], freedom) / stats.t.std(freedom)
        deviation = np.sqrt(variance * (step + 1))
        # 0.94 ** 399, of the recursion's first value, is 2e-11.
        assert quantiles[:, step] - mean[:, [step]] == pytest.approx(deviation[:, None] * unit, **FOUND)
    assert np.array_equal(mean, np.repeat(history[:, -1:], 3, axis=1))


def test_the_degrees_of_freedom_have_the_highest_likelihood() -> None:
    generator = np.random.default_rng(4)
    returns = np.sqrt(0.1) * stats.t.rvs(5, size=(4000, 200), random_state=generator) / stats.t.std(5)
    values = returns.cumsum(axis=1)
    baseline = EwmaVolatility(0.99).fit(values[:, :-1], values[:, -1:])
    assert 4 < baseline.freedom_[0] < 7
    weights = 0.99 ** np.arange(198)[::-1]
    scaled = returns[:, -1] / np.sqrt(returns[:, 1:-1] ** 2 @ weights / weights.sum())

    def likelihood(freedom: float) -> float:
        return float(stats.t.logpdf(scaled, freedom, scale=1 / stats.t.std(freedom)).sum())

    best = likelihood(float(baseline.freedom_[0]))
    assert best >= max(likelihood(freedom) for freedom in np.linspace(2.1, 30, 200))
    normal = generator.normal(size=(3000, 200)).cumsum(axis=1)
    assert EwmaVolatility(0.99).fit(normal[:, :-1], normal[:, -1:]).freedom_[0] > 20
    for decay in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="decay"):
            EwmaVolatility(decay)


def test_prices_that_stand_still_have_an_answer() -> None:
    history, future = np.ones((4, 30)), np.ones((4, 2))
    mean, quantiles = EwmaVolatility().fit(history, future).forecast(history)
    assert np.array_equal(quantiles, np.ones_like(quantiles))
    assert np.array_equal(mean, np.ones_like(mean))
    alone = EwmaVolatility().fit(history[:, :1], future)  # windows without a single return
    assert np.isfinite(alone.forecast(history[:, :1]).quantiles).all()


def test_without_scipy_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match="scikit-learn"):
        EwmaVolatility().fit(*walks(5, 4, 2))
