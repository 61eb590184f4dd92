"""Simple readers: what each makes of a few passages, and that damaged files are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gatework.baselines.linear_spans import LinearSpans, PassageAlone
from gatework.baselines.reading import MostCommonByQuestion, SlidingWindow
from gatework.data.questions import Answers
from tests.contracts.task_examples import TRIPS

INPUTS = [{name: row[name] for name in ("context", "question")} for row in TRIPS]
OUTPUTS = [Answers((str(row["answer"]),), (None,)) for row in TRIPS]


def test_the_sliding_window_takes_what_stands_beside_the_questions_words() -> None:
    context = "The sea is wide. Columbus crossed the sea in 1492. Ships are old."
    inputs = [
        {"context": context, "question": "When was the sea crossed by Columbus?"},
        {"context": "", "question": "?"},
    ]
    answers = SlidingWindow().fit([], []).predict(inputs)
    assert "1492" in answers[0]
    assert answers[1] == ""


def test_questions_alone_are_answered_by_how_they_begin() -> None:
    questions = ["Who is he?", "Who is she?", "Who was it?", "When is it?"]
    baseline = MostCommonByQuestion().fit(questions, ["Ann", "Ann", "Ben", "May"])
    again = MostCommonByQuestion.from_json(baseline.to_json())
    asked = ["Who is that?", "Who was that?", "Who went?", "When?", "Why?", ""]
    assert again.predict([{"question": each} for each in asked]) == ["Ann", "Ben", "Ann", "May", "Ann", "Ann"]
    for text in ("[]", '{"a": 1}'):
        with pytest.raises(ValueError, match="holds no answers"):
            MostCommonByQuestion.from_json(text)


def test_the_regression_learns_and_is_kept_as_arrays() -> None:
    rival = LinearSpans().fit(INPUTS, OUTPUTS)
    answers = rival.predict(INPUTS)
    assert answers == [row["answer"] for row in TRIPS]
    assert LinearSpans.from_arrays(rival.to_arrays()).predict(INPUTS) == answers
    alone = PassageAlone().fit(INPUTS, OUTPUTS).predict(INPUTS)
    assert alone[::2] == alone[1::2], (
        "two questions about one passage have one answer where they are not read"
    )
    assert alone != answers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", np.zeros(3, np.float32)),
        ("words", np.frombuffer(b"[1]", np.uint8)),
        ("words", np.frombuffer(b"[", np.uint8)),
        ("in_passages", np.array([1])),
        ("texts", np.array([1, -1])),
        ("texts", None),
    ],
)
def test_damaged_arrays_are_refused(name: str, value: Any) -> None:
    arrays = LinearSpans().fit(INPUTS[:4], OUTPUTS[:4]).to_arrays()
    damaged = {key: array for key, array in arrays.items() if key != name}
    damaged |= {} if value is None else {name: value}
    with pytest.raises(ValueError, match=r"."):
        LinearSpans.from_arrays(damaged)
