"""A JSON file, damaged anywhere: what a stranger's file of a run may hold."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["damaged"]

DELETED = object()
VALUES = [None, [], {}, "x", "", True, -1, 0, 1.5, 1e300, 10**12, 10**30, -(10**30), [[]], {"x": 1}, DELETED]
CONSTANTS = ["NaN", "Infinity", "-Infinity", "9" * 5000, "[" * 5000]
WHOLE = ["null", "[]", "{}", '"x"', "-1", "1.5", "", "NaN"]
OF_WHOLE, HIGH, ANYWHERE = (
    4,
    12,
    4,
)  # damaged texts a file: of the whole, of values that stand high up, of any
MARK = "put something here"


def damaged(text: str, seed: str) -> Iterator[str]:
    """Texts of which each differs from this JSON text in one place.

    They are few, since each costs a run's loading. Another seed has others: tasks, whose runs have many files in
    common, try many together.

    The whole text is another value; a value in it is of another kind or size, or is missing, or is what JSON does not
    have. Values that stand high up decide most: of a large file's deep ones few are tried.
    """
    generator = random.Random(seed)
    yield from generator.sample(WHOLE, k=OF_WHOLE)
    value = json.loads(text)
    every = list(_places(value))
    high = [path for path in every if len(path) <= 3]
    chosen = [(path, [*VALUES, *CONSTANTS]) for path in generator.choices(high, k=HIGH)]
    chosen += [(path, VALUES) for path in generator.choices(every, k=ANYWHERE)]
    for path, values in chosen:
        yield _with(value, path, generator.choice(values))


def _places(value: Any, path: tuple[Any, ...] = ("",)) -> Iterator[tuple[Any, ...]]:
    """Where each value inside this one stands."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from _places(item, (*path, name))


def _with(value: Any, path: tuple[Any, ...], other: Any) -> str:
    """The value as JSON, with another one at this place of it."""
    changed = copy.deepcopy({"": value})
    holder: Any = changed
    for step in path[:-1]:
        holder = holder[step]
    if other is DELETED:
        del holder[path[-1]]
        return json.dumps(changed.get(""))
    is_constant = isinstance(other, str) and other in CONSTANTS
    holder[path[-1]] = MARK if is_constant else other
    text = json.dumps(changed[""])
    return text.replace(f'"{MARK}"', other) if is_constant else text
