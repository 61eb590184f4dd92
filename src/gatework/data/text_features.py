"""What a text is made of, as a linear model sees it: its words, pairs of words, and pieces of words, hashed."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from gatework.data.remembered import remembered

__all__ = ["text_features"]

_SHORTEST, _LONGEST = 2, 5  # characters of a piece
_WHOLE = 40  # characters of a word that are cut into pieces


def text_features(words: Sequence[str], rows: int) -> np.ndarray:
    """The different features of a text, (F,) int32 in rising order: rows of a table.

    They are its words, its pairs of neighbouring words (with the text's start and end), and the pieces of 2 to 5
    characters of its words with a space on both sides, all in lower case. Features whose hashes agree share a row
    (Weinberger et al. 2009). The hash is CRC-32, the same on every machine.

    Args:
        words: of the text; there may be none.
        rows: of the table.
    """
    low = [word.lower() for word in words]
    pairs = _hashed((f"p {one} {other}" for one, other in itertools.pairwise(["", *low, ""])), rows)
    return np.array(sorted(pairs.union(*(_of_word(word, rows) for word in set(low)))), np.int32)


@remembered(1 << 14, _WHOLE)
def _of_word(word: str, rows: int) -> tuple[int, ...]:
    """The rows of a word and of its pieces: most words return."""
    spaced = f" {word[:_WHOLE]} "
    sizes = range(_SHORTEST, min(_LONGEST, len(spaced)) + 1)
    pieces = {spaced[i : i + size] for size in sizes for i in range(len(spaced) - size + 1)}
    return tuple(_hashed([f"w {word}", *(f"c{piece}" for piece in pieces)], rows))


def _hashed(features: Iterable[str], rows: int) -> set[int]:
    return {zlib.crc32(feature.encode(errors="surrogatepass")) % rows for feature in features}
