"""Figures of labels: how right the labels are, label by label and together, and how right their probabilities.

Examples have one label each (indices, (N,)) or any number of them (zeros and ones, (N, K)); K labels. A label that is
in the references but unknown to the model is one of the K too: nobody gives it, so that its recall is 0. Figures are
scikit-learn's, a share with nothing to divide by is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "LabelCounts",
    "brier_score",
    "calibration_error",
    "confusion_table",
    "count_labels",
    "indicators",
    "indices",
    "label_figures",
    "label_names",
    "log_loss",
    "losses",
]

NO_LABEL = -1
BINS = 15

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def label_names(known: Sequence[str], *labels: Iterable[str]) -> list[str]:
    """The labels that a model knows, in its order, and after them those that it does not, sorted."""
    unknown = {label for some in labels for label in some}.difference(known)
    return [*known, *sorted(unknown)]


def indices(labels: Sequence[str | None], names: Sequence[str]) -> Array:
    """(N,) the place of each example's label among `names`; -1 for None, an example without one."""
    places: dict[str | None, int] = {name: index for index, name in enumerate(names)}
    places[None] = NO_LABEL
    return np.array([places[label] for label in labels], dtype=np.int64)


def indicators(labels: Sequence[Iterable[str]], names: Sequence[str]) -> Array:
    """(N, K) whether each example has each label of `names`."""
    places = {name: index for index, name in enumerate(names)}
    table = np.zeros((len(labels), len(names)), dtype=np.bool_)
    for row, some in enumerate(labels):
        table[row, [places[label] for label in some]] = True
    return table


class LabelCounts(NamedTuple):
    """What figures of labels are computed from: counts over examples, or of several resamples at once.

    Attributes:
        hits: (…, K) examples that are given label k and have it.
        given: (…, K) examples that are given label k.
        support: (…, K) examples that have label k.
        right: (…) examples whose label, or whole set of labels, is right.
        examples: (…) of all.
    """

    hits: Array
    given: Array
    support: Array
    right: Array
    examples: Array

    def precision(self) -> Floats:
        """(…, K) of the examples that are given a label, the share that has it."""
        return _share(self.hits, self.given)

    def recall(self) -> Floats:
        """(…, K) of the examples that have a label, the share that is given it."""
        return _share(self.hits, self.support)

    def f1(self) -> Floats:
        """(…, K) the harmonic mean of precision and recall."""
        return _share(2 * self.hits, self.given + self.support)

    def macro_f1(self) -> Floats:
        """(…) the mean F1 of the labels that occur in the references or in the outputs."""
        return _share(self.f1().sum(-1), ((self.given > 0) | (self.support > 0)).sum(-1))

    def micro_f1(self) -> Floats:
        """(…) the F1 of all labels' counts together."""
        return _share(2 * self.hits.sum(-1), self.given.sum(-1) + self.support.sum(-1))

    def figures(self) -> dict[str, Floats]:
        """accuracy (of several labels an example: of the whole set), macro_f1, micro_f1; each (…)."""
        return {
            "accuracy": _share(self.right, self.examples),
            "macro_f1": self.macro_f1(),
            "micro_f1": self.micro_f1(),
        }

    def by_row(self) -> Array:
        """(…, 3 K + 2) all counts side by side, for sums over examples; `from_rows` takes them apart."""
        return np.concatenate([*self[:3], self.right[..., None], self.examples[..., None]], axis=-1)

    @classmethod
    def from_rows(cls, rows: Array) -> LabelCounts:
        """The counts that `by_row` joined."""
        hits, given, support = np.split(rows[..., :-2], 3, axis=-1)
        return cls(hits, given, support, rows[..., -2], rows[..., -1])


def count_labels(outputs: Array, references: Array, labels: int) -> tuple[LabelCounts, Array]:
    """The counts of each different case, and how many examples are that case.

    Args:
        outputs, references: (N,) indices below `labels`, an output may be -1 (none given); or (N, K) zeros and ones.
        labels: K.

    Returns:
        Counts over U cases, of one example each: (U, K) and (U,); and (U,) how many examples each case stands for.
    """
    outputs, references = _same_shape(outputs, references)
    if references.ndim == 1:
        pairs, times = np.unique(references * (labels + 1) + outputs + 1, return_counts=True)
        own, got = pairs // (labels + 1), pairs % (labels + 1) - 1
        support, given = (np.arange(labels) == side[:, None] for side in (own, got))
    else:
        cases, times = np.unique(
            np.concatenate([outputs, references], axis=1).astype(np.bool_), axis=0, return_counts=True
        )
        given, support = cases[:, :labels], cases[:, labels:]
    right = (given == support).all(axis=1)
    parts = (given & support, given, support, right, np.ones(len(times)))
    return LabelCounts(*(part.astype(np.int64) for part in parts)), times


