"""Dialogues as contexts and replies: who spoke, and turns without text."""

from __future__ import annotations

from gatework.data import context_text, read_dialogues


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
