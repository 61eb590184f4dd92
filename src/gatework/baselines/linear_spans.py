"""Logistic regression over the spans of a passage: what a reader has to be better than."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.base import Rival
from gatework.baselines.linear import check_finite, check_scikit_learn
from gatework.data.answer_places import place_of, words_of_place
from gatework.data.passages import (
    FEATURES,
    Passage,
    Rarity,
    crossed_rows,
    match_features,
    passage_of,
    question_keys,
)
from gatework.data.questions import Answers

__all__ = ["LinearSpans", "PassageAlone"]

_LONGEST = 12  # words of an answer
_WRONG = 12  # spans of a passage that are no answer, beside each question's answers
_ROWS = 1 << 15  # of the hash, once of first words and once of last words
_PLACES = 5  # words of a span whose features are looked at: before, first, last, after, and the mean of all
_ITERATIONS = 60

Floats = npt.NDArray[Any]


class LinearSpans(Rival):
    """Logistic regression (scikit-learn's, L2, C = 1) of whether a span is the answer (after Rajpurkar et al. 2016,
    section 5).

    It is fitted on each question's right spans and twelve others; of all spans of at most 12 words the one of the
    highest score is the answer. Features of a span: what its first and last word, the words around it and all of its
    words have in common with the question (`match_features`), its length, and what is seen at its first and last word,
    with the kind of question, hashed.

    Attributes:
        rarity_: of words.
        weights_: of all features.
    """

    name: ClassVar[str] = "linear_spans"
    unit: ClassVar[str] = "questions"
    most: ClassVar[int] = 20_000  # about five minutes and 3 GB on one core
    sees_question: ClassVar[bool] = True

    rarity_: Rarity
    weights_: Floats

    def fit(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Answers]) -> Self:
        """Learn from N questions about passages and their answers.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        check_scikit_learn()
        texts = [_text(each) for each in inputs]
        self.rarity_ = Rarity.learn(texts, (each["question"] for each in inputs))
        generator = np.random.default_rng(0)
        rows, targets = [], []
        for text, given, answers in zip(texts, inputs, outputs, strict=True):
            passage = passage_of(text)
            right = [span for span in _spans(text, passage, answers) if span[1] - span[0] < _LONGEST]
            if not right:
                continue
            first = generator.integers(0, len(passage.words), _WRONG)
            last = np.minimum(first + generator.geometric(0.35, _WRONG) - 1, first + _LONGEST - 1)
            wrong = np.stack([first, np.minimum(last, len(passage.words) - 1)], axis=1)
            wrong = wrong[~(wrong[:, None] == np.array(right)).all(2).any(1)]
            spans = np.concatenate([np.unique(right, axis=0), wrong])
            rows.append(self._features(passage, given["question"], spans))
            targets += [1] * (len(spans) - len(wrong)) + [0] * len(wrong)
        self.weights_ = _regression(rows, np.array(targets))
        return self

    def predict(self, inputs: Sequence[Mapping[str, Any]]) -> list[str]:
        """The span of the highest score of each passage."""
        return [self._answer(_text(each), each["question"]) for each in inputs]

    def _answer(self, text: str, question: str) -> str:
        passage = passage_of(text)
        length = len(passage.words)
        if not length:
            return ""
        dense, lengths, first_table, last_table = np.split(
            self.weights_, np.cumsum([_PLACES * FEATURES, _LONGEST, _ROWS])
        )
        weights = dense.reshape(_PLACES, FEATURES)
        features, hashes = self._of_words(passage, question)
        around = np.pad(features, ((1, 1), (0, 0)))
        first = around[:-2] @ weights[0] + features @ weights[1] + first_table[hashes].sum(1)
        last = features @ weights[2] + around[2:] @ weights[3] + last_table[hashes].sum(1)
        until = np.concatenate([[0.0], np.cumsum(features @ weights[4])])
        best, span = -np.inf, (0, 0)
        for more in range(min(_LONGEST, length)):
            inside = (until[more + 1 :] - until[: length - more]) / (more + 1)
            scores = first[: length - more] + last[more:] + inside + lengths[more]
            place = int(scores.argmax())
            if scores[place] > best:
                best, span = float(scores[place]), (place, place + more)
        return text[passage.spans[span[0]][0] : passage.spans[span[1]][1]]

    def _of_words(self, passage: Passage, question: str) -> tuple[Floats, npt.NDArray[np.int64]]:
        """(T, FEATURES), and (T, A K) rows of the hash."""
        asked = passage_of(question if self.sees_question else "")
        features = match_features(passage, asked.words, self.rarity_)
        kinds = question_keys(asked.keys).astype(np.uint64)
        return features, crossed_rows(passage.attributes, kinds, _ROWS)

    def _features(self, passage: Passage, question: str, spans: npt.NDArray[np.int64]) -> Any:
        """(S, F) of spans, sparse."""
        from scipy import sparse

        features, hashes = self._of_words(passage, question)
        around = np.pad(features, ((1, 1), (0, 0)))
        first, last = spans.T
        until = np.concatenate([np.zeros((1, FEATURES)), np.cumsum(features, axis=0)])
        mean = (until[last + 1] - until[first]) / (last + 1 - first)[:, None]
        dense = np.concatenate(
            [around[first], features[first], features[last], around[last + 2], mean], axis=1
        )
        columns = [
            np.tile(np.arange(dense.shape[1]), (len(spans), 1)),
            dense.shape[1] + (last - first)[:, None],
            dense.shape[1] + _LONGEST + hashes[first],
            dense.shape[1] + _LONGEST + _ROWS + hashes[last],
        ]
        joined = np.concatenate(columns, axis=1)
        values = np.ones(joined.shape, np.float32)
        values[:, : dense.shape[1]] = dense
        ends = np.arange(0, joined.size + 1, joined.shape[1])
        width = dense.shape[1] + _LONGEST + 2 * _ROWS
        return sparse.csr_matrix((values.ravel(), joined.ravel().astype(np.int32), ends), (len(spans), width))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        rarity = self.rarity_
        return {
            "weights": self.weights_,
            "words": np.frombuffer(json.dumps(rarity.words).encode(), np.uint8).copy(),
            "in_passages": np.array(rarity.in_passages, np.int64),
            "in_questions": np.array(rarity.in_questions, np.int64),
            "texts": np.array([rarity.passages, rarity.questions], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        rival = cls()
        try:
            words = json.loads(bytes(np.asarray(arrays["words"], np.uint8)))
            counts = [arrays[name] for name in ("in_passages", "in_questions")]
            totals, rival.weights_ = arrays["texts"], arrays["weights"]
        except KeyError as error:
            raise ValueError(f"lacks the array {error}") from error
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("its words are damaged")
        whole = [array.dtype == np.int64 and bool((array >= 0).all()) for array in (*counts, totals)]
        if not all(whole) or totals.shape != (2,) or any(count.shape != (len(words),) for count in counts):
            raise ValueError("its counts of words are damaged")
        check_finite(rival.weights_, (_PLACES * FEATURES + _LONGEST + 2 * _ROWS,), "weights")
        rival.rarity_ = Rarity(words, *(count.tolist() for count in counts), *totals.tolist())
        return rival


class PassageAlone(LinearSpans):
    """The same regression without the question: what passages alone give away (Kaushik & Lipton 2018)."""

    name: ClassVar[str] = "passage_alone"
    sees_question: ClassVar[bool] = False


def _text(input: Mapping[str, Any]) -> str:
    context = input["context"]
    return context if isinstance(context, str) else "\n".join(context)


def _spans(text: str, passage: Passage, answers: Answers) -> list[tuple[int, int]]:
    places = [place_of(text, *pair) for pair in zip(*answers, strict=True)]
    found = (words_of_place(place, passage.spans) for place in places if place is not None)
    return [span for span in found if span is not None]


def _regression(rows: Sequence[Any], targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The weights of all features; zeros where there is nothing to tell apart."""
    from scipy import sparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    width = _PLACES * FEATURES + _LONGEST + 2 * _ROWS
    if len(np.unique(targets)) < 2:
        return np.zeros(width, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=_ITERATIONS).fit(sparse.vstack(rows, format="csr"), targets)
    return model.coef_[0].astype(np.float32)
