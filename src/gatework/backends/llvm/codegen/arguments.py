"""What a lowered program takes: two arrays of arguments, and what stands where in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gatework.graph.keys import ArrayKey
from gatework.graph.node import Width

MOST_COLUMNS = 4  # registers of a tile's row
ROW_ALIGNMENT = 128  # bytes: processors fetch cache lines in pairs


class ScalarKey(NamedTuple):
    """The name of a whole number that a program is given.

    Attributes:
        kind: `rows`; `begin` and `direction` of the steps; `mask` of a state's double buffer; `size` of a named width;
            `unit_blocks` of one product of a kernel; `once`, 1 where weights are read where they stand.
        name: of the state, the width or the kernel.
    """

    kind: Literal["rows", "begin", "direction", "mask", "size", "unit_blocks", "once"]
    name: str = ""


ROWS, BEGIN, DIRECTION, ONCE = (
    ScalarKey("rows"),
    ScalarKey("begin"),
    ScalarKey("direction"),
    ScalarKey("once"),
)


class Operand(NamedTuple):
    """A weight block as a product reads it."""

    slot: str
    gate: str
    transposed: bool


class MatmulGroup(NamedTuple):
    """Accumulations of one kernel with the same operands, computed together.

    Attributes:
        first: position of the first accumulation among the kernel's; the others follow it.
        factors: for each operand, the weight block of each accumulation.
        operands: nodes, in the order in which they are multiplied.
        packed: the array of each operand's blocks.
        width: units of the results.
    """

    first: int
    factors: tuple[tuple[Operand, ...], ...]
    operands: tuple[int, ...]
    packed: tuple[ArrayKey, ...]
    width: Width

    @property
    def size(self) -> int:
        return len(self.factors[0])


@dataclass
class Layout:
    """The argument arrays of a lowered program.

    Attributes:
        pointers: keys of arrays in order. A `state` is (T + 1 or 2, B, W); a `static` (B, W); a `memory` (B, S, W),
            its `lengths` (B); what the loop sums itself, a `memory_gradient` (B, S, W) and a `vector_gradient`
            (B, W); `attended_rows`, the row of the memories that each row of the call reads, (B); a `vector` or a
            `bias` (W); `packed` weights; `scratch` (B, W); `sum` (B, blocks) and `scalar` (B, 1), each row in whole
            multiples of ROW_ALIGNMENT. All others have one vector a step, (T, B, W).
        scalars: keys of whole numbers, in order.
        groups: what is to be packed, by kernel.
        scratch: widths of the scratch arrays and of what sums run over.
    """

    pointers: list[ArrayKey] = field(default_factory=list)
    scalars: list[ScalarKey] = field(default_factory=list)
    groups: dict[str, list[MatmulGroup]] = field(default_factory=dict)
    scratch: dict[ArrayKey, Width] = field(default_factory=dict)

    def pointer(self, key: ArrayKey) -> int:
        """The place of an array's address."""
        if key not in self.pointers:
            self.pointers.append(key)
        return self.pointers.index(key)

    def scalar(self, key: ScalarKey) -> int:
        """The place of a whole number."""
        if key not in self.scalars:
            self.scalars.append(key)
        return self.scalars.index(key)

    def to_json(self) -> str:
        return json.dumps([self.pointers, self.scalars, self.groups, list(self.scratch.items())])

    @classmethod
    def from_json(cls, text: str) -> Layout:
        pointers, scalars, groups, scratch = json.loads(text)
        read = {
            label: [
                MatmulGroup(
                    first,
                    tuple(tuple(Operand(*factor) for factor in place) for place in factors),
                    tuple(operands),
                    tuple(ArrayKey(*key) for key in packed),
                    width,
                )
                for first, factors, operands, packed, width in members
            ]
            for label, members in groups.items()
        }
        return cls(
            [ArrayKey(*key) for key in pointers],
            [ScalarKey(*key) for key in scalars],
            read,
            {ArrayKey(*key): width for key, width in scratch},
        )


def given_weight(packed: ArrayKey, position: int) -> ArrayKey:
    """The array of a weight block as it is given, where `packed` would hold it and others: in what place among them."""
    return packed._replace(name=f"{packed.name}.{position}")


def unit_blocks(group: int, units: int, lanes: int, parts: int) -> int:
    """Unit blocks of one product: as many as fill a tile's columns, and few enough that each part has some."""
    return max(1, min(MOST_COLUMNS // group, -(-units // (lanes * parts))))
