"""The two baselines of taggers: by hand, and what they keep."""

from __future__ import annotations

import numpy as np
import pytest

from gatework.baselines import AveragedPerceptron, MostFrequentTag
from gatework.baselines.perceptron import _Averaged
from gatework.data import Tagging
from tests.tolerances import ROUNDING, close_to

WORDS = [["to", "new", "york"], ["new", "shoes"], ["to", "rome"], ["york", "now"]] * 5
TAGGINGS = [
    Tagging(("O", "B-city", "I-city"), "travel"),
    Tagging(("O", "O"), "shop"),
    Tagging(("O", "B-city"), "travel"),
    Tagging(("B-city", "O"), "travel"),
] * 5


def test_the_most_frequent_tag_of_each_word() -> None:
    baseline = MostFrequentTag().fit([*WORDS[:3], ["new"]], [*TAGGINGS[:3], Tagging(("O",), "shop")])
    expected = [Tagging(("O", "O", "B-city"), "travel")]
    assert baseline.predict([["new", "unheard", "rome"]]) == expected
    again = MostFrequentTag.from_json(baseline.to_json())
    assert again.predict([["new", "unheard", "rome"], []]) == [*expected, Tagging((), "travel")]
    for text in (
        "[]",
        '{"tag": 3, "label": null, "tags": {}}',
        '{"tag": "O", "label": null, "tags": {"a": 1}}',
    ):
        with pytest.raises(ValueError, match="holds no text"):
            MostFrequentTag.from_json(text)


def test_the_perceptron_learns_from_neighbours() -> None:
    rival = AveragedPerceptron().fit(WORDS, TAGGINGS)
    assert rival.size(WORDS) == 45
    assert rival.predict(WORDS) == TAGGINGS
    again = AveragedPerceptron.from_arrays(rival.to_arrays())
    unseen = [["to", "oslo", "now"], []]
    assert again.predict([*WORDS, *unseen]) == rival.predict([*WORDS, *unseen])
    assert again.predict([[]])[0].tags == ()


def test_the_perceptron_refuses_other_arrays() -> None:
    arrays = AveragedPerceptron().fit(WORDS[:4], [Tagging(each.tags) for each in TAGGINGS[:4]]).to_arrays()
    assert AveragedPerceptron.from_arrays(arrays).predict([["to"]])[0].label is None
    outside = np.full_like(arrays["words_rows"], 2**30)
    for other in ({"names": np.zeros(3, np.uint8)}, {"moves": arrays["moves"][:1]}, {"words_rows": outside}):
        with pytest.raises(ValueError, match=r"."):
            AveragedPerceptron.from_arrays(arrays | other)
    with pytest.raises(ValueError, match="holds no perceptron"):
        AveragedPerceptron.from_arrays({})


def test_weights_are_the_means_over_the_steps() -> None:
    table, sums, now = _Averaged(3, 1), np.zeros(3), np.zeros(3)
    for step in range(1, 8):
        table.step = step
        if step in (2, 5):
            table.add(np.array([0, 0, 2]), 0, 1.0)
            now += [2.0, 0.0, 1.0]
        sums += now
    for got, expected in zip(table.mean()[:, 0].tolist(), (sums / 8).tolist(), strict=True):
        assert got == close_to(expected, table=ROUNDING)
