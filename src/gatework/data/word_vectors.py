"""Vectors of words from a file: word2vec's and fastText's text formats, a word and its numbers a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .files import read_lines

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["read_word_vectors"]


def read_word_vectors(
    path: Path, words: Sequence[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The vectors of some words, from a file whose lines are a word and its numbers with spaces between; a first line
    of the number of words and the width may stand before them. Plain or gzip, read a block at a time; only the vectors
    of these words are kept.

    A word that the file lacks gets the vector of its lower-case form, where the file has that.

    Args:
        words: V of them.

    Returns:
        (V, width) float32, zeros for a word without a vector, and (V,) whether a word has one.

    Raises:
        InputError: the file is no such file, a line has another width than the first, a wanted word stands there twice,
            or its vector is not of finite numbers; each with its line.
    """
    if path.suffix == ".bin":
        what = "is in the binary format of word2vec or fastText"
        raise InputError(str(path), what, "Give the vectors as text (.vec): a word and its numbers a line")
    wanted = {form for word in words for form in (word, word.lower())}
    found: dict[str, npt.NDArray[np.float32]] = {}
    lines: dict[str, int] = {}
    size = 0
    for number, word, numbers, width in _word_lines(path):
        size = width
        if word not in wanted:
            continue
        where = f"{path}, line {number}"
        if word in lines:
            what = f"has the word {word!r:.40} of line {lines[word]} again"
            raise InputError(where, what, "Take one of them out")
        found[word], lines[word] = _vector(where, word, numbers), number
    forms = [next((form for form in (word, word.lower()) if form in found), None) for word in words]
    vectors = np.zeros((len(words), size), np.float32)
    for row, form in enumerate(forms):
        if form is not None:
            vectors[row] = found[form]
    return vectors, np.array([form is not None for form in forms], np.bool_)


def _word_lines(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Of each vector its line's number, its word, its numbers as text, and the file's width."""
    promised: int | None = None
    count = width = 0
    for number, line in read_lines(path):
        if number == 1 and re.fullmatch(r"\d+ \d+ *", line):
            promised, width = map(int, line.split())
            continue
        where = f"{path}, line {number}"
        line = line.rstrip(" ")
        spaces = line.count(" ")
        width = width or spaces
        # Only a space parts numbers: words may hold any other white space, and those of some files a space too.
        word = line[: line.find(" ")] if spaces == width else line.rsplit(" ", width)[0]
        if spaces < max(width, 1) or (" " in word and _is_number(word.rsplit(" ", 1)[1])):
            what = f"has {spaces} numbers where the first vector has {width}"
            fix = "Give a word and its numbers a line, with spaces between; or fetch the file again"
            raise InputError(where, what, fix)
        count += 1
        yield number, word, line[len(word) + 1 :], width
    if promised is not None and promised != count:
        what = f"has {count:,} vectors where its first line says {promised:,}"
        raise InputError(str(path), what, "Fetch the file again: it is cut short, or its first line is wrong")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _vector(where: str, word: str, numbers: str) -> npt.NDArray[np.float32]:
    try:
        vector = np.array(numbers.split(" "), np.float64)
    except ValueError as error:
        what = f"the vector of {word!r:.40} holds something that is not a number ({error})"
        raise InputError(where, what, "Mend that line, or fetch the file again") from error
    if not (np.abs(vector) <= np.finfo(np.float32).max).all():
        what = f"the vector of {word!r:.40} holds NaN or an infinite number"
        raise InputError(where, what, "Mend that line, or take it out")
    return vector.astype(np.float32)
