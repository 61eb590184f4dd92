"""Word and character error rates by hand, against jiwer's own totals, and their intervals."""

from __future__ import annotations

import random

import jiwer
import numpy as np
import pytest
import torch

from gatework.metrics.speech import cer, count_errors, error_intervals, error_rates, wer, word_deletion_rate
from tests.tolerances import MEANS, close_to

REFERENCES = ["one two three", "four", "", "a b"]
OUTPUTS = ["one too three four", "", "x", "a  b\n"]


def test_error_rates_by_hand() -> None:
    counts = count_errors(OUTPUTS, REFERENCES)
    assert counts[:, :2].tolist() == [[2, 3], [1, 1], [1, 0], [0, 2]]
    assert counts[:, 2:].tolist() == [[6, 13], [4, 4], [1, 0], [0, 3]]  # too for two, and " four"
    assert wer(OUTPUTS, REFERENCES) == 4 / 6
    assert cer(OUTPUTS, REFERENCES) == 11 / 20
    assert wer(["a b"], [""]) == 2
    assert wer([], []) == cer([], []) == 0
    assert wer(["Same Words"], ["same words"]) == 1
    with pytest.raises(ValueError):
        wer(["a"], [])


def test_words_that_are_left_out() -> None:
    assert word_deletion_rate(["one three", "a b x", ""], ["one two three", "a b", "four five"]) == 3 / 7
    assert word_deletion_rate(["x"], [""]) == word_deletion_rate([], []) == 0
    assert word_deletion_rate(["one too"], ["one two"]) == 0


def test_error_rates_are_those_of_jiwer() -> None:
    chooser = random.Random(3)
    texts = [
        [" ".join(chooser.choices(["ab", "abc", "b", "c"], k=chooser.randrange(1, 9))) for _ in range(40)]
        for _ in "rh"
    ]
    references, outputs = texts
    assert wer(outputs, references) == close_to(jiwer.wer(references, outputs), torch.float64, MEANS)
    assert cer(outputs, references) == close_to(jiwer.cer(references, outputs), torch.float64, MEANS)


def test_intervals_hold_the_figures() -> None:
    counts = np.tile(count_errors(OUTPUTS, REFERENCES), (50, 1))
    rates = error_rates(counts.sum(0))
    intervals = error_intervals(counts)
    assert intervals == error_intervals(counts)
    for name in ("wer", "cer"):
        low, high = intervals[name]
        assert low < rates[name] < high < 2 * rates[name]
