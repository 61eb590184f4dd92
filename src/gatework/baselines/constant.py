"""Baselines that look at nothing: the most common output, the input itself, an empty text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from gatework.baselines.base import Baseline
from gatework.errors import InputError

__all__ = ["Copy", "Empty", "MostCommon", "MostCommonSet"]


class MostCommon(Baseline):
    """The output that is most frequent in the training data, the first of several.

    Attributes:
        output_: that output, a text or a list of texts, after `fit`.
    """

    kind: ClassVar[str] = "text"  # what an output is, for messages

    output_: Any

    def fit(self, inputs: Sequence[Any], outputs: Sequence[str | list[str]]) -> Self:
        """Count the outputs; the inputs are not looked at.

        Raises:
            InputError: there are no outputs.
        """
        if not outputs:
            raise InputError("most common output", "the training data holds no output", "Give some examples")
        whole = (output if isinstance(output, str) else tuple(output) for output in outputs)
        ((output, _),) = Counter(whole).most_common(1)
        self.output_ = output if isinstance(output, str) else list(output)
        return self

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        return [self.output_] * len(inputs)

    def to_json(self) -> str:
        """`{"most_common": "…"}`, or with a list of texts."""
        return json.dumps({"most_common": self.output_}, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: the text is something else.
        """
        value = json.loads(text)
        output = value.get("most_common") if isinstance(value, dict) else None
        if not cls._is_output(output):
            raise ValueError(f'holds no {cls.kind} under "most_common"')
        baseline = cls()
        baseline.output_ = output
        return baseline

    @classmethod
    def _is_output(cls, value: Any) -> bool:
        return isinstance(value, str)


class MostCommonSet(MostCommon):
    """The list of labels that is most frequent in the training data, the first of several."""

    kind: ClassVar[str] = "list of texts"

    @classmethod
    def _is_output(cls, value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(label, str) for label in value)


class Copy(Baseline):
    """The input, as it is."""

    def fit(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Self:
        return self

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        return list(inputs)


class Empty(Baseline):
    """An empty text."""

    def fit(self, inputs: Sequence[Any], outputs: Sequence[str]) -> Self:
        return self

    def predict(self, inputs: Sequence[Any]) -> list[str]:
        return [""] * len(inputs)
