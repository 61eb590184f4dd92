"""Examples as arrays: a table whose columns are ragged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

__all__ = ["Fields", "Packed"]

# One example: an array for each field, whose first axis has the example's own length.
Fields = Mapping[str, np.ndarray]


class Packed(Sequence[Fields]):
    """N examples with the same fields, each field as one array: the examples' arrays one after another.

    A million short examples are then a handful of arrays, not a million Python objects.

    Attributes:
        arrays: of each field, (total length, …): example i is rows begins[i] … ends[i] - 1.
        begins, ends: of each field, (N,) int64.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        ends: Mapping[str, np.ndarray],
        begins: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """`from_rows` makes one. Without `begins` each example begins where the one before it ends."""
        self.arrays = dict(arrays)
        self.ends = dict(ends)
        self.begins = {
            field: np.concatenate([[0], some[:-1]])[: len(some)] for field, some in self.ends.items()
        }
        if begins is not None:
            self.begins = dict(begins)

    @classmethod
    def from_rows(cls, rows: Iterable[Fields]) -> Self:
        """Pack examples, which are read once.

        Raises:
            ValueError: a row has other fields than the first, or an array that has no length or another type or
                further axes than the field's first.
        """
        parts: dict[str, list[np.ndarray]] = {}
        for index, row in enumerate(rows):
            if index == 0:
                parts = {field: [] for field in row}
            if row.keys() != parts.keys():
                raise ValueError(f"row {index} has the fields {sorted(row)}, row 0 has {sorted(parts)}")
            for field, array in row.items():
                _check(index, field, array, parts[field])
                parts[field].append(array)
        arrays = {field: np.concatenate(some) for field, some in parts.items()}
        ends = {field: np.cumsum([len(a) for a in some], dtype=np.int64) for field, some in parts.items()}
        return cls(arrays, ends)

    def __len__(self) -> int:
        return len(next(iter(self.ends.values()), ()))

    def __getitem__(self, index: Any) -> Any:
        """`packed[i]` is one example's `Fields`, views; negative i counts from the end.

        Raises:
            IndexError: there is no such example.
            TypeError: for a slice; `some` takes several.
        """
        if not isinstance(index, (int, np.integer)):
            raise TypeError(f"an example is asked for by its number, not {index!r}")
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        return {
            field: array[self.begins[field][number] : self.ends[field][number]]
            for field, array in self.arrays.items()
        }

    def lengths(self, *fields: str) -> list[tuple[int, ...]]:
        """Of each example, its lengths in these fields.

        Raises:
            KeyError: there is no such field.
        """
        if not self.ends:
            return []
        return list(zip(*((self.ends[field] - self.begins[field]).tolist() for field in fields), strict=True))

    def some(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The examples of these indices, in this order; views."""
        chosen = np.asarray(indices, np.int64)
        return type(self)(
            self.arrays,
            {field: ends[chosen] for field, ends in self.ends.items()},
            {field: begins[chosen] for field, begins in self.begins.items()},
        )

    def sha256(self) -> str:
        """A digest of every example: fields, types, lengths and values."""
        digest = hashlib.sha256()
        for field in sorted(self.arrays):
            array, begins, ends = self.arrays[field], self.begins[field], self.ends[field]
            totals = np.cumsum(ends - begins)
            shape = (int(totals[-1]) if len(totals) else 0, *array.shape[1:])
            digest.update(f"{field} {array.dtype.str} {shape} {len(ends)};".encode())
            digest.update(totals.data)
            cuts = np.flatnonzero(begins[1:] != ends[:-1]) + 1  # where the next example is elsewhere
            firsts, lasts = np.append(0, cuts)[: len(ends)], np.append(cuts, len(ends))[: len(ends)] - 1
            for first, last in zip(firsts, lasts, strict=True):
                digest.update(np.ascontiguousarray(array[begins[first] : ends[last]]).data)
        return digest.hexdigest()


def _check(index: int, field: str, array: np.ndarray, before: Sequence[np.ndarray]) -> None:
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "biuf":
        what = repr(array)[:60]
        raise ValueError(
            f"field {field!r} of row {index} is {what}; give a NumPy array of numbers with a length"
        )
    if before and (array.dtype, array.shape[1:]) != (before[0].dtype, before[0].shape[1:]):
        raise ValueError(
            f"field {field!r} of row {index} is {array.dtype} with further axes {array.shape[1:]}, "
            f"that of row 0 is {before[0].dtype} with {before[0].shape[1:]}"
        )
