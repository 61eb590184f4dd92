"""Texts in a known alphabet: by hand, by a reader of numbers that goes the other way, and what is refused by name."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatework.data.spelling import number_words, spelled
from gatework.errors import InputError

LETTERS = string.ascii_lowercase + "'"
SENTENCES = string.ascii_letters + "',.?-"


@pytest.mark.parametrize(
    ("text", "alphabet", "expected"),
    [
        ("Call me  Ishmael.\n", SENTENCES, "Call me Ishmael."),
        ("Call me Ishmael.", LETTERS, "call me ishmael"),
        ("call ME", string.ascii_uppercase, "CALL ME"),
        ("naïve café, ﬁne Straße, Ærø", SENTENCES, "naive cafe, fine Strasse, Aero"),
        ("STRASSE ß Æ", string.ascii_uppercase, "STRASSE SS AE"),
        ("Straße", LETTERS + "ß", "straße"),
        ("“Don’t” — he said… ¿why?", SENTENCES, "Don't - he said... why?"),
        ("well-known — twenty-first", "abcdefghijklmnopqrstuvwxyz,", "well known , twenty first"),
        ("wait; stop: now!", SENTENCES, "wait, stop, now."),
        ("wait; (stop) [now]!", LETTERS, "wait stop now"),
        ("e\u0301t\u0303e", LETTERS, "ete"),
        ("7 of 12", LETTERS, "seven of twelve"),
        ("7 of 12", LETTERS + "0123456789", "7 of 12"),
        (
            "On the 3rd and 21st, 1,234 men; 3.05 km",
            SENTENCES,
            (
                "On the third and twenty-first, one thousand two hundred thirty-four men, three point zero five km"
            ),
        ),
        (
            "5% of $20, £1 & 1.5€",
            LETTERS,
            "five percent of twenty dollars one pound and one point five euros",
        ),
        ("3km, A4, 007 and 1,2,3", LETTERS, "three km a four zero zero seven and one two three"),
        ("-5 and 3-4, at 10:30", SENTENCES, "minus five and three-four, at ten,thirty"),
        ("R&D+1=x@y", LETTERS, "r and d plus one equals x at y"),
        ("", LETTERS, ""),
        ("...", LETTERS, ""),
    ],
)
def test_what_is_read_in_the_place_of_a_character(text: str, alphabet: str, expected: str) -> None:
    found = spelled(text, alphabet)
    assert found == expected
    assert spelled(found, alphabet) == found
    assert set(found) <= {*alphabet, " "}


def test_what_nothing_can_stand_for_is_refused_by_name() -> None:
    with pytest.raises(InputError) as caught:
        spelled("a 漢 and ★, 漢", LETTERS, where="line 3")
    assert str(caught.value) == (
        "line 3: has characters that are not in the alphabet: '漢' (CJK UNIFIED IDEOGRAPH-6F22), '★' (BLACK STAR). "
        f"Write them in others: {''.join(sorted(LETTERS))}"
    )
    with pytest.raises(InputError, match=r"'7' \(DIGIT SEVEN\), '%' \(PERCENT SIGN\)|'7' \(DIGIT SEVEN\)"):
        spelled("7%", LETTERS, english=False)
    with pytest.raises(InputError, match=r"'α' \(GREEK SMALL LETTER ALPHA\).* and 2 more\. "):
        spelled("αβγδεζηθικλμ", LETTERS)
    with pytest.raises(InputError, match=r"\(without a name\)"):
        spelled("a\x00", LETTERS)


def number(words: str) -> int:
    """The number that English words say."""
    names = "zero,one,two,three,four,five,six,seven,eight,nine,ten,eleven,twelve,thirteen,fourteen,fifteen,sixteen"
    ones = {
        word: value for value, word in enumerate([*names.split(","), "seventeen", "eighteen", "nineteen"])
    }
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    ones |= {word: 10 * value for value, word in enumerate(tens, start=2)}
    powers = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
    total = group = 0
    for word in words.replace("-", " ").split():
        if word in powers:
            total, group = total + group * powers[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += ones[word]
    return total + group


@given(st.one_of(st.integers(0, 2000), st.integers(0, 10**15 - 1)))
def test_numbers_in_words_are_read_again(value: int) -> None:
    assert number(number_words(str(value))) == value


def test_numbers_that_are_read_digit_by_digit() -> None:
    assert number_words("007") == "zero zero seven"
    assert number_words("1" * 16) == " ".join(["one"] * 16)
    assert number_words("0") == "zero"
    for wrong in ("", "-1", "1.5", "٣"):
        with pytest.raises(ValueError, match="is no whole number"):
            number_words(wrong)


@given(st.text())
def test_any_text_is_spelled_or_refused(text: str) -> None:
    try:
        found = spelled(text, SENTENCES)
    except InputError as error:
        assert "not in the alphabet" in str(error)  # noqa: PT017
    else:
        assert set(found) <= {*SENTENCES, " "}
        assert spelled(found, SENTENCES) == found
