"""The commands of a layer's pass: what is done, and to which arrays, without a processor in it.

A command names an array by an address: a base, for which each call gives a tensor, and an offset in it. Where one
command reads what an earlier one wrote, a `Barrier` stands between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from gatework.backends.compiled.spans import Number
from gatework.backends.storage import Storage
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey


class LayerArray(NamedTuple):
    """An array of one layer of a stack."""

    layer: int
    key: ArrayKey


class Scratch(NamedTuple):
    """Memory that a list needs while it runs.

    Attributes:
        number: its own among those of a builder.
        size: in numbers.
    """

    number: int
    size: int


Base = ArrayKey | LayerArray | Scratch | str
"""Where an array is: a scratch memory, or what a call gives a tensor for.

In a list without a graph the base is a name of the list's own.
"""

UNIT = ArrayKey("unit", "")
"""The base of a single 1, which every machine has."""


class Address(NamedTuple):
    """Where an array begins.

    Attributes:
        offset: in numbers; may point before the base where only later parts are read.
    """

    base: Base
    offset: Number = 0

    def at(self, numbers: Number) -> Address:
        return Address(self.base, self.offset + numbers)


def parameter(name: str, layer: int | None) -> Base:
    """The base of a parameter: of a layer of a stack, or of the one layer that there is."""
    key = ArrayKey("parameter", name)
    return key if layer is None else LayerArray(layer, key)


@dataclass(frozen=True, eq=False)
class BoundProgram:
    """A program and the parameters that it reads.

    Attributes:
        program: an expanded step graph.
        graph: the layer's, which declares the parameters.
        sizes: values of the sizes that the graphs name.
        rows: the most that it runs for.
        layer: whose parameters they are; None where there is but one layer.
        storage: how a machine may keep the weight matrices, which are as they are read back from it.
        once: a command list runs it for one step only, so that it does not repay bringing whole weight matrices into
            an order of the machine's own.
    """

    program: Graph
    graph: Graph
    sizes: Mapping[str, int]
    rows: int
    layer: int | None
    storage: Storage
    once: bool = False


@dataclass(frozen=True, slots=True)
class Bind:
    """Reads a program's parameters as they are now: a machine may bring them into an order of its own."""

    bound: BoundProgram


@dataclass(frozen=True, slots=True)
class Run:
    """A program over some steps and rows.

    Attributes:
        arrays: all that the program reads and writes beside parameters; there may be more. A `state` is (T + 1, B, W),
            or (2, B, W) whose halves take turns; a `static` (B, W); a `memory` (B, S, W), its `lengths` (B); what the
            loop sums itself, a `memory_gradient` (B, S, W) and a `vector_gradient` (B, W); `attended_rows`, the row of
            the memories that each row of the call reads, (B). All others have one vector a step, (T, B, W).
        masks: of states: 1 for two halves, -1 for a whole history. Step k reads its old value in part k & mask, and
            writes the new one to part (k + 1) & mask.
        steps: the first, and one past the last.
        rows: B
        begin, direction: step k is at `begin + k * direction` of arrays over time.
        by_units: whether the workers of a machine had better share units than rows.
    """

    bound: BoundProgram
    arrays: Mapping[ArrayKey, Address]
    masks: Mapping[str, int]
    steps: tuple[Number, Number]
    rows: Number
    begin: Number
    direction: int
    by_units: Number


@dataclass(frozen=True, slots=True)
class Copy:
    """So many numbers of each row; zeros where there is no source."""

    source: Address | None
    to: Address
    numbers: int
    rows: Number


@dataclass(frozen=True, slots=True)
class Outer:
    """Adds to result[m, n], or with `from_scratch` sets it to, the sum over k of left[m, k] right[k, n], in that order.

    Attributes:
        left_strides: of m and k.
        right_strides: of k and n; one of them is 1.
        depth, rows, columns: the ranges of k, m and n.
        result_row: numbers from a row of the result to the next.
    """

    left: Address
    left_strides: tuple[int, int]
    right: Address
    right_strides: tuple[Number, int]
    depth: Number
    rows: int
    columns: Number
    result: Address
    result_row: Number
    from_scratch: bool


@dataclass(frozen=True, slots=True)
class OuterOfRows:
    """Adds to result[b, m, n] the sum over k of left[k, b, m] right[k, b, n].

    Attributes:
        left_stride, right_stride: of k.
        depth: the range of k.
        shape: of the result, (B, M, N).
    """

    left: Address
    left_stride: Number
    right: Address
    right_stride: Number
    depth: Number
    shape: tuple[Number, int, int]
    result: Address


@dataclass(frozen=True, slots=True)
class Softmax:
    """The softmax of each column of a table of logits (units, columns) plus a bias of the units, in place.

    Attributes:
        normaliser, mean: results: the logarithms of the columns' sums of exponentials, and the means of their logits.
        floor: label-smoothing floor, smoothing / V, subtracted from each softmax value in the gradient.
        gradient: the table becomes the probabilities less the floor; else it is left unfinished.
    """

    table: Address
    bias: Address
    normaliser: Address
    mean: Address
    floor: Address
    units: int
    columns: int
    gradient: bool


@dataclass(frozen=True, slots=True)
class Best:
    """The likeliest units of each column of a table of logits (units, columns) plus a bias of the units.

    Attributes:
        allowed: 0, or minus infinity for units that are not to be among them.
        values, places: results: their log-probabilities, falling, and the units, as numbers, (count, columns).
    """

    table: Address
    bias: Address
    allowed: Address
    values: Address
    places: Address
    units: int
    columns: int
    count: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """What comes after reads what came before has written."""


Command = Bind | Run | Copy | Outer | OuterOfRows | Softmax | Best | Barrier


@dataclass(frozen=True, slots=True)
class Cut:
    """How a ragged batch is cut into chunks; see `spans.chunks`."""

    chunk_rows: int
    units_up_to: int
    backward: bool


@dataclass(frozen=True, eq=False)
class CommandList:
    """A pass, command by command.

    Attributes:
        first: all commands of a dense batch; of a ragged one what comes before its chunks.
        chunk: what is done for each chunk of a ragged batch, as a function of its lengths (`spans.Affine`).
        last: what comes after the chunks.
        cut: None for a dense batch.
    """

    dtype: torch.dtype
    first: tuple[Command, ...]
    chunk: tuple[Command, ...] = ()
    last: tuple[Command, ...] = ()
    cut: Cut | None = None
