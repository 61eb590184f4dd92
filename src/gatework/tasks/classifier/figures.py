"""The figures of a classifier's answers, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gatework.metrics.bootstrap import percentile_intervals
from gatework.metrics.classification import (
    LabelCounts,
    brier_score,
    calibration_error,
    confusion_table,
    count_labels,
    indicators,
    indices,
    label_figures,
    label_names,
)

__all__ = ["label_remarks", "label_scores", "probability_figures"]

# A label, or a list of labels; None where the classifier abstained.
Answer: TypeAlias = "str | Sequence[str] | None"


def label_scores(
    outputs: Sequence[Answer], references: Sequence[Any], known: Sequence[str]
) -> dict[str, float]:
    """accuracy, macro_f1 and micro_f1; a label that is not among the known ones is one more."""
    _, given, wanted, count = _arrays(outputs, references, known)
    return {name: float(value) for name, value in label_figures(given, wanted, count).figures().items()}


def probability_figures(
    probabilities: np.ndarray, references: Sequence[Any], known: Sequence[str]
) -> dict[str, float]:
    """expected_calibration_error and brier_score.

    Args:
        probabilities: (N, K) of the known labels; any other has probability 0.
    """
    names, _, wanted, _ = _arrays(references, references, known)
    missing = np.zeros((len(probabilities), len(names) - len(known)))
    whole = np.concatenate([probabilities, missing], axis=1)
    return {
        "expected_calibration_error": calibration_error(whole, wanted),
        "brier_score": brier_score(whole, wanted),
    }


def label_remarks(
    outputs: Sequence[Answer], references: Sequence[Any], known: Sequence[str]
) -> dict[str, Any]:
    """What stands beside the figures: intervals, the figures of each label, the confusion table, unknown labels."""
    names, given, wanted, count = _arrays(outputs, references, known)
    cases, times = count_labels(given, wanted, count)
    intervals = percentile_intervals(
        cases.by_row(), lambda sums: LabelCounts.from_rows(sums).figures(), times=times
    )
    whole = label_figures(given, wanted, count)
    each = zip(names, whole.precision(), whole.recall(), whole.f1(), whole.support, strict=True)
    remarks: dict[str, Any] = {
        "intervals": {name: [interval.low, interval.high] for name, interval in intervals.items()},
        "labels": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for name, p, r, f, n in each
        },
    }
    if wanted.ndim == 1:
        table = confusion_table(given, wanted, count)
        remarks["confusion"] = {"labels": names, "table": table.tolist()}
    abstained = sum(output is None for output in outputs)
    unseen = {name: remarks["labels"][name]["support"] for name in names[len(known) :]}
    return (
        remarks
        | ({"abstained": abstained} if abstained else {})
        | ({"unseen_labels": unseen} if unseen else {})
    )


def _arrays(
    outputs: Sequence[Answer], references: Sequence[Any], known: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """The labels' names, outputs and references as numbers (`gatework.metrics.classification`), and how many labels."""
    if all(isinstance(reference, str) for reference in references):
        names = label_names(known, references, [one for one in outputs if isinstance(one, str)])
        single: Sequence[Any] = outputs
        return names, indices(single, names), indices(references, names), len(names)
    several: list[Iterable[str]] = [() if one is None else one for one in outputs]
    names = label_names(known, *references, *several)
    return names, indicators(several, names), indicators(references, names), len(names)
