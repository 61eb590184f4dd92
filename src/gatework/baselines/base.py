"""What a baseline is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

__all__ = ["Baseline", "Rival"]


class Baseline(ABC):
    """A naive predictor. Its outputs are scored by the function that scores the model's.

    A task that keeps a baseline in its run keeps it as JSON: `to_json` and `from_json`.
    """

    @abstractmethod
    def fit(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Self:
        """Learn from the training data: N inputs and their N outputs."""

    @abstractmethod
    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """One output for each input."""


class Rival(Baseline):
    """A strong simple predictor, which a run keeps beside its model.

    Attributes:
        name: under which its figures stand.
        unit, most: it is fitted on at most so much training data, counted by `size` in this unit: more would take
            longer than a rival is worth.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "examples"
    most: ClassVar[int]

    def size(self, inputs: Sequence[Any]) -> int:
        """How much data the inputs are, in `unit`."""
        return len(inputs)

    @abstractmethod
    def to_arrays(self) -> dict[str, np.ndarray]:
        """All that was learned, as arrays to keep."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The rival that `to_arrays` gave. Raises `ValueError` for anything else: the file may be a stranger's."""
