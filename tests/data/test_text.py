"""Running text: the same from files and tables, and chunks that never change what a tokenizer makes of it."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatework.data import read_texts
from gatework.data import text as text_module
from gatework.data.text import chunks_of_text
from gatework.errors import InputError


def test_a_text_file_comes_as_it_is(tmp_path: Path) -> None:
    text = "  first\n\n\tsecond line\nno end"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.tokens.gz").write_bytes(gzip.compress(text.encode()))
    assert "".join(read_texts(tmp_path / "a.txt")) == text
    assert "".join(read_texts([str(tmp_path / "a.txt"), tmp_path / "b.tokens.gz"])) == text * 2


def test_documents_of_a_table_end_their_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"review": "one"}\n{"review": "two\\n"}\n{"review": ""}', encoding="utf-8"
    )
    expected = ["one\n", "two\n", "\n"]
    assert list(read_texts(tmp_path / "a.jsonl", column="review")) == expected
    rows = [{"review": "one"}, {"review": "two\n"}, {"review": ""}]
    assert list(read_texts(rows, column="review")) == expected
    assert list(read_texts(pandas.DataFrame(rows), column="review")) == expected


def test_strings_that_are_no_list_are_one_text() -> None:
    assert list(read_texts(iter(["to be", " or not\n"]))) == ["to be", " or not\n"]


def test_a_list_of_strings_is_a_document_each() -> None:
    assert list(read_texts(["The cat sat.", "It sat\n"])) == ["The cat sat.\n", "It sat\n"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": None}, "data, row 2: the text is missing (null). Fill it in, or take the row out"),
        ({"text": [7]}, "data, row 2: the text is list [7]. Give text in this column"),
        ({"text": 7.5}, "data, row 2: the text is float 7.5. Read the column as text"),
        ({"text": True}, "data, row 2: the text is bool True. Give text in this column"),
        (
            {"text": "a\ud800"},
            "data, row 2: character 1 of the text is half of a surrogate pair ('\\ud800'). Write",
        ),
        (
            {"txt": "a"},
            "data, row 2: has no column 'text' (or map another: columns={'text': 'COLUMN'}). Did you mean 'txt'?",
        ),
    ],
)
def test_faults_name_the_row(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_texts([{"text": "a"}, row]))
    assert str(caught.value).startswith(message)


def test_half_a_surrogate_pair_in_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "\udc00"}), encoding="utf-8")
    with pytest.raises(InputError, match="line 1: character 0 of the text is half of a surrogate pair"):
        list(read_texts(path))


def test_a_null_in_a_frame() -> None:
    with pytest.raises(InputError, match="the DataFrame, row 2: the text is missing"):
        list(read_texts(pandas.DataFrame({"text": ["a", None]})))


def test_plain_text_has_no_other_column(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    with pytest.raises(InputError, match="is plain text, without a column 'review'"):
        read_texts(tmp_path / "a.txt", column="review")


def test_missing_files_are_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.txt: no such file"):
        read_texts(tmp_path / "b.txt")


@given(
    texts=st.lists(st.text("ab \n", max_size=40), max_size=30),
    characters=st.integers(1, 30),
    longest=st.integers(30, 60),
)
def test_chunks_are_the_text_cut_where_nothing_joins(texts: list[str], characters: int, longest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "LONGEST_LINE_BYTES", longest)
        cut = list(chunks_of_text(texts, characters))
    assert "".join(cut) == "".join(texts)
    assert all(cut)
    for left, right in pairwise(cut):
        between_words = not left[-1].isspace() and right[0] == " " and right[1:2].strip()
        assert left.endswith("\n") or between_words or len(left) >= longest
    for piece in cut:
        assert len(piece) < longest + 40 + characters or "\n" not in piece[:-1]


def test_chunks_do_not_wait_for_the_end() -> None:
    def endless() -> Any:
        while True:
            yield "a line\n" * 10

    stream = chunks_of_text(endless(), 100)
    assert [len(next(stream)) for _ in range(3)] == [105, 105, 105]


def test_a_text_without_line_ends_is_cut_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "LONGEST_LINE_BYTES", 100)
    cut = list(chunks_of_text(["some words "] * 50, 10))
    assert len(cut) > 4
    assert all(piece.startswith(" ") for piece in cut[1:])
