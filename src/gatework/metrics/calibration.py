"""Probabilities made honest, and thresholds: what is learned on validation data from a model's scores.

Guo et al., "On calibration of modern neural networks" (ICML 2017): the scores (logits) z of a trained model become
z / T before the softmax or the sigmoid, with the temperature T of the least log loss. With a bias a label besides,
z / T + b, a model that was trained with other weights of the labels than they have gets their shares back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .classification import log_loss

__all__ = [
    "NO_CALIBRATION",
    "Calibration",
    "best_share",
    "best_thresholds",
    "fit_temperature",
    "least_loss_temperature",
]

HIGHEST_TEMPERATURE = (
    20.0  # and one through it the lowest: data that are all right, or all wrong, have no best one
)
UNDECIDED = 0.5
# A bias b adds b²/2 times this to the summed loss: less than a hundredth of an example, so that the bias of a label
# that no example has stays finite.
_BIAS_DECAY = 0.01
# The logarithm l of a temperature adds l²/2 to the summed loss, as one example might: of a few examples that are all
# right nobody knows how sure the scores may be.
_TEMPERATURE_DECAY = 1.0
_ITERATIONS = 200
_SHARES = 21  # that are tried of a mixture's second part: 0, 0.05, …, 1
_SECTIONS = 20  # leave a ten-thousandth of the interval

Array = npt.NDArray[Any]


class Calibration(NamedTuple):
    """How scores are changed before the softmax or the sigmoid.

    Attributes:
        temperature: what they are divided by.
        bias: what is added to each label's score after it, K of them; empty: nothing.
    """

    temperature: float
    bias: tuple[float, ...] = ()

    def scaled(self, logits: Array) -> Array:
        """Scores (…, K), changed; float64."""
        scaled = np.asarray(logits, np.float64) / self.temperature
        return scaled + np.array(self.bias) if self.bias else scaled


NO_CALIBRATION = Calibration(1.0)


@torch.inference_mode(False)
@torch.enable_grad()
def fit_temperature(logits: Array, targets: Array, *, bias: bool = False) -> Calibration:
    """The temperature of the least log loss, between 1/20 and 20, and with `bias` a bias a label.

    Few examples move the temperature little from 1: its logarithm has a standard normal prior.

    Args:
        logits: (N, K) scores before the softmax, or before the sigmoid where an example has several labels.
        targets: (N,) indices, or (N, K) zeros and ones where an example has several labels.
        bias: also fit a bias of each label; of one label an example their sum is 0.

    Raises:
        ValueError: a score is not a number, or infinite.
    """
    scores = torch.as_tensor(np.asarray(logits), dtype=torch.float64)
    if not bool(scores.isfinite().all()):
        raise ValueError("the logits hold NaN or infinite numbers")
    if len(scores) == 0:
        return NO_CALIBRATION
    several = np.ndim(targets) == 2
    wanted = torch.as_tensor(np.asarray(targets), dtype=torch.float64 if several else torch.int64)
    # T = 20^tanh(u): bounded whatever a line search tries.
    exponent = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(scores.shape[1], dtype=torch.float64, requires_grad=bias)
    optimizer = torch.optim.LBFGS(
        [exponent, biases] if bias else [exponent],
        max_iter=_ITERATIONS,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logarithm = math.log(HIGHEST_TEMPERATURE) * exponent.tanh()
        scaled = scores * (-logarithm).exp() + biases
        if several:
            summed = torch.nn.functional.binary_cross_entropy_with_logits(scaled, wanted, reduction="sum")
        else:
            summed = torch.nn.functional.cross_entropy(scaled, wanted, reduction="sum")
        prior = _BIAS_DECAY / 2 * biases.square().sum() + _TEMPERATURE_DECAY / 2 * logarithm.square().sum()
        mean = (summed + prior) / len(scores)
        mean.backward()
        return mean

    optimizer.step(loss)
    temperature = HIGHEST_TEMPERATURE ** math.tanh(exponent.item())
    return Calibration(temperature, tuple(biases.detach().tolist()) if bias else ())


def least_loss_temperature(loss: Callable[[float], float]) -> float:
    """The temperature between 1/20 and 20 at which a loss is least: for scores that are no table of labels.

    A golden-section search of the logarithm, on which the loss of a linear chain or a softmax has one minimum; the
    logarithm has a standard normal prior, as in `fit_temperature`.

    Args:
        loss: of a temperature, in nats, summed over the examples.
    """
    ratio = (math.sqrt(5) - 1) / 2
    low, high = -math.log(HIGHEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)

    def penalised(logarithm: float) -> float:
        return loss(math.exp(logarithm)) + _TEMPERATURE_DECAY / 2 * logarithm**2

    places = [high - ratio * (high - low), low + ratio * (high - low)]
    values = [penalised(place) for place in places]
    for _ in range(_SECTIONS):
        if values[0] <= values[1]:
            high, places[1], values[1] = places[1], places[0], values[0]
            places[0] = high - ratio * (high - low)
            values[0] = penalised(places[0])
        else:
            low, places[0], values[0] = places[0], places[1], values[1]
            places[1] = low + ratio * (high - low)
            values[1] = penalised(places[1])
    return math.exp((low + high) / 2)


def best_share(probabilities: Array, others: Array, targets: Array) -> float:
    """Which share of `others` in a mixture with `probabilities` has the least log loss; of equals the lowest.

    Args:
        probabilities, others: (N, K).
        targets: (N,) indices, or (N, K) zeros and ones.
    """
    if len(probabilities) == 0:
        return 0.0
    shares = np.linspace(0, 1, _SHARES)
    losses = [log_loss((1 - share) * probabilities + share * others, targets) for share in shares]
    return float(shares[np.argmin(losses)])


def best_thresholds(probabilities: Array, targets: Array) -> Array:
    """(K,) of each label the threshold with the highest F1: an example is given it from this probability upwards.

    A threshold stands in the middle between two neighbouring probabilities of the data; of several as good, the one
    nearest 0.5. A label that no example has keeps 0.5.

    Args:
        probabilities: (N, K).
        targets: (N, K) zeros and ones.
    """
    probabilities, targets = np.asarray(probabilities, np.float64), np.asarray(targets)
    columns = zip(probabilities.T, targets.T, strict=True)
    return np.array([_best_threshold(scores, wanted) for scores, wanted in columns], np.float64)


def _best_threshold(scores: Array, wanted: Array) -> float:
    """Of one label, from its probabilities (N,) and whether examples have it (N,)."""
    support = int(np.count_nonzero(wanted))
    if support == 0:
        return UNDECIDED
    values, places = np.unique(scores, return_inverse=True)
    # From each value upwards: how many examples are given the label, and how many of those have it.
    given = np.cumsum(np.bincount(places)[::-1])[::-1]
    hits = np.cumsum(np.bincount(places, wanted.astype(np.float64))[::-1])[::-1]
    f1 = 2 * hits / (given + support)
    below = np.concatenate([[0.0], values[:-1]])
    middles = (below + values) / 2
    middles = np.where(middles > below, middles, values)  # two neighbours of which the mean is the lower one
    best = np.flatnonzero(f1 == f1.max())
    return float(middles[best[np.abs(middles[best] - UNDECIDED).argmin()]])
