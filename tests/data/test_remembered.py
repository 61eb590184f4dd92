"""What is remembered of texts: the same results, and nothing of long texts."""

from __future__ import annotations

import numpy as np

from gatework.data import hashed
from gatework.data.remembered import remembered
from gatework.data.text_features import text_features


def test_short_texts_are_remembered_and_long_ones_are_not() -> None:
    asked: list[tuple[str, int]] = []

    @remembered(2, 3)
    def repeated(text: str, times: int) -> str:
        asked.append((text, times))
        return text * times

    assert [repeated("abc", 2), repeated("abc", 2), repeated("abc", 3)] == ["abcabc", "abcabc", "abcabcabc"]
    assert asked == [("abc", 2), ("abc", 3)]
    assert [repeated("abcd", 2), repeated("abcd", times=2)] == ["abcdabcd"] * 2
    assert asked[2:] == [("abcd", 2)] * 2
    assert repeated("a", 1) == "a"
    assert repeated("abc", 2) == "abcabc"
    assert asked[4:] == [("a", 1), ("abc", 2)]


def test_features_of_a_text_are_each_there_once_in_order() -> None:
    rows = 1 << 30  # so many that no two share a row
    words = ["w it", "w is", "p  it", "p it is", "p is it", "p it "]
    pieces = ["c i", "cit", "cis", "ct ", "cs ", "c it", "c is", "cit ", "cis ", "c it ", "c is "]
    for _ in range(2):  # the second time from memory
        found = text_features(["It", "is", "it"], rows)
        assert found.dtype == np.int32
        assert found.tolist() == sorted(hashed(own, rows) for own in words + pieces)
    assert text_features([], rows).tolist() == [hashed("p  ", rows)]
    # Of a very long word 40 characters are cut into pieces, alike but for the two ends; and its three other features.
    assert len(text_features(["x" * 60], rows)) == 4 + 2 * 4 + 3
