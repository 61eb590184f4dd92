"""Logistic regression over features of an input: what the linear rivals share."""

from __future__ import annotations

import importlib.util
import json
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.base import Rival
from gatework.errors import InputError, MissingExtraError
from gatework.metrics.calibration import best_thresholds
from gatework.metrics.classification import indicators, indices

__all__ = ["LinearRival", "check_finite", "check_scikit_learn"]

Floats = npt.NDArray[Any]

_FOLDS = 3
_ITERATIONS = 100
_AT_ONCE = 4096  # inputs whose features are in memory together, in predictions
_RARE = 1e-6


class LinearRival(Rival):
    """Logistic regression (scikit-learn's, L2, C = 1) over features of an input.

    Where an example has several labels, each label has a regression and a threshold of its own: that of the highest F1
    on examples which the regression that scores them has not seen (three folds); the regression is then fitted on all.

    Args:
        several: an example has any number of labels, and not one.

    Attributes:
        labels_: the K labels, sorted.
        weights_, bias_: (K, F) and (K,).
        thresholds_: (K,), where an example has several labels.
    """

    several: bool
    labels_: list[str]
    weights_: Floats
    bias_: Floats
    thresholds_: Floats

    def __init__(self, *, several: bool = False) -> None:
        self.several = several

    @abstractmethod
    def _learn_features(self, inputs: Sequence[Any]) -> Any:
        """(N, F) the features of the training data, a matrix or a sparse one, once it is known which there are."""

    @abstractmethod
    def _features(self, inputs: Sequence[Any]) -> Any:
        """(N, F) the features of inputs."""

    @abstractmethod
    def _feature_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What was learned of the features."""

    @abstractmethod
    def _read_features(self, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
        """Take what `_feature_arrays` gave and return F; raises `ValueError` for anything else."""

    def fit(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Self:
        """Learn from N inputs and their labels, one each or a list each.

        Raises:
            InputError: there are no inputs, or no labels.
            MissingExtraError: scikit-learn is not installed.
        """
        given = [label for output in outputs for label in (output if self.several else [output])]
        self.labels_ = sorted(set(given))
        if not self.labels_:
            raise InputError(
                f"baseline {self.name}", "the training data holds no labels", "Give some examples"
            )
        features = self._learn_features(inputs)
        if self.several:
            targets = indicators(outputs, self.labels_)
            self.thresholds_ = self._chosen_thresholds(features, targets)
            self.weights_, self.bias_ = _several_regressions(features, targets)
        else:
            targets = indices(outputs, self.labels_)
            self.weights_, self.bias_ = _regression(features, targets, len(self.labels_))
        return self

    def probabilities(self, inputs: Sequence[Any]) -> Floats:
        """(N, K) of each label; of one label an example they sum to 1."""
        blocks = [
            self._features(inputs[begin : begin + _AT_ONCE]) for begin in range(0, len(inputs), _AT_ONCE)
        ]
        scores = [_probabilities(block, self.weights_, self.bias_, self.several) for block in blocks]
        return np.concatenate([np.zeros((0, len(self.labels_))), *scores])

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """The likeliest label of each input, or the list of those above their thresholds."""
        probabilities = self.probabilities(inputs)
        if self.several:
            rows = probabilities >= self.thresholds_
            return [[label for label, has in zip(self.labels_, row, strict=True) if has] for row in rows]
        return [self.labels_[index] for index in probabilities.argmax(axis=1)]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that was learned; labels as JSON in bytes."""
        thresholds = {"thresholds": self.thresholds_} if self.several else {}
        return {
            **self._feature_arrays(),
            "labels": np.frombuffer(json.dumps(self.labels_).encode(), np.uint8).copy(),
            "weights": self.weights_,
            "bias": self.bias_,
            **thresholds,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The rival that `to_arrays` gave.

        Raises:
            ValueError: the arrays are something else.
        """
        rival = cls(several="thresholds" in arrays)
        try:
            rival.labels_ = json.loads(bytes(np.asarray(arrays["labels"], np.uint8)))
            rival.weights_, rival.bias_ = arrays["weights"], arrays["bias"]
            width = rival._read_features(arrays)
            if rival.several:
                rival.thresholds_ = arrays["thresholds"]
        except KeyError as error:
            raise ValueError(f"lacks the array {error}") from error
        legal = isinstance(rival.labels_, list) and all(isinstance(label, str) for label in rival.labels_)
        legal = legal and 0 < len(rival.labels_) == len(set(rival.labels_))
        if not legal:
            raise ValueError("its labels are damaged")
        count = len(rival.labels_)
        check_finite(rival.weights_, (count, width), "weights")
        check_finite(rival.bias_, (count,), "biases")
        if rival.several:
            check_finite(rival.thresholds_, (count,), "thresholds")
        return rival

    def _chosen_thresholds(self, features: Any, targets: Floats) -> Floats:
        seen, scores = [], []
        for train, held in _folds(len(targets)):
            weights, bias = _several_regressions(features[train], targets[train])
            scores.append(_probabilities(features[held], weights, bias, several=True))
            seen.append(targets[held])
        return best_thresholds(np.concatenate(scores), np.concatenate(seen))


def check_scikit_learn() -> None:
    """Ask for scikit-learn before it is needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise MissingExtraError("scikit-learn", "tasks")


def check_finite(array: npt.NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    """Refuse an array of another shape, or of anything but finite floating-point numbers, with a `ValueError`."""
    if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"its {what} are damaged")


def _folds(examples: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Which examples to fit on and which to score, as often as there are folds."""
    order = np.random.default_rng(0).permutation(examples)
    for held in np.array_split(order, _FOLDS):
        yield np.setdiff1d(order, held), held


def _several_regressions(features: Any, targets: Floats) -> tuple[Floats, Floats]:
    """A regression a label: weights (K, F) and biases (K,)."""
    fits = [_regression(features, wanted.astype(np.int64), 2) for wanted in targets.T]
    return np.stack([weights[1] for weights, _ in fits]), np.stack([bias[1] for _, bias in fits])


def _regression(features: Any, targets: npt.NDArray[np.int64], labels: int) -> tuple[Floats, Floats]:
    """Weights (K, F) and biases (K,) whose softmax is the probabilities; of two labels the first one's are 0.

    A label that no example has gets a bias by which it is all but impossible.
    """
    check_scikit_learn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weights = np.zeros((labels, features.shape[1]), np.float32)
    bias = np.full(labels, np.log(_RARE), np.float32)
    present = np.unique(targets)
    if len(present) == 1 or features.shape[1] == 0:
        shares = np.bincount(targets, minlength=labels) / max(len(targets), 1)
        bias = np.log(np.maximum(shares, _RARE)).astype(np.float32)
        return weights - weights[:1], bias - bias[0] if labels == 2 else bias
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(solver="lbfgs", max_iter=_ITERATIONS).fit(features, targets)
    if len(present) == 2:
        weights[present[1]], bias[present] = model.coef_[0], [0, model.intercept_[0]]
    else:
        weights[present], bias[present] = model.coef_, model.intercept_
    return weights, bias


def _probabilities(features: Any, weights: Floats, bias: Floats, several: bool) -> Floats:
    scores = np.asarray(features @ weights.T, np.float64) + bias
    if several:
        return 1 / (1 + np.exp(-scores))
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)
