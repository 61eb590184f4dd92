"""Words that stand in the same places: training exchanges them, Mary for John, in a story, its question and answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Self

import numpy as np
import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor

from gatework.tasks.artifacts import JsonArtifact

__all__ = ["Exchange", "ExchangeableWords", "exchangeable_words"]

_LIKE = 0.5  # least overlap of two words' places
_AROUND = 2  # words on either side that make a place
_MOST = 400  # words that are compared, the most frequent ones
_CHANCE = 1e-5  # words differ where chance has a smaller probability
_LEAST = 10  # of a word, for the test; what is rarer is counted together

Words = Sequence[str]
Story = Sequence[Words]


class ExchangeableWords(JsonArtifact):
    """Ids of words, in groups of at least two: in a group any may stand for any other."""

    groups: tuple[tuple[PositiveInt, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [id for group in self.groups for id in group]
        if len(set(ids)) < len(ids) or any(len(group) < 2 for group in self.groups):
            raise ValueError("a group has one word alone, or a word stands in two places")
        return self


def exchangeable_words(stories: Sequence[Story], questions: Sequence[Words]) -> list[list[str]]:
    """Groups of at least two words that stand in the same places, and that what is told next does not tell apart.

    A word's places are told apart by the two words on either side, by where in its sentence it stands, by the
    sentence's length, and by whether that is a question. The overlap of two words is the sum over the places of the
    smaller of their shares; any two words of a group have one of at least a half (complete linkage).

    `took` and `left` stand in the same places, but what somebody took is left next. So two words are also compared by
    the words of the next fact that shares a word with theirs: where a chi-squared test says that these differ, they are
    in no group together.

    Args:
        stories: facts in their order, each its words; a story that goes on the last one is counted from there.
        questions: sentences, each its words.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # comes with scikit-learn; takes time to import

    new = [
        (story, len(last) if story[: len(last)] == last else 0)
        for last, story in zip([[], *stories], stories, strict=False)
    ]
    places = _places([fact for story, begin in new for fact in story[begin:]], questions)
    kept = sorted(places, key=lambda word: (-places[word].total(), word))[:_MOST]
    pairs = list(combinations(kept, 2))
    if not pairs:
        return []
    like = {pair: _overlap(*(places[word] for word in pair)) for pair in pairs}
    compared = {word for pair, overlap in like.items() if overlap >= _LIKE for word in pair}
    following = _following(new, compared)
    apart = [
        1.0 if like[pair] < _LIKE or _told_apart(*pair, following) else max(0.0, 1 - like[pair])
        for pair in pairs
    ]
    numbers = fcluster(linkage(np.array(apart), "complete"), 1 - _LIKE, "distance")
    groups: dict[int, list[str]] = {}
    for word, number in zip(kept, numbers.tolist(), strict=True):
        groups.setdefault(number, []).append(word)
    return [group for group in groups.values() if len(group) > 1]


def _places(facts: Iterable[Words], questions: Iterable[Words]) -> dict[str, Counter[object]]:
    """How often each word stands in each place."""
    places: dict[str, Counter[object]] = {}
    for asked, sentences in ((False, facts), (True, questions)):
        for words in sentences:
            wide = [*[""] * _AROUND, *words, *[""] * _AROUND]
            for index, word in enumerate(words):
                around = (*wide[index : index + _AROUND], *wide[index + _AROUND + 1 :][:_AROUND])
                places.setdefault(word, Counter())[asked, len(words), index, *around] += 1
    return places


def _overlap(first: Counter[object], second: Counter[object]) -> float:
    small, large = sorted((first, second), key=len)
    return sum(
        min(small[place] / small.total(), large[place] / large.total()) for place in small if place in large
    )


def _following(new: Iterable[tuple[Story, int]], words: set[str]) -> dict[str, Counter[str]]:
    """Of each of some words, how often each word stands in the next fact that shares one of them with its fact."""
    counts: dict[str, Counter[str]] = {word: Counter() for word in words}
    for story, begin in new:
        last: dict[str, int] = {}
        for place, fact in enumerate(story):
            here = words & {*fact}
            before = [last[word] for word in here if word in last]
            if before and place >= begin:
                for word in words & {*story[max(before)]}:
                    counts[word].update(fact)
            last |= dict.fromkeys(here, place)
    return counts


def _told_apart(first: str, second: str, following: dict[str, Counter[str]]) -> bool:
    from scipy.stats import chi2_contingency  # comes with scikit-learn; takes time to import

    counts = following[first], following[second]
    others = sorted({*counts[0], *counts[1]} - {first, second})
    table = np.array([[row[word] for word in others] for row in counts], float)
    rare = table.sum(0) < _LEAST
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2 or not table.any(1).all():
        return False
    return float(chi2_contingency(table, correction=False).pvalue) < _CHANCE


class Exchange:
    """Stories told anew: in each, the words of a group stand for one another, in an order drawn for the story.

    Args:
        words: the groups.
        size: ids of words.
        answers: (A, P) ids of the words of each answer, zeros past its last one.
    """

    def __init__(self, words: ExchangeableWords, size: int, answers: Tensor) -> None:
        self.groups, self.size, self.answers = words.groups, size, answers

    def __call__(self, facts: Tensor, questions: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same with words exchanged; a story whose answer would be a new one stays as it is.

        Args:
            facts: (T, B, W) ids of words; questions: (B, Q); right: (B,) which answer is right, -1 where it is unknown.
        """
        if not self.groups:
            return facts, questions, right
        rows, device = len(right), right.device
        answers = self.answers.to(device)
        new = torch.arange(self.size, device=device).repeat(rows, 1)
        for group in self.groups:
            ids = torch.tensor(group, device=device)
            new[:, ids] = ids[torch.rand(rows, len(group), device=device).argsort(1)]
        before = answers[right.clamp(min=0)]  # (B, P)
        told = new.gather(1, before)
        same = (told[:, None] == answers).all(2)  # (B, A)
        kept = ~same.any(1) | (right < 0)
        new[kept] = torch.arange(self.size, device=device)
        right = torch.where(kept | (told == before).all(1), right, same.int().argmax(1))
        steps, _, width = facts.shape
        retold = new.gather(1, facts.transpose(0, 1).reshape(rows, -1))
        return retold.view(rows, steps, width).transpose(0, 1), new.gather(1, questions), right
