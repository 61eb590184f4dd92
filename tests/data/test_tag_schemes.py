"""Tags and spans: golden cases, random ones against a slow reading of the definition, and what may follow what."""

from __future__ import annotations

import itertools
import random

import pytest

from gatework.data import Scheme, Span, allowed_moves, is_well_formed, odd_tags, scheme_of, spans_of, tags_of

GOLDEN: list[tuple[str, Scheme, list[tuple[int, int, str]]]] = [
    ("B-a I-a O B-b", "BIO", [(0, 2, "a"), (3, 4, "b")]),
    ("I-a I-a O I-b", "BIO", [(0, 2, "a"), (3, 4, "b")]),  # as IOB1 writes them
    ("B-a I-b I-b", "BIO", [(0, 1, "a"), (1, 3, "b")]),
    ("B-a B-a I-a", "BIO", [(0, 1, "a"), (1, 3, "a")]),
    ("B-a E-a S-b", "BIOES", [(0, 2, "a"), (2, 3, "b")]),
    ("B-a I-a O E-a", "BIOES", [(0, 2, "a"), (3, 4, "a")]),
    ("E-a E-a I-a S-a I-a", "BIOES", [(0, 1, "a"), (1, 2, "a"), (2, 3, "a"), (3, 4, "a"), (4, 5, "a")]),
    ("B-a L-a U-b", "BIOES", [(0, 2, "a"), (2, 3, "b")]),
    ("B-first-name I-first-name", "BIO", [(0, 2, "first-name")]),
    ("DET NOUN O", "plain", [(0, 1, "DET"), (1, 2, "NOUN")]),
    ("", "BIO", []),
]


@pytest.mark.parametrize(("tags", "scheme", "spans"), GOLDEN)
def test_spans_of_golden_sentences(tags: str, scheme: Scheme, spans: list[tuple[int, int, str]]) -> None:
    assert spans_of(tags.split(), scheme) == [Span(*span) for span in spans]


def slow_spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """conlleval's definition, asked of every stretch of tokens: it begins a span, no inner token does, and it ends."""

    def part(index: int) -> tuple[str, str]:
        if not 0 <= index < len(tags) or tags[index] == "O":
            return "O", ""
        letter, _, kind = tags[index].partition("-")
        return letter, kind

    def begins(index: int) -> bool:
        (before, other), (letter, kind) = part(index - 1), part(index)
        return letter != "O" and (letter in "BS" or before in "OES" or other != kind)

    def ends(index: int) -> bool:  # at the end of this token
        (letter, kind), (after, other) = part(index), part(index + 1)
        return letter != "O" and (letter in "ES" or after in "BSO" or other != kind)

    return {
        (start, end + 1, part(start)[1])
        for start in range(len(tags))
        for end in range(start, len(tags))
        if begins(start)
        and ends(end)
        and not any(begins(inner) for inner in range(start + 1, end + 1))
        and not any(ends(inner) for inner in range(start, end))
    }


@pytest.mark.parametrize(("scheme", "letters"), [("BIO", "BI"), ("BIOES", "BIES")])
def test_spans_are_those_of_the_definition_and_tags_are_made_back(scheme: Scheme, letters: str) -> None:
    chooser = random.Random(1)
    tags = ["O", *(f"{letter}-{kind}" for letter in letters for kind in "ab")]
    formed = 0
    for _ in range(3000):
        sentence = chooser.choices(tags, k=chooser.randrange(7))
        spans = spans_of(sentence, scheme)
        assert {*spans} == slow_spans(sentence)
        assert len({*spans}) == len(spans)
        again = tags_of(spans, len(sentence), scheme)
        assert is_well_formed(again, scheme)
        assert spans_of(again, scheme) == spans
        assert is_well_formed(sentence, scheme) == (again == sentence)
        formed += again == sentence
    assert 100 < formed < 2900


@pytest.mark.parametrize(("scheme", "letters"), [("BIO", "BI"), ("BIOES", "BIES"), ("plain", "")])
def test_allowed_moves_are_those_of_well_formed_sentences(scheme: Scheme, letters: str) -> None:
    tags = ["O", *(f"{letter}-{kind}" for letter in letters for kind in "ab")] if letters else ["x", "y"]
    moves = allowed_moves(tags, scheme)
    for sentence in itertools.product(range(len(tags)), repeat=3):
        allowed = moves.first[sentence[0]] and moves.last[sentence[-1]]
        allowed = allowed and all(moves.after[one, other] for one, other in itertools.pairwise(sentence))
        assert allowed == is_well_formed([tags[index] for index in sentence], scheme)
    assert allowed_moves([], scheme).after.shape == (0, 0)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O B-a I-a", "BIO"),
        ("O B-a S-a", "BIOES"),
        ("B-a U-a", "BIOES"),
        ("NOUN VERB", "plain"),
        ("O", "plain"),
        ("B-a NOUN", "plain"),
        ("-LRB- X-y", "plain"),
        ("", "plain"),
    ],
)
def test_the_scheme_follows_from_the_tags(tags: str, scheme: Scheme) -> None:
    assert scheme_of(tags.split()) == scheme


def test_tags_of_no_letter_are_odd_beside_others_alone() -> None:
    assert odd_tags(["O", "B-a", "x", "I-a", "NOUN"]) == ["NOUN", "x"]
    assert odd_tags(["O", "B-a", "I-a"]) == odd_tags(["O", "NOUN", "x"]) == odd_tags([]) == []
