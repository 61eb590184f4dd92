"""Simple readers: what a reader has to be better than."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from gatework.baselines.base import Baseline
from gatework.data.passages import Passage, content_counts, passage_of

__all__ = ["MostCommonByQuestion", "SlidingWindow"]

_LONGEST = 12  # words of an answer


class MostCommonByQuestion(Baseline):
    """The most common answer to questions that begin alike: what questions alone give away (Kaushik & Lipton 2018).

    Attributes:
        answers_: by the first two words of a question, by its first one, and for any other question by no word.
    """

    answers_: dict[str, str]

    def fit(self, inputs: Sequence[str], outputs: Sequence[str]) -> Self:
        """Learn from N questions and their answers."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for question, answer in zip(inputs, outputs, strict=True):
            for opening in _openings(question):
                counts[opening][answer] += 1
        self.answers_ = {opening: counted.most_common(1)[0][0] for opening, counted in counts.items()}
        return self

    def predict(self, inputs: Sequence[Mapping[str, Any]]) -> list[str]:
        openings = (_openings(each["question"]) for each in inputs)
        return [next((self.answers_[one] for one in each if one in self.answers_), "") for each in openings]

    def to_json(self) -> str:
        """An object of answers by opening."""
        return json.dumps(self.answers_, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: the text is something else.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or not all(isinstance(answer, str) for answer in values.values()):
            raise ValueError("holds no answers by the openings of questions")
        baseline = cls()
        baseline.answers_ = values
        return baseline


def _openings(question: str) -> list[str]:
    words = passage_of(question).keys[:2]
    return [" ".join(words[:count]) for count in range(len(words), -1, -1)]


class SlidingWindow(Baseline):
    """The run of words near which most of the question's words stand; nothing is learned.

    After the sliding window of Richardson et al. (2013, "MCTest", section 4.1): a word that the passage has C times
    weighs ln(1 + 1 / C). A candidate is a run of at most 12 words of a sentence that has no punctuation and no word of
    the question; its value is the summed weight of the question's words around it in its sentence, in a window that has
    as many words as the question beside the candidate.
    """

    def fit(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Self:
        return self

    def predict(self, inputs: Sequence[Mapping[str, Any]]) -> list[str]:
        return [_answer(each["context"], each["question"]) for each in inputs]


def _answer(context: str | list[str], question: str) -> str:
    text = context if isinstance(context, str) else "\n".join(context)
    passage = passage_of(text)
    if not passage.words:
        return ""
    keys = passage_of(question).keys
    asked = {key for key in keys if any(map(str.isalnum, key))}
    counts = Counter(passage.keys)
    weights = np.array([np.log1p(1 / counts[key]) if key in asked else 0.0 for key in passage.keys])
    until = np.concatenate([[0.0], np.cumsum(weights)])
    best, span = -1.0, (0, 0)
    for first, last in _candidates(passage, asked):
        around = max(1, len(keys) // 2)
        sentence = np.searchsorted(
            passage.sentences, [passage.sentences[first], passage.sentences[first] + 1]
        )
        begin, end = max(int(sentence[0]), first - around), min(int(sentence[1]), last + 1 + around)
        value = float(until[end] - until[begin])
        if value > best:
            best, span = value, (first, last)
    return text[passage.spans[span[0]][0] : passage.spans[span[1]][1]]


def _candidates(passage: Passage, asked: set[str]) -> list[tuple[int, int]]:
    """The runs of words that may be answers, first and last."""
    own = content_counts(passage.words)
    runs: list[tuple[int, int]] = []
    for place, key in enumerate(passage.keys):
        if key in asked or not own[place]:
            continue
        joins = runs and runs[-1][1] == place - 1 and passage.sentences[place] == passage.sentences[place - 1]
        if joins and place - runs[-1][0] < _LONGEST:
            runs[-1] = runs[-1][0], place
        else:
            runs.append((place, place))
    return runs
