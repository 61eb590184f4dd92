"""Figures of spans: precision, recall and F1 of whole spans, as conlleval counts them, and figures of tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gatework.data import Scheme, spans_of

__all__ = [
    "SpanCounts",
    "count_spans",
    "figures_by_type",
    "figures_of_sums",
    "sentence_counts",
    "tagging_figures",
]

Sentences = Sequence[Sequence[str]]


class SpanCounts(NamedTuple):
    """Spans of one type, or of all: given and right, given, and in the references."""

    right: int
    given: int
    support: int

    @property
    def precision(self) -> float:
        """Of the spans that are given, the share that is right; 0 where none is given."""
        return self.right / self.given if self.given else 0.0

    @property
    def recall(self) -> float:
        """Of the references' spans, the share that is found; 0 where there is none."""
        return self.right / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / (self.given + self.support) if self.given + self.support else 0.0


def count_spans(outputs: Sentences, references: Sentences, scheme: Scheme) -> dict[str, SpanCounts]:
    """The counts of each type that occurs, by name. A span is right where its start, its end and its type are.

    Args:
        outputs, references: the tags of the same N sentences, as many of each sentence.
    """
    right: Counter[str] = Counter()
    given: Counter[str] = Counter()
    support: Counter[str] = Counter()
    for output, reference in zip(outputs, references, strict=True):
        own, expected = spans_of(output, scheme), spans_of(reference, scheme)
        given.update(span.type for span in own)
        support.update(span.type for span in expected)
        right.update(span.type for span in {*own} & {*expected})
    return {kind: SpanCounts(right[kind], given[kind], support[kind]) for kind in sorted({*given, *support})}


def tagging_figures(outputs: Sentences, references: Sentences, scheme: Scheme) -> dict[str, float]:
    """span_f1, span_precision and span_recall over all types together; accuracy, the share of tags that are right; and
    sentence_accuracy, the share of sentences all of whose tags are.
    """
    by_type = count_spans(outputs, references, scheme).values()
    total = (
        SpanCounts(*(sum(column) for column in zip(*by_type, strict=True)))
        if by_type
        else SpanCounts(0, 0, 0)
    )
    pairs = [
        (tag, other)
        for one, two in zip(outputs, references, strict=True)
        for tag, other in zip(one, two, strict=True)
    ]
    whole = [list(one) == list(two) for one, two in zip(outputs, references, strict=True)]
    return {
        "span_f1": total.f1,
        "span_precision": total.precision,
        "span_recall": total.recall,
        "accuracy": sum(tag == other for tag, other in pairs) / len(pairs) if pairs else 0.0,
        "sentence_accuracy": sum(whole) / len(whole) if whole else 0.0,
    }


def sentence_counts(outputs: Sentences, references: Sentences, scheme: Scheme) -> npt.NDArray[np.float64]:
    """(N, 5) what each of N sentences adds to the sums that `figures_of_sums` reads."""
    rows = []
    for output, reference in zip(outputs, references, strict=True):
        own, expected = spans_of(output, scheme), spans_of(reference, scheme)
        right = sum(tag == other for tag, other in zip(output, reference, strict=True))
        rows.append((len({*own} & {*expected}), len(own), len(expected), right, len(reference)))
    return np.array(rows, np.float64).reshape(-1, 5)


def figures_of_sums(sums: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """span_f1, span_precision, span_recall and accuracy of each of R sums of `sentence_counts`, (R, 5); (R,) each."""
    right, given, support, tags, words = sums.T

    def share(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    return {
        "span_f1": share(2 * right, given + support),
        "span_precision": share(right, given),
        "span_recall": share(right, support),
        "accuracy": share(tags, words),
    }


def figures_by_type(outputs: Sentences, references: Sentences, scheme: Scheme) -> dict[str, dict[str, float]]:
    """Of each type precision, recall, f1 and its number of spans in the references (support)."""
    return {
        kind: {
            "precision": counts.precision,
            "recall": counts.recall,
            "f1": counts.f1,
            "support": counts.support,
        }
        for kind, counts in count_spans(outputs, references, scheme).items()
    }
