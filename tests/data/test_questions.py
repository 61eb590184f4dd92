"""Questions from files and tables, and where their answers stand."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from gatework.data.answer_places import Place, place_of
from gatework.data.passages import passage_of, text_words
from gatework.data.questions import Answers, Question, read_questions
from gatework.errors import InputError

CONTEXT = "Rome lies on the Tiber."


def squad(**further: Any) -> dict[str, Any]:
    asked = {"id": "q1", "question": "On what?", "answers": [{"text": "the Tiber", "answer_start": 13}]}
    return {"data": [{"title": "Rome", "paragraphs": [{"context": CONTEXT, "qas": [{**asked, **further}]}]}]}


def test_squad_of_both_versions_is_read_plain_and_compressed(tmp_path: Path) -> None:
    plain, packed = tmp_path / "dev.json", tmp_path / "dev.json.gz"
    plain.write_text(json.dumps(squad()))
    packed.write_bytes(gzip.compress(json.dumps(squad(is_impossible=True)).encode()))
    where = "article 1, paragraph 1, question 1"
    expected = Answers(("the Tiber",), (13,))
    assert list(read_questions(plain, {})) == [
        Question(f"{plain}, {where}", CONTEXT, "On what?", expected, "q1")
    ]
    assert list(read_questions([packed], {})) == [
        Question(f"{packed}, {where}", CONTEXT, "On what?", Answers(), "q1")
    ]


@pytest.mark.parametrize(
    ("answer", "start", "expected"),
    [
        ("Tiber", None, Answers(("Tiber",), (None,))),
        ("Tiber", "17", Answers(("Tiber",), (17,))),
        ("Tiber", 17.0, Answers(("Tiber",), (17,))),
        (["Tiber", "the Tiber"], [17, 13], Answers(("Tiber", "the Tiber"), (17, 13))),
        ({"text": ["Tiber"], "answer_start": [17]}, None, Answers(("Tiber",), (17,))),
        ({"text": [], "answer_start": []}, None, Answers()),
        ("", None, Answers()),
        (None, None, Answers()),
        (1920, None, Answers(("1920",), (None,))),
    ],
)
def test_an_answer_has_several_shapes(answer: Any, start: Any, expected: Answers) -> None:
    row = {"context": CONTEXT, "question": "On what?", "answer": answer, "answer_start": start}
    (found,) = read_questions([row], {})
    assert found.answers == expected


def test_tables_name_their_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("text,asked,answers\nRome lies there.,What?,Rome\n")
    (found,) = read_questions(path, {"context": "text", "question": "asked"})
    assert found == Question(f"{path}, line 2", "Rome lies there.", "What?", Answers(("Rome",), (None,)))
    (listed,) = read_questions([{"context": ["One.", "Two."], "question": "?", "answer": "a"}], {})
    assert listed.context == ["One.", "Two."]


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"context": 3.5, "question": "?", "answer": "a"}, r"row 1: the text is float"),
        ({"context": "a", "question": None, "answer": "a"}, "missing"),
        ({"context": "a", "question": "?", "answer": {"no": 1}}, "has no 'text'"),
        ({"context": "a", "question": "?", "answer": "a", "answer_start": -1}, "start is -1"),
        (
            {"context": "a", "question": "?", "answer": ["a", "b"], "answer_start": [0]},
            "2 answers and 1 starts",
        ),
        ({"question": "?", "answer": "a"}, "has no column 'context'"),
    ],
)
def test_a_bad_row_is_named(row: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        list(read_questions([row], {}))


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ("{", "not valid JSON"),
        ('{"version": 2}', "has no 'data'"),
        (
            '{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "?"}]}]}]}',
            "question 1: has no 'answers'",
        ),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "paragraph 1: the text is missing"),
        ('{"data": 3}', "has int under 'data'"),
        ('["a"]', "row 1: is str 'a'"),
    ],
)
def test_a_bad_document_is_named_with_the_place(tmp_path: Path, document: str, match: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(document)
    with pytest.raises(InputError, match=match):
        list(read_questions(path, {}))


GREETING = "Ça va 🙂, said José. Rome  is old; Rome\nis far."


@pytest.mark.parametrize(
    ("answer", "start", "repair"),
    [
        ("Rome", GREETING.index("Rome"), ""),
        ("Rome", GREETING.rindex("Rome"), ""),
        (" Rome ", GREETING.index("Rome") - 1, "white space"),
        ("Rome is old", GREETING.index("Rome"), "white space"),
        ("José", len(GREETING[: GREETING.index("José")].encode()), "bytes"),
        ("José", len(GREETING[: GREETING.index("José")].encode("utf-16-le")) // 2, "UTF-16 units"),
        ("said", 30, "elsewhere"),
        ("rome", GREETING.index("Rome"), "case"),
        (unicodedata.normalize("NFD", "José"), GREETING.index("José"), "normal form"),
    ],
)
def test_an_answer_is_found_where_its_start_is_a_little_off(answer: str, start: int, repair: str) -> None:
    found = place_of(GREETING, answer, start)
    assert found is not None
    assert found.repair == repair
    said = unicodedata.normalize("NFC", " ".join(answer.split())).casefold()
    assert " ".join(GREETING[found.start : found.end].split()).casefold() == said


def test_the_nearest_place_is_taken_and_none_where_there_is_none() -> None:
    assert place_of(GREETING, "Rome", None) == Place(GREETING.index("Rome"), GREETING.index("Rome") + 4)
    near = GREETING.rindex("Rome")
    assert place_of(GREETING, "Rome", near + 2) == Place(near, near + 4, "elsewhere")
    decomposed = unicodedata.normalize("NFD", GREETING)
    found = place_of(decomposed, "José", None)
    assert found is not None
    assert unicodedata.normalize("NFC", decomposed[found.start : found.end]) == "José"
    assert place_of(GREETING, "Oslo", 3) is None
    assert place_of(GREETING, " ", 3) is None


def test_words_keep_their_combining_marks_and_sentences_end() -> None:
    text = unicodedata.normalize("NFD", "José là.") + ' 🙂 "So?" He left. ok then'
    words = [text[start:end] for start, end in text_words(text)]
    assert [unicodedata.normalize("NFC", word) for word in words[:3]] == ["José", "là", "."]
    passage = passage_of("One is. Two, e.g. three, is! Four\nfive")
    assert passage.sentences.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3]
    assert len(passage_of("").words) == 0
