"""Word vectors from text files: those of wanted words, and each fault with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from gatework.data import read_word_vectors
from gatework.errors import InputError

LINES = "the 1 2 3\nCat -0.5 1e-3 0\ncat 4 5 6\n\u00a0x 7 8 9\n. . 10 11 12\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["", "5 3\n"])
def test_the_vectors_of_wanted_words(tmp_path: Path, header: str) -> None:
    words = ["Cat", "dog", "The", "\u00a0x", ". .", "CAT"]
    path = written(tmp_path / "a.vec", header + LINES)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, tmp_path / "a.txt.gz"):
        vectors, has = read_word_vectors(file, words)
        assert has.tolist() == [True, False, True, True, True, True]
        assert vectors.dtype == np.float32
        expected = [[-0.5, 1e-3, 0], [0, 0, 0], [1, 2, 3], [7, 8, 9], [10, 11, 12], [4, 5, 6]]
        assert np.array_equal(vectors, np.array(expected, np.float32))
    none, has = read_word_vectors(path, ["dog"])
    assert none.shape == (1, 3)
    assert not has.any()


def test_the_ends_of_lines_may_have_a_space(tmp_path: Path) -> None:
    vectors, _ = read_word_vectors(written(tmp_path / "a", "2 2 \na 1 2 \nb 3 4 \n"), ["b", "a"])
    assert vectors.tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 1\n", "line 2: has 1 numbers where the first vector has 2"),
        ("a 1 2\nb 1 2 3\n", "line 2: has 3 numbers where the first vector has 2"),
        ("2 3\na 1 2\n", "line 2: has 2 numbers where the first vector has 3"),
        ("a\n", "line 1: has 0 numbers"),
        ("a 1 2\nb 1 x\n", "line 2: the vector of 'b' holds something that is not a number"),
        ("a 1 2\nb 1 nan\n", "line 2: the vector of 'b' holds NaN"),
        ("a 1 2\nb 1 1e99\n", "line 2: the vector of 'b' holds NaN or an infinite number"),
        ("a 1 2\nb 1 2\na 3 4\n", "line 3: has the word 'a' of line 1 again"),
        ("3 2\na 1 2\nb 1 2\n", "has 2 vectors where its first line says 3"),
        ("", "is empty"),
        ("a\t1\t2\n", "line 1: has 0 numbers"),
    ],
)
def test_each_fault_has_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_word_vectors(written(tmp_path / "a.vec", text), ["a", "b"])


def test_the_binary_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="binary format"):
        read_word_vectors(written(tmp_path / "a.bin", "x"), ["a"])
