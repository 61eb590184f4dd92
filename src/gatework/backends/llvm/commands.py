"""Finished command lists: what the threads of a layer's pass do, called with addresses of arrays.

A list names arrays by places: a base that each call gives an address for, and an offset in it. Whatever is
needed only during the call (packed weights, scratch memory, what a chunk of steps hands to the next command)
stands in the workspace, memory that each Python thread keeps from call to call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from gatework.backends import threads
from gatework.backends.llvm.codegen.command_layout import COPY, ROW, RUN, place
from gatework.backends.llvm.codegen.driver import BARRIER_BYTES, DATA_FIELDS
from gatework.backends.llvm.runtime.native import Driver, Native
from gatework.backends.llvm.spans import (
    Form,
    Number,
    chunks,
    extent,
    quantities,
)
from gatework.backends.program import Piece
from gatework.backends.teams import Team
from gatework.graph.keys import ArrayKey

LINE = 128  # bytes: a pair of cache lines, as processors fetch them
_LENGTHS = 4  # of ragged batches, whose lists are kept
_KEPT = 1 << 28  # bytes of an workspace that stays after the call
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

WORKSPACE, UNIT = ArrayKey("workspace", ""), ArrayKey("unit", "")


class Address(NamedTuple):
    """Where an array begins.

    Attributes:
        base: the key of a tensor, `WORKSPACE`, or `UNIT`: a single 1.
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


class Kept(NamedTuple):
    """What all lists over the same places share.

    Attributes:
        workspace: bytes of the workspace.
        driver, programs: kept, since commands hold addresses of their code.
    """

    bases: tuple[Base, ...]
    workspace: int
    dtype: torch.dtype
    driver: Driver
    programs: tuple[Native, ...]


@dataclass
class Part:
    """A part of a list: what is done once, or for each chunk of a ragged batch.

    Attributes:
        table: for each address, the number of its base and an offset in bytes.
        known: where the addresses of places are in the table.
        scalars: whole numbers that programs are given.
    """

    table: list[tuple[int, Number]] = field(default_factory=list)
    known: dict[Address, Number] = field(default_factory=dict)
    scalars: list[Number] = field(default_factory=list)
    commands: list[list[Number]] = field(default_factory=list)


class Cut(NamedTuple):
    """How a ragged batch is cut into chunks, and before which command of the head they are worked on."""

    chunk_rows: int
    units_up_to: int
    backward: bool
    before: int


class CommandList:
    """A finished command list.

    Attributes:
        bases: what a call gives addresses for.
        workspace: bytes of the workspace that it needs.
    """

    def __init__(
        self, kept: Kept, which: np.ndarray, offsets: np.ndarray, numbers: np.ndarray, commands: np.ndarray
    ) -> None:
        self.bases, self.workspace = kept.bases, kept.workspace
        self._which, self._offsets = which, offsets
        self._kept = numbers, commands, kept  # the addresses below point into them
        self._task, self._alone = kept.driver.task, _CALL(kept.driver.alone)
        self._head = [_address(commands), len(commands)]
        self._numbers = _address(numbers)
        self._one = _ONES[kept.dtype].ctypes.data

    def resize(self, rows: int, *, by_units: bool) -> None:
        """Gives its programs and copies other rows, no more than they were made for.

        Args:
            by_units: threads share units rather than rows.
        """
        numbers, commands, *_ = self._kept
        kinds = commands[:, 0]
        commands[kinds == COPY, place(COPY, "rows")] = rows
        runs = kinds == RUN
        commands[runs, place(RUN, "rows")] = rows
        commands[runs, place(RUN, "by_units")] = int(by_units)
        numbers[commands[runs, place(RUN, "scalars")]] = rows  # the first scalar of every program

    def call(self, addresses: Mapping[Base, int], team: Team) -> None:
        """Does the work.

        Args:
            addresses: of the first number of each base; `WORKSPACE` and `UNIT` need not be given.
            team: threads that share it; fewer may be granted.
        """
        memory, workspace = (
            (None, addresses[WORKSPACE]) if WORKSPACE in addresses else _workspace(self.workspace)
        )
        known: dict[Base, int] = {**addresses, WORKSPACE: workspace, UNIT: self._one}
        bases = np.array([known[name] for name in self.bases], dtype=np.int64)
        table = bases[self._which] + self._offsets
        data = _DATA(*self._head, _address(table), self._numbers, workspace)
        threads.run_team(self._task, self._alone, ctypes.addressof(data), team)
        del memory  # held until here


