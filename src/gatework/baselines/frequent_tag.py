"""A tagger that looks at one word alone: its most frequent tag in the training data."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Self

from gatework.baselines.base import Baseline
from gatework.data import Tagging
from gatework.errors import InputError

__all__ = ["MostFrequentTag"]


class MostFrequentTag(Baseline):
    """Every word's most frequent tag, and the most frequent one of all for words that it has not seen; the label is the
    most frequent one too.
    """

    _tags: dict[str, str]
    _otherwise: Tagging

    def fit(self, inputs: Sequence[Sequence[str]], outputs: Sequence[Tagging]) -> Self:
        """Count the tags of each word.

        Raises:
            InputError: there are no tags.
        """
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for words, tagging in zip(inputs, outputs, strict=True):
            for word, tag in zip(words, tagging.tags, strict=True):
                counts[word][tag] += 1
        total = sum(counts.values(), Counter[str]())
        if not total:
            raise InputError("most frequent tag", "the training data holds no tag", "Give some sentences")
        labels = Counter(each.label for each in outputs if each.label is not None)
        self._tags = {word: own.most_common(1)[0][0] for word, own in counts.items()}
        self._otherwise = Tagging(
            (total.most_common(1)[0][0],), labels.most_common(1)[0][0] if labels else None
        )
        return self

    def predict(self, inputs: Sequence[Sequence[str]]) -> list[Tagging]:
        (tag,), label = self._otherwise
        return [Tagging(tuple(self._tags.get(word, tag) for word in words), label) for words in inputs]

    def to_json(self) -> str:
        """`{"tag": …, "label": …, "tags": {word: tag}}`; words of the tag itself are left out."""
        (tag,), label = self._otherwise
        own = {word: each for word, each in self._tags.items() if each != tag}
        return json.dumps({"tag": tag, "label": label, "tags": own}, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: the text is something else.
        """
        match json.loads(text):
            case {"tag": str(tag), "label": str() | None as label, "tags": dict(tags)} if all(
                isinstance(each, str) for each in tags.values()
            ):
                baseline = cls()
                baseline._tags, baseline._otherwise = tags, Tagging((tag,), label)
                return baseline
        raise ValueError('holds no text under "tag" or no texts under "tags"')
