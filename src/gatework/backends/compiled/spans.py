"""Spans of a batch: steps in which the same rows take part, cut into chunks; and commands for any lengths.

In a dense batch every row takes part in every step. In a ragged one, rows are sorted by rising length, so that the
rows that are active at a step are the last ones, and a span ends where a sequence does. What a pass does for a chunk
is the same for all chunks but for whole numbers (rows, steps, offsets), each of which is a sum of a few quantities of
the chunk and of the batch. So the commands for a chunk are written once with `Affine` numbers in place of those
quantities; a batch's lengths only fill them in, all chunks at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gatework.backends.program import Piece


@dataclass(frozen=True, slots=True)
class Affine:
    """A whole number that the lengths of a batch decide: a constant and multiples of quantities.

    It is true: where it may be zero, what is done for it does nothing.

    Attributes:
        terms: quantities and their factors, sorted, none of them 0.
    """

    constant: int
    terms: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: Number) -> Affine:
        if isinstance(other, int):
            return Affine(self.constant + other, self.terms)
        factors = dict(self.terms)
        for name, factor in other.terms:
            factors[name] = factors.get(name, 0) + factor
        terms = tuple(sorted((name, factor) for name, factor in factors.items() if factor))
        return Affine(self.constant + other.constant, terms)

    __radd__ = __add__

    def __neg__(self) -> Affine:
        return self * -1

    def __sub__(self, other: Number) -> Affine:
        return self + -other

    def __rsub__(self, other: int) -> Affine:
        return -self + other

    def __mul__(self, factor: int) -> Affine:
        terms = tuple((name, own * factor) for name, own in self.terms if factor)
        return Affine(self.constant * factor, terms)

    __rmul__ = __mul__


Number = int | Affine
"""A whole number of a command: known, or decided by a batch's lengths."""


def quantity(name: str) -> Affine:
    return Affine(0, ((name, 1),))


class Chunk(NamedTuple):
    """Some steps, all with the same rows: the last ones of the batch.

    Attributes:
        first, last: the first step, and one past the last.
        rows: that are active in them.
        ended: rows that have no step after them.
        shift: packed index of step t's first row = t * rows + shift.
        before: first * rows.
        all_rows: of all its steps together.
        group: packed index of the first row of its group: of neighbouring chunks, whose rows are multiplied together
            where no state is needed.
        group_rows: rows of all steps of the group, in that of its chunks at which they are multiplied: the first one
            of a forward pass, which is the last one of a backward pass; else 0.
        turned_rows: rows, where the carried states after the chunk are in the second half of their double buffer; or 0.
        history_rows: last * rows.
        by_units: 1 where workers share units rather than rows.
        moved: row offset of the carried states inside their double buffer.
    """

    first: Number
    last: Number
    rows: Number
    ended: Number
    shift: Number
    before: Number
    all_rows: Number
    group: Number
    group_rows: Number
    turned_rows: Number
    history_rows: Number
    by_units: Number
    moved: Number


class Extent(NamedTuple):
    """What is known of a batch as a whole.

    Attributes:
        steps: T, of the longest row.
        total: rows of all steps together.
        begun: rows that have a step at all.
        turned_rows: `begun` where T is odd, or 0.
    """

    steps: Number
    total: Number
    begun: Number
    turned_rows: Number


ANY_CHUNK = Chunk(*map(quantity, (f"chunk.{name}" for name in Chunk._fields)))
ANY_EXTENT = Extent(*map(quantity, (f"batch.{name}" for name in Extent._fields)))
TABLE, SCALARS = quantity("table"), quantity("scalars")
"""Where the addresses and the scalars of a chunk begin among those of the list."""

_QUANTITIES = [
    *(f"batch.{name}" for name in Extent._fields),
    *(f"chunk.{name}" for name in Chunk._fields),
    "table",
    "scalars",
]


def extent(pieces: Sequence[Piece]) -> Extent:
    """Of a batch."""
    steps, begun = pieces[-1][1], pieces[0][2]
    return Extent(
        steps, sum((stop - start) * rows for start, stop, rows in pieces), begun, (steps & 1) * begun
    )


