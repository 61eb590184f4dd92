"""Figures of texts, by hand and against sacrebleu's own words."""

from __future__ import annotations

import math

import pytest

from gatework.metrics import text


def test_texts_that_are_their_references_have_the_highest_figures() -> None:
    references = ["a b c d e", "f g h i"]
    best = text.corpus_figures(references, references, "none")
    assert best == pytest.approx({"bleu": 100.0, "chrf": 100.0, "exact_match": 1.0})
    worse = text.corpus_figures(["a b c d e", "f g h j"], references, "none")
    assert all(worse[name] < best[name] for name in best)
    assert worse["exact_match"] == 0.5
    assert text.corpus_figures([" a "], ["a"], "none")["exact_match"] == 1.0
    with pytest.raises(ValueError, match="zip"):
        text.corpus_figures(["a"], ["a", "b"], "none")


def test_bleu_by_hand() -> None:
    """Of `a b c d x` for `a b c d e`: 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples, no penalty."""
    figures = text.corpus_figures(["a b c d x"], ["a b c d e"], "none")
    assert figures["bleu"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_signatures_say_how() -> None:
    assert text.signatures("13a")["bleu"].startswith("BLEU|")
    assert "tok:none" in text.signatures("none")["bleu"]
    assert "chrF2" in text.signatures("none")["chrf"]


def test_diversity_by_hand() -> None:
    outputs = ["a b a", "a b", "a b", ""]
    assert text.distinct(outputs, 1) == 2 / 7
    assert text.distinct(outputs, 2) == 2 / 4
    assert text.distinct(["", "a"], 2) == 0.0
    assert text.diversity_figures(outputs) == {
        "distinct_1": 2 / 7,
        "distinct_2": 2 / 4,
        "most_common_share": 0.5,
    }


def test_likelihood_by_hand() -> None:
    assert text.likelihood_figures(6.0, 4) == {"loss": 1.5, "perplexity": math.exp(1.5)}
    assert math.isfinite(text.likelihood_figures(1e6, 1)["perplexity"])
    assert text.bits_per_character(math.log(2) * 12, 4) == pytest.approx(3.0)


def test_a_perfect_score_is_100() -> None:
    texts = ["one two three four five", "a b c d e f g", "the cat sat on the mat today"]
    figures = text.corpus_figures(texts, texts, "13a")
    assert (figures["bleu"], figures["chrf"]) == (100.0, 100.0)
