"""Dialogues as contexts and replies: who spoke, and turns without text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from gatework.data import context_text, read_dialogues
from gatework.errors import InputError


def test_a_turn_without_text_has_no_line_and_moves_no_speaker() -> None:
    assert context_text(["a", " \n", "c"], 5) == "> a\n> c"
    assert context_text(["", "b", "c"], 5) == "< b\n> c"
    assert context_text(["a", "b", "c"], 2) == "< b\n> c"


def test_nothing_said_is_nothing_to_reply_to() -> None:
    for turns in ([""], ["a", "b", "\t"], []):
        assert context_text(turns, 5) == ""
    rows = [{"turns": ["a", "", "c", "d"]}]
    exchanges = list(read_dialogues(rows, "turns", context=5, second_alone=False))
    contexts = [(context_text(each.turns, 5), each.reply) for each in exchanges]
    assert contexts == [("> a", ""), ("", "c"), ("> a\n> c", "d")]


def exchanges(
    rows: Any, *, second_alone: bool = False, column: str | None = None
) -> list[tuple[list[str], str]]:
    found = read_dialogues(rows, column, context=5, second_alone=second_alone)
    return [(each.turns, each.reply) for each in found]


OPENAI = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hello"},
    {"role": "user", "content": [{"type": "text", "text": "anybody?"}]},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "good"},
]
SHAREGPT = [
    {"from": "human", "value": "hello\nanybody?"},
    {"from": "gpt", "value": "yes"},
    {"from": "human", "value": "good"},
]
EXPECTED = [(["hello\nanybody?"], "yes"), (["hello\nanybody?", "yes"], "good")]


def test_messages_are_dialogues(tmp_path: Path) -> None:
    plain = [{**it, "content": "anybody?"} if isinstance(it["content"], list) else it for it in OPENAI]
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 3, "messages": OPENAI}) + "\n")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": plain}]), tmp_path / "a.parquet")
    columns = {"role": [it["role"] for it in plain], "content": [it["content"] for it in plain]}
    for data in (
        [{"messages": OPENAI}],
        [{"messages": columns}],  # as `datasets` gives it
        [{"conversations": SHAREGPT}],
        [{"turns": SHAREGPT}],
        tmp_path / "a.jsonl",
        tmp_path / "a.parquet",
        pandas.read_parquet(tmp_path / "a.parquet"),
        datasets.Dataset.from_list([{"messages": plain}]),
    ):
        assert exchanges(data) == EXPECTED
    assert exchanges([{"chat": OPENAI}], column="chat") == EXPECTED
    assert exchanges([{"messages": OPENAI}], second_alone=True) == EXPECTED[:1]


def test_the_assistant_is_the_second_speaker_even_where_it_begins() -> None:
    rows = [{"messages": OPENAI[3:] + OPENAI[3:4]}]
    assert exchanges(rows) == [(["yes"], "good"), (["yes", "good"], "yes")]
    assert exchanges(rows, second_alone=True) == [(["yes", "good"], "yes")]


def test_messages_of_the_system_are_left_out_and_said() -> None:
    said: list[str] = []
    rows = [{"messages": OPENAI}, {"messages": OPENAI}]
    list(read_dialogues(rows, None, context=1, second_alone=False, say=said.append))
    assert said == ["2 messages of the system are left out, the first at data, row 1, turn 1."]
    said.clear()
    list(read_dialogues([{"conversations": SHAREGPT}], None, context=1, second_alone=False, say=said.append))
    assert said == []


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "tool", "content": "x"}], "row 1, turn 1: is of 'tool', who is neither"),
        ([OPENAI[1], {"role": "user"}], r"turn 2: is no message: .*Give messages as"),
        ([OPENAI[1], "hello"], "turn 2: is no message"),
        ([{"role": "user", "content": None}], r"turn 1: the text is missing \(null\)"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"turn 1: the text is missing"),
        ([{"role": "user", "content": {"a": 1}}], "turn 1: the text is dict"),
        ([OPENAI[0], OPENAI[1]], "no dialogue with a reply"),
        ("hello", "the turns are str"),
        ([{"role": ["user"], "content": "a"}], r"turn 1: is of \['user'\], who is neither"),
        ({"role": ["user"], "content": []}, "a dict whose entries are no lists of one length"),
    ],
)
def test_what_is_no_dialogue_of_messages_is_named(messages: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        exchanges([{"messages": messages}])


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match=r"no column 'turns' .*Known: message"):
        exchanges([{"message": OPENAI}])
