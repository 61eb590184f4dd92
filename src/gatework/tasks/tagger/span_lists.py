"""The spans of the training data as lists of names: which words of a sentence stand in other sentences' spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Self

from pydantic import PositiveInt

from gatework.data import Tagging, spans_of
from gatework.data.tag_schemes import Scheme
from gatework.tasks.artifacts import JsonArtifact

__all__ = ["SpanLists"]

_LONGEST = 8  # words of a span that is listed

Counts = dict[str, dict[str, int]]  # by words, and by type


class SpanLists(JsonArtifact):
    """How often the training data has each span: by its words, in lower case with spaces between, and by its type."""

    counts: dict[str, dict[str, PositiveInt]]

    @classmethod
    def learn(cls, inputs: Iterable[Sequence[str]], taggings: Iterable[Tagging], scheme: Scheme) -> Self:
        """The spans of N sentences, of up to 8 words each."""
        counts: Counts = {}
        for words, tagging in zip(inputs, taggings, strict=True):
            _add(counts, _spans(words, tagging, scheme))
        return cls(counts=counts)

    def joined(self, other: Self) -> Self:
        """The lists of the data of both."""
        counts = {text: dict(kinds) for text, kinds in self.counts.items()}
        for text, kinds in other.counts.items():
            _add(counts, Counter({(text, kind): count for kind, count in kinds.items()}))
        return type(self)(counts=counts)

    @cached_property
    def _of_words(self) -> Counts:
        """By single words, and by type, how many of the spans have the word."""
        found: Counts = {}
        for text, kinds in self.counts.items():
            _add(found, _by_word(Counter({(text, kind): count for kind, count in kinds.items()})))
        return found

    def marks(
        self, words: Sequence[str], own: Tagging | None = None, scheme: Scheme = "BIO"
    ) -> dict[str, list[bool]]:
        """Of each type, which of T words stand where a listed span does, from the left, the longest each time: under
        `S city` a span of one word, under `B city`, `I city` and `E city` the first, the inner and the last words of
        longer ones; and under `has city` the words that some listed span has. Lists of length T; without those that
        no word is in.

        Args:
            own: the sentence's tags, where the lists were learned from it too. Its own spans then count once less: a
                span that no other sentence has is in training what it will be later, an unknown one.
            scheme: of these tags.
        """
        low = [word.lower() for word in words]
        less = _spans(words, own, scheme) if own is not None else Counter[tuple[str, str]]()
        less_of_words = _by_word(less)
        marks: dict[str, list[bool]] = {}

        def mark(name: str, place: int) -> None:
            marks.setdefault(name, [False] * len(low))[place] = True

        ends: dict[str, int] = {}  # of the last span that is marked, by type
        for start, word in enumerate(low):
            for kind, count in self._of_words.get(word, {}).items():
                if count > less_of_words[word, kind]:
                    mark(f"has {kind}", start)
            for size in range(min(_LONGEST, len(low) - start), 0, -1):
                text = " ".join(low[start : start + size])
                for kind, count in self.counts.get(text, {}).items():
                    if count <= less[text, kind] or ends.get(kind, 0) > start:
                        continue
                    ends[kind] = start + size
                    letters = "S" if size == 1 else f"B{'I' * (size - 2)}E"
                    for place, letter in enumerate(letters, start=start):
                        mark(f"{letter} {kind}", place)
        return marks


def _spans(words: Sequence[str], tagging: Tagging, scheme: Scheme) -> Counter[tuple[str, str]]:
    """How often a sentence has each span, by its words and its type; of those that are not too long."""
    return Counter(
        (" ".join(words[span.start : span.end]).lower(), span.type)
        for span in spans_of(tagging.tags, scheme)
        if span.end - span.start <= _LONGEST
    )


def _by_word(spans: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """How many of the spans have each word, by the word and the type."""
    found: Counter[tuple[str, str]] = Counter()
    for (text, kind), count in spans.items():
        for word in set(text.split(" ")):
            found[word, kind] += count
    return found


def _add(counts: Counts, spans: Counter[tuple[str, str]]) -> None:
    for (text, kind), count in spans.items():
        kinds = counts.setdefault(text, {})
        kinds[kind] = kinds.get(kind, 0) + count