def label_figures(outputs: Array, references: Array, labels: int) -> LabelCounts:
    """The counts over all examples, whose methods are the figures; arguments as for `count_labels`."""
    counts, times = count_labels(outputs, references, labels)
    return LabelCounts.from_rows(times @ counts.by_row())


def confusion_table(outputs: Array, references: Array, labels: int) -> Array:
    """(K, K) how many examples of the row's label are given the column's; examples without an output (-1) are in none.

    Args:
        outputs, references: (N,) indices.
        labels: K.
    """
    outputs, references = _same_shape(outputs, references)
    some = outputs != NO_LABEL
    pairs = references[some] * labels + outputs[some]
    return np.bincount(pairs, minlength=labels * labels).reshape(labels, labels)


def calibration_error(probabilities: Array, targets: Array, bins: int = BINS) -> float:
    """The expected calibration error (Guo et al. 2017): how far confidence is from the share that is right, weighted.

    Bins of equal width, each without its lower bound. With one label an example the confidence is the highest
    probability, and right is whether the label with it is the example's. With several labels every label of every
    example is a decision of its own: its probability beside whether the example has it.

    Args:
        probabilities: (N, K).
        targets: (N,) indices, or (N, K) zeros and ones.
    """
    probabilities, targets = np.asarray(probabilities, np.float64), np.asarray(targets)
    if targets.ndim == 1:
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    else:
        confidence, right = probabilities.ravel(), targets.ravel()
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    places = np.digitize(confidence, edges, right=True)
    gaps = np.bincount(places, confidence - right, bins)
    return float(np.abs(gaps).sum() / len(confidence))


def brier_score(probabilities: Array, targets: Array) -> float:
    """The mean squared distance of probabilities and what is so (Brier 1950), 0 the best.

    With one label an example the squares are summed over its K labels (2 the worst); with several labels an example the
    mean is over all labels of all examples (1 the worst).

    Args:
        probabilities: (N, K).
        targets: (N,) indices, or (N, K) zeros and ones.
    """
    probabilities, targets = np.asarray(probabilities, np.float64), np.asarray(targets)
    wanted = targets if targets.ndim == 2 else targets[:, None] == np.arange(probabilities.shape[1])
    squares = (probabilities - wanted) ** 2
    return float(squares.mean() if targets.ndim == 2 else squares.sum(axis=1).mean())


def log_loss(probabilities: Array, targets: Array) -> float:
    """The mean negative log-likelihood in nats: of an example, or with several labels of each label of each example.

    Probabilities are kept a float64's rounding (2.2e-16) away from 0 and 1.

    Args:
        probabilities: (N, K).
        targets: (N,) indices, or (N, K) zeros and ones.
    """
    return float(losses(probabilities, targets).mean())


def losses(probabilities: Array, targets: Array) -> Floats:
    """(N,) the log loss of each example; arguments as for `log_loss`."""
    probabilities, targets = np.asarray(probabilities, np.float64), np.asarray(targets)
    least = np.finfo(np.float64).eps
    clipped = np.clip(probabilities, least, 1 - least)
    if targets.ndim == 1:
        return -np.log(np.take_along_axis(clipped, targets[:, None], axis=1)[:, 0])
    return -np.log(np.where(targets.astype(np.bool_), clipped, 1 - clipped)).mean(axis=1)


def _same_shape(outputs: Array, references: Array) -> tuple[Array, Array]:
    outputs, references = np.asarray(outputs), np.asarray(references)
    if outputs.shape != references.shape:
        raise ValueError(f"outputs have the shape {outputs.shape}, references {references.shape}")
    return outputs, references


def _share(part: Array, whole: Array) -> Floats:
    """part / whole; 0 where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0)
