"""Figures of labels: equal to scikit-learn's on random cases, and by hand where there is nothing to divide by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as peer

from gatework.metrics import classification as ours
from gatework.metrics.bootstrap import percentile_intervals
from tests.tolerances import MEANS

CLOSE = {"rel": MEANS[torch.float64].relative, "abs": MEANS[torch.float64].relative}
CASES = 150


def random_labels(generator: np.random.Generator) -> tuple[Any, Any, int]:
    """Outputs and references of few examples and up to 7 labels, many of which nobody has."""
    labels = int(generator.integers(2, 8))
    examples = int(generator.integers(1, 30))
    used = generator.integers(1, labels + 1)
    outputs, references = generator.integers(0, used, (2, examples))
    outputs[generator.random(examples) < 0.1] = -1
    return outputs, references, labels


def random_sets(generator: np.random.Generator) -> tuple[Any, Any, int]:
    labels = int(generator.integers(2, 8))
    examples = int(generator.integers(1, 30))
    rates = generator.random((2, 1, labels)) * generator.integers(0, 2, (1, 1, labels))
    outputs, references = generator.random((2, examples, labels)) < rates
    return outputs, references, labels


def test_one_label_an_example_is_scored_as_by_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    for _ in range(CASES):
        outputs, references, labels = random_labels(generator)
        got = ours.label_figures(outputs, references, labels)
        everything = list(range(labels))
        precision, recall, f1, support = peer.precision_recall_fscore_support(
            references, outputs, labels=everything, zero_division=0
        )
        assert got.precision() == pytest.approx(precision, **CLOSE)
        assert got.recall() == pytest.approx(recall, **CLOSE)
        assert got.f1() == pytest.approx(f1, **CLOSE)
        assert got.support.tolist() == support.tolist()
        present = sorted(({*outputs} | {*references}) - {-1})
        expected = {
            "accuracy": peer.accuracy_score(references, outputs),
            "macro_f1": peer.f1_score(references, outputs, labels=present, average="macro", zero_division=0),
            "micro_f1": peer.f1_score(
                references, outputs, labels=everything, average="micro", zero_division=0
            ),
        }
        assert got.figures() == pytest.approx(expected, **CLOSE)
        table = peer.confusion_matrix(references, outputs, labels=everything)
        assert ours.confusion_table(outputs, references, labels).tolist() == table.tolist()


def test_several_labels_an_example_are_scored_as_by_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    for _ in range(CASES):
        outputs, references, labels = random_sets(generator)
        got = ours.label_figures(outputs, references, labels)
        precision, recall, f1, support = peer.precision_recall_fscore_support(
            references, outputs, zero_division=0
        )
        assert got.precision() == pytest.approx(precision, **CLOSE)
        assert got.recall() == pytest.approx(recall, **CLOSE)
        assert got.f1() == pytest.approx(f1, **CLOSE)
        assert got.support.tolist() == support.tolist()
        present = np.flatnonzero((outputs | references).any(axis=0))
        macro = f1[present].mean() if len(present) else 0.0
        expected = {
            "accuracy": peer.accuracy_score(references, outputs),
            "macro_f1": macro,
            "micro_f1": peer.f1_score(references, outputs, average="micro", zero_division=0),
        }
        assert got.figures() == pytest.approx(expected, **CLOSE)


def test_probabilities_are_scored_as_by_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    for _ in range(CASES):
        labels, examples = int(generator.integers(2, 6)), int(generator.integers(1, 20))
        scores = generator.normal(size=(examples, labels)) * generator.choice([1, 30])
        single = np.exp(scores - scores.max(1, keepdims=True))
        single /= single.sum(1, keepdims=True)
        targets = generator.integers(0, labels, examples)
        everything = list(range(labels))
        assert ours.log_loss(single, targets) == pytest.approx(
            peer.log_loss(targets, single, labels=everything), **CLOSE
        )
        one_hot = targets[:, None] == np.arange(labels)
        squares = np.sum(
            [peer.brier_score_loss(one_hot[:, k], single[:, k], labels=[0, 1]) for k in everything]
        )
        assert ours.brier_score(single, targets) == pytest.approx(squares, **CLOSE)

        several = 1 / (1 + np.exp(-scores))
        wanted = generator.integers(0, 2, (examples, labels))
        columns = [(wanted[:, k], several[:, k]) for k in everything]
        log_losses = [peer.log_loss(y, np.stack([1 - p, p], 1), labels=[0, 1]) for y, p in columns]
        assert ours.log_loss(several, wanted) == pytest.approx(np.mean(log_losses), **CLOSE)
        briers = [peer.brier_score_loss(y, p, labels=[0, 1]) for y, p in columns]
        assert ours.brier_score(several, wanted) == pytest.approx(np.mean(briers), **CLOSE)


def slow_calibration_error(confidence: Any, right: Any, bins: int) -> float:
    total = 0.0
    for index in range(bins):
        inside = (confidence > index / bins) & (confidence <= (index + 1) / bins)
        inside |= (confidence == 0) & (index == 0)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


def test_the_calibration_error_is_that_of_its_definition() -> None:
    generator = np.random.default_rng(3)
    for _ in range(CASES):
        labels, examples = int(generator.integers(2, 6)), int(generator.integers(1, 60))
        probabilities = generator.dirichlet(np.ones(labels), examples)
        probabilities[0] = np.eye(labels)[0]  # confidences of 1 and 0
        targets = generator.integers(0, labels, examples)
        right = probabilities.argmax(1) == targets
        expected = slow_calibration_error(probabilities.max(1), right, 15)
        assert ours.calibration_error(probabilities, targets) == pytest.approx(expected, **CLOSE)
        wanted = generator.integers(0, 2, (examples, labels))
        expected = slow_calibration_error(probabilities.ravel(), wanted.ravel(), 15)
        assert ours.calibration_error(probabilities, wanted) == pytest.approx(expected, **CLOSE)


def test_a_label_that_the_model_does_not_know_has_recall_0_and_a_name() -> None:
    references = ["joy", "fear", "joy", "anger"]
    names = ours.label_names(["joy", "sad"], references)
    assert names == ["joy", "sad", "anger", "fear"]
    got = ours.label_figures(
        ours.indices(["joy", "joy", None, "sad"], names), ours.indices(references, names), len(names)
    )
    assert got.support.tolist() == [2, 0, 1, 1]
    assert got.given.tolist() == [2, 1, 0, 0]
    assert got.recall().tolist() == [0.5, 0, 0, 0]
    assert got.figures() == pytest.approx({"accuracy": 0.25, "macro_f1": 0.125, "micro_f1": 2 / 7})
    sets = ours.indicators([["joy", "fear"], []], names)
    assert sets.tolist() == [[True, False, False, True], [False] * 4]


def test_outputs_and_references_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="shape"):
        ours.label_figures(np.zeros(3, int), np.zeros(2, int), 2)


def test_counts_in_rows_come_back() -> None:
    outputs, references, labels = random_sets(np.random.default_rng(4))
    counts, times = ours.count_labels(outputs, references, labels)
    assert times.sum() == len(outputs)
    back = ours.LabelCounts.from_rows(counts.by_row())
    assert all(np.array_equal(one, other) for one, other in zip(counts, back, strict=True))


# Intervals


def figures_of(sums: Any) -> dict[str, Any]:
    return dict(ours.LabelCounts.from_rows(sums).figures())


def test_an_interval_is_that_of_resampled_examples() -> None:
    """Beside a bootstrap that draws examples one resample at a time."""
    generator = np.random.default_rng(5)
    references = generator.integers(0, 3, 300)
    outputs = np.where(generator.random(300) < 0.7, references, generator.integers(0, 3, 300))
    counts, times = ours.count_labels(outputs, references, 3)
    got = percentile_intervals(counts.by_row(), figures_of, times=times, resamples=4000)
    drawn = generator.integers(0, 300, (4000, 300))
    slow = [
        float(ours.label_figures(outputs[rows], references[rows], 3).figures()["macro_f1"]) for rows in drawn
    ]
    low, high = np.quantile(slow, [0.025, 0.975])
    assert abs(got["macro_f1"].low - low) < 0.01
    assert abs(got["macro_f1"].high - high) < 0.01
    rows = np.repeat(counts.by_row(), times, axis=0)  # one row an example: drawn in another way
    again = percentile_intervals(rows, figures_of, resamples=4000)
    assert abs(again["macro_f1"].low - low) < 0.01
    assert abs(again["accuracy"].high - got["accuracy"].high) < 0.01


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(6)
    covered = 0
    for seed in range(200):
        right = (generator.random((200, 1)) < 0.8).astype(float)
        interval = percentile_intervals(right, lambda sums: {"mean": sums[:, 0] / 200}, seed=seed, level=0.9)
        covered += interval["mean"].low <= 0.8 <= interval["mean"].high
    assert 0.84 <= covered / 200 <= 0.96


def test_equal_seeds_give_equal_intervals_and_none_is_given_of_nothing() -> None:
    rows = np.random.default_rng(7).random((50, 1))
    one, other, third = (
        percentile_intervals(rows, lambda sums: {"sum": sums[:, 0]}, resamples=100, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == other != third
    with pytest.raises(ValueError, match="no examples"):
        percentile_intervals(np.zeros((0, 1)), lambda sums: {"sum": sums[:, 0]})
