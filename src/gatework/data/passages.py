"""The words of passages and questions, and what a passage's words have in common with a question's."""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from .remembered import remembered
from .word_spans import word_spans

__all__ = [
    "ATTRIBUTES",
    "FEATURES",
    "Passage",
    "Rarity",
    "content_counts",
    "crossed_rows",
    "match_features",
    "passage_of",
    "question_keys",
    "text_words",
]

Floats = npt.NDArray[np.float32]

_ENDS = {".", "!", "?", "。", "！", "？", "؟", "।"}  # of sentences
_ARTICLES = {"a", "an", "the"}
_WINDOWS = (1, 3, 6, 12, 24)  # words on either side
_FARTHEST = 30  # words to the nearest match that are counted
_ASKING = {"what", "which", "who", "whom", "whose", "when", "where", "why", "how"}
_STEM = 5
_ODD, _MIX = np.uint64(2654435761), np.uint64(0x9E3779B97F4A7C15)  # of Knuth's multiplicative hash
_LONGEST = 64  # characters of a word that are compared
_KEPT = 64  # characters of a word whose shape and pieces are remembered
ATTRIBUTES = 9
_PASSAGES = 512  # that are kept, since several questions are about each


def text_words(text: str) -> list[tuple[int, int]]:
    """Of each word its characters, `text[start:end]`, as `word_spans`; a combining mark is part of its word."""
    spans: list[tuple[int, int]] = []
    joins = False
    for start, end in word_spans(text):
        mark = unicodedata.category(text[start]).startswith("M")
        if spans and spans[-1][1] == start and (mark or (joins and text[start].isalnum())):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
        joins = mark
    return spans


def word_key(word: str) -> str:
    """A word as it is looked for in other texts."""
    return unicodedata.normalize("NFC", word).casefold()


def content_counts(words: Sequence[str]) -> npt.NDArray[np.int64]:
    """(T,) 1 of each word that counts in F1, 0 of punctuation and articles."""
    return np.array(
        [word not in _ARTICLES and any(map(str.isalnum, word)) for word in map(word_key, words)], np.int64
    )


class Passage(NamedTuple):
    """A passage's T words.

    spans: (start, end) characters of each; words: as they stand there; keys: as they are looked for.
    sentences: (T,) which sentence each is in; attributes: (T, A) hashes of what is seen at each word.
    """

    spans: list[tuple[int, int]]
    words: list[str]
    keys: list[str]
    sentences: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.uint32]


@lru_cache(maxsize=_PASSAGES)
def passage_of(text: str) -> Passage:
    """The words of a text."""
    spans = text_words(text)
    words = [unicodedata.normalize("NFC", text[start:end]) for start, end in spans]
    keys = [word_key(word) for word in words]
    return Passage(spans, words, keys, _sentences(text, spans), _attributes(words, keys))


