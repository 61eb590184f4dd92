"""Tags that mark spans: BIO, BIOES and plain ones; from tags to spans and back, and what may follow what.

A tag is `O`, or a letter and a type, `B-city`: B begins a span, I continues it, E ends it, S is a span of one token (L
and U are read as E and S). Plain tags, such as parts of speech, are a type alone, and mark every token by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

__all__ = [
    "OUTSIDE",
    "Moves",
    "Scheme",
    "Span",
    "allowed_moves",
    "is_well_formed",
    "odd_tags",
    "scheme_of",
    "spans_of",
    "tags_of",
]

OUTSIDE = "O"
_LETTERS = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}

Scheme = Literal["BIO", "BIOES", "plain"]


class Span(NamedTuple):
    """Tokens start … end - 1, which are of a type together."""

    start: int
    end: int
    type: str


class Moves(NamedTuple):
    """What well-formed tags do, of K tags.

    after: (K, K), whether tag j may follow tag i; first, last: (K,), whether a sentence may begin, and end, with it.
    """

    after: np.ndarray
    first: np.ndarray
    last: np.ndarray


@lru_cache(maxsize=4096)
def _split(tag: str) -> tuple[str, str]:
    """The letter and the type of a tag; no letter for anything that is neither `O` nor a letter and a type."""
    letter, hyphen, kind = tag.partition("-")
    if tag == OUTSIDE:
        return OUTSIDE, ""
    return (_LETTERS[letter], kind) if hyphen and kind and letter in _LETTERS else ("", tag)


def odd_tags(tags: Iterable[str]) -> list[str]:
    """Of tags that are read as plain ones although some of them are a letter and a type: those that are not, sorted."""
    parts = {tag: _split(tag)[0] for tag in tags if tag != OUTSIDE}
    odd = sorted(tag for tag, letter in parts.items() if not letter)
    return odd if len(odd) < len(parts) else []


def scheme_of(tags: Iterable[str]) -> Scheme:
    """The scheme of a set of tags: BIOES where one of them ends a span, plain where one has no letter."""
    letters = {_split(tag)[0] for tag in tags}
    if "" in letters or letters <= {OUTSIDE}:
        return "plain"
    return "BIOES" if letters & {"E", "S"} else "BIO"


def spans_of(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """The spans of a sentence's tags, in order; malformed ones are read as conlleval reads them.

    A span begins at B or S, at any tag of another type than the one before, and at I or E where none is open; it ends
    at E or S, before O, before B or S, and before another type (Tjong Kim Sang & Buchholz 2000).
    """
    if scheme == "plain":
        return [Span(index, index + 1, tag) for index, tag in enumerate(tags) if tag != OUTSIDE]
    spans = []
    start, before, kind = -1, OUTSIDE, ""  # of the open span; its start is -1 where there is none
    for index, tag in enumerate((*tags, OUTSIDE)):
        letter, own = _split(tag)
        letter = letter or "I"
        if start >= 0 and (before in "ES" or letter in "BSO" or own != kind):
            spans.append(Span(start, index, kind))
            start = -1
        if start < 0 and letter != OUTSIDE:
            start, kind = index, own
        before = letter
    return spans


def tags_of(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """The tags of a sentence of `length` tokens whose spans these are; of spans that overlap the later ones."""
    tags = [OUTSIDE] * length
    for start, end, kind in spans:
        if scheme == "plain":
            tags[start:end] = [kind] * (end - start)
            continue
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
        if scheme == "BIOES":
            tags[end - 1] = f"{'S' if end - start == 1 else 'E'}-{kind}"
    return tags


def is_well_formed(tags: Sequence[str], scheme: Scheme) -> bool:
    """Whether each tag may stand where it does."""
    if scheme == "plain" or not tags:
        return True
    letters, final = [OUTSIDE, *(_split(tag)[0] for tag in tags)], _split(tags[-1])[0]
    kinds = ["", *(_split(tag)[1] for tag in tags)]
    moves = zip(letters, kinds, letters[1:], kinds[1:], strict=False)
    return all(_may_follow(*move, scheme) for move in moves) and (scheme == "BIO" or final not in "BI")


def _may_follow(letter: str, kind: str, after: str, own: str, scheme: Scheme) -> bool:
    """Whether the tag (after, own) may follow the tag (letter, kind)."""
    inside = letter in "BI" and own == kind and letter != ""
    if scheme == "BIO":
        return after != "I" or inside
    return inside == (after in "IE") and (inside or letter not in "BI")


def allowed_moves(tags: Sequence[str], scheme: Scheme) -> Moves:
    """The moves between these tags that leave a sentence well-formed; of plain tags all."""
    count = len(tags)
    if scheme == "plain":
        return Moves(np.ones((count, count), bool), np.ones(count, bool), np.ones(count, bool))
    parts = [_split(tag) for tag in tags]
    after = np.array([[_may_follow(*one, *other, scheme) for other in parts] for one in parts], bool)
    first = np.array([_may_follow(OUTSIDE, "", *part, scheme) for part in parts], bool)
    last = np.array([scheme == "BIO" or letter not in "BI" for letter, _ in parts], bool)
    return Moves(after.reshape(count, count), first, last)