def chunks(
    pieces: Sequence[Piece], chunk_rows: int, units_up_to: int, *, backward: bool = False
) -> list[Chunk]:
    """The steps of a batch in order, at most `chunk_rows` rows at a time where that is possible.

    Args:
        units_up_to: rows up to which workers share units.
        backward: the pass runs from the last step to the first, and counts the turns of its states from there.
    """
    steps_all = pieces[-1][1]
    before = moved = 0
    found, sizes = [], []
    for number, (start, stop, rows) in enumerate(pieces):
        after = pieces[number + 1][2] if number + 1 < len(pieces) else 0
        steps, shift = max(1, chunk_rows // rows), before - start * rows
        for first in range(start, stop, steps):
            last = min(first + steps, stop)
            ended = rows - after if last == stop else 0
            turn = (steps_all - last if backward else last) & 1
            all_rows, place = (last - first) * rows, shift + first * rows
            sizes.append(all_rows)
            found.append(Chunk(
                first, last, rows, ended, shift, first * rows, all_rows, place, all_rows, turn * rows, last * rows,
                int(rows <= units_up_to), moved,
            ))  # fmt: skip
            moved += (turn + 1) * ended
        before += (stop - start) * rows
    return _grouped(found, sizes, chunk_rows)


def _grouped(found: Sequence[Chunk], sizes: Sequence[int], most: int) -> list[Chunk]:
    """Chunks, each in a group of its own, in groups of at most so many rows, or of one chunk.

    Args:
        sizes: rows of all steps of each chunk.
    """
    firsts: list[int] = []  # of the groups
    totals: list[int] = []
    for place, size in enumerate(sizes):
        if not totals or totals[-1] + size > most:
            firsts.append(place)
            totals.append(0)
        totals[-1] += size
    grouped = list(found)
    for first, end, total in zip(firsts, [*firsts[1:], len(found)], totals, strict=True):
        grouped[first] = found[first]._replace(group_rows=total)
        for place in range(first + 1, end):
            grouped[place] = found[place]._replace(group=found[first].group, group_rows=0)
    return grouped


def known_number(number: Number, whole: Extent) -> int:
    """A number that depends on a batch as a whole alone."""
    if isinstance(number, int):
        return number
    known = {f"batch.{name}": own for name, own in whole._asdict().items()}
    return number.constant + sum(factor * known[name] for name, factor in number.terms)


class Form:
    """An array of numbers, as a function of the quantities of a batch and a chunk."""

    def __init__(self, numbers: Sequence[Number]) -> None:
        known = [number if isinstance(number, Affine) else Affine(number) for number in numbers]
        self._constants = np.array([number.constant for number in known], dtype=np.int64)
        self._places = np.array([i for i, number in enumerate(known) if number.terms], dtype=np.int64)
        # In float64, whose products are fast, and exact below 2^53: offsets and counts are far below that.
        self._factors = np.zeros((len(_QUANTITIES), len(self._places)))
        for column, place in enumerate(self._places):
            for name, factor in known[place].terms:
                self._factors[_QUANTITIES.index(name), column] = factor

    def __len__(self) -> int:
        return len(self._constants)

    def of(self, quantities: np.ndarray) -> np.ndarray:
        """The numbers for each row of quantities, (K, Q): (K, N)."""
        numbers = np.repeat(self._constants[None], len(quantities), 0)
        numbers[:, self._places] += (quantities @ self._factors).astype(np.int64)
        return numbers


def quantities(whole: Extent, own: Sequence[Chunk], table: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    """What `Form` reads: a row for each chunk.

    Args:
        table, scalars: where each chunk's addresses and scalars begin.
    """
    batch = np.repeat(np.array([whole], dtype=np.float64), len(own), 0)
    return np.concatenate([batch, np.array(own, dtype=np.float64), table[:, None], scalars[:, None]], 1)
