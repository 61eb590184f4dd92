"""The tables of an export that no part holds, from `tables.bin`: rows of vectors that a program looks up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Tables:
    """Tables by name.

    Args:
        content: of `tables.bin`: numbers of 4 bytes, little-endian.
        index: of `model.json`: by name the shape, the first number, and, of a table whose other rows are zero, the
            number of rows that are `kept`: before their numbers stand their places, each as what it is more than the
            one before. With `int8` a scale of each row stands before the numbers, which are bytes.
    """

    def __init__(self, content: bytes, index: Mapping[str, Mapping[str, Any]]) -> None:
        self.arrays: dict[str, Array] = {}
        self.kept: dict[str, Array] = {}
        for name, about in index.items():
            shape, at, kept = about["shape"], 4 * about["at"], about.get("kept")
            if kept is not None:
                self.kept[name] = np.cumsum(np.frombuffer(content, "<i4", kept, at))
                shape, at = [kept, *shape[1:]], at + 4 * kept
            count = int(np.prod(shape))
            if about.get("int8"):
                scales = np.frombuffer(content, "<f4", shape[0], at)
                numbers = np.frombuffer(content, np.int8, count, at + 4 * shape[0]).reshape(shape)
                self.arrays[name] = numbers * scales[:, None]
            else:
                self.arrays[name] = np.frombuffer(content, "<f4", count, at).reshape(shape)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def rows(self, name: str, places: Sequence[int] | Array) -> Array:
        """The rows at some places, (N, width), less those that are zero."""
        wanted = np.asarray(places, np.int64)
        if name not in self.kept:
            return self.arrays[name][wanted]
        kept = self.kept[name]
        found = np.minimum(np.searchsorted(kept, wanted), max(len(kept) - 1, 0))
        return self.arrays[name][found[kept[found] == wanted]] if len(kept) else self.arrays[name]
