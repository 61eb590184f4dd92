from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import gatework as gw
from gatework.cli import asking
from gatework.errors import InputError
from gatework.tasks.reader import Reader
from gatework.tasks.reader.documents import Excerpt, Paragraph, in_documents, read_paragraphs
from tests.contracts.task_examples import TRIPS
from tests.tasks.test_reader import SMALL


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reader") / "run"
    Reader(**SMALL).fit(TRIPS, valid=TRIPS, out=out)
    return out


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "old").mkdir(parents=True)
    (folder / "a.txt").write_text(
        "Nothing of note.\n\n\nThe sea is wide.\nAnn went to Oslo on Monday. It rained.\n"
    )
    (folder / "old" / "b.txt").write_text("Ben went to Bern on May 3. It was far away.")
    return folder


def test_an_answer_is_marked_in_its_sentence_and_placed_in_its_document(gatework, reader, notes):
    done = gatework("ask", reader, notes, "--question", "Where did Ann go?")
    assert done.code == 0
    answer, sentence, where = done.out.splitlines()
    assert answer.startswith("Oslo  (")
    assert sentence == "  Ann went to »Oslo« on Monday."
    begin = (notes / "a.txt").read_text().index("Oslo")
    assert where == f"  {notes / 'a.txt'}, characters {begin} to {begin + 4}"


def test_questions_are_read_line_by_line_and_answered_as_json(gatework, reader, notes, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Where did Ben go?\n\nWhen did Ann go to Oslo?\n"))
    done = gatework("ask", reader, notes / "a.txt", notes / "old", "--json", "--set", "alternatives=2")
    first, second = map(json.loads, done.out.splitlines())
    assert first["question"] == "Where did Ben go?"
    assert [each["answers"][0]["text"] for each in (first, second)] == ["Bern", "Monday"]
    assert len(first["answers"]) == 2
    for each in (*first["answers"], *second["answers"]):
        text = Path(each["document"]).read_text()
        assert text[each["start"] : each["end"]] == each["text"]
        assert text[each["sentence_start"] :].startswith(each["sentence"])
        assert each["text"] in each["sentence"]


def test_of_many_paragraphs_the_best_are_read(gatework, reader, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text(
        "\n\n".join(["It was far away."] * 50 + ["Eve went to New Rome on a rainy day."] + ["No."] * 50)
    )
    done = gatework("ask", reader, path, "--question", "Where did Eve go?", "--json")
    (answer, *_) = json.loads(done.out)["answers"]
    assert answer["text"] == "New Rome"
    assert path.read_text()[answer["start"] : answer["end"]] == "New Rome"


def test_predict_reads_documents_too(gatework, reader, notes, tmp_path):
    model = gw.load(reader)
    asked = {"document": str(notes), "question": "Where did Ann go?"}
    (record,) = model.predict(asked)
    (answer,) = model.ask("Where did Ann go?", [notes])
    assert record["output"] == "Oslo" == answer["text"]
    assert record["answers"][0]["start"] == answer["start"]
    assert record["answers"][0]["document"] == str(notes / "a.txt")
    for piece in (*record["answers"], *record["sentences"]):
        assert Path(piece["document"]).read_text()[piece["start"] : piece["end"]] == piece["text"]
    table = tmp_path / "asked.jsonl"
    table.write_text(json.dumps(asked) + "\n")
    assert json.loads(gatework("predict", reader, table).out)["output"] == "Oslo"
    with pytest.raises(InputError, match="has no column 'context'"):
        model.predict({"question": "Where?"})
    with pytest.raises(InputError, match="is not an input"):
        Reader.read_sent(asked)  # who asks over a network names no file of this machine


def test_a_sentence_that_goes_on_in_the_next_paragraph_is_two():
    first, second = (
        Paragraph("a.txt", start, text, frozenset())
        for start, text in ((0, "Of Ann"), (9, "She went to Oslo."))
    )
    whole = {"text": "", "start": 0, "end": 25, "weight": 1.0}
    answer = {"text": "Oslo", "start": 20, "end": 24}
    found = in_documents(
        {"output": "Oslo", "answers": [answer], "sentences": [whole]}, Excerpt((first, second))
    )
    assert [(each["text"], each["start"]) for each in found["sentences"]] == [
        ("Of Ann", 0),
        ("She went to Oslo.", 9),
    ]
    assert (found["answers"][0]["start"], found["answers"][0]["text"]) == (21, "Oslo")


def test_a_document_is_read_again_only_once_it_has_changed(notes):
    (known,) = read_paragraphs([notes / "old" / "b.txt"])
    assert read_paragraphs([notes / "old"])[0] is known
    (notes / "old" / "b.txt").write_text("Ben has come home.")
    assert read_paragraphs([notes / "old"])[0].text == "Ben has come home."


def test_an_answer_stands_out_on_a_terminal():
    answer = {"text": "Oslo", "probability": 0.5, "start": 10, "end": 14, "document": "a.txt"}
    shown = asking._shown(answer | {"sentence": "To Oslo, now.", "sentence_start": 7}, colours=True)
    assert "To \x1b[1;4mOslo\x1b[0m, now." in shown


def test_what_cannot_be_asked_is_said(gatework, reader, run, tmp_path):
    (tmp_path / "empty").mkdir()
    asked = ("--question", "Where?")
    for arguments, words in (
        ((reader, tmp_path / "absent.txt", *asked), "absent.txt"),
        ((reader, tmp_path / "empty", *asked), "holds no text"),
        ((run, tmp_path, *asked), "not a reader"),
        ((reader, tmp_path, *asked, "--set", "colour=red"), "no option 'colour'"),
    ):
        done = gatework("ask", *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
        assert done.err.count("\n") == 1
