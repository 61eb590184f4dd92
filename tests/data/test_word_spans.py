"""Where the words of a text stand."""

from __future__ import annotations

import pytest

from gatework.data.word_spans import word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't know.", ["I", "don't", "know", "."]),
        ("it’s 3.5€ – ok?!", ["it’s", "3", ".", "5", "€", "–", "ok", "?", "!"]),
        ("'quoted' ''", ["'", "quoted", "'", "'", "'"]),
        ("東京はlovely 2024年", ["東", "京", "は", "lovely", "2024", "年"]),
        ("día naïve Äß_1", ["día", "naïve", "Äß_1"]),
        ("a👍🏽b", ["a", "👍", "🏽", "b"]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_words_and_signs(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == words
