"""The ridge on windows: scikit-learn's weights, the penalty of the later windows, and a run's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from gatework.baselines import RidgeWindow
from gatework.baselines.ridge_window import PENALTIES
from gatework.baselines.windows import filled, interpolated, last_known
from gatework.errors import InputError
from gatework.metrics.forecast import LEVELS
from tests.tolerances import GRADIENTS, MINIMA, TOTALS

CLOSE = {"rel": TOTALS[torch.float64].relative, "abs": TOTALS[torch.float64].absolute}
SOLVED = {"rel": GRADIENTS[torch.float64].relative, "abs": GRADIENTS[torch.float64].relative}
SETTLED = {"rel": MINIMA[torch.float64].relative * 10, "abs": MINIMA[torch.float64].relative * 10}


def windows(length: int, steps: int, times: int, seed: int = 0) -> tuple[Any, Any]:
    """Of a noisy wave with a drifting level: (O, L), (O, H)."""
    generator = np.random.default_rng(seed)
    level = 0.1 * generator.normal(size=times).cumsum()
    series = np.sin(np.arange(times) * 2 * np.pi / 12) + level + 0.2 * generator.normal(size=times)
    both = np.lib.stride_tricks.sliding_window_view(series, length + steps)
    return both[:, :length], both[:, length:]


def holed(values: Any, share: float) -> Any:
    return np.where(np.random.default_rng(7).random(values.shape) < share, np.nan, values)


def differences(history: Any, future: Any) -> tuple[Any, Any]:
    last = last_known(history)
    return filled(history, last) - last[:, None], future - last[:, None]


def peer_weight(history: Any, future: Any, penalty: float) -> Any:
    """(L, H), each step a regression of its own on the windows that have it."""
    inputs, targets = differences(history, future)
    alpha = penalty * np.square(inputs).sum() / inputs.shape[1]
    columns = []
    for target in targets.T:
        known = ~np.isnan(target)
        columns.append(
            Ridge(alpha, fit_intercept=False, solver="cholesky").fit(inputs[known], target[known]).coef_
        )
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("length", [1, 5, 24])
def test_the_weights_are_scikit_learns(length: int) -> None:
    history, future = windows(length, 6, 400)
    rival = RidgeWindow().fit(history, future)
    assert rival.penalty_ == 1e-2
    assert rival.weight_ == pytest.approx(peer_weight(history, future, 1e-2), **SOLVED)
    assert not rival.weight_[-1].any()  # the last value less itself
    new, _ = windows(length, 6, 60, seed=1)
    mean, quantiles = rival.forecast(new)
    assert mean == pytest.approx(new[:, -1:] + (new - new[:, -1:]) @ rival.weight_, **CLOSE)
    residuals = future - rival.forecast(history).mean
    expected = np.quantile(residuals, LEVELS, axis=0).T
    assert quantiles == pytest.approx(mean[..., None] + expected, **CLOSE)
    assert np.array_equal(np.array(rival.predict(new)), mean)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_step_is_fitted_on_the_windows_that_have_it(share: float) -> None:
    history, future = windows(8, 4, 600)
    history, future = holed(history, share / 2), holed(future, share)
    history[0] = 1.0
    rival = RidgeWindow().fit(history, future)
    assert rival.weight_ == pytest.approx(peer_weight(history, future, 1e-2), **SETTLED)


def test_the_later_windows_choose_the_penalty_and_give_the_residuals() -> None:
    few, later = windows(24, 3, 60), windows(24, 3, 400, seed=1)
    errors = {}
    for penalty in PENALTIES:
        inputs, targets = differences(*later)
        errors[penalty] = float(np.square(targets - inputs @ peer_weight(*few, penalty)).mean())
    rival = RidgeWindow().fit(*few, later=later)
    assert rival.penalty_ == pytest.approx(min(errors, key=errors.__getitem__), **CLOSE)
    assert min(PENALTIES) < rival.penalty_ < max(PENALTIES)
    assert rival.weight_ == pytest.approx(peer_weight(*few, rival.penalty_), **SOLVED)
    residuals = later[1] - rival.forecast(later[0]).mean
    assert rival.residuals_ == pytest.approx(np.quantile(residuals, LEVELS, axis=0).T, **CLOSE)
    with pytest.raises(ValueError, match="later windows"):
        RidgeWindow().fit(*few, later=(later[0][:, 1:], later[1]))


def test_it_beats_the_last_value_and_does_not_mind_the_level() -> None:
    rival = RidgeWindow().fit(*windows(24, 6, 900), later=windows(24, 6, 300, seed=1))
    history, future = windows(24, 6, 300, seed=2)
    error = np.square(future - rival.forecast(history).mean).mean()
    assert error < 0.4 * np.square(future - history[:, -1:]).mean()
    moved = rival.forecast(history + 1000).mean - 1000
    assert moved == pytest.approx(rival.forecast(history).mean, **SOLVED)


def test_every_window_has_an_answer() -> None:
    history, future = windows(10, 3, 200)
    rival = RidgeWindow().fit(holed(history, 0.3), future)
    asked = holed(history, 0.6)
    asked[0], asked[1, 3:] = np.nan, np.nan
    got = rival.forecast(asked)
    assert np.isfinite(got.quantiles).all()
    assert got.mean[0] == pytest.approx(np.full(3, future.mean()), **CLOSE)
    assert rival.forecast(asked[:0]).quantiles.shape == (0, 3, len(LEVELS))
    flat = RidgeWindow().fit(np.ones((5, 4)), np.ones((5, 2)))
    assert flat.forecast(np.full((1, 4), 2.0)).mean.tolist() == [[2.0, 2.0]]
    one = RidgeWindow().fit(history[:1], future[:1])  # fewer windows than values in one
    assert np.isfinite(one.weight_).all()
    unknown = future.copy()
    unknown[:, 1] = np.nan
    assert not RidgeWindow().fit(history, unknown).weight_[:, 1].any()
    with pytest.raises(InputError, match="no training window"):
        RidgeWindow().fit(history, np.full_like(future, np.nan))


def test_of_many_windows_a_sample_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    history, future = windows(10, 3, 1000)
    all_of_them = RidgeWindow().fit(history, future).weight_
    monkeypatch.setattr("gatework.baselines.ridge_window.MOST_VALUES", 4000)
    some = RidgeWindow().fit(history, future)
    assert 0 < np.abs(some.weight_ - all_of_them).max() < 0.5
    assert np.array_equal(RidgeWindow().fit(history, future).weight_, some.weight_)


def test_a_gap_is_bridged() -> None:
    nan = np.nan
    window = np.array([[nan, 1.0, nan, nan, 7.0, nan], [nan] * 6, [2.0, nan, 0.0, 1.0, nan, nan]])
    expected = [[9, 1, 3, 5, 7, 7], [9] * 6, [2, 1, 0, 1, 1, 1]]
    assert interpolated(window, np.full(3, 9.0)).tolist() == expected
    ridge = RidgeWindow(between=True).fit(*windows(7, 2, 100))
    whole = np.arange(1.0, 1 + len(ridge.weight_))[None]
    holed_one = np.where(np.isin(whole, (2, 3, whole[0, -1])), nan, whole)
    whole[0, -1] -= 1  # nothing is known after it
    assert np.array_equal(ridge.forecast(holed_one).mean, ridge.forecast(whole).mean)


def fitted() -> RidgeWindow:
    return RidgeWindow().fit(*windows(7, 2, 100))


def test_its_arrays_give_it_back() -> None:
    rival, (history, _) = fitted(), windows(7, 2, 50, seed=3)
    arrays = {name: torch.from_numpy(array).clone().numpy() for name, array in rival.to_arrays().items()}
    again = RidgeWindow.from_arrays(arrays)
    got, expected = again.forecast(history), rival.forecast(history)
    assert np.array_equal(got.quantiles, expected.quantiles)
    assert (again.penalty_, again.level_) == (rival.penalty_, rival.level_)


def test_what_is_no_rival_is_refused() -> None:
    arrays = fitted().to_arrays()
    for name, array in arrays.items():
        others = {key: value for key, value in arrays.items() if key != name}
        if name == "between":  # which older rivals lack
            assert not RidgeWindow.from_arrays(others).between
        else:
            with pytest.raises(ValueError, match="lacks"):
                RidgeWindow.from_arrays(others)
        damaged = array.copy()
        damaged.flat[0] = np.nan
        wrongs = [damaged, array[None], array[:0], np.zeros((), np.float64), array.astype(np.int64)]
        if name != "weight":  # of another length it is another rival
            wrongs.append(array[:-1])
        for wrong in wrongs:
            with pytest.raises(ValueError, match=r"damaged|levels rise"):
                RidgeWindow.from_arrays({**arrays, name: wrong})
    falling = arrays["residuals"][:, ::-1].copy()
    with pytest.raises(ValueError, match="damaged"):
        RidgeWindow.from_arrays({**arrays, "residuals": falling})
