"""Tokenizers: round trips on any text, published counts, files that another library opens, damaged ones
refused.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gatework.data import Tokenizer, read_texts
from gatework.data.text import chunks_of_text
from gatework.errors import InputError

TEXT = (
    "The cell carries a state, and the gate decides what the state forgets.\n"
    "  Ein Ärgernis: der Größe nach, ΑΒΓΣ ΣΟΦΟΣ, İstanbul — 𝄞 e\u0301\n\n\ttabs\tand  spaces \n"
    "the the the gate's state\n"
    "\n\n\n\n  \n\n\n\n  \n\n\n\n"  # a pair that training would merge, if it could
) * 3
# What bytes, words and characters each have trouble with, beside any other character.
ANY_TEXT = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
        st.sampled_from(
            ["\n", "\n\n", "\r\n", " ", "\x1c", "\x85", "\u2028", "\u3000", "the", "<unk>", "<eos>", "𝄞"]
        ),
    ),
    max_size=20,
).map("".join)
KINDS = ["character", "word", "bpe"]


@cache
def trained(kind: str, lowercase: bool = False) -> Tokenizer:
    return Tokenizer.train(kind, [TEXT], vocabulary_size=300 if kind == "bpe" else None, lowercase=lowercase)


@cache
def knows(character: str) -> bool:
    return character in TEXT


@given(ANY_TEXT)
def test_byte_pairs_lose_nothing(text: str) -> None:
    tokenizer = trained("bpe")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.unknown_id is None


@given(ANY_TEXT)
def test_characters_are_one_token_each(text: str) -> None:
    tokenizer = trained("character")
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == "".join(c if knows(c) else "\ufffd" for c in text)


@given(ANY_TEXT)
def test_words_are_what_stands_between_whitespace(text: str) -> None:
    tokenizer = trained("word")
    ids = tokenizer.encode(text)
    known = set(TEXT.split()) | {"<eos>"}
    lines = [line.split() for line in text.split("\n")]
    words = [word for line in lines[:-1] for word in [*line, "<eos>"]] + lines[-1]
    assert [tokenizer.token(id) for id in ids] == [word if word in known else "<unk>" for word in words]


def test_words_decode_with_spaces_and_line_ends() -> None:
    tokenizer = trained("word")
    assert tokenizer.decode(tokenizer.encode("the   gate\n\n state never\n")) == "the gate\n\nstate <unk>\n"


@pytest.mark.parametrize("kind", KINDS)
@given(text=ANY_TEXT, cut=st.integers(0, 100))
def test_incremental_decoder_equals_decode(kind: str, text: str, cut: int) -> None:
    tokenizer = trained(kind)
    ids = tokenizer.encode(text)
    detokenizer = tokenizer.detokenizer()
    printed = "".join(detokenizer.push(id) for id in ids) + detokenizer.finish()
    assert printed == tokenizer.decode(ids)
    # A detokenizer that goes on from a history prints what follows it.
    detokenizer = tokenizer.detokenizer(history=ids[:cut])
    rest = "".join(detokenizer.push(id) for id in ids[cut:]) + detokenizer.finish()
    first = tokenizer.detokenizer()
    assert "".join(first.push(id) for id in ids[:cut]) + rest == printed


def test_a_decoder_holds_back_an_unfinished_character() -> None:
    tokenizer = trained("bpe")
    ids = tokenizer.encode("鷗")  # three bytes, in no merge
    assert len(ids) == 3
    detokenizer = tokenizer.detokenizer()
    assert [detokenizer.push(id) for id in ids[:2]] == ["", ""]
    assert detokenizer.push(ids[2]) == "鷗"
    detokenizer.push(ids[0])
    assert detokenizer.finish() == "\ufffd"


# What makes ids and characters of a text part: several code points a letter, several bytes a code point, case.
NASTY_TEXT = st.lists(
    st.one_of(
        ANY_TEXT,
        st.sampled_from(
            [
                "İ",
                "İstanbul",
                "ΣΑΣ",
                "ß",
                "ǅ",
                "e\u0301",
                "\u0307",
                "\u200b",
                "\u200d",
                "\ufeff",
                "\t",
                "\r",
                "\v",
            ]
        ),
        st.sampled_from(["👩‍👩‍👧", "🇹🇷", "鷗", "> a b\n< c\n> d", " İ\nI i̇ ", "\x00", "\xa0", "\u2029"]),
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(text=NASTY_TEXT)
def test_every_id_has_the_span_of_its_text(kind: str, lowercase: bool, text: str) -> None:
    tokenizer = trained(kind, lowercase)
    ids, spans = tokenizer.encode_with_spans(text)
    assert ids == tokenizer.encode(text)
    assert len(spans) == len(ids)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(spans))
    # No visible character is left out, and outside a character that has several tokens none is named twice.
    named = Counter(index for start, end in spans for index in range(start, end))
    assert all(named[index] for index, c in enumerate(text) if not c.isspace() or kind != "word")
    if kind == "word":
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    for id, (start, end) in zip(ids, spans, strict=True):
        piece, token = text[start:end], tokenizer.token(id)
        if kind == "word":
            assert piece == "\n" or not set(piece) & set("\n ")
            assert tokenizer.encode(piece) == [id]
        elif kind == "character":
            assert end - start == 1
            assert id in tokenizer.encode(piece)
        else:
            lower = "".join(c.replace("Σ", "σ").lower() for c in piece) if lowercase else piece
            assert token.strip("\ufffd") in lower


def test_the_spans_of_a_conversation_and_of_a_letter_that_grows() -> None:
    text = "> a b\n< c\n> d"
    ids, spans = trained("word").encode_with_spans(text)
    assert len(ids) == 9
    assert [text[start:end] for start, end in spans] == [">", "a", "b", "\n", "<", "c", "\n", ">", "d"]
    assert trained("character", True).encode_with_spans("İx").spans == [(0, 1), (0, 1), (1, 2)]
    assert trained("word", True).encode_with_spans("İİ x").spans == [(0, 2), (3, 4)]
    assert trained("bpe").encode_with_spans("a鷗").spans == [(0, 1), (1, 2), (1, 2), (1, 2)]


@pytest.mark.parametrize("kind", KINDS)
@given(text=ANY_TEXT, size=st.integers(1, 20))
def test_the_tokens_of_a_text_are_those_of_its_chunks(kind: str, text: str, size: int) -> None:
    tokenizer = trained(kind)
    assert [
        id for piece in chunks_of_text([text], size) for id in tokenizer.encode(piece)
    ] == tokenizer.encode(text)


@pytest.mark.parametrize("kind", KINDS)
def test_training_does_not_depend_on_the_blocks(kind: str) -> None:
    one = Tokenizer.train(kind, [TEXT], 280)
    many = Tokenizer.train(kind, iter([TEXT[begin : begin + 7] for begin in range(0, len(TEXT), 7)]), 280)
    assert one.to_json() == many.to_json()


@pytest.mark.parametrize("kind", KINDS)
def test_ids_fall_in_frequency(kind: str) -> None:
    tokenizer = trained(kind)
    counts = Counter(tokenizer.encode(TEXT))
    frequencies = [counts[id] for id in range(tokenizer.vocabulary_size)]
    assert frequencies == sorted(frequencies, reverse=True)
    assert frequencies[0] > frequencies[-1]


@pytest.mark.parametrize("kind", ["character", "word"])
def test_ties_are_in_the_order_of_the_tokens(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, ["d c b a a" if kind == "word" else "dcbaa"])
    tokens = [tokenizer.token(id) for id in range(tokenizer.vocabulary_size)]
    assert tokens == ["a", "b", "c", "d", *(["<eos>"] if kind == "word" else []), "<unk>"]


def test_what_is_left_out_counts_as_unknown() -> None:
    text = "a a a a b b b c c d\n"
    assert [Tokenizer.train("word", [text], 4).token(id) for id in range(4)] == ["a", "<unk>", "b", "<eos>"]
    rare = Tokenizer.train("word", [text], min_frequency=3)
    assert [rare.token(id) for id in range(rare.vocabulary_size)] == ["a", "<unk>", "b", "<eos>"]
    assert rare.encode("d a\n") == [rare.unknown_id, 0, rare.id("<eos>")]
    # The words <unk> and <eos> of the text are these entries.
    again = Tokenizer.train("word", ["<unk> <unk> a <eos>\n"])
    assert again.vocabulary_size == 3
    assert again.encode("<unk> <eos>\n") == [again.unknown_id, again.id("<eos>"), again.id("<eos>")]


@pytest.mark.parametrize("kind", KINDS)
def test_lower_case(kind: str) -> None:
    tokenizer = trained(kind, lowercase=True)
    assert tokenizer.encode("The GATE") == tokenizer.encode("the gate")
    assert "T" not in "".join(tokenizer.token(id) for id in range(tokenizer.vocabulary_size)) or kind == "bpe"
    assert Tokenizer.from_json(tokenizer.to_json()).lowercase
    assert trained(kind).encode("The") != trained(kind).encode("the")


def test_shown_tokens_of_byte_pairs_are_text() -> None:
    tokenizer = trained("bpe")
    shown = [tokenizer.token(id) for id in range(tokenizer.vocabulary_size)]
    assert " the" in shown
    assert "\n" in shown
    assert "\ufffd" in shown  # a lone byte


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_gives_the_same_tokenizer(kind: str, lowercase: bool) -> None:
    tokenizer = trained(kind, lowercase)
    again = Tokenizer.from_json(tokenizer.to_json())
    assert type(again) is type(tokenizer)
    assert again.encode(TEXT) == tokenizer.encode(TEXT)
    assert again.to_json() == tokenizer.to_json()
    assert again.vocabulary_size == tokenizer.vocabulary_size


@pytest.mark.parametrize("kind", KINDS)
@given(text=ANY_TEXT)
def test_the_library_opens_the_file_with_the_same_ids(kind: str, text: str) -> None:
    assert library(kind, False).encode(text).ids == trained(kind).encode(text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_library_opens_the_file_of_a_lower_case_one(kind: str) -> None:
    assert library(kind, True).encode(TEXT).ids == trained(kind, lowercase=True).encode(TEXT)


@cache
def library(kind: str, lowercase: bool) -> Any:
    return tokenizers.Tokenizer.from_str(trained(kind, lowercase).to_json())


def damaged(kind: str, change: Callable[[dict[str, Any]], object]) -> str:
    file = json.loads(trained(kind).to_json())
    change(file)
    return json.dumps(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        '{"model": {"vocab": [1, 2]}}',
        damaged("word", lambda file: file["model"]["vocab"].pop("the")),
        damaged("word", lambda file: file["model"].update(vocab={})),
        damaged("word", lambda file: file["model"].update(vocab={"a": 0, "<eos>": 1})),
        damaged("word", lambda file: file["model"].update(vocab={"<unk>": 0, "<eos>": 1.0})),
        damaged("word", lambda file: file["model"].update(vocab={"<unk>": "0", "<eos>": "1"})),
        damaged("word", lambda file: file["model"].update(type="Unigram")),
        damaged("word", lambda file: file["pre_tokenizer"]["pattern"].update(Regex="(a+)+$")),
        damaged("word", lambda file: file.pop("pre_tokenizer")),
        damaged("word", lambda file: file.update(normalizer=7)),
        damaged("character", lambda file: file["model"]["vocab"].update({"the": 0})),
        damaged("bpe", lambda file: file["model"]["merges"].append(["never", "seen"])),
        damaged("bpe", lambda file: file["model"]["merges"].append("one")),
        damaged("bpe", lambda file: file["model"].update(vocab={"a": 0}, merges=[])),
        damaged("bpe", lambda file: file["model"]["vocab"].update({"\u4e00": len(file["model"]["vocab"])})),
    ],
)
def test_a_damaged_file_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"^run/tokenizer\.json: is not a tokenizer that Gatework wrote \("
    ) as caught:
        Tokenizer.from_json(text, "run/tokenizer.json")
    assert "\n" not in str(caught.value)


def test_patterns_of_a_strangers_file_never_run() -> None:
    def plant(file: dict[str, Any]) -> None:
        file["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a|a)*$"}, "content": "evil"}

    with_pattern = Tokenizer.from_json(damaged("bpe", plant))
    assert with_pattern.encode("aaaa") == trained("bpe").encode("aaaa")


def test_byte_pairs_know_no_unknown_whatever_a_file_names() -> None:
    vocabulary_size = trained("bpe").vocabulary_size
    named = damaged("bpe", lambda file: file["model"]["vocab"].update({"<unk>": vocabulary_size}))
    tokenizer = Tokenizer.from_json(named)
    assert tokenizer.id("<unk>") == vocabulary_size
    assert tokenizer.unknown_id is None


def test_faults() -> None:
    with pytest.raises(InputError, match=r"unknown kind 'words'\. Did you mean 'word'\?"):
        Tokenizer.train("words", ["a"])  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"vocabulary_size is 255, too small for kind 'bpe'\. Give at least 256"
    ):
        Tokenizer.train("bpe", ["a"], 255)
    with pytest.raises(InputError, match=r"min_frequency is 0"):
        Tokenizer.train("word", ["a"], min_frequency=0)
    for kind in KINDS:
        with pytest.raises(InputError, match="there is no text to learn a vocabulary from"):
            Tokenizer.train(kind, [""])
        with pytest.raises(InputError, match=r"text: character 2 is half of a surrogate pair \('\\ud83d'\)"):
            trained(kind).encode("ab\ud83d")
        for id in (-1, trained(kind).vocabulary_size):
            with pytest.raises(IndexError):
                trained(kind).token(id)
            with pytest.raises(IndexError):
                trained(kind).decode([id])


@pytest.mark.parametrize("kind", KINDS)
def test_a_very_long_line(kind: str) -> None:
    line = "word " * 20_000
    ids = trained(kind).encode(line)
    assert len(ids) >= 20_000


def test_wikitext_2_has_its_published_counts(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("language_modelling/wikitext-2")
    tokenizer = Tokenizer.train("word", read_texts(folder / "train.txt.gz"))
    assert tokenizer.vocabulary_size == 33_278
    for name, tokens in (("train", 2_088_628), ("valid", 217_646), ("test", 245_569)):
        ids = [id for text in read_texts(folder / f"{name}.txt.gz") for id in tokenizer.encode(text)]
        assert len(ids) == tokens
        if name == "train":
            unknown = sum(text.split().count("<unk>") for text in read_texts(folder / "train.txt.gz"))
            assert ids.count(tokenizer.unknown_id) == unknown > 0
