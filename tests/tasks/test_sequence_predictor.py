"""Alignments and copied words name the right tokens of the source text, whatever its line ends and letters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from gatework.data import Tokenizer
from gatework.tasks.encoder_decoder.predictor import SequencePredictor
from gatework.tasks.encoder_decoder.vocabulary import Vocabulary
from gatework.tasks.translator import TranslationSettings

CONVERSATION = "> a b\n< c\n> d"  # 9 tokens, of which the line ends are two


class State(NamedTuple):
    alignment: Tensor


class Looking:
    """A network that writes given tokens and attends at each to one given token of the source."""

    attends = True
    target_embedding = SimpleNamespace(weight=torch.zeros(1))

    def __init__(self, outputs: list[int], looks: list[int], vocabulary: int) -> None:
        self.outputs, self.looks, self.vocabulary = outputs, looks, vocabulary

    def start(self, source: Tensor, lengths: Tensor) -> State:
        self.length, self.count = len(source), 0
        return State(torch.zeros(1, self.length))

    def step_with_alignment(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        log_probs = torch.full((1, self.vocabulary), -10.0)
        log_probs[0, self.outputs[self.count]] = 0.0
        weights = torch.full((1, self.length), 0.01)
        weights[0, self.looks[self.count]] = 0.9
        self.count += 1
        return log_probs, State(weights)

    def best(self, tokens: Tensor, state: State, count: int, forbidden: Any, *, aligned: bool) -> Any:
        log_probs, state = self.step_with_alignment(tokens, state)
        return *log_probs.topk(count, dim=1), state

    def reorder(self, state: State, index: Tensor) -> State:
        return state


def answer(tokenizer: Tokenizer, text: str, outputs: list[int | None], looks: list[int]) -> dict[str, Any]:
    """The record of a text; None among the outputs is the unknown token, the end follows the last."""
    side = Vocabulary(tokenizer)
    tokens = [tokenizer.unknown_id if id is None else id for id in outputs] + [side.boundary]
    network: Any = Looking(tokens, [*looks, 0], side.size)
    settings = TranslationSettings(beam=1, alignment=True, replace_unknown=True)
    return records(SequencePredictor((network,), (side, side), longest_seen=100), [text], settings)[0]


def records(
    predictor: SequencePredictor, texts: list[str], settings: TranslationSettings
) -> list[dict[str, Any]]:
    """The record of each text, searched alone."""
    rows = [predictor.encode(text) for text in texts]
    found = [
        predictor.search(
            torch.as_tensor(row["source"])[:, None].long(), torch.tensor([len(row["source"])]), settings
        )
        for row in rows
    ]
    return [
        predictor.record(one, row, text, settings)
        for (one,), row, text in zip(found, rows, texts, strict=True)
    ]


@pytest.mark.parametrize("place", range(9))
def test_an_unknown_word_is_copied_from_the_token_with_the_most_weight(place: int) -> None:
    tokenizer = Tokenizer.train("word", ["> < a\n"])
    record = answer(tokenizer, CONVERSATION, [tokenizer.id("a"), None, tokenizer.id("a")], [0, place, 0])
    words = [">", "a", "b", "\n", "<", "c", "\n", ">", "d"]
    assert record["alignment"]["source"] == [*words, "</s>"]
    assert max(record["alignment"]["weights"][1]) == record["alignment"]["weights"][1][place]
    if words[place] == "\n":  # never copied: then any word, but a word
        assert record["output"].split()[1] in words
    else:
        assert record["output"] == f"a {words[place]} a"


def test_a_letter_that_grows_in_lower_case_moves_no_word() -> None:
    words = Tokenizer.train("word", ["x y\n"], lowercase=True)
    record = answer(words, "İİ Paris x", [None, None], [1, 0])
    assert record["output"] == "Paris İİ"
    characters = Tokenizer.train("character", ["xyi"], lowercase=True)
    record = answer(characters, "İQz", [None, characters.id("x"), None], [2, 0, 3])
    assert record["alignment"]["source"] == ["İ", "İ", "Q", "z", "</s>"]
    assert record["output"] == "Qxz"


def test_a_line_end_stays_one_where_a_word_is_copied() -> None:
    tokenizer = Tokenizer.train("word", ["a b\n"])
    outputs = [tokenizer.id("a"), tokenizer.id("<eos>"), None]
    assert answer(tokenizer, "a 4711", outputs, [0, 0, 1])["output"] == "a\n4711"


def test_a_source_that_is_cut_keeps_the_boundary_last() -> None:
    tokenizer = Tokenizer.train("word", ["a b\n"])
    record = answer(tokenizer, "a " * 2500, [tokenizer.id("a")], [1999])
    assert record["alignment"]["source"][-2:] == ["a", "</s>"]
    assert len(record["alignment"]["source"]) == len(record["alignment"]["weights"][0]) == 2000
    assert "the source has 2,501 tokens; the first 1,999 are translated" in record["warnings"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_source_without_text_is_answered_with_nothing(temperature: float) -> None:
    tokenizer = Tokenizer.train("word", ["a b\n"])
    side = Vocabulary(tokenizer)
    network: Any = Looking([tokenizer.id("a"), side.boundary], [0, 0], side.size)
    settings = TranslationSettings(beam=1, temperature=temperature)
    predictor = SequencePredictor((network,), (side, side), longest_seen=9)
    (spoken,) = records(predictor, ["a"], settings)
    blank, tabs = (predictor.record([], predictor.encode(text), text, settings) for text in ("", "\t \n"))
    for record in (blank, tabs):
        assert record["output"] == ""
        assert record["log_probability"] == 0.0
        assert "the source is empty" in record["warnings"]
    assert spoken["output"] == "a"
