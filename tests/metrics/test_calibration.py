"""Temperatures and thresholds: the best there are, on data of every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import f1_score

from gatework.metrics.calibration import best_thresholds, fit_temperature, least_loss_temperature
from gatework.metrics.classification import log_loss
from tests.tolerances import MINIMA

CLOSE = {"rel": MINIMA[torch.float64].relative, "abs": MINIMA[torch.float64].absolute}


def softmax(scores: Any) -> Any:
    return np.exp(log_softmax(scores, axis=-1))


def sigmoid(scores: Any) -> Any:
    return 1 / (1 + np.exp(-scores))


def drawn(generator: Any, probabilities: Any) -> Any:
    return (probabilities.cumsum(-1) > generator.random((len(probabilities), 1))).argmax(-1)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("examples", [5, 40, 3000])
def test_the_temperature_has_the_least_log_loss(several: bool, examples: int) -> None:
    generator = np.random.default_rng(examples)
    honest = generator.normal(size=(examples, 4)) * 2
    if several:
        targets = generator.random(honest.shape) < sigmoid(honest)
    else:
        targets = drawn(generator, softmax(honest))
    logits = honest * 3 + 1.0 * several  # three times too sure
    probabilities = sigmoid if several else softmax
    got = fit_temperature(logits, targets)
    decisions = targets.size  # log_loss is their mean

    def penalised(temperature: float) -> float:
        """With a standard normal prior on the logarithm."""
        prior = np.log(temperature) ** 2 / 2 / decisions
        return log_loss(probabilities(logits / temperature), targets) + prior

    best = minimize_scalar(
        penalised,
        bounds=(1 / 20, 20),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert penalised(got.temperature) == pytest.approx(best.fun, **CLOSE)
    assert got.scaled(logits) == pytest.approx(logits / got.temperature)
    assert got.bias == ()
    if examples == 3000 and not several:
        assert 2.7 < got.temperature < 3.3


@pytest.mark.parametrize("several", [False, True])
def test_a_bias_gives_labels_their_shares_back(several: bool) -> None:
    """Scores of a model that was trained as if all labels were as frequent."""
    generator = np.random.default_rng(0)
    honest = generator.normal(size=(2000, 3)) + np.array([2.0, 0.0, -2.0])
    if several:
        targets, probabilities = generator.random(honest.shape) < sigmoid(honest), sigmoid
    else:
        targets, probabilities = drawn(generator, softmax(honest)), softmax
    logits = (honest - np.array([2.0, 0.0, -2.0])) * 2
    got = fit_temperature(logits, targets, bias=True)

    def loss(x: Any) -> float:
        return log_loss(probabilities(logits * x[0] + x[1:]), targets)

    best = minimize(loss, np.ones(4))
    assert loss([1 / got.temperature, *got.bias]) == pytest.approx(best.fun, **CLOSE)
    assert 1.7 < got.temperature < 2.3
    assert np.abs(np.subtract(got.bias, got.bias[1]) - [2, 0, -2]).max() < 0.5
    wanted = targets.mean(0) if several else np.bincount(targets) / len(targets)
    assert probabilities(got.scaled(logits)).mean(0) == pytest.approx(wanted, **CLOSE)


@pytest.mark.parametrize("bias", [False, True])
def test_data_without_a_best_temperature_give_a_bounded_one(bias: bool) -> None:
    logits = np.array([[9.0, 0.0, -1e4], [0.0, 7.0, 1e3]])
    for targets in (np.array([0, 2]), np.array([2, 0]), np.array([0, 0])):
        got = fit_temperature(logits, targets, bias=bias)
        assert 1 / 20 <= got.temperature <= 20
        assert np.isfinite(got.bias).all()
        several = fit_temperature(logits, targets[:, None] == np.arange(3), bias=bias)
        assert 1 / 20 <= several.temperature <= 20
        assert np.isfinite(several.bias).all()
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)).temperature == 1
    constant = fit_temperature(np.zeros((4, 2)), np.array([0, 0, 0, 1]), bias=True)
    assert abs(softmax(constant.scaled(np.zeros((1, 2))))[0, 0] - 0.75) < 0.01
    with pytest.raises(ValueError, match="NaN"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))


def test_a_temperature_is_fitted_where_gradients_are_off() -> None:
    logits, targets = np.random.default_rng(1).normal(size=(20, 3)), np.arange(20) % 3
    outside = fit_temperature(logits, targets)
    with torch.inference_mode():
        assert fit_temperature(logits, targets) == outside
    with torch.no_grad():
        assert fit_temperature(logits, targets) == outside


def test_no_threshold_has_a_higher_f1() -> None:
    generator = np.random.default_rng(2)
    for case in range(80):
        examples = int(generator.integers(1, 25))
        scores = generator.random(examples) if case % 2 else generator.integers(0, 4, examples) / 4
        wanted = generator.random(examples) < generator.random()
        (got,) = best_thresholds(scores[:, None], wanted[:, None])
        if not wanted.any():
            assert got == 0.5
            continue
        best = max(f1_score(wanted, scores >= value, zero_division=0) for value in scores)
        assert f1_score(wanted, scores >= got) == best
        assert 0 <= got <= 1


def test_thresholds_of_labels_by_hand() -> None:
    probabilities = np.array([[0.9, 0.2, 0.4], [0.5, 0.1, 0.4], [0.2, 0.2, 0.4]])
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0]])
    assert best_thresholds(probabilities, targets) == pytest.approx([0.35, 0.15, 0.5])
    neighbours = np.array([[0.25], [np.nextafter(0.25, 1)]])
    (threshold,) = best_thresholds(neighbours, np.array([[0], [1]]))
    assert (neighbours[:, 0] >= threshold).tolist() == [False, True]


def test_of_thresholds_as_good_the_one_nearest_a_half_is_taken() -> None:
    """All three examples have it: any threshold below 0.1 is right, and none above."""
    assert best_thresholds(np.array([[0.1], [0.6], [0.8]]), np.ones((3, 1)))[0] == pytest.approx(0.05)
    scores, wanted = np.array([[0.2], [0.4], [0.6]]), np.array([[1], [0], [1]])  # F1 0.8 or 2/3
    assert best_thresholds(scores, wanted)[0] == pytest.approx(0.1)


def test_a_temperature_of_any_loss_is_that_of_its_table() -> None:
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(50, 4)) * 5
    targets = drawn(generator, softmax(logits / 3))

    def summed(temperature: float) -> float:
        return log_loss(softmax(logits / temperature), targets) * len(targets)

    found = least_loss_temperature(summed)
    assert found == pytest.approx(fit_temperature(logits, targets).temperature, rel=CLOSE["rel"] * 10)
    assert least_loss_temperature(lambda temperature: 0.0) == pytest.approx(1, rel=CLOSE["rel"] * 10)
    assert least_loss_temperature(lambda temperature: 1e9 * temperature) < 0.06
