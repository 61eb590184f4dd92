"""The reader's own: that it learns, windows, no answer, what it says of bad data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gatework.errors import InputError
from gatework.tasks.reader import Reader
from gatework.tasks.reader.spans import Candidates, expected_f1
from tests.contracts.task_examples import TRIPS
from tests.tolerances import PREDICTIONS, close_to

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 8,
    "side_rows": 256,
    "subword_rows": 64,
    "min_frequency": 1,
    "answer_words": 4,
    "learning_rate": 0.02,
    "batch_tokens": 120,
    "device": "cpu",
    "max_steps": 40,
}
LONG = "Nothing is here to be read. " * 6


@pytest.fixture(scope="module")
def model() -> Reader:
    return Reader(**SMALL).fit(TRIPS, valid=TRIPS)


def test_it_learns_and_says_where_the_answer_stands(model: Reader) -> None:
    figures = model.metrics_
    assert figures["model"]["f1"] > 0.9 > figures["baselines"]["most_common"]["f1"]
    context = "It was late. Ann went to Oslo on Monday."
    (record,) = model.predict({"context": context, "question": "Where did Ann go?"}, alternatives=3)
    (best, *others) = record["answers"]
    assert record["output"] == best["text"] == "Oslo" == context[best["start"] : best["end"]]
    assert best["probability"] > max(each["probability"] for each in others)
    assert all(a["end"] <= b["start"] or b["end"] <= a["start"] for a in others for b in [best])
    assert [context[each["start"] : each["end"]] for each in record["sentences"]] == [
        "It was late.",
        "Ann went to Oslo on Monday.",
    ]
    assert record["sentences"][1]["weight"] > record["sentences"][0]["weight"]
    assert sum(each["weight"] for each in record["sentences"]) == close_to(1.0, table=PREDICTIONS)


def test_windows_of_any_stride_answer_as_one_that_holds_the_passage() -> None:
    inputs = [{key: row[key] for key in ("context", "question")} for row in TRIPS[:6]]
    records = []
    for window, stride in ((40, 20), (40, 3), (400, 200)):
        torch.manual_seed(0)
        model = Reader(**SMALL | {"window": window, "stride": stride, "max_steps": 10}).fit(
            TRIPS, valid=TRIPS
        )
        records.append(model.predict(inputs))
    assert records[0] == records[1] == records[2]


def test_the_windows_of_a_long_passage_are_scored_together() -> None:
    model = Reader(**SMALL | {"window": 16, "stride": 8}).fit(TRIPS, valid=TRIPS)
    for context in (LONG + TRIPS[0]["context"], TRIPS[0]["context"] + " " + LONG):
        (record,) = model.predict({"context": context, "question": TRIPS[0]["question"]}, alternatives=1000)
        assert record["output"] == TRIPS[0]["answer"]
        assert sum(each["probability"] for each in record["answers"]) < 1.0


def test_every_span_of_a_passage_is_one_windows_own(model: Reader) -> None:
    inputs = model._mode.inputs  # type: ignore[attr-defined]
    text = " ".join(f"w{n}" for n in range(50))
    whole = inputs.collate([inputs.encode(text, "w1?")], False)
    for window, stride in ((12, 1), (12, 5), (12, 12), (9, 4)):
        inputs.window, inputs.stride = window, min(stride, window - inputs.longest)
        batch = inputs.collate([inputs.encode(text, "w1?")], False)
        first = batch.begins + torch.arange(len(batch.own))[:, None]
        assert sorted(first[batch.own].tolist()) == list(range(50))
        for own, begin, length in zip(batch.own.T, batch.begins, batch.passages.lengths, strict=True):
            starts = begin + torch.nonzero(own)[:, 0]
            fits = (starts + inputs.longest <= begin + length) | (begin + length == 50)
            assert bool(fits.all()), "an answer that begins in a window ends in it"
    inputs.window, inputs.stride = 400, 200
    assert whole.own.all()


def test_no_answer_is_learned_where_the_data_has_it() -> None:
    rows = [*TRIPS, *({**row, "context": "It was far away, and late.", "answer": ""} for row in TRIPS)]
    model = Reader(**SMALL | {"max_steps": 60}).fit(rows, valid=rows)
    assert model.options_.no_answer == "true"
    assert model.metrics_["model"]["no_answer_accuracy"] > 0.9
    (record,) = model.predict({"context": rows[-1]["context"], "question": rows[-1]["question"]})
    assert record["output"] == ""
    assert record["no_answer_probability"] > 0.5
    assert record["answers"]


def test_unanswerable_questions_given_to_a_reader_that_always_answers(
    model: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = model.evaluate([*TRIPS, {**TRIPS[0], "answer": ""}])
    assert "1 questions have no answer, the first at data, row 19" in capsys.readouterr().err
    assert figures["model"]["no_answer_accuracy"] == close_to(18 / 19)


def test_what_is_wrong_with_the_data_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        *({**row, "id": str(number)} for number, row in enumerate(TRIPS)),
        {**TRIPS[0], "answer": "Paris", "id": "0"},
        {**TRIPS[0], "question": " ", "id": "x"},
        {**TRIPS[0], "context": "", "id": "y"},
        {**TRIPS[0], "answer": "Monday", "answer_start": 2, "id": "z"},
        {**TRIPS[0], "answer": "went to New Rome on Monday", "id": "w"},
    ]
    Reader(**SMALL | {"max_steps": 1}).fit(rows, valid=TRIPS)
    said = capsys.readouterr().err
    assert (
        "2 questions that are empty, or about an empty context, are left out, the first at data, row 20"
        in said
    )
    assert "1 ids stand there more than once, the first at data, row 1" in said
    assert (
        "1 of 21 questions have answers that do not stand in their passages, the first: data, row 19 ('Paris')"
        in said
    )
    assert (
        "1 answers stand elsewhere in their passages than their starts say, the first at data, row 22" in said
    )
    assert "2 questions without an answer in their passage, or with one longer than answer_words=4" in said


def test_data_without_any_answer_in_its_passages_is_refused() -> None:
    rows = [{**row, "answer": "Paris"} for row in TRIPS]
    with pytest.raises(InputError, match="whose answer stands in its passage"):
        Reader(**SMALL, mode="span").fit(rows, valid=TRIPS)


@pytest.mark.parametrize(
    ("context", "question"),
    [
        ("", "Where?"),
        ("🙂🙂 José went to Zürich.", "¿Adónde fue José?"),
        ("Ann went to Oslo.", ""),
        ("Ann went to Oslo.", "Куда поехала Анна?"),
        (["Ann went to Oslo.", "It was far."], "Where did Ann go?"),
    ],
)
def test_odd_inputs_are_answered(model: Reader, context: Any, question: str) -> None:
    (record,) = model.predict({"context": context, "question": question})
    text = context if isinstance(context, str) else "\n".join(context)
    assert all(text[each["start"] : each["end"]] == each["text"] for each in record["answers"])
    assert bool(record.get("warnings")) == (not context or not question)


def test_a_passage_of_many_characters_is_read_in_windows(model: Reader) -> None:
    context = LONG * 60 + TRIPS[0]["context"]
    (record,) = model.predict({"context": context, "question": TRIPS[0]["question"]})
    assert record["output"] == TRIPS[0]["answer"]


def test_squad_files_are_trained_on(tmp_path: Path) -> None:
    asked = [
        {
            "context": row["context"],
            "qas": [{"question": row["question"], "answers": [{"text": row["answer"]}]}],
        }
        for row in TRIPS
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": [{"paragraphs": asked}]}))
    model = Reader(**SMALL | {"max_steps": 1}).fit(path, valid=path)
    assert model.metrics_["examples"] == len(TRIPS)


def test_the_expected_f1_is_that_of_all_pairs() -> None:
    spans, probabilities = [(0, 1), (1, 1), (1, 3)], [0.5, 0.3, 0.2]
    counts = np.array([1, 1, 0, 1])  # of which the third is an article

    def f1(one: tuple[int, int], other: tuple[int, int]) -> float:
        bags = [{place for place in range(first, last + 1) if counts[place]} for first, last in (one, other)]
        return 2 * len(bags[0] & bags[1]) / (len(bags[0]) + len(bags[1]))

    expected = [
        sum(p * f1(one, other) for other, p in zip(spans, probabilities, strict=True)) for one in spans
    ]
    first, last = np.array(spans).T
    found = expected_f1(Candidates(first, last, np.array(probabilities), np.zeros(4), 0.0), counts)
    assert found.tolist() == [close_to(value) for value in expected]
