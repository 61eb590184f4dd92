"""Where in a text an answer stands, also where the data's offsets are a little off."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Place", "place_of", "words_of_place"]


class Place(NamedTuple):
    """Characters start … end - 1 of a text.

    repair: what was wrong with the start that the data gives: `white space`, `bytes` or `UTF-16 units` (what it counts
        instead of characters), `case`, `normal form`, `elsewhere` (the answer stands nowhere near it); empty: nothing.
    """

    start: int
    end: int
    repair: str = ""


def place_of(text: str, answer: str, start: int | None) -> Place | None:
    """Where an answer stands in a text, or None where it does not.

    The text that stands there may differ from the answer in white space, in case or in its Unicode normal form.

    Args:
        start: the character where the data says that it begins; of several places the nearest one is taken, and
            without it the first.
    """
    answer = answer.strip()
    if not answer:
        return None
    if start is None:
        found = _nearest(text, answer, 0)
        return None if found is None else Place(*found[:2], found[2])
    if text.startswith(answer, start):
        return Place(start, start + len(answer))
    for unit, own in (("bytes", _of_bytes(text, start)), ("UTF-16 units", _of_units(text, start))):
        if own not in (None, start) and text.startswith(answer, own):
            return Place(own, own + len(answer), unit)
    found = _nearest(text, answer, start)
    if found is None:
        return None
    first, end, how = found
    between = text[min(first, start) : max(first, start)]
    near = "white space" if not between.strip() else "elsewhere"
    return Place(first, end, how or near)


def words_of_place(place: Place, words: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The first and the last of the words that a place has a part of; None where it has none of any.

    Args:
        words: of the text, the characters start … end - 1 of each.
    """
    first = bisect_right(words, place.start, key=lambda word: word[1])
    last = bisect_left(words, place.end, key=lambda word: word[0]) - 1
    return (first, last) if first <= last else None


def _nearest(text: str, answer: str, start: int) -> tuple[int, int, str] | None:
    """The nearest occurrence: as it is, else with other white space, case or normal form."""
    loose = r"\s+".join(map(re.escape, answer.split()))
    for pattern, flags, how in (
        (re.escape(answer), 0, ""),
        (loose, 0, "white space"),
        (loose, re.IGNORECASE, "case"),
    ):
        matches = re.finditer(pattern, text, flags)
        best = min(matches, key=lambda match: abs(match.start() - start), default=None)
        if best is not None:
            return best.start(), best.end(), how
    composed, places = _composed(text)
    wanted = unicodedata.normalize("NFC", answer)
    if (composed, wanted) == (text, answer):
        return None
    matches = re.finditer(re.escape(wanted), composed)
    best = min(matches, key=lambda match: abs(places[match.start()] - start), default=None)
    return None if best is None else (places[best.start()], places[best.end()], "normal form")


def _composed(text: str) -> tuple[str, list[int]]:
    """The text in NFC, and of each of its characters (and of its end) the place in the text."""
    parts: list[str] = []
    places: list[int] = []
    begin = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and unicodedata.combining(text[end]):
            continue
        part = unicodedata.normalize("NFC", text[begin:end])
        parts.append(part)
        places += [begin] * len(part)
        begin = end
    return "".join(parts), [*places, len(text)]


def _of_bytes(text: str, start: int) -> int | None:
    """The character that begins at a byte of the text in UTF-8."""
    return _of_encoded(text, "utf-8", start)


def _of_units(text: str, start: int) -> int | None:
    """The character that begins at a unit of the text in UTF-16, which JavaScript counts."""
    return _of_encoded(text, "utf-16-le", 2 * start)


def _of_encoded(text: str, encoding: str, start: int) -> int | None:
    if text.isascii():
        return None
    try:
        return len(text.encode(encoding)[:start].decode(encoding))
    except UnicodeDecodeError:
        return None
