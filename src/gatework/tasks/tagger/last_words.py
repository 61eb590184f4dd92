"""What a tagger's side path says of sentences' last words, remembered by the words that their features are made of."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from gatework.data import feature_rows, token_features

__all__ = ["LOOKED_BACK", "LastWords"]

LOOKED_BACK = 4  # words from the last one that its features are made of
_REMEMBERED = 20_000  # words, and as many pairs of them
_LONG = 300  # characters of last words that are not remembered

# What a feature is made of, by its kind: the last word, the pair of it and the word before, and the rest, the two words
# before and the place in the sentence.
_WORD, _PAIR, _BEFORE = range(3)
_MADE_OF = dict.fromkeys(("w", "s", "p", "e"), _WORD)
_MADE_OF |= dict.fromkeys(("w-1", "e-1", "w-1w", "s-1s"), _PAIR)
_MADE_OF |= dict.fromkeys(("w-2", "w-2w-1", "t"), _BEFORE)


class LastWords:
    """The sums of the rows of words' features in a side path's table; safe in several threads.

    A word's features are three parts, each of which returns with the words that it is made of. The sum of each part is
    kept, so that a word that was seen beside its neighbours costs three look-ups. Where there are too many of a part,
    all of them are forgotten.

    Args:
        table: (F, K), of a tagger of one direction without lists of names.
    """

    def __init__(self, table: np.ndarray) -> None:
        self._table = table
        self._known: tuple[dict[Hashable, np.ndarray], ...] = ({}, {}, {})

    def scores(self, words: Sequence[Sequence[str]]) -> np.ndarray:
        """(B, K) what the table adds to the scores of the last word of each of B sentences.

        Args:
            words: the last ones of each sentence, `LOOKED_BACK` of them, or all.
        """
        sums: list[np.ndarray] = []
        for own in words:
            keys = (own[-1], tuple(own[-2:]), (len(own), *own[-3:-1]))
            found = [known.get(key) for known, key in zip(self._known, keys, strict=True)]
            sums += [
                self._sum(own, part, keys[part]) if each is None else each for part, each in enumerate(found)
            ]
        return np.concatenate(sums).reshape(len(words), len(self._known), -1).sum(1)

    def _sum(self, words: Sequence[str], part: int, key: Hashable) -> np.ndarray:
        """(K,) of one part of the last word's features."""
        (features,) = token_features(words, ahead=False, first=len(words) - 1)
        own = [feature for feature in features if _MADE_OF[feature.partition(" ")[0]] == part]
        (rows,) = feature_rows([own], len(self._table))
        found: np.ndarray = np.add.reduce(self._table.take(rows, axis=0))
        known = self._known[part]
        if len(known) >= _REMEMBERED:
            known.clear()
        if sum(map(len, words)) < _LONG:
            known[key] = found
        return found
