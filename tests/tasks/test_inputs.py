"""What one input is, a task's `Input` says: a text, a mapping, a series; a list of those is several."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, RootModel

from gatework.errors import InputError
from gatework.tasks.base import Figure, Task
from gatework.tasks.options import PredictionSettings


class Text(RootModel[str]):
    """A text."""


class Turns(RootModel[str | list[str]]):
    """A text, or several that are one input."""


class Series(RootModel[list[float]]):
    """Numbers."""


class Question(BaseModel):
    """Two texts."""

    passage: str
    question: str


class Echo(Task):
    """Answers with its input; it was never trained."""

    name = "echo"
    Settings = PredictionSettings

    def __init__(self) -> None:
        self.metrics_ = {}

    def _answer(self, inputs: Any, settings: Any) -> list[dict[str, Any]]:
        return [{"output": item} for item in inputs]

    def _unused(self, *arguments: Any) -> Any:
        raise NotImplementedError

    _prepare = _learn = _network = _problem = _validation_figures = _clear = _evaluate = _unused


def inputs_of(kind: type[BaseModel], given: Any) -> list[Any]:
    """What `predict` takes for inputs."""
    task = type("EchoOf", (Echo,), {"Input": kind})()
    records = task.predict(given)
    assert [record["output"] for record in records] == [record["input"] for record in records]
    return [record["input"] for record in records]


QUESTION = {"passage": "a", "question": "b"}


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Text, "ab", ["ab"]),
        (Text, "", [""]),
        (Text, ["a", "b"], ["a", "b"]),
        (Text, ("a", "b"), ["a", "b"]),
        (Text, deque(["a", "b"]), ["a", "b"]),
        (Text, (letter for letter in "ab"), ["a", "b"]),
        (Text, [], []),
        (Turns, "ab", ["ab"]),
        (Turns, ["a", "b"], ["a", "b"]),
        (Turns, [["a", "b"]], [["a", "b"]]),
        (Series, [1.0, 2.0], [[1.0, 2.0]]),
        (Series, [[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.0]]),
        (Question, QUESTION, [QUESTION]),
        (Question, [QUESTION, QUESTION], [QUESTION, QUESTION]),
    ],
)
def test_one_input_or_several(kind: type[BaseModel], given: Any, expected: list[Any]) -> None:
    assert inputs_of(kind, given) == expected


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        (Text, 3, "3"),
        (Text, b"ab", "b'ab'"),
        (Text, ["a", 3], "3"),
        (Text, Path("a"), "Path"),
        (Question, {"passage": "a"}, "passage"),
        (Series, ["x"], "'x'"),
    ],
)
def test_what_is_no_input_is_named(kind: type[BaseModel], given: Any, named: str) -> None:
    with pytest.raises(InputError, match=f"{named}.* is not an input of echo"):
        inputs_of(kind, given)


def test_the_strongest_is_the_best_by_the_headline() -> None:
    figures = {
        "a": {"loss": 2.0, "bleu": 1.0},
        "b": {"loss": 1.0, "bleu": 0.5},
        "c": {"loss": 1.0, "bleu": 1.0},
    }
    assert Figure("loss", higher=False).strongest(figures) is figures["b"]
    assert Figure("bleu", higher=True).strongest(figures) is figures["a"]
