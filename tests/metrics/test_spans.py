"""Figures of spans: by hand, and on random sentences against counting the definition."""

from __future__ import annotations

import random

import pytest

from gatework.metrics.spans import SpanCounts, count_spans, figures_by_type, tagging_figures
from tests.tolerances import MEANS, close_to

OUTPUTS = ["B-a I-a O", "B-a O O", "B-b I-b", "O"]
REFERENCES = ["B-a I-a O", "B-a I-a O", "B-a I-a", "B-b"]


def test_figures_by_hand() -> None:
    outputs, references = [one.split() for one in OUTPUTS], [one.split() for one in REFERENCES]
    figures = tagging_figures(outputs, references, "BIO")
    expected = {  # 1 right of 3 given and 4 to find; of 9 tags 5 are right
        "span_f1": 2 / 7,
        "span_precision": 1 / 3,
        "span_recall": 1 / 4,
        "accuracy": 5 / 9,
        "sentence_accuracy": 1 / 4,
    }
    assert figures == {name: close_to(value, table=MEANS) for name, value in expected.items()}
    assert count_spans(outputs, references, "BIO") == {"a": SpanCounts(1, 2, 3), "b": SpanCounts(0, 1, 1)}
    assert figures_by_type(outputs, references, "BIO")["b"] == {
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "support": 1,
    }


def test_nothing_to_find_is_0() -> None:
    assert tagging_figures([["O"]], [["O"]], "BIO")["span_f1"] == 0
    assert set(tagging_figures([], [], "BIO").values()) == {0.0}


def test_sentences_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        tagging_figures([["O"]], [["O", "O"]], "BIO")


def test_random_sentences_against_plain_tags() -> None:
    chooser = random.Random(0)
    outputs = [chooser.choices("xyzO", k=5) for _ in range(50)]
    references = [chooser.choices("xyzO", k=5) for _ in range(50)]
    pairs = [
        pair for one, two in zip(outputs, references, strict=True) for pair in zip(one, two, strict=True)
    ]
    right = sum(one == two != "O" for one, two in pairs)
    given, support = (sum(pair[side] != "O" for pair in pairs) for side in (0, 1))
    figures = tagging_figures(outputs, references, "plain")
    assert figures["span_f1"] == close_to(2 * right / (given + support), table=MEANS)
    assert figures["accuracy"] == close_to(sum(one == two for one, two in pairs) / len(pairs), table=MEANS)
