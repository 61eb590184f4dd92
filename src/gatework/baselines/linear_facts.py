"""Logistic regression over what a question has in common with the facts before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gatework.baselines.linear import LinearRival
from gatework.data.facts import facts_of, words_of
from gatework.errors import MissingExtraError

__all__ = ["LinearFacts"]

_ROWS = 1 << 20  # of the hash
_RECENT = 2  # facts with a word of the question that are looked at, from the last one back
_AFTER = 1  # facts after each of them


class LinearFacts(LinearRival):
    """Logistic regression over the words of a question, and of the facts that a word of it stands in.

    Features are the question's words and pairs of words; the words of all facts; and for each word of the question the
    words of the last fact that has it, of the last but one, and of the fact after each, alone and with the word. They
    are hashed (MurmurHash3), and those that the training data has are kept.

    An input is an object with `question` and `context`, a text or a list of facts; outputs to learn from are `Answers`
    (`gatework.data.questions`), of which the first text is learned, and outputs are texts.

    Attributes:
        features_: the (F,) hashes that are kept, rising.
    """

    name: ClassVar[str] = "logistic_regression"
    unit: ClassVar[str] = "facts"
    most: ClassVar[int] = 1_000_000

    features_: npt.NDArray[np.int32]

    def fit(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Self:
        return super().fit(inputs, [answers.texts[0] if answers.texts else "" for answers in outputs])

    def size(self, inputs: Sequence[Any]) -> int:
        return sum(len(facts_of(each["context"])) for each in inputs)

    def _learn_features(self, inputs: Sequence[Any]) -> Any:
        counts = _counts(inputs)
        self.features_ = np.flatnonzero(np.bincount(counts.indices, minlength=_ROWS)).astype(np.int32)
        return counts[:, self.features_]

    def _features(self, inputs: Sequence[Any]) -> Any:
        return _counts(inputs)[:, self.features_]

    def _feature_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"features": self.features_}

    def _read_features(self, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
        kept = self.features_ = arrays["features"]
        legal = kept.dtype == np.int32 and kept.ndim == 1 and bool((np.diff(kept) > 0).all())
        if not legal or (len(kept) and not (kept[0] >= 0 and kept[-1] < _ROWS)):
            raise ValueError("its features are damaged")
        return len(kept)


def _counts(inputs: Sequence[Any]) -> Any:
    """(N, rows of the hash) whether each input has each feature, sparse."""
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "tasks") from error
    vectorizer = HashingVectorizer(
        n_features=_ROWS, alternate_sign=False, norm=None, binary=True, analyzer=_names, dtype=np.float32
    )
    return vectorizer.transform(inputs)


def _names(input: Mapping[str, Any]) -> list[str]:
    """The names of an input's features."""
    facts = [_words(fact) for fact in facts_of(input["context"])]
    question = _words(input["question"])
    names = [f"q {word}" for word in question]
    names += [f"q {first} {second}" for first, second in pairwise(question)]
    names += [f"f {word}" for fact in facts for word in fact]
    for word in dict.fromkeys(question):
        places = [place for place, fact in enumerate(facts) if word in fact][: -_RECENT - 1 : -1]
        for age, place in enumerate(places):
            for after, fact in enumerate(facts[place : place + 1 + _AFTER]):
                names += [f"{age} {after} {other}" for other in fact]
                names += [f"{age} {after} {word} {other}" for other in fact]
    return names


def _words(sentence: str) -> list[str]:
    return [word.casefold() for word in words_of(sentence)]
