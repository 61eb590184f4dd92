"""Exact match and F1 of answers against SQuAD's definition, worked by hand."""

from __future__ import annotations

import pytest

from gatework.metrics.reading import answer_scores, normalized_answer, reading_figures
from tests.tolerances import close_to

# answer, references, exact match, F1
CASES = [
    ("Rome", ("Rome",), 1, 1),
    ("rome.", ("Rome",), 1, 1),
    ("the Rome", ("a  Rome!",), 1, 1),
    ("then Rome", ("Rome",), 0, 2 / 3),  # "the" is an article, "then" is a word
    ("A-one", ("aone",), 1, 1),  # punctuation is taken out first, so that no article is left
    ("New York City", ("York", "New York"), 0, 4 / 5),
    ("York York", ("York",), 0, 2 / 3),  # a bag counts its words
    ("one two", ("two one",), 0, 1),
    ("Oslo", ("Rome", "Oslo"), 1, 1),
    ("Oslo", ("Rome",), 0, 0),
    ("", (), 1, 1),
    ("Rome", (), 0, 0),
    ("", ("Rome",), 0, 0),
    ("the", (), 1, 1),  # nothing is left of it
    ("Rome", ("Rome", "the"), 1, 1),
    ("", ("Rome", "the"), 0, 0),  # a reference of which nothing is left does not count beside others
    ("“Rome”", ("Rome",), 0, 0),  # only ASCII's punctuation is taken out
    ("5,000", ("5000",), 1, 1),
    ("ROME\n lies", ("rome lies",), 1, 1),
]


@pytest.mark.parametrize(("answer", "references", "exact", "f1"), CASES)
def test_scores_are_those_of_the_definition(
    answer: str, references: tuple[str, ...], exact: float, f1: float
) -> None:
    assert answer_scores([answer], [references])[0].tolist() == [exact, close_to(f1)]


def test_white_space_articles_and_punctuation_are_normalised() -> None:
    assert normalized_answer("  An  apple, THE pear\tand a-the  fig. ") == "apple pear and athe fig"


def test_figures_are_means_and_say_how_well_no_answer_is_known() -> None:
    figures = reading_figures(["Rome", "", "old Oslo"], [("Rome",), (), ("Oslo",)])
    assert figures == {
        "exact_match": close_to(2 / 3),
        "f1": close_to((2 + 2 / 3) / 3),
        "answered_f1": close_to((1 + 2 / 3) / 2),
        "no_answer_accuracy": 1.0,
    }
    assert set(reading_figures(["Rome"], [("Rome",)])) == {"exact_match", "f1"}
