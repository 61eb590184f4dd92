"""Work lists: what the threads of a layer's pass do, command by command, prepared once for a shape.

A list names arrays by places: a base that each call gives an address for, and an offset in it. Whatever is
needed only during the call (packed weights, scratch memory, what a chunk of steps hands to the next command)
stands in the arena, memory that each Python thread keeps from call to call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from gatework.backends.llvm import native, threads
from gatework.backends.llvm.driver import (
    APART,
    BARRIER_BYTES,
    BARRIER_COMMAND,
    BEST,
    COPY,
    DATA_FIELDS,
    FIELDS,
    OUTER,
    OUTER_OF_ROWS,
    PACK,
    RUN,
    SOFTMAX,
)
from gatework.backends.llvm.layout import BEGIN, DIRECTION, ROWS, SPREAD, Group, ScalarKey, together
from gatework.backends.llvm.native import Driver, Native
from gatework.backends.llvm.product import COLUMNS
from gatework.backends.llvm.target import Target
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve
from gatework.graph.parameters import gate_rows

_LINE = 128  # bytes: a pair of cache lines, as processors fetch them
STAGGER = (
    3 * _LINE
)  # bytes between two arrays: what stands a power of two apart falls on the same places of the cache
_KEPT = 1 << 28  # bytes of an arena that stays after the call
_DATA = ctypes.c_int64 * DATA_FIELDS
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_ONES: dict[torch.dtype, np.ndarray] = {
    torch.float32: np.ones(1, np.float32),
    torch.float64: np.ones(1, np.float64),
}


class LayerArray(NamedTuple):
    """An array of one layer of a stack."""

    layer: int
    key: ArrayKey


Base = ArrayKey | LayerArray | str
"""What a call gives an address for: an array of a graph's, or in a list without a graph a name of the list's own."""

ARENA, ONE = ArrayKey("workspace", ""), ArrayKey("unit", "")


class Place(NamedTuple):
    """Where an array begins.

    Attributes:
        base: the key of a tensor, `ARENA`, or `ONE`: a single 1.
        offset: in numbers; may point before the base where only later parts are read.
    """

    base: Base
    offset: int = 0

    def at(self, numbers: int) -> Place:
        return Place(self.base, self.offset + numbers)


def parameter(name: str, layer: int | None) -> Base:
    """The base of a parameter: of a layer of a stack, or of the one layer that there is."""
    key = ArrayKey("parameter", name)
    return key if layer is None else LayerArray(layer, key)


@dataclass(frozen=True)
class Bound:
    """A program with its weights and scratch memory in place.

    Attributes:
        arrays: places by the layout's keys; what a call adds are the arrays over time, states and static inputs.
        scalars: by the layout's keys.
    """

    program: Native
    arrays: Mapping[ArrayKey, Place]
    scalars: Mapping[ScalarKey, int]


class WorkList:
    """A work list under construction.

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
        self._table: list[tuple[int, int]] = []
        self._known: dict[Place, int] = {}
        self._numbers: list[int] = []
        self._commands: list[list[int]] = []
        self._arena = BARRIER_BYTES // self._item
        self._programs: list[Native] = []

    def scratch(self, numbers: int) -> Place:
        """A part of the arena."""
        line = _LINE // self._item
        place = Place(ARENA, self._arena)
        self._arena += -(-numbers // line) * line + STAGGER // self._item
        return place

    def _spread(self, rows: int, numbers: int) -> Place:
        """Scratch memory for a few numbers of each row, each row's in whole pairs of cache lines."""
        apart = SPREAD // self._item
        place = self._of_rows(rows + 1, -(-numbers // apart) * apart)
        return Place(ARENA, -(-place.offset // apart) * apart)

    def _of_rows(self, rows: int, width: int) -> Place:
        """Scratch memory of a program: threads that share rows leave gaps between theirs."""
        return self.scratch(rows * width + (self._team - 1) * APART // self._item)

    def bind(
        self,
        program: Native,
        graph: Graph,
        sizes: Mapping[str, int],
        rows: int,
        layer: int | None = None,
    ) -> Bound:
        """A program's scratch memory for so many rows, and the commands that pack its weights.

        Args:
            layer: whose parameters it reads; None where there is but one layer.
        """
        self._programs.append(program)
        layout, lanes = program.layout, self._lanes
        arrays: dict[ArrayKey, Place] = {}
        scalars = {key: sizes[key.name] for key in layout.scalars if key.kind == "size"}
        for label, groups in layout.groups.items():
            width = resolve(groups[0].width, sizes)
            count = together(max(group.size for group in groups), width, lanes, self._parts)
            scalars[ScalarKey("unit_blocks", label)] = count
            for group in groups:
                self._pack(group, graph, sizes, count, arrays, layer)
        for key in layout.pointers:
            match key.kind:
                case "bias":
                    first, _ = gate_rows(graph, key.slot, sizes)[key.name]
                    arrays[key] = Place(parameter(f"bias_{key.slot}", layer), first)
                case "vector":
                    arrays[key] = Place(parameter(key.name, layer))
                case "scratch":
                    arrays[key] = self._of_rows(rows, resolve(layout.scratch[key], sizes))
                case "sum":
                    blocks = -(-resolve(layout.scratch[key], sizes) // lanes)
                    arrays[key] = self._spread(rows, blocks)
                case "scalar":
                    arrays[key] = self._spread(rows, 1)
                case _:
                    pass
        return Bound(program, arrays, scalars)

    def _pack(
        self,
        group: Group,
        graph: Graph,
        sizes: Mapping[str, int],
        count: int,
        arrays: dict[ArrayKey, Place],
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
                source = self._place(Place(parameter(f"weight_{factor.slot}", layer), first * width))
                packed = self._place(arrays[key].at(position * size))
                self._add(PACK, source, *strides, units, depth, packed, columns, size, 0, blocks)

    def run(
        self,
        bound: Bound,
        arrays: Mapping[ArrayKey, Place],
        masks: Mapping[str, int],
        *,
        steps: tuple[int, int],
        rows: int,
        begin: int = 0,
        direction: int = 1,
        by_units: bool = False,
    ) -> None:
        """A program over some steps and rows.

        Args:
            masks: of states: 1 for two alternating places, -1 for a whole history.
            steps: the first, and one past the last.
            begin, direction: step k is at `begin + k * direction` in the streams.
        """
        layout = bound.program.layout
        table = len(self._table)
        self._table += [self._entry(arrays.get(key) or bound.arrays[key]) for key in layout.pointers]
        scalars = {ROWS: rows, BEGIN: begin, DIRECTION: direction, **bound.scalars}
        scalars |= {ScalarKey("mask", name): mask for name, mask in masks.items()}
        numbers = len(self._numbers)
        self._numbers += [scalars[key] for key in layout.scalars]
        self._add(RUN, bound.program.run, table, numbers, *steps, rows, int(by_units))

    def copy(self, source: Place | None, to: Place, numbers: int, rows: int = 1) -> None:
        """So many numbers of each row; zeros where there is no source."""
        if rows and numbers:
            self._add(COPY, -1 if source is None else self._place(source), self._place(to), numbers, rows)

    def outer(
        self,
        left: Place,
        left_strides: tuple[int, int],
        right: Place,
        right_stride: int,
        depth: int,
        rows: int,
        columns: int,
        result: Place,
        *,
        panel: int | None = None,
        anew: bool = False,
    ) -> None:
        """Adds to result[m, n] the sum over k of left[m, k] right[k, n].

        Args:
            left_strides: of m and k.
            right_stride: of k.
            panel: numbers from one panel of the right operand's columns to the next; by default it has none.
            anew: the result begins at the sum.
        """
        if depth and rows and columns:
            apart = self.panel_columns if panel is None else panel
            places = self._place(left), self._place(right), self._place(result)
            self._add(
                OUTER, places[0], *left_strides, places[1], right_stride, apart, depth, rows, columns, places[2],
                int(not anew),
            )  # fmt: skip

    def outer_of_rows(
        self, left: Place, left_stride: int, right: Place, right_stride: int, depth: int, shape: tuple[int, int, int],
        result: Place,
    ) -> None:  # fmt: skip
        """Adds to result[b, m, n] the sum over k of left[k, b, m] right[k, b, n].

        Args:
            left_stride, right_stride: of k.
            shape: of the result, (B, M, N), which threads share by b.
        """
        count, rows, columns = shape
        if depth and count and rows and columns:
            places = self._place(left), self._place(right), self._place(result)
            self._add(
                OUTER_OF_ROWS, places[0], 1, left_stride, places[1], right_stride, self.panel_columns, depth, rows,
                columns, places[2], count,
            )  # fmt: skip

    @property
    def panel_columns(self) -> int:
        """Columns of a panel of an outer product."""
        return COLUMNS[-1] * self._lanes

    def pack_panels(self, weight: Place, units: int, depth: int) -> Place:
        """A weight, (units, depth), turned round for `outer`: panels of (depth, panel_columns)."""
        columns = self.panel_columns
        panels = -(-units // columns)
        packed = self.scratch(panels * depth * columns)
        blocks = panels * COLUMNS[-1]
        source, to = self._place(weight), self._place(packed)
        self._add(PACK, source, depth, 1, units, depth, to, columns, columns, 0, blocks)
        return packed

    def softmax(
        self,
        table: Place,
        bias: Place,
        results: tuple[Place, Place],
        floor: Place,
        units: int,
        columns: int,
        *,
        gradient: bool,
    ) -> None:
        """A table of logits (units, columns), plus a bias of the units, in place.

        Args:
            results: the logarithms of the columns' sums of exponentials, and the means of their logits.
            floor: what is taken off each probability.
            gradient: the table becomes the probabilities; else it is left unfinished.
        """
        places = [self._place(place) for place in (table, bias, *results, floor)]
        self._add(SOFTMAX, *places, units, columns, int(gradient))

    def best(
        self,
        table: Place,
        bias: Place,
        allowed: Place,
        results: tuple[Place, Place],
        units: int,
        columns: int,
        count: int,
    ) -> None:
        """The likeliest units of each column of a table of logits (units, columns), plus a bias of the units.

        Args:
            allowed: 0, or minus infinity for units that are not to be among them.
            results: their log-probabilities and the units, as numbers, (count, columns).
        """
        places = [self._place(place) for place in (table, bias, allowed, *results)]
        self._add(BEST, *places, units, columns, count)

    def barrier(self) -> None:
        """What comes after reads what other threads wrote before."""
        if self._commands and self._commands[-1][0] != BARRIER_COMMAND:
            self._add(BARRIER_COMMAND)

    def _add(self, *fields: int) -> None:
        self._commands.append([*fields, *[0] * (FIELDS - len(fields))])

    def _entry(self, place: Place) -> tuple[int, int]:
        return self._bases.setdefault(place.base, len(self._bases)), place.offset * self._item

    def _place(self, place: Place) -> int:
        if place not in self._known:
            self._known[place] = len(self._table)
            self._table.append(self._entry(place))
        return self._known[place]

    def finish(self) -> Work:
        """The list, ready to be called. What is added from here on makes another list over the same places."""
        commands, self._commands = self._commands, []
        return Work(
            tuple(self._bases),
            np.array([base for base, _ in self._table], dtype=np.int64),
            np.array([offset for _, offset in self._table], dtype=np.int64),
            np.array(self._numbers, dtype=np.int64),
            np.array(commands, dtype=np.int64),
            self._arena * self._item,
            self._dtype,
            self._driver,
            tuple(self._programs),
        )


class Work:
    """A finished work list.

    Attributes:
        bases: the names that a call gives addresses for.
        arena: bytes of the arena that it needs.
    """

    def __init__(
        self,
        bases: Sequence[Base],
        which: np.ndarray,
        offsets: np.ndarray,
        numbers: np.ndarray,
        commands: np.ndarray,
        arena: int,
        dtype: torch.dtype,
        driver: Driver,
        programs: Sequence[Native],
    ) -> None:
        self.bases = tuple(bases)
        self.arena = arena
        self._which, self._offsets = which, offsets
        self._kept = numbers, commands, programs, driver  # the addresses below point into them
        self._task, self._alone = driver.task, _CALL(driver.alone)
        self._head = [commands.ctypes.data, len(commands)]
        self._numbers = numbers.ctypes.data
        self._one = _ONES[dtype].ctypes.data

    def resize(self, rows: int, *, by_units: bool) -> None:
        """Gives its programs and copies other rows, no more than they were made for.

        Args:
            by_units: threads share units rather than rows.
        """
        numbers, commands, *_ = self._kept
        kinds = commands[:, 0]
        commands[kinds == COPY, 4] = rows
        runs = kinds == RUN
        commands[runs, 6], commands[runs, 7] = rows, int(by_units)
        numbers[commands[runs, 3]] = rows  # the first number of every program

    def call(self, addresses: Mapping[Base, int], team: int) -> None:
        """Does the work.

        Args:
            addresses: of the first number of each base; `ARENA` and `ONE` need not be given.
            team: threads that share it; fewer may be granted.
        """
        memory, arena = (None, addresses[ARENA]) if ARENA in addresses else _arena(self.arena)
        known: dict[Base, int] = {**addresses, ARENA: arena, ONE: self._one}
        bases = np.array([known[name] for name in self.bases], dtype=np.int64)
        table = bases[self._which] + self._offsets
        data = _DATA(*self._head, _address(table), self._numbers, arena)
        threads.run_team(self._task, self._alone, ctypes.addressof(data), team)
        del memory  # held until here


class Fixed:
    """A work list whose arrays stay where they are, but for some that are given at every call.

    Args:
        addresses: of every base but `ONE`.
        given: the bases among them that change.
    """

    def __init__(self, work: Work, addresses: Mapping[Base, int], given: Sequence[Base], team: int) -> None:
        self._work, self._team = work, team
        known: dict[Base, int] = {**addresses, ONE: work._one}
        bases = np.array([known[name] for name in work.bases], dtype=np.int64)
        self._table = (ctypes.c_int64 * len(work._which))(*(bases[work._which] + work._offsets))
        places = [work.bases.index(name) if name in work.bases else -1 for name in given]
        self._given = [
            [(int(entry), int(work._offsets[entry])) for entry in np.flatnonzero(work._which == place)]
            for place in places
        ]
        table = ctypes.addressof(self._table)
        self._data = _DATA(*work._head, table, work._numbers, addresses[ARENA])
        self._at = ctypes.addressof(self._data)

    def call(self, *given: int) -> None:
        """Does the work, with these addresses in place of those that change."""
        table = self._table
        for entries, address in zip(self._given, given, strict=True):
            for entry, offset in entries:
                table[entry] = address + offset
        threads.run_team(self._work._task, self._work._alone, self._at, self._team)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


_local = threading.local()


def _arena(size: int) -> tuple[np.ndarray, int]:
    """This Python thread's scratch memory, and an address in it on a cache line.

    It begins with a barrier's state: zeros, and as good as new after every use.
    """
    memory: np.ndarray | None = getattr(_local, "memory", None)
    if memory is None or memory.size < size + _LINE:
        memory = np.empty(size + size // 4 + _LINE, np.uint8)
        memory[: BARRIER_BYTES + _LINE] = 0
        if memory.size <= _KEPT:
            _local.memory = memory
    return memory, aligned(memory)


def new_arena(size: int) -> tuple[np.ndarray, int]:
    """Scratch memory of one's own, and an address in it on a cache line."""
    memory = np.zeros(size + _LINE, np.uint8)
    return memory, aligned(memory)


def aligned(memory: np.ndarray) -> int:
    """The first address in it that begins a cache line."""
    return -(-_address(memory) // _LINE) * _LINE
