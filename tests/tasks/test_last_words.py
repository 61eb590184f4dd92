"""What a tagger's side path says of last words: the sum of all their features, remembered or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gatework.data import feature_rows, token_features
from gatework.tasks.tagger import last_words
from gatework.tasks.tagger.last_words import LOOKED_BACK, LastWords
from tests.tolerances import VALUES, assert_close

TEXT = "play new York play the New York times in new York , \ud800 and play new York"
WORDS = [*TEXT.split(" "), "a" * 1000, "times"]  # one that is not remembered
SENTENCES = [WORDS[:end] for end in range(1, len(WORDS) + 1)] + [
    ["York"],
    ["new", "York"],
    ["in", "new", "York"],
]


@pytest.mark.parametrize("remembered", [2, 1000])
def test_the_parts_are_all_features_of_a_word(remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "_REMEMBERED", remembered)
    table = np.random.default_rng(0).normal(size=(997, 5)).astype(np.float32)
    rows = [feature_rows(token_features(words, ahead=False), len(table))[-1] for words in SENTENCES]
    expected = np.stack([table[own].sum(0) for own in rows])
    side, last = LastWords(table), [words[-LOOKED_BACK:] for words in SENTENCES]
    for _ in range(2):  # the second time from memory
        assert_close(torch.from_numpy(side.scores(last)), torch.from_numpy(expected), VALUES)
    for known in side._known:
        assert 0 < len(known) <= remembered
        assert not any("a" * 1000 in key for key in known)
