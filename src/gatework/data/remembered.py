"""Results of a function that are remembered for short texts, so that nobody fills the memory with long ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

__all__ = ["remembered"]

P = ParamSpec("P")
R = TypeVar("R")


def remembered(
    results: int, characters: int
) -> Callable[[Callable[Concatenate[str, P], R]], Callable[Concatenate[str, P], R]]:
    """A decorator: the results of the calls of late are remembered, those of long texts are computed each time.

    Args:
        results: so many of them.
        characters: of the function's first argument at most.
    """

    def of(function: Callable[Concatenate[str, P], R]) -> Callable[Concatenate[str, P], R]:
        known = cast("Callable[Concatenate[str, P], R]", lru_cache(maxsize=results)(function))

        @wraps(function)
        def remembering(text: str, /, *more: P.args, **named: P.kwargs) -> R:
            if len(text) > characters:
                return function(text, *more, **named)
            return known(text, *more, **named)

        return remembering

    return of
