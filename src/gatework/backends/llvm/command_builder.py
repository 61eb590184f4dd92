"""CommandList lists: what the threads of a layer's pass do, command by command, written once for a shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gatework.backends.llvm.codegen.arguments import (
    BEGIN,
    DIRECTION,
    ROW_ALIGNMENT,
    ROWS,
    MatmulGroup,
    ScalarKey,
    unit_blocks,
)
from gatework.backends.llvm.codegen.command_layout import (
    BARRIER,
    BEST,
    COPY,
    FIELDS,
    OUTER,
    OUTER_OF_ROWS,
    PACK,
    ROW,
    RUN,
    SOFTMAX,
)
from gatework.backends.llvm.codegen.driver import BARRIER_BYTES, SCRATCH_STRIDE
from gatework.backends.llvm.codegen.matmul import COLUMNS
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.llvm.commands import (
    LINE,
    WORKSPACE,
    Address,
    Base,
    CommandList,
    Cut,
    Kept,
    Part,
    RaggedCommandList,
    parameter,
)
from gatework.backends.llvm.runtime import native
from gatework.backends.llvm.runtime.native import Native
from gatework.backends.llvm.spans import (
    ANY_CHUNK,
    SCALARS,
    TABLE,
    Affine,
    Chunk,
    Number,
    chunks,
)
from gatework.backends.program import Piece
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve
from gatework.graph.parameters import gate_rows

# Bytes between two arrays: what stands a power of two apart falls on the same places of the cache.
ARRAY_PADDING = 3 * LINE
_BARRIER: list[Number] = [BARRIER, *[0] * (ROW - 1)]


@dataclass(frozen=True)
class BoundProgram:
    """A program with its weights and scratch memory in place.

    Attributes:
        arrays: places by the layout's keys; what a call adds are the arrays over time, states and static inputs.
        scalars: by the layout's keys.
    """

    program: Native
    arrays: Mapping[ArrayKey, Address]
    scalars: Mapping[ScalarKey, int]


class CommandBuilder:
    """A command list under construction.

    Args:
        team: threads that will share the work.
        parts: the most of them that will share units.
    """

    def __init__(self, dtype: torch.dtype, target: Target, team: int = 1, parts: int = 1) -> None:
        self._dtype = dtype
        self._driver = native.driver(dtype, target)
        self._item = torch.finfo(dtype).bits // 8
        self._lanes = target.lanes(self._item)
        self._team, self._parts = team, parts
        self._bases: dict[Base, int] = {}
        self._head = self._part = Part()  # the one that is being written
        self._chunk: Part | None = None
        self._cut: Cut | None = None
        self._workspace = BARRIER_BYTES // self._item
        self._programs: list[Native] = []

    def scratch(self, numbers: int) -> Address:
        """A part of the workspace."""
        line = LINE // self._item
        place = Address(WORKSPACE, self._workspace)
        self._workspace += -(-numbers // line) * line + ARRAY_PADDING // self._item
        return place

    def _spread(self, rows: int, numbers: int) -> Address:
        """Scratch memory for a few numbers of each row, each row's in whole pairs of cache lines."""
        aligned = ROW_ALIGNMENT // self._item
        begin = self._workspace
        self._of_rows(rows + 1, -(-numbers // aligned) * aligned)
        return Address(WORKSPACE, -(-begin // aligned) * aligned)

    def _of_rows(self, rows: int, width: int) -> Address:
        """Scratch memory of a program: threads that share rows leave gaps between theirs."""
        return self.scratch(rows * width + (self._team - 1) * SCRATCH_STRIDE // self._item)

    def chunks(
        self, pieces: Sequence[Piece] | None, chunk_rows: int, units_up_to: int, *, backward: bool = False
    ) -> Iterator[Chunk]:
        """The chunks of a batch, in the order in which a pass works on them.

        Of a ragged batch of any lengths it is one: what is added for it is the pattern of all of them.

        Args:
            pieces: None for a ragged batch.
            chunk_rows: rows that the steps of a chunk may have.
            units_up_to: rows up to which threads share units.
            backward: from the last step to the first.
        """
        if pieces is not None:
            known = list(chunks(pieces, chunk_rows, units_up_to, backward=backward))
            yield from reversed(known) if backward else known
            return
        self._cut = Cut(chunk_rows, units_up_to, backward, len(self._head.commands))
        self._part = self._chunk = Part()
        yield ANY_CHUNK
        self._part = self._head

    def bind(
        self,
        program: Native,
        graph: Graph,
        sizes: Mapping[str, int],
        rows: int,
        layer: int | None = None,
    ) -> BoundProgram:
        """A program's scratch memory for so many rows, and the commands that pack its weights.

        Args:
            layer: whose parameters it reads; None where there is but one layer.
        """
        self._programs.append(program)
        layout, lanes = program.layout, self._lanes
        arrays: dict[ArrayKey, Address] = {}
        scalars = {key: sizes[key.name] for key in layout.scalars if key.kind == "size"}
        for label, groups in layout.groups.items():
            width = resolve(groups[0].width, sizes)
            count = unit_blocks(max(group.size for group in groups), width, lanes, self._parts)
            scalars[ScalarKey("unit_blocks", label)] = count
            for group in groups:
                self._pack(group, graph, sizes, count, arrays, layer)
        for key in layout.pointers:
            match key.kind:
                case "bias":
                    first, _ = gate_rows(graph, key.slot, sizes)[key.name]
                    arrays[key] = Address(parameter(f"bias_{key.slot}", layer), first)
                case "vector":
                    arrays[key] = Address(parameter(key.name, layer))
                case "scratch":
                    arrays[key] = self._of_rows(rows, resolve(layout.scratch[key], sizes))
                case "sum":
                    blocks = -(-resolve(layout.scratch[key], sizes) // lanes)
                    arrays[key] = self._spread(rows, blocks)
                case "scalar":
                    arrays[key] = self._spread(rows, 1)
                case _:
                    pass
        return BoundProgram(program, arrays, scalars)

    def _pack(
        self,
        group: MatmulGroup,
        graph: Graph,
        sizes: Mapping[str, int],
        count: int,
        arrays: dict[ArrayKey, Address],
        layer: int | None,
    ) -> None:
        size = count * self._lanes
        columns = group.size * size
        for key, factors in zip(group.packed, group.factors, strict=True):
            for position, factor in enumerate(factors):
                first, last = gate_rows(graph, factor.slot, sizes)[factor.gate]
                block = next(b for b in graph.blocks if (b.slot, b.gate) == (factor.slot, factor.gate))
                width = resolve(block.columns, sizes)
                units, depth = (width, last - first) if factor.transposed else (last - first, width)
                blocks = -(-units // size) * count
                if position == 0:
                    arrays[key] = self.scratch(blocks // count * depth * columns)
                strides = (1, width) if factor.transposed else (width, 1)
                source = self._place(Address(parameter(f"weight_{factor.slot}", layer), first * width))
                packed = self._place(arrays[key].at(position * size))
                self._add(
                    PACK, source=source, unit_stride=strides[0], k_stride=strides[1], units=units, depth=depth,
                    packed=packed, columns=columns, size=size, blocks=blocks,
                )  # fmt: skip

    def run(
        self,
        bound: BoundProgram,
        arrays: Mapping[ArrayKey, Address],
        masks: Mapping[str, int],
        *,
        steps: tuple[Number, Number],
        rows: Number,
        begin: Number = 0,
        direction: int = 1,
        by_units: Number = 0,
    ) -> None:
        """A program over some steps and rows.

        Args:
            masks: of states: 1 for two alternating places, -1 for a whole history.
            steps: the first, and one past the last.
            begin, direction: step k is at `begin + k * direction` of arrays over time.
            by_units: whether threads share units rather than rows.
        """
        layout, part = bound.program.layout, self._part
        table = self._index(part.table, TABLE)
        part.table += [self._entry(arrays.get(key) or bound.arrays[key]) for key in layout.pointers]
        scalars: dict[ScalarKey, Number] = {ROWS: rows, BEGIN: begin, DIRECTION: direction, **bound.scalars}
        scalars |= {ScalarKey("mask", name): mask for name, mask in masks.items()}
        first = self._index(part.scalars, SCALARS)
        part.scalars += [scalars[key] for key in layout.scalars]
        self._add(
            RUN, program=bound.program.run, table=table, scalars=first, first_step=steps[0], last_step=steps[1],
            rows=rows, by_units=by_units,
        )  # fmt: skip

    def copy(self, source: Address | None, to: Address, numbers: int, rows: Number = 1) -> None:
        """So many numbers of each row; zeros where there is no source."""
        if rows and numbers:
            begin = -1 if source is None else self._place(source)
            self._add(COPY, source=begin, to=self._place(to), size=numbers, rows=rows)

    def outer(
        self,
        left: Address,
        left_strides: tuple[int, int],
        right: Address,
        right_stride: Number,
        depth: Number,
        rows: int,
        columns: Number,
        result: Address,
        *,
        panel: int | None = None,
        from_scratch: bool = False,
    ) -> None:
        """Adds to result[m, n] the sum over k of left[m, k] right[k, n].

        Args:
            left_strides: of m and k.
            right_stride: of k.
            panel: numbers from one panel of the right operand's columns to the next; by default it has none.
            from_scratch: the result begins at the sum.
        """
        if depth and rows and columns:
            left_m, left_k = left_strides
            self._add(
                OUTER, left=self._place(left), left_m=left_m, left_k=left_k, right=self._place(right),
                right_k=right_stride, panel=self.panel_columns if panel is None else panel, depth=depth, rows=rows,
                columns=columns, result=self._place(result), accumulate=int(not from_scratch),
            )  # fmt: skip

    def outer_of_rows(
        self, left: Address, left_stride: Number, right: Address, right_stride: Number, depth: Number,
        shape: tuple[Number, int, int], result: Address,
    ) -> None:  # fmt: skip
        """Adds to result[b, m, n] the sum over k of left[k, b, m] right[k, b, n].

        Args:
            left_stride, right_stride: of k.
            shape: of the result, (B, M, N), which threads share by b.
        """
        count, rows, columns = shape
        if depth and count and rows and columns:
            self._add(
                OUTER_OF_ROWS, left=self._place(left), left_m=1, left_k=left_stride, right=self._place(right),
                right_k=right_stride, panel=self.panel_columns, depth=depth, rows=rows, columns=columns,
                result=self._place(result), count=count,
            )  # fmt: skip

    @property
    def panel_columns(self) -> int:
        """Columns of a panel of an outer product."""
        return COLUMNS[-1] * self._lanes

    def pack_panels(self, weight: Address, units: int, depth: int) -> Address:
        """A weight, (units, depth), turned round for `outer`: panels of (depth, panel_columns)."""
        columns = self.panel_columns
        panels = -(-units // columns)
        packed = self.scratch(panels * depth * columns)
        blocks = panels * COLUMNS[-1]
        self._add(
            PACK, source=self._place(weight), unit_stride=depth, k_stride=1, units=units, depth=depth,
            packed=self._place(packed), columns=columns, size=columns, blocks=blocks,
        )  # fmt: skip
        return packed

    def softmax(
        self,
        table: Address,
        bias: Address,
        results: tuple[Address, Address],
        floor: Address,
        units: int,
        columns: int,
        *,
        gradient: bool,
    ) -> None:
        """A table of logits (units, columns), plus a bias of the units, in place.

        Args:
            results: the logarithms of the columns' sums of exponentials, and the means of their logits.
            floor: label-smoothing floor, smoothing / V, subtracted from each softmax value in the gradient.
            gradient: the table becomes the probabilities; else it is left unfinished.
        """
        normaliser, mean = map(self._place, results)
        self._add(
            SOFTMAX, table=self._place(table), bias=self._place(bias), normaliser=normaliser, mean=mean,
            floor=self._place(floor), units=units, columns=columns, gradient=int(gradient),
        )  # fmt: skip

    def best(
        self,
        table: Address,
        bias: Address,
        allowed: Address,
        results: tuple[Address, Address],
        units: int,
        columns: int,
        count: int,
    ) -> None:
        """The likeliest units of each column of a table of logits (units, columns), plus a bias of the units.

        Args:
            allowed: 0, or minus infinity for units that are not to be among them.
            results: their log-probabilities and the units, as numbers, (count, columns).
        """
        values, places = map(self._place, results)
        self._add(
            BEST, table=self._place(table), bias=self._place(bias), allowed=self._place(allowed), values=values,
            places=places, units=units, columns=columns, count=count,
        )  # fmt: skip

    def barrier(self) -> None:
        """What comes after reads what other threads wrote before."""
        commands = self._part.commands
        if commands[-1:] != [_BARRIER] and (commands or self._part is self._chunk):
            commands.append(_BARRIER)

    def _add(self, kind: int, **fields: Number) -> None:
        """A command of a kind, with all of its fields by their names."""
        names = FIELDS[kind]
        if fields.keys() != set(names):
            raise ValueError(f"a command of kind {kind} has the fields {names}; given are {tuple(fields)}")
        rest = [0] * (ROW - 1 - len(names))
        self._part.commands.append([kind, *(fields[name] for name in names), *rest])

    def _entry(self, place: Address) -> tuple[int, Number]:
        return self._bases.setdefault(place.base, len(self._bases)), place.offset * self._item

    def _index(self, rows: Sequence[Any], begin: Affine) -> Number:
        """The index of the next of a part's rows: of a chunk's, from where its own begin."""
        return begin + len(rows) if self._part is self._chunk else len(rows)

    def _place(self, place: Address) -> Number:
        part = self._part
        if place not in part.known:
            part.known[place] = self._index(part.table, TABLE)
            part.table.append(self._entry(place))
        return part.known[place]

    def finish(self) -> CommandList:
        """The list, ready to be called. What is added from here on makes another list over the same places."""
        head = self._head
        commands, head.commands = head.commands, []
        return CommandList(
            self._kept(),
            np.array([base for base, _ in head.table], dtype=np.int64),
            np.array([offset for _, offset in head.table], dtype=np.int64),
            np.array(head.scalars, dtype=np.int64),
            np.array(commands, dtype=np.int64),
        )

    def finish_ragged(self) -> RaggedCommandList:
        """The list of a ragged batch, ready to be called with any lengths."""
        if self._chunk is None or self._cut is None:
            raise ValueError("nothing was added for the chunks of a ragged batch")
        return RaggedCommandList(self._kept(), self._head, self._chunk, self._cut)

    def _kept(self) -> Kept:
        return Kept(
            tuple(self._bases), self._workspace * self._item, self._dtype, self._driver, tuple(self._programs)
        )
