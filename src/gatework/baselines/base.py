"""What a baseline is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

__all__ = ["Baseline"]


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
