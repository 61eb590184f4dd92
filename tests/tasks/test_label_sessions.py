"""A classifier that is told its input part by part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gatework.errors import InputError
from gatework.tasks.classifier import Classifier
from gatework.tasks.classifier.pooling import Pooling
from gatework.tasks.session import Session
from tests.tasks.test_classifier import SMALL, reviews, waves
from tests.tolerances import PREDICTIONS, close_to

FORWARD = SMALL | {"bidirectional": False, "max_steps": 30, "rivals": False}
TEXTS = ("the film was not great and walk", "awful", "lovely it's, “unheard”…")


def test_pooling_step_by_step_is_that_of_all_steps() -> None:
    torch.manual_seed(0)
    pooling = Pooling(("attention", "max", "mean", "last"), 4, 1)
    states = 30 * torch.randn(6, 3, 4)
    kept = pooling.first().expand(3, -1)
    with torch.no_grad():
        for step in range(6):
            kept = pooling.read(kept, states[step])
            expected = pooling(states[: step + 1], torch.full((3,), step + 1))
            torch.testing.assert_close(pooling.so_far(kept), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": ["attention", "max", "mean", "last"]},
        {"side_path": False, "tokenizer": "character"},
        {"mix_rival": True, "rivals": True, "weights": "balanced"},
    ],
)
def test_each_word_has_the_probabilities_of_the_words_so_far(options: dict[str, Any]) -> None:
    model = Classifier(**FORWARD | options).fit(reviews(80), valid=reviews(30, 1))
    words = model.options_.tokenizer == "word"
    for text in TEXTS:
        session, parts = model.session(alternatives=2), text.split() if words else [text[:3], text[3:]]
        for count, part in enumerate(parts, start=1):
            (event,) = session.feed(part)
            (expected,) = model.predict([(" " if words else "").join(parts[:count])], alternatives=2)
            assert event["kind"] == "partial"
            assert event["output"] == expected["output"]
            assert event["probabilities"] == close_to(expected["probabilities"], table=PREDICTIONS)
            assert [one["label"] for one in event["alternatives"]] == [
                one["label"] for one in expected["alternatives"]
            ]
        (record,) = session.finish()
        assert record["input"] == text
        assert record["probabilities"] == event["probabilities"]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_step_has_the_probabilities_of_the_steps_so_far(channels: int) -> None:
    columns, pooling = {"sequence": "sequence"}, {"pooling": ["attention", "mean"]}
    model = Classifier(**FORWARD | pooling).fit(
        waves(40, channels), valid=waves(10, channels, 1), columns=columns
    )
    sequences = [row["sequence"] for row in waves(4, channels, 2)]
    sessions: list[Session] = [model.session() for _ in sequences]
    for step in range(min(map(len, sequences))):
        events = model.feed_together(sessions, [sequence[step] for sequence in sequences])
        expected = model.predict([sequence[: step + 1] for sequence in sequences])
        for (event,), record in zip(events, expected, strict=True):
            assert event["probabilities"] == close_to(record["probabilities"], table=PREDICTIONS)
    (record,) = sessions[0].finish()
    assert np.shape(record["input"]) == np.shape(sequences[0][: step + 1])


def test_what_cannot_be_told_in_parts_is_refused() -> None:
    model = Classifier(**FORWARD | {"max_length": 4, "max_steps": 1}).fit(reviews(40))
    with pytest.raises(InputError, match="option explain"):
        model.session(explain=True)
    session = model.session()
    list(session.feed("the film was"))
    with pytest.raises(InputError, match=r"has 5 tokens, and at most 4 are read"):
        session.feed("not great")
    assert [event["kind"] for event in session.feed("great")] == ["partial"]
    assert list(session.feed("  ")) == []
    both = Classifier(**SMALL | {"max_steps": 1, "rivals": False}).fit(reviews(40))
    with pytest.raises(InputError, match=r"session: this classifier reads whole inputs.*bidirectional=false"):
        both.session()
