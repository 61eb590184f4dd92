"""A figure by its name: which of two values is better, and whether one is good enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Figure"]


class Figure(NamedTuple):
    """A figure's name, and whether a higher one is better."""

    name: str
    higher: bool

    def merit(self, figures: Mapping[str, float | None]) -> float:
        """This figure's value among others, with the sign that makes more better; minus infinity for none."""
        value = figures.get(self.name)
        if value is None or math.isnan(value):
            return -math.inf
        return value if self.higher else -value

    def better(self, figures: Mapping[str, float | None], than: Mapping[str, float | None]) -> bool:
        """Whether these figures are better than others; equal ones are not."""
        return self.merit(figures) > self.merit(than)

    def reaches(self, figures: Mapping[str, float | None], target: float) -> bool:
        """Whether the value is at least `target`, or at most where less is better."""
        return self.merit(figures) >= self.merit({self.name: target})

    def strongest(self, figures: Mapping[str, Mapping[str, float]]) -> str:
        """Whose figures are best, of several by name; the first of equals, empty where there is none."""
        return max(figures, key=lambda name: self.merit(figures[name]), default="")
