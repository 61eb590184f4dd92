"""TF-IDF of words and pieces of words with logistic regression: what a text classifier has to be better than."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gatework.baselines.linear import LinearRival, check_finite
from gatework.errors import MissingExtraError

__all__ = ["LinearText"]

_ROWS = 1 << 22  # of the hash: a collision in a hundred among 40,000 features
_PARTS: Mapping[str, Mapping[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]"},
    "pieces": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}
# Features that one text alone has say nothing of others, where there are many texts.
_MANY_TEXTS = 1000


class LinearText(LinearRival):
    """Logistic regression over the TF-IDF of a text's words and pairs of words, and of pieces of 2 to 5 characters
    within words.

    The weight of a feature that a text has c times, and D of N training texts have at all, is
    (1 + ln c) (1 + ln((1 + N) / (1 + D))); a text's weights of either kind of features have the norm 1. Features are
    hashed (MurmurHash3), and those that the training data has are kept (of 1,000 texts and more, those of two texts).

    Attributes:
        features_: of either kind, the (F',) hashes that are kept, rising.
        idf_: of either kind, (F',) their factors.
    """

    name: ClassVar[str] = "tf_idf"
    unit: ClassVar[str] = "characters"
    most: ClassVar[int] = 20_000_000  # about five minutes and 2.5 GB on one core

    features_: dict[str, npt.NDArray[np.int32]]
    idf_: dict[str, npt.NDArray[np.float32]]

    def size(self, inputs: Sequence[str]) -> int:
        return sum(map(len, inputs))

    def _learn_features(self, inputs: Sequence[str]) -> Any:
        least = 2 if len(inputs) >= _MANY_TEXTS else 1
        self.features_, self.idf_ = {}, {}
        counts = {}
        for part in _PARTS:
            counted = _counts(part, inputs)
            texts = np.bincount(counted.indices, minlength=_ROWS)
            kept = np.flatnonzero(texts >= least)
            self.features_[part] = kept.astype(np.int32)
            self.idf_[part] = (1 + np.log((1 + len(inputs)) / (1 + texts[kept]))).astype(np.float32)
            counts[part] = counted[:, kept]
        return self._weighted(counts)

    def _features(self, inputs: Sequence[str]) -> Any:
        return self._weighted({part: _counts(part, inputs)[:, self.features_[part]] for part in _PARTS})

    def _weighted(self, counts: Mapping[str, Any]) -> Any:
        """(N, F) float32, sparse."""
        from scipy import sparse
        from sklearn.preprocessing import normalize

        weighted = []
        for part, counted in counts.items():
            counted.data = (1 + np.log(counted.data)) * self.idf_[part][counted.indices]
            weighted.append(normalize(counted, copy=False) if counted.shape[1] else counted)
        return sparse.hstack(weighted, format="csr", dtype=np.float32)

    def _feature_arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays: dict[str, npt.NDArray[Any]] = {}
        for part in _PARTS:
            arrays[f"features_{part}"], arrays[f"idf_{part}"] = self.features_[part], self.idf_[part]
        return arrays

    def _read_features(self, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
        self.features_ = {part: arrays[f"features_{part}"] for part in _PARTS}
        self.idf_ = {part: arrays[f"idf_{part}"] for part in _PARTS}
        for part, kept in self.features_.items():
            legal = kept.dtype == np.int32 and kept.ndim == 1 and bool((np.diff(kept) > 0).all())
            if not legal or (len(kept) and not (kept[0] >= 0 and kept[-1] < _ROWS)):
                raise ValueError(f"its features of {part} are damaged")
            check_finite(self.idf_[part], kept.shape, f"factors of {part}")
        return sum(map(len, self.features_.values()))


def _counts(part: str, texts: Sequence[str]) -> Any:
    """(N, rows of the hash) how often each text has each feature, sparse."""
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "tasks") from error
    vectorizer = HashingVectorizer(
        n_features=_ROWS, alternate_sign=False, norm=None, dtype=np.float32, **_PARTS[part]
    )
    return vectorizer.transform(texts)
