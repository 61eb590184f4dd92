"""The pieces of words, as rows of a table."""

from __future__ import annotations

import zlib

from gatework.data.remembered import remembered

__all__ = ["subwords"]

_PIECES = (3, 4, 5)  # characters of a piece of a word
_LONGEST_WORD = 64  # characters of a word that are cut into pieces


@remembered(1 << 16, _LONGEST_WORD)
def subwords(word: str, rows: int) -> tuple[int, ...]:
    """The pieces of 3 to 5 characters of a word between `<` and `>`, as rows of a table (Bojanowski et al. 2017).

    The hash is CRC-32, the same on every machine. A word always has a piece: a very short one is one itself.
    """
    marked = f"<{word[:_LONGEST_WORD]}>"
    pieces = {
        marked[begin : begin + size] for size in _PIECES for begin in range(max(1, len(marked) - size + 1))
    }
    # Half a surrogate pair is a piece too.
    codes = {zlib.crc32(piece.encode(errors="surrogatepass")) for piece in pieces}
    return tuple(sorted({code % rows for code in codes}))
