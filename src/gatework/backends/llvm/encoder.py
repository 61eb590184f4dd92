"""From commands to the rows of whole numbers that the driver walks through, with all that a CPU adds to them.

It packs weights as the tiles read them, lays scratch memory out in one workspace, and gives each thread rows of its own
where threads share rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from gatework.backends.compiled.commands import (
    Address,
    Barrier,
    Best,
    Bind,
    BoundProgram,
    Command,
    CommandList,
    Copy,
    Outer,
    OuterOfRows,
    Run,
    Scratch,
    Softmax,
    parameter,
)
from gatework.backends.compiled.spans import SCALARS, TABLE, Affine, Number
from gatework.backends.llvm.codegen.arguments import (
    BEGIN,
    DIRECTION,
    ONCE,
    ROW_ALIGNMENT,
    ROWS,
    MatmulGroup,
    Operand,
    ScalarKey,
    given_weight,
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
from gatework.backends.llvm.codegen.outer import block_rows
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.llvm.native_list import (
    LINE,
    WORKSPACE,
    NativeList,
    NativeRaggedList,
    NumberedList,
    Part,
    Places,
)
from gatework.backends.llvm.runtime.native import Native, driver, native
from gatework.backends.storage import STORAGES, Storage
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve
from gatework.graph.parameters import gate_rows

# Bytes between two arrays: what stands a power of two apart falls on the same places of the cache.
ARRAY_PADDING = 3 * LINE
_BARRIER: list[Number] = [BARRIER, *[0] * (ROW - 1)]


@dataclass(frozen=True)
class PlacedProgram:
    """A program with its packed weights and scratch memory in place.

    Attributes:
        arrays: places by the layout's keys; a `Run` names the others.
        scalars: by the layout's keys.
    """

    code: Native
    arrays: Mapping[ArrayKey, Address]
    scalars: Mapping[ScalarKey, int]


class Encoder:
    """Encodes lists over the same scratch memory and bound programs, one after the other.

    Args:
        team: the most threads that will share the work.
        parts: the most of them that will share units.
    """

    def __init__(self, dtype: torch.dtype, target: Target, team: int = 1, parts: int = 1) -> None:
        self._target, self._team, self._parts = target, team, parts
        self._item = dtype.itemsize
        self._lanes = target.lanes(self._item)
        self._places = Places(dtype, driver(dtype, target), {WORKSPACE: 0}, {}, BARRIER_BYTES // self._item)
        self._programs: dict[BoundProgram, PlacedProgram] = {}
        self._head = self._part = Part()  # the one that is being written
        self._chunk: Part | None = None

    def encode(self, list: CommandList) -> NumberedList:
        """A dense batch's list."""
        self._head = self._part = Part()
        self._encode(list.first)
        head = self._head
        return NumberedList(
            np.array([base for base, _ in head.table], dtype=np.int64),
            np.array([offset for _, offset in head.table], dtype=np.int64),
            np.array(head.scalars, dtype=np.int64),
            np.array(head.commands, dtype=np.int64).reshape(-1, ROW),
        )

    def ready(self, numbers: NumberedList) -> NativeList:
        """An encoded list: made when every list over the same places is encoded."""
        return NativeList(self._places, numbers)

    def ragged(self, list: CommandList) -> NativeRaggedList:
        """A ragged batch's list, ready to be called."""
        if list.cut is None:
            raise ValueError("the list is of a dense batch: it has no chunks")
        self._encode(list.first)
        before = len(self._head.commands)
        self._part = self._chunk = Part()
        self._encode(list.chunk)
        self._part = self._head
        self._encode(list.last)
        return NativeRaggedList(self._places, self._head, before, self._chunk, list.cut)

    def _encode(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._CODE[type(command)](self, command)

    # -- one function a kind of command

    def _bind(self, command: Bind) -> None:
        """A program's scratch memory, and the commands that pack its weights."""
        bound = command.bound
        storage = bound.storage if self._places.dtype is torch.float32 else "full"
        code = native(bound.program, self._places.dtype, self._target, storage)
        self._places.programs.append(code)
        layout, lanes, sizes = code.layout, self._lanes, bound.sizes
        arrays: dict[ArrayKey, Address] = {}
        scalars = {key: sizes[key.name] for key in layout.scalars if key.kind == "size"}
        scalars[ONCE] = int(bound.once)
        for label, groups in layout.groups.items():
            width = resolve(groups[0].width, sizes)
            count = unit_blocks(max(group.size for group in groups), width, lanes, self._parts)
            scalars[ScalarKey("unit_blocks", label)] = count
            for group in groups:
                self._pack(group, bound, storage, count, arrays)
        for key in layout.pointers:
            match key.kind:
                case "bias":
                    first, _ = gate_rows(bound.graph, key.slot, sizes)[key.name]
                    arrays[key] = Address(parameter(f"bias_{key.slot}", bound.layer), first)
                case "vector":
                    arrays[key] = Address(parameter(key.name, bound.layer))
                case "scratch":
                    arrays[key] = self._of_rows(bound.rows, resolve(layout.scratch[key], sizes))
                case "sum":
                    blocks = -(-resolve(layout.scratch[key], sizes) // lanes)
                    arrays[key] = self._spread(bound.rows, blocks)
                case "scalar":
                    arrays[key] = self._spread(bound.rows, 1)
                case "packed" if key not in arrays:
                    arrays[key] = Address(
                        WORKSPACE
                    )  # of the two ways to read weights the one that is not taken
                case _:
                    pass
        self._programs[bound] = PlacedProgram(code, arrays, scalars)

    def _pack(
        self,
        group: MatmulGroup,
        bound: BoundProgram,
        storage: Storage,
        count: int,
        arrays: dict[ArrayKey, Address],
    ) -> None:
        graph, sizes = bound.graph, bound.sizes
        if bound.once:
            for key, factors in zip(group.packed, group.factors, strict=True):
                for position, factor in enumerate(factors):
                    arrays[given_weight(key, position)] = _weight_block(bound, factor)
            return
        size = count * self._lanes
        columns = group.size * size
        smaller = {"full": 1, "bf16": 2, "int8": 4}[storage]  # stored weights in the place of one
        pairs = 2 if storage == "int8" else 1  # k that stand side by side
        for key, factors in zip(group.packed, group.factors, strict=True):
            scales = key._replace(kind="scale")
            position = 0
            for gates, stride in _alike(graph, sizes, factors, together=storage == "full"):
                factor = factors[position]
                first, last = gate_rows(graph, factor.slot, sizes)[factor.gate]
                width = _columns(bound, factor)
                units, depth = (width, last - first) if factor.transposed else (last - first, width)
                blocks = -(-units // size) * count
                if position == 0:
                    arrays[key] = self._scratch(
                        blocks // count * (-(-depth // pairs) * pairs) * columns // smaller
                    )
                    if storage != "full":
                        arrays[scales] = self._scratch(blocks // count * columns)
                scale = 0 if storage == "full" else self._place(arrays[scales].at(position * size))
                strides = (1, width) if factor.transposed else (width, 1)
                source = self._place(_weight_block(bound, factor))
                packed = self._place(arrays[key].at(position * size * pairs // smaller))
                self._add(
                    PACK, source=source, unit_stride=strides[0], k_stride=strides[1], units=units, depth=depth,
                    packed=packed, columns=columns, size=size, blocks=blocks, gates=gates,
                    gate_stride=stride * width, storage=STORAGES.index(storage), scales=scale,
                )  # fmt: skip
                position += gates

    def _run(self, command: Run) -> None:
        part, program = self._part, self._programs[command.bound]
        layout, arrays = program.code.layout, command.arrays
        table = self._index(part.table, TABLE)
        part.table += [self._entry(arrays.get(key) or program.arrays[key]) for key in layout.pointers]
        scalars: dict[ScalarKey, Number] = {
            ROWS: command.rows, BEGIN: command.begin, DIRECTION: command.direction, **program.scalars,
        }  # fmt: skip
        scalars |= {ScalarKey("mask", name): mask for name, mask in command.masks.items()}
        first = self._index(part.scalars, SCALARS)
        part.scalars += [scalars[key] for key in layout.scalars]
        self._add(
            RUN, program=program.code.run, table=table, scalars=first, first_step=command.steps[0],
            last_step=command.steps[1], rows=command.rows, by_units=command.by_units,
        )  # fmt: skip

    def _copy(self, command: Copy) -> None:
        begin = -1 if command.source is None else self._place(command.source)
        self._add(COPY, source=begin, to=self._place(command.to), size=command.numbers, rows=command.rows)

    def _outer(self, command: Outer) -> None:
        (left_m, left_k), (right_k, right_n) = command.left_strides, command.right_strides
        right, panel = command.right, self._panel_columns
        if right_n != 1:
            if right_k != 1 or not isinstance(command.depth, int) or not isinstance(command.columns, int):
                raise ValueError(f"the right operand of {command} is neither in order nor turned round")
            if command.rows <= block_rows(self._item):
                # Each part of it is read for one block of rows, and turned round in the cache.
                panel *= right_n
            else:
                right = self._packed_panels(right, command.columns, command.depth, right_n)
                right_k, right_n, panel = panel, 1, command.depth * panel
        self._add(
            OUTER, left=self._place(command.left), left_m=left_m, left_k=left_k, right=self._place(right),
            right_k=right_k, right_n=right_n, panel=panel, depth=command.depth, rows=command.rows,
            columns=command.columns, result=self._place(command.result), result_row=command.result_row,
            accumulate=int(not command.from_scratch),
        )  # fmt: skip

    def _packed_panels(self, weight: Address, units: int, depth: int, stride: int) -> Address:
        """A weight, (units, depth), turned round: panels of (depth, columns of a panel)."""
        columns = self._panel_columns
        panels = -(-units // columns)
        packed = self._scratch(panels * depth * columns)
        self._add(
            PACK, source=self._place(weight), unit_stride=stride, k_stride=1, units=units, depth=depth,
            packed=self._place(packed), columns=columns, size=columns, blocks=panels * COLUMNS[-1], gates=1,
            gate_stride=0, storage=0, scales=0,
        )  # fmt: skip
        self._part.commands.append(_BARRIER)
        return packed

    @property
    def _panel_columns(self) -> int:
        """Columns of a panel of an outer product."""
        return COLUMNS[-1] * self._lanes

    def _outer_of_rows(self, command: OuterOfRows) -> None:
        count, rows, columns = command.shape
        self._add(
            OUTER_OF_ROWS, left=self._place(command.left), left_m=1, left_k=command.left_stride,
            right=self._place(command.right), right_k=command.right_stride, right_n=1, panel=self._panel_columns,
            depth=command.depth, rows=rows, columns=columns, result=self._place(command.result), count=count,
        )  # fmt: skip

    def _softmax(self, command: Softmax) -> None:
        self._table(SOFTMAX, command)

    def _best(self, command: Best) -> None:
        self._table(BEST, command)

    def _table(self, kind: int, command: Softmax | Best) -> None:
        """A command on a table of logits, whose fields are those of the driver's."""
        fields = {name: getattr(command, name) for name in FIELDS[kind]}
        self._add(
            kind, **{k: self._place(v) if isinstance(v, Address) else int(v) for k, v in fields.items()}
        )

    def _barrier(self, command: Barrier) -> None:
        self._part.commands.append(_BARRIER)

    _CODE: ClassVar[dict[type, Callable[[Encoder, Any], None]]] = {
        Bind: _bind,
        Run: _run,
        Copy: _copy,
        Outer: _outer,
        OuterOfRows: _outer_of_rows,
        Softmax: _softmax,
        Best: _best,
        Barrier: _barrier,
    }

    # -- rows of numbers

    def _add(self, kind: int, **fields: Number) -> None:
        """A command of a kind, with all of its fields by their names."""
        names = FIELDS[kind]
        if fields.keys() != set(names):
            raise ValueError(f"a command of kind {kind} has the fields {names}; given are {tuple(fields)}")
        rest = [0] * (ROW - 1 - len(names))
        self._part.commands.append([kind, *(fields[name] for name in names), *rest])

    def _entry(self, place: Address) -> tuple[int, Number]:
        bases = self._places.bases
        if isinstance(place.base, Scratch):
            return bases[WORKSPACE], (place.offset + self._begin(place.base)) * self._item
        return bases.setdefault(place.base, len(bases)), place.offset * self._item

    def _index(self, rows: Sequence[Any], begin: Affine) -> Number:
        """The index of the next of a part's rows: of a chunk's, from where its own begin."""
        return begin + len(rows) if self._part is self._chunk else len(rows)

    def _place(self, place: Address) -> Number:
        part = self._part
        if place not in part.known:
            part.known[place] = self._index(part.table, TABLE)
            part.table.append(self._entry(place))
        return part.known[place]

    # -- the workspace

    def _begin(self, scratch: Scratch) -> int:
        """Where a list's scratch memory begins in the workspace, in numbers."""
        known = self._places.scratch
        if scratch not in known:
            known[scratch] = self._reserve(scratch.size)
        return known[scratch]

    def _reserve(self, numbers: int) -> int:
        """A part of the workspace, on a cache line: where it begins."""
        line = LINE // self._item
        begin = self._places.workspace
        self._places.workspace += -(-numbers // line) * line + ARRAY_PADDING // self._item
        return begin

    def _scratch(self, numbers: int) -> Address:
        """Scratch memory of the encoder's own."""
        return Address(WORKSPACE, self._reserve(numbers))

    def _of_rows(self, rows: int, width: int) -> Address:
        """Scratch memory of a program."""
        return self._scratch(self._rows_apart(rows, width))

    def _rows_apart(self, rows: int, width: int) -> int:
        """Numbers of scratch memory in which threads that share rows leave gaps between theirs."""
        return rows * width + (self._team - 1) * SCRATCH_STRIDE // self._item

    def _spread(self, rows: int, numbers: int) -> Address:
        """Scratch memory for a few numbers of each row, each row's in whole pairs of cache lines."""
        aligned = ROW_ALIGNMENT // self._item
        begin = self._reserve(self._rows_apart(rows + 1, -(-numbers // aligned) * aligned))
        return Address(WORKSPACE, -(-begin // aligned) * aligned)


def _weight_block(bound: BoundProgram, factor: Operand) -> Address:
    """Where a gate's rows of a weight matrix begin."""
    first, _ = gate_rows(bound.graph, factor.slot, bound.sizes)[factor.gate]
    return Address(parameter(f"weight_{factor.slot}", bound.layer), first * _columns(bound, factor))


def _columns(bound: BoundProgram, factor: Operand) -> int:
    """Columns of a gate's rows of a weight matrix."""
    blocks = bound.graph.blocks
    block = next(block for block in blocks if (block.slot, block.gate) == (factor.slot, factor.gate))
    return resolve(block.columns, bound.sizes)


def _alike(
    graph: Graph, sizes: Mapping[str, int], factors: Sequence[Operand], *, together: bool
) -> list[tuple[int, int]]:
    """How many neighbouring weight blocks one command may pack each time, and the rows from one to the next.

    They are of one slot and equally far apart; with `together` unset each is alone.
    """
    runs: list[tuple[int, int]] = []
    begun = 0
    for position, factor in enumerate(factors):
        first, _ = gate_rows(graph, factor.slot, sizes)[factor.gate]
        if runs and together and factor[::2] == factors[begun][::2]:
            count, stride = runs[-1]
            apart = first - gate_rows(graph, factor.slot, sizes)[factors[position - 1].gate][0]
            if count == 1 or apart == stride:
                runs[-1] = count + 1, apart
                continue
        runs.append((1, 0))
        begun = position
    return runs
