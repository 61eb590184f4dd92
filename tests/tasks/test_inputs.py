"""What one input is, a task's `Input` says: a text, a mapping, a series; a list of those is several."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest
from pydantic import BaseModel, ConfigDict, RootModel

from gatework.errors import InputError
from gatework.metrics.figure import Figure
from gatework.tasks.base import Task
from gatework.tasks.options import PredictionSettings


class Text(RootModel[str]):
    """A text."""


class Turns(RootModel[str | list[str]]):
    """A text, or several that are one input."""


class Series(RootModel[list[float]]):
    """Numbers."""


class Question(BaseModel):
    """Two texts."""

    model_config = ConfigDict(extra="forbid")

    passage: str
    question: str


class Echo(Task):
    """Answers with its input; it was never trained."""

    name = "echo"
    Settings = PredictionSettings
    columns = ("text", "passage", "question")
    input_columns = (("text",), ("passage", "question"))

    def __init__(self) -> None:
        self.metrics_ = {}

    def _answer(self, inputs: Any, settings: Any) -> list[dict[str, Any]]:
        return [{"output": item} for item in inputs]

    def _unused(self, *arguments: Any) -> Any:
        raise NotImplementedError

    _prepare = _learn = _training_tokens = _network = _problem = _validation_figures = _clear = _unused
    _evaluate = _joined = _subject = _unused


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
        (Series, ["[1, 2.5]", "[3]"], [[1, 2.5], [3]]),  # lines of JSON
        (Text, "[1]", ["[1]"]),
        (Question, QUESTION, [QUESTION]),
        (Question, json.dumps(QUESTION), [QUESTION]),
        (Text, {"text": "a"}, ["a"]),
        (Turns, {"text": ["a", "b"]}, ["a", "b"]),
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
        (Series, ["x"], "'x'"),
        (Series, '["x"]', "x"),
        (Series, "[" * 100_000, "\\["),
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
    assert Figure("loss", higher=False).strongest(figures) == "b"
    assert Figure("bleu", higher=True).strongest(figures) == "a"


TABLE = [{"id": n, "passage": f"p{n}", "question": f"q{n}"} for n in range(3)]
QUESTIONS = [{"passage": row["passage"], "question": row["question"]} for row in TABLE]


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "list", "columns", "DataFrame", "Dataset"])
def test_a_table_has_an_input_in_each_row(tmp_path: Path, form: str) -> None:
    frame = pandas.DataFrame(TABLE)
    table: Any = {
        "list": TABLE,
        "columns": frame.to_dict("list"),
        "DataFrame": frame,
        "Dataset": datasets.Dataset.from_list(TABLE),
    }.get(form, tmp_path / f"a.{form}")
    if form == "jsonl":
        frame.to_json(table, orient="records", lines=True)
    elif form in ("tsv", "csv"):
        frame.to_csv(table, sep="\t" if form == "tsv" else ",", index=False)
    assert inputs_of(Question, table) == QUESTIONS
    task = type("EchoOf", (Echo,), {"Input": Question})()
    assert [record["input"] for record in task.predict_stream(table)] == QUESTIONS
    rows = list(task.predict_rows(table))
    assert [list(row) for row in rows] == [["id", "passage", "question", "output"]] * 3
    assert [row["output"] for row in rows] == QUESTIONS


def test_the_columns_of_an_input_may_have_other_names() -> None:
    task = type("EchoOf", (Echo,), {"Input": Text})()
    numbers = {"review": ["a", "b"], "number": [1, 2]}
    assert [row["input"] for row in task.predict(numbers, columns={"text": "review"})] == ["a", "b"]
    # As `evaluate` reads them: pandas makes numbers of a CSV file's digits.
    assert [row["input"] for row in task.predict(numbers, columns={"text": "number"})] == ["1", "2"]
    nested = [{"translation": {"en": "a"}}]
    assert [row["input"] for row in task.predict(nested, columns={"text": "translation.en"})] == ["a"]


@pytest.mark.parametrize("name", ["a.tsv", "a.txt"])
def test_a_table_without_a_header_has_its_columns_by_place(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("1\ta\n2\tb\n")
    task = type("EchoOf", (Echo,), {"Input": Text})()
    for place in (2, "2"):
        answers = task.predict(tmp_path / name, columns={"text": place})
        assert [answer["output"] for answer in answers] == ["a", "b"]
    rows = list(task.predict_rows(tmp_path / name, columns={"text": 2}))
    assert rows == [{"1": "1", "2": "a", "output": "a"}, {"1": "2", "2": "b", "output": "b"}]


def test_of_a_text_file_each_line_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n")
    assert inputs_of(Text, tmp_path / "a.txt") == ["a", "b"]
    task = type("EchoOf", (Echo,), {"Input": Text})()
    assert list(task.predict_rows(tmp_path / "a.txt")) == [
        {"input": "a", "output": "a"},
        {"input": "b", "output": "b"},
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([{"txet": "a"}], "inputs, row 1: has no column 'text' .*Did you mean 'txet'"),
        ([{"text": "a"}, {"text": 3.5}], "inputs, row 2: 3.5 is not an input of echo"),
        ({"txet": "a"}, "inputs, row 1: has no column 'text'"),
        ({"passage": "a"}, "inputs, row 1: has no column 'question'"),
        (pandas.DataFrame({"text": ["a", None]}), "the DataFrame, row 2: None is not an input"),
    ],
)
def test_what_is_no_table_of_inputs(table: Any, message: str) -> None:
    task = type("EchoOf", (Echo,), {"Input": Text})()
    with pytest.raises(InputError, match=message):
        task.predict(table)
    with pytest.raises(InputError, match=message):
        list(task.predict_rows(table))
    with pytest.raises(InputError, match="row 1: has a column 'output' already"):
        list(task.predict_rows([{"text": "a", "output": "b"}]))


def test_a_pipe_that_is_filled_again_gives_its_new_content(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    task = type("EchoOf", (Echo,), {"Input": Text})()
    for lines in (["a", "b"], ["c"]):
        writer = threading.Thread(target=pipe.write_text, args=("\n".join(lines),))
        writer.start()
        assert [record["input"] for record in task.predict(pipe)] == lines
        writer.join()
