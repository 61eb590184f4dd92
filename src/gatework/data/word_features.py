"""What a word and its neighbours look like, as texts: the features of linear taggers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

from gatework.data.remembered import remembered

__all__ = ["feature_rows", "hashed", "token_features", "word_shape"]

_AFFIX = 4  # characters of the longest prefix and suffix
_LONGEST = 32  # characters of a word that a feature holds
_KEPT = 64  # characters of a word whose shape is remembered
_RUN = re.compile(r"(.)\1{2,}")


@remembered(1 << 16, _KEPT)
def word_shape(word: str) -> str:
    """A word, its letters as `X` or `x`, its digits as `d`, at most two alike in a row: `O'Brien27`, `X'Xxxdd`."""
    letters = [
        "d" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in word[:_LONGEST]
    ]
    return _RUN.sub(r"\1\1", "".join(letters))


def token_features(
    words: Sequence[str],
    lists: Mapping[str, Sequence[bool]] | None = None,
    *,
    ahead: bool = True,
    first: int = 0,
) -> list[list[str]]:
    """The features of each of T words: the usual templates of a linear-chain tagger (Sha & Pereira 2003; CRFsuite's).

    Words, affixes and pairs of words are in lower case; the shape says what case they had.

    Args:
        lists: of each gazetteer by name, whether the words are of one of its entries, (T,).
        ahead: later words are looked at too.
        first: the words before this one are looked at alone: features are given from it on.
    """
    low = ["<s>", "<s>", *(word.lower()[:_LONGEST] for word in words), "</s>", "</s>"]
    shapes = ["<s>", *map(word_shape, words), "</s>"]
    features = []
    for t, word in enumerate(low[2 + first : -2], start=first):
        two_before, before, after, two_after = low[t], low[t + 1], low[t + 3], low[t + 4]
        shape = shapes[t + 1]
        own = [
            f"w {word}",
            f"w-1 {before}",
            f"w-2 {two_before}",
            f"w-1w {before} {word}",
            f"w-2w-1 {two_before} {before}",
            f"s {shape}",
            f"s-1s {shapes[t]} {shape}",
            f"t {t if t < 3 else 'late'}",
            f"e-1 {before[-3:]}",
        ]
        if ahead:
            own += [
                f"w+1 {after}",
                f"w+2 {two_after}",
                f"ww+1 {word} {after}",
                f"w-1w+1 {before} {after}",
                f"w+1w+2 {after} {two_after}",
                f"ss+1 {shape} {shapes[t + 2]}",
                f"e+1 {after[-3:]}",
            ]
        for size in range(1, min(_AFFIX, len(word)) + 1):
            own.append(f"p {word[:size]}")
            own.append(f"e {word[-size:]}")
        own += [f"list {name}" for name, inside in (lists or {}).items() if inside[t]]
        features.append(own)
    return features


def hashed(feature: str, rows: int) -> int:
    """The row of a feature in a table of so many: the same in every process and on every machine."""
    return zlib.crc32(feature.encode("utf-8", "surrogatepass")) % rows


def feature_rows(features: Sequence[Sequence[str]], rows: int) -> list[list[int]]:
    """`hashed` of each feature."""
    crc32 = zlib.crc32
    return [[crc32(one.encode("utf-8", "surrogatepass")) % rows for one in own] for own in features]