class RaggedCommandList:
    """A finished command list for a ragged batch, whose lengths each call gives.

    Attributes:
        bases: what a call gives addresses for.
        of: `of(pieces)` is the list for a batch's lengths; the last few are kept.
    """

    def __init__(self, kept: Kept, head: Part, chunk: Part, cut: Cut) -> None:
        self.bases = kept.bases
        self._kept, self._cut = kept, cut
        self._head, self._chunk = _Forms(head), _Forms(chunk)
        # Layers of a stack with the same sizes take the same list one after the other.
        self.of: Callable[[tuple[Piece, ...]], CommandList] = lru_cache(maxsize=_LENGTHS)(self._of)

    def _of(self, pieces: tuple[Piece, ...]) -> CommandList:
        """The list for a batch's lengths."""
        cut, head, chunk = self._cut, self._head, self._chunk
        known = list(chunks(pieces, cut.chunk_rows, cut.units_up_to, backward=cut.backward))
        known = known[::-1] if cut.backward else known
        order = np.arange(len(known))
        own = quantities(
            extent(pieces), known, len(head.which) + order * len(chunk.which),
            len(head.scalars) + order * len(chunk.scalars),
        )  # fmt: skip
        once = own[:1]  # of the head, which reads only what is known of the batch
        commands = head.commands.of(once).reshape(-1, ROW)
        repeated = chunk.commands.of(own).reshape(-1, ROW)
        return CommandList(
            self._kept,
            np.concatenate([head.which, np.tile(chunk.which, len(known))]),
            np.concatenate([head.offsets.of(once)[0], chunk.offsets.of(own).reshape(-1)]),
            np.concatenate([head.scalars.of(once)[0], chunk.scalars.of(own).reshape(-1)]),
            np.concatenate([commands[: cut.before], repeated, commands[cut.before :]]),
        )


class _Forms:
    """The arrays of a part, as functions of a batch's lengths."""

    def __init__(self, part: Part) -> None:
        self.which = np.array([base for base, _ in part.table], dtype=np.int64)
        self.offsets = Form([offset for _, offset in part.table])
        self.scalars = Form(part.scalars)
        self.commands = Form([number for command in part.commands for number in command])


class BoundCall:
    """A command list whose arrays stay where they are, but for some that are given at every call.

    Args:
        addresses: of every base but `UNIT`.
        given: the bases among them that change.
    """

    def __init__(
        self, work: CommandList, addresses: Mapping[Base, int], given: Sequence[Base], team: Team
    ) -> None:
        self._work, self._team, self._alone = work, team, work._alone
        known: dict[Base, int] = {**addresses, UNIT: work._one}
        bases = np.array([known[name] for name in work.bases], dtype=np.int64)
        self._table = (ctypes.c_int64 * len(work._which))(*(bases[work._which] + work._offsets))
        places = [work.bases.index(name) if name in work.bases else -1 for name in given]
        self._given = [  # (entry of the table, index of the address, offset)
            (int(entry), index, int(work._offsets[entry]))
            for index, place in enumerate(places)
            for entry in np.flatnonzero(work._which == place)
        ]
        table = ctypes.addressof(self._table)
        self._data = _DATA(*work._head, table, work._numbers, addresses[WORKSPACE])
        self._at = ctypes.addressof(self._data)

    def call(self, *given: int) -> None:
        """Does the work, with these addresses in place of those that change."""
        table = self._table
        for entry, index, offset in self._given:
            table[entry] = given[index] + offset
        if self._team == 1:
            self._alone(self._at)
        else:
            threads.run_team(self._work._task, self._alone, self._at, self._team)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


_local = threading.local()


def _workspace(size: int) -> tuple[np.ndarray, int]:
    """This Python thread's scratch memory, and an address in it on a cache line.

    It begins with a barrier's state: zeros, and as good as new after every use.
    """
    memory: np.ndarray | None = getattr(_local, "memory", None)
    if memory is None or memory.size < size + LINE:
        memory = np.empty(size + size // 4 + LINE, np.uint8)
        memory[: BARRIER_BYTES + LINE] = 0
        if memory.size <= _KEPT:
            _local.memory = memory
    return memory, aligned(memory)


def new_workspace(size: int) -> tuple[np.ndarray, int]:
    """Scratch memory of one's own, and an address in it on a cache line."""
    memory = np.zeros(size + LINE, np.uint8)
    return memory, aligned(memory)


def aligned(memory: np.ndarray) -> int:
    """The first address in it that begins a cache line."""
    return -(-_address(memory) // LINE) * LINE
