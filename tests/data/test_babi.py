"""Stories of bAbI: each question with the facts before it, and each fault with its place."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from gatework.data.babi import is_babi, read_babi
from gatework.errors import InputError

STORIES = """1 Mary moved to the hall.
2 Where is Mary? \thall\t1
3 Mary took the milk.

4 What is Mary carrying?\tmilk,apple\t3
1 John left.
2 Is John here?\tno
"""


def written(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["stories.txt", "stories.txt.gz"])
def test_a_question_has_the_facts_of_its_story_that_stand_before_it(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, STORIES)
    assert is_babi(path)
    first, second, third = read_babi(path)
    assert first[1:] == (["Mary moved to the hall."], "Where is Mary?", "hall", f"{path}, story 1")
    assert second.facts == ["Mary moved to the hall.", "Mary took the milk."]
    assert (second.where, second.answer, second.story) == (f"{path}, line 5", "milk,apple", first.story)
    assert third[1:] == (["John left."], "Is John here?", "no", f"{path}, story 2")
    assert first.facts == ["Mary moved to the hall."]  # which later facts do not reach


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("2 A fact.\n", 1, "begins with '2' and not with its number, 1"),
        ("1 A fact.\n3 Another.\n", 2, "begins with '3' and not with its number, 2, or 1"),
        ("1 A fact.\nWhy?\tso\t1\n", 2, "begins with 'Why?\\tso\\t1' and not with its number"),
        ("1 A fact.\n2 \n", 2, "holds its number alone"),
        ("1 A fact.\n2 Why?\t\t1\n", 2, "is a question without an answer"),
        ("1 Why?\tso\n", 1, "is a question before the first fact"),
        ("1 A fact.\n1 Why?\tso\n", 2, "is a question before the first fact"),
        ("1 A fact.\n2 Another.\n", None, "holds facts and no question"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, text: str, line: int | None, what: str) -> None:
    path = written(tmp_path / "stories.txt", text)
    with pytest.raises(InputError) as caught:
        list(read_babi(path))
    assert caught.value.where == (str(path) if line is None else f"{path}, line {line}")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "text", ["one\ttwo\n", "1\ta\tb\n", "A sentence. 1 more.\n", "1 Why?\tso\n", "12 a\n"]
)
def test_other_text_is_no_story(tmp_path: Path, text: str) -> None:
    assert not is_babi(written(tmp_path / "other.txt", text))


def test_every_file_of_the_1k_set_has_its_thousand_questions(shared_data: Callable[[str], Path]) -> None:
    files = sorted(shared_data("machine_comprehension/babi_en_1k").glob("qa*.txt.gz"))
    assert len(files) == 20
    for file in files:
        assert sum(1 for _ in read_babi(file)) == 1000, file
