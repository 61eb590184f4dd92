"""What a lowered program takes: two arrays of arguments, and what stands where in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from gatework.graph.node import Width

MOST_COLUMNS = 4  # registers of a tile's row
SPREAD = 128  # bytes: processors fetch cache lines in pairs


class Factor(NamedTuple):
    """A weight block as a product reads it."""

    slot: str
    gate: str
    transposed: bool


class Group(NamedTuple):
    """Accumulations of one piece with the same operands, computed together.

    Attributes:
        first: position of the first accumulation among the piece's; the others follow it.
        factors: for each operand, the weight block of each accumulation.
        operands: nodes, in the order in which they are multiplied.
        packed: a pointer's name for each operand.
        width: units of the results.
    """

    first: int
    factors: tuple[tuple[Factor, ...], ...]
    operands: tuple[int, ...]
    packed: tuple[str, ...]
    width: Width

    @property
    def size(self) -> int:
        return len(self.factors[0])


@dataclass
class Layout:
    """The argument arrays of a lowered program.

    Attributes:
        pointers: names in order. `stream:NAME` (T, B, W); `state:NAME` (T + 1 or 2, B, W); `static:NAME` (B, W);
            `memory:NAME` (B, S, W), `lengths:NAME` (B), `gathered:NAME` as the memory or, of a vector, (B, W), and
            `attended_rows`, the B of each row of the call;
            `vector:NAME`, `bias:SLOT:GATE` (W); `packed:…` weights; `scratch:K` (B, W); `sum:K` (B, blocks)
            and `scalar:K` (B, 1), each row in whole SPREADs.
        numbers: names in order: `rows`, `begin`, `direction`, `mask:STATE`, `size:WIDTH`,
            `together:PIECE` (unit blocks of one product).
        groups: what is to be packed, by piece.
        scratch: widths of the scratch arrays and of what sums run over.
    """

    pointers: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    groups: dict[str, list[Group]] = field(default_factory=dict)
    scratch: dict[str, Width] = field(default_factory=dict)

    def pointer(self, name: str) -> int:
        """The place of an array's address."""
        if name not in self.pointers:
            self.pointers.append(name)
        return self.pointers.index(name)

    def number(self, name: str) -> int:
        """The place of a number."""
        if name not in self.numbers:
            self.numbers.append(name)
        return self.numbers.index(name)

    def to_json(self) -> str:
        return json.dumps([self.pointers, self.numbers, self.groups, self.scratch])

    @classmethod
    def from_json(cls, text: str) -> Layout:
        pointers, numbers, groups, scratch = json.loads(text)
        read = {
            label: [
                Group(
                    first,
                    tuple(tuple(Factor(*factor) for factor in place) for place in factors),
                    tuple(operands),
                    tuple(packed),
                    width,
                )
                for first, factors, operands, packed, width in members
            ]
            for label, members in groups.items()
        }
        return cls(pointers, numbers, read, scratch)


def together(group: int, units: int, lanes: int, parts: int) -> int:
    """Unit blocks of one product: as many as fill a tile's columns, and few enough that each part has some."""
    return max(1, min(MOST_COLUMNS // group, -(-units // (lanes * parts))))
