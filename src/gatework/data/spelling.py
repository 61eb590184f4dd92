"""A text in known characters: numbers and signs are spelled out, what is not spoken is left out, the rest refused.

A synthesizer can say only what was written in its training texts. Characters of these stay as they are; each other one
is replaced by what is read in its place, if that can be written, and is otherwise named in an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from ..errors import InputError

__all__ = ["number_words", "spelled"]

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THOUSANDS = ("", "thousand", "million", "billion", "trillion")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_SIGNS = {"&": "and", "%": "percent", "@": "at", "+": "plus", "=": "equals", "#": "number", "°": "degrees"}
_MONEY = {"$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds")}
_NUMBER = re.compile(
    r"(?P<minus>(?<![\w.])[-−])?(?P<money>[$€£])?(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
    r"(?:(?P<part>\.[0-9]+)|(?P<ordinal>st|nd|rd|th)\b)?(?P<paid>[$€£])?"
)
# What is read as another character, or as several.
_ALIKE = {
    "’": "'", "‘": "'", "´": "'", "`": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "…": "...",
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
    "Æ": "Ae", "Œ": "Oe", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "Th",
}  # fmt: skip
# Pauses, by what stands for them where they are not known themselves.
_PAUSES = {";": ",", ":": ",", "–": ",", "—": ",", "!": ".", "?": "."}
_SHOWN = 10


def spelled(text: str, alphabet: Collection[str], *, english: bool = True, where: str = "text") -> str:
    """A text in characters of an alphabet, with single spaces.

    Numbers, ordinals, amounts of money and signs are written in words; letters lose their case or their accents, and
    quotation marks and dashes their form, where the alphabet lacks them; punctuation that it lacks becomes a comma or a
    full stop, or is left out.

    Args:
        text: any.
        alphabet: characters. A space is always known.
        english: whether numbers and signs are spelled, in English; otherwise they are refused.
        where: the text, for messages.

    Raises:
        InputError: a character that is not in the alphabet and that nothing can stand for; all are named.
    """
    known = frozenset(alphabet) | {" "}
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if known.issuperset(text):
        return text
    if english:
        text = _with_words(text, known)
    pieces = {character: _piece(character, known) for character in set(text)}
    unknown = sorted({character for character, piece in pieces.items() if piece is None}, key=text.index)
    if unknown:
        named = ", ".join(
            f"{each!r} ({unicodedata.name(each, 'without a name')})" for each in unknown[:_SHOWN]
        )
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        what = f"has characters that are not in the alphabet: {named}{more}"
        raise InputError(where, what, f"Write them in others: {''.join(sorted(known - {' '})):.60}")
    return " ".join("".join(pieces[character] or "" for character in text).split())


def number_words(digits: str) -> str:
    """A whole number in English words; one that begins with 0 or has more than 15 digits is read digit by digit.

    Raises:
        ValueError: `digits` are no digits.
    """
    if not re.fullmatch("[0-9]+", digits):
        raise ValueError(f"{digits!r} is no whole number")
    if len(digits) > 3 * len(_THOUSANDS) or (digits[0] == "0" and len(digits) > 1):
        return _one_by_one(digits)
    number = int(digits)
    if number < 1000:
        return _below_thousand(number)
    parts = []
    for power in range(len(_THOUSANDS) - 1, -1, -1):
        group = number // 1000**power % 1000
        if group:
            parts.append(f"{_below_thousand(group)} {_THOUSANDS[power]}".strip())
    return " ".join(parts)


def _below_thousand(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        ten, one = divmod(number, 10)
        return _TENS[ten - 2] + (f"-{_ONES[one]}" if one else "")
    hundred, rest = divmod(number, 100)
    return f"{_ONES[hundred]} hundred" + (f" {_below_thousand(rest)}" if rest else "")


def _one_by_one(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _with_words(text: str, known: frozenset[str]) -> str:
    """The text with words for numbers and signs, unless the alphabet has what they are written in."""
    if not known.issuperset("0123456789"):
        text = _NUMBER.sub(lambda match: _apart(match, _words_of_number(match)), text)
    for sign, word in _SIGNS.items():
        if sign not in known:
            text = re.sub(re.escape(sign), lambda match, word=word: _apart(match, word), text)  # type: ignore[misc]
    return text


def _apart(match: re.Match[str], words: str) -> str:
    """Words in the place of a match, with spaces to letters, digits and signs beside it."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    begin, end = (" " if each.isalnum() or each in _SIGNS else "" for each in (before, after))
    return f"{begin if before else ''}{words}{end if after else ''}"


def _words_of_number(match: re.Match[str]) -> str:
    whole, part = match["whole"].replace(",", ""), match["part"]
    words = number_words(whole)
    if part:
        words += f" point {_one_by_one(part[1:])}"
    elif match["ordinal"]:
        words = _ordinal(words)
    money = match["money"] or match["paid"]
    if money:
        words += f" {_MONEY[money][whole != '1' or part is not None]}"
    return f"minus {words}" if match["minus"] else words


def _ordinal(words: str) -> str:
    begin, last = re.fullmatch(r"(.*?)([a-z]+)", words).groups()  # type: ignore[union-attr]  # words end so
    if last in _ORDINALS:
        return begin + _ORDINALS[last]
    return begin + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def _piece(character: str, known: frozenset[str]) -> str | None:
    """What is read in the place of a character; None where nothing can be."""
    for form in _forms(character):
        if known.issuperset(form):
            return form
    if unicodedata.category(character)[0] in "PZ" or character in _ALIKE:
        return " "
    return None


def _forms(character: str) -> Iterator[str]:
    """What may stand for a character, the nearest first."""
    forms = [character, *([_ALIKE[character]] if character in _ALIKE else []), _without_marks(character)]
    yield from forms
    yield from (form.lower() for form in forms)
    yield from (form.upper() for form in forms)
    yield from (_PAUSES[form] for form in forms if form in _PAUSES)


def _without_marks(character: str) -> str:
    """A character without its accents, and a ligature or another form as what it is made of."""
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if not unicodedata.combining(part))