def _sentences(text: str, spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    numbers: list[int] = []
    number, ended, last = 0, False, 0
    for start, end in spans:
        word = text[start:end]
        opens = not word[0].islower() and start > last  # a new sentence follows white space
        if (ended and opens) or "\n" in text[last:start]:
            number += len(numbers) > 0
            ended = False
        numbers.append(number)
        ended = word in _ENDS or (ended and not word[0].isalnum())
        last = end
    return np.array(numbers, np.int64)


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


@remembered(1 << 16, _KEPT)
def _shape(word: str) -> str:
    """`Xx`, `d4`, `x`, …: kinds of characters, runs of one kind as one, with how many digits."""
    kinds = ["d" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in word]
    short = "".join(kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind)
    return f"{short}{len(word)}" if "d" in short else f"{short}1" if len(word) == 1 else short


def _attributes(words: Sequence[str], keys: Sequence[str]) -> npt.NDArray[np.uint32]:
    shapes = ["", *map(_shape, words), ""]
    around = ["", *keys, ""]
    rows = [
        (
            f"w{key}",
            f"s{shape}",
            f"e{key[-3:]}{shape}",
            f"<{before}",
            f">{after}",
            f"l{left}|{shape}",
            f"r{shape}|{right}",
            f"b{left}{before[-2:]}",
            f"a{right}{after[-2:]}",
        )
        for key, shape, before, after, left, right in zip(
            keys, shapes[1:-1], around[:-2], around[2:], shapes[:-2], shapes[2:], strict=True
        )
    ]
    flat = [_hash(text) for row in rows for text in row]
    return np.array(flat, np.uint32).reshape(len(words), ATTRIBUTES)


class Rarity:
    """How much a word says of what a question asks: little, if many passages or many questions have it.

    Args:
        words: that the training data has, W of them.
        in_passages, in_questions: (W,) how many passages, and how many questions, have each.
        passages, questions: how many there are.
    """

    def __init__(
        self,
        words: Sequence[str],
        in_passages: Sequence[int],
        in_questions: Sequence[int],
        passages: int,
        questions: int,
    ) -> None:
        self.words, self.in_passages, self.in_questions = (
            tuple(words),
            tuple(in_passages),
            tuple(in_questions),
        )
        self.passages, self.questions = passages, questions
        rarities = [
            np.log((1 + total) / (1 + np.array(counts, np.float64))) / np.log(2 + total)
            for total, counts in ((passages, in_passages), (questions, in_questions))
        ]
        self._weights = dict(zip(words, np.minimum(*rarities).tolist(), strict=True))

    @classmethod
    def learn(cls, passages: Iterable[str], questions: Iterable[str]) -> Self:
        """Of the training data's passages, of which equal ones count once, and its questions."""
        counts: list[Counter[str]] = []
        totals = []
        for texts in (list(dict.fromkeys(passages)), list(questions)):
            counts.append(Counter(key for text in texts for key in set(passage_of(text).keys)))
            totals.append(len(texts))
        words = sorted(counts[0].keys() | counts[1].keys())
        in_passages, in_questions = ([count[word] for word in words] for count in counts)
        return cls(words, in_passages, in_questions, *totals)

    def weight(self, key: str) -> float:
        """Between 0, for a word that every passage or every question has, and 1 (inverse document frequency)."""
        return self._weights.get(key, 1.0) if any(map(str.isalnum, key)) else 0.0


def question_keys(keys: Sequence[str]) -> npt.NDArray[np.uint32]:
    """(3,) hashes of what kind of question it is: of any, by its asking word, and by the words after that one."""
    place = next((i for i, key in enumerate(keys) if key in _ASKING), -1)
    asking = keys[place] if place >= 0 else (keys[0] if keys else "")
    after = keys[place + 1 : place + 3] if place >= 0 else keys[:2]
    kind = f"{asking} {after[0]}" if asking == "how" and after else asking
    return np.array([_hash("any"), _hash(f"q{kind}"), _hash(f"q{asking} {' '.join(after[:1])}")], np.uint32)


def crossed_rows(
    attributes: npt.NDArray[np.uint32], kinds: npt.NDArray[np.uint64], rows: int
) -> npt.NDArray[np.int64]:
    """(T, A K) rows of a table: of each of A attributes of a word with each of K kinds of the question."""
    hashes = attributes.astype(np.uint64)[:, :, None] + kinds * _ODD
    mixed: npt.NDArray[np.uint64] = np.right_shift(hashes * _MIX, np.uint64(33)) % np.uint64(rows)
    return mixed.astype(np.int64).reshape(len(attributes), -1)


FEATURES = 15 + 2 * len(_WINDOWS)


def match_features(passage: Passage, question: Sequence[str], rarity: Rarity) -> Floats:
    """(T, FEATURES) of each word of a passage: whether the question has it, and how much of the question is near.

    Args:
        question: its words, as they stand there.
    """
    length = len(passage.keys)
    keys = [word_key(word) for word in question]
    weights = {key: rarity.weight(key) for key in keys}
    total = max(sum(weights.values()), 1e-6)
    known, cased = set(keys), set(question)
    stems = {key[:_STEM] for key in keys if weights[key] > 0}
    soft = {key: _likest(key, weights) for key in set(passage.keys)}
    exact = np.array([key in known and weights[key] > 0 for key in passage.keys], np.float32)
    rare = np.array([rarity.weight(key) for key in passage.keys], np.float32)
    near = np.array([soft[key] for key in passage.keys], np.float32).reshape(length, 2)
    matched = near[:, 1] / total  # the share of the question that each word is
    pairs = {*pairwise(keys)}
    follows = [pair in pairs for pair in pairwise(passage.keys)]
    pair = np.array([False, *follows], np.float32)[:length]
    next_pair = np.array([*follows, False], np.float32)[:length]
    columns = [
        exact,
        np.array([word in cased for word in passage.words], np.float32) * exact,
        np.array([key[:_STEM] in stems for key in passage.keys], np.float32),
        near[:, 0],
        exact * rare,
        rare,
        pair,
        next_pair,
        *_nearest(exact * rare),
        *_windows(near[:, 1] / total),
        *_sentence_shares(passage, soft, weights, total),
        np.linspace(0, 1, length, dtype=np.float32) if length else np.zeros(0, np.float32),
        matched,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _likest(key: str, weights: dict[str, float]) -> tuple[float, float]:
    """How like the likest word of the question is, and that times the word's weight."""
    if key in weights:
        return 1.0, weights[key]
    mine = _pieces(key)
    best = (0.0, 0.0)
    for other, weight in weights.items():
        if weight > 0 and key[:2] == other[:2] and len(key) > 3 and len(other) > 3:
            theirs = _pieces(other)
            common = len(mine & theirs)
            like = common / (len(mine) + len(theirs) - common)
            if like > best[0]:
                best = like, like * weight
    return best


@remembered(1 << 16, _KEPT)
def _pieces(key: str) -> frozenset[str]:
    marked = f"<{key[:_LONGEST]}>"
    return frozenset(marked[i : i + 3] for i in range(len(marked) - 2))


def _nearest(matches: Floats) -> list[Floats]:
    """How near the last match before, and the next one after each word are: 1 beside it, 0 for far ones."""
    places = np.arange(len(matches))
    found = matches > 0.3
    before = np.maximum.accumulate(np.where(found, places, -_FARTHEST))
    before = np.concatenate([[-_FARTHEST], before[:-1]])[: len(matches)]
    after = np.minimum.accumulate(np.where(found, places, len(matches) + _FARTHEST)[::-1])[::-1]
    after = np.concatenate([after[1:], [len(matches) + _FARTHEST]])[: len(matches)]
    return [
        (1 / np.maximum(places - before, 1)).astype(np.float32),
        (1 / np.maximum(after - places, 1)).astype(np.float32),
    ]


def _windows(shares: Floats) -> list[Floats]:
    """The summed shares of the words up to so many before, and after, each word."""
    until = np.concatenate([[0.0], np.cumsum(shares)])
    places = np.arange(len(shares))
    sums = []
    for size in _WINDOWS:
        sums.append((until[places] - until[np.maximum(places - size, 0)]).astype(np.float32))
        sums.append(
            (until[np.minimum(places + 1 + size, len(shares))] - until[places + 1]).astype(np.float32)
        )
    return sums


def _sentence_shares(
    passage: Passage, soft: dict[str, tuple[float, float]], weights: dict[str, float], total: float
) -> list[Floats]:
    """How much of the question each word's sentence has; less what the best sentence has; and the sentence before."""
    borders = np.flatnonzero(np.diff(passage.sentences, prepend=-1)).tolist()
    sentences = [
        dict.fromkeys(passage.keys[begin:end]) for begin, end in pairwise([*borders, len(passage.keys)])
    ]
    sums = np.array([sum(soft[key][1] for key in own) for own in sentences] or [0.0]) / total
    before = np.concatenate([[0.0], sums[:-1]])
    each = (sums, sums - sums.max(), before)
    return [one[passage.sentences].astype(np.float32) for one in each]
