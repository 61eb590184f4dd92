"""The features of words: what they say, that they are the same everywhere, and that they stay short."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gatework.data import feature_rows, hashed, token_features
from gatework.data.word_features import word_shape


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("O'Brien27", "X'Xxxdd"),
        ("USA", "XX"),
        ("a", "x"),
        ("", ""),
        ("3.14", "d.dd"),
        ("----", "--"),
        ("日本", "xx"),
    ],
)
def test_shapes(word: str, shape: str) -> None:
    assert word_shape(word) == shape


def test_features_are_of_the_word_its_affixes_and_its_neighbours() -> None:
    first, second = token_features(["New", "york"], {"cities": [False, True]})
    assert {
        "w new",
        "w-1 <s>",
        "w+1 york",
        "ww+1 new york",
        "s Xxx",
        "ss+1 Xxx xx",
        "p ne",
        "e ew",
        "t 0",
    } <= {*first}
    assert {"p york", "e york", "w-1 new", "w+1 </s>", "w+2 </s>", "list cities"} <= {*second}
    assert "list cities" not in first
    assert len({*second}) == len(second)
    assert token_features([]) == []


def test_later_words_and_earlier_ones_may_be_left_out() -> None:
    words = ["fly", "to", "New", "York"]
    blind = token_features(words, ahead=False)
    assert blind[1] == token_features([*words[:2], "Rome"], ahead=False)[1]
    assert not {"w+1 new", "ww+1 to new"} & {*blind[1]}
    assert token_features(words, first=3) == token_features(words)[3:]


def test_a_very_long_word_has_short_features() -> None:
    (features,) = token_features(["a" * 10_000])
    assert max(map(len, features)) < 100


def test_rows_are_the_same_in_every_process() -> None:
    features = token_features(["Play", "jazz"])
    rows = feature_rows(features, 1000)
    assert rows == [[hashed(one, 1000) for one in own] for own in features]
    code = "from gatework.data import hashed; print(hashed('w jazz', 1000))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == hashed("w jazz", 1000)
    assert hashed("\ud800", 7) < 7
