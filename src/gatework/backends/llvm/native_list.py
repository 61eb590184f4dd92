"""Command lists as the driver walks through them: rows of whole numbers, called with addresses of tensors.

Scratch memory (what a chunk of steps hands to the next command, packed weights, a thread's own rows) stands in the
workspace, memory that each Python thread keeps from call to call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from gatework.backends import threads
from gatework.backends.compiled.commands import UNIT, Address, Base, Cut, Scratch
from gatework.backends.compiled.machine import FixedCall, Memory
from gatework.backends.compiled.spans import Form, Number, chunks, extent, quantities
from gatework.backends.llvm.codegen.command_layout import COPY, ROW, RUN, place
from gatework.backends.llvm.codegen.driver import BARRIER_BYTES, DATA_FIELDS
from gatework.backends.llvm.runtime.native import Driver, Native
from gatework.backends.program import Piece
from gatework.backends.teams import Team
from gatework.graph.keys import ArrayKey

LINE = 128  # bytes: a pair of cache lines, as processors fetch them
_LENGTHS = 4  # of ragged batches, whose lists are kept
_FEW_ADDRESSES = 16  # up to which a table is made without NumPy, whose calls take longer then
_KEPT = 1 << 28  # bytes of a workspace that stays after the call
_DATA = ctypes.c_int64 * DATA_FIELDS
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_ONES: dict[torch.dtype, np.ndarray] = {
    torch.float32: np.ones(1, np.float32),
    torch.float64: np.ones(1, np.float64),
}

WORKSPACE = ArrayKey("workspace", "")


@dataclass
class Places:
    """What all lists share that were made ready together.

    Attributes:
        bases: `WORKSPACE` and what a call gives addresses for, with their numbers.
        scratch: where each scratch memory begins in the workspace, in numbers.
        workspace: numbers of the workspace.
        driver, programs: kept, since commands hold addresses of their code.
    """

    dtype: torch.dtype
    driver: Driver
    bases: dict[Base, int] = field(default_factory=dict)
    scratch: dict[Scratch, int] = field(default_factory=dict)
    workspace: int = 0
    programs: list[Native] = field(default_factory=list)


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


class NumberedList(NamedTuple):
    """The arrays of a finished list: (number of a base, offset in bytes) of each address, scalars and commands."""

    which: np.ndarray
    offsets: np.ndarray
    scalars: np.ndarray
    commands: np.ndarray


class Workspace:
    """Scratch memory of lists that were made ready together; see `gatework.backends.compiled.machine.Memory`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        item = places.dtype.itemsize
        self._block = np.zeros(places.workspace * item + LINE, np.uint8)
        self.address = _aligned(self._block)

    def view(self, place: Address, shape: tuple[int, ...]) -> Tensor:
        """A tensor over a part of it."""
        dtype, base = self._places.dtype, place.base
        if not isinstance(base, Scratch) or not isinstance(place.offset, int):
            raise ValueError(f"{place} is not a known place of the workspace")
        numbers = self._places.scratch[base] + place.offset
        offset = self.address - _address(self._block) + numbers * dtype.itemsize
        return torch.frombuffer(self._block, dtype=dtype, count=prod(shape), offset=offset).view(shape)


class NativeList:
    """A list that can be run; see `gatework.backends.compiled.machine.ReadyList`."""

    def __init__(self, places: Places, numbers: NumberedList) -> None:
        self._places = places
        self._which, self._offsets, self._scalars, self._commands = numbers  # addresses below point into them
        used = set(self._which.tolist())
        self.bases = tuple(
            base for base, number in places.bases.items() if number in used and base != WORKSPACE
        )
        self.workspace = places.workspace * places.dtype.itemsize
        self._task, self._alone = places.driver.task, _CALL(places.driver.alone)
        self._head = [_address(self._commands), len(self._commands)]
        self._numbers = _address(self._scalars)
        self._workspace_number = places.bases[WORKSPACE]
        self._tensors = [(places.bases[base], base) for base in self.bases if base != UNIT]
        self._known = [0] * len(places.bases)  # addresses of bases, but for tensors and the workspace
        if UNIT in places.bases:
            self._known[places.bases[UNIT]] = _ONES[places.dtype].ctypes.data
        # The table's entries, where they are few: the number of a base and an offset.
        self._entries: list[tuple[int, int]] = []
        if len(self._which) <= _FEW_ADDRESSES:
            self._entries = list(zip(self._which.tolist(), self._offsets.tolist(), strict=True))
        self._entry_array = ctypes.c_int64 * len(self._entries)

    def memory(self) -> Workspace:
        return Workspace(self._places)

    def resize(self, rows: int, *, by_units: bool) -> None:
        """See `ReadyList`."""
        commands = self._commands
        kinds = commands[:, 0]
        commands[kinds == COPY, place(COPY, "rows")] = rows
        runs = kinds == RUN
        commands[runs, place(RUN, "rows")] = rows
        commands[runs, place(RUN, "by_units")] = int(by_units)
        self._scalars[commands[runs, place(RUN, "scalars")]] = rows  # the first scalar of every program

    def call(self, tensors: Mapping[Base, Tensor], team: Team, memory: Memory | None = None) -> None:
        """See `ReadyList`."""
        own = cast(Workspace | None, memory)
        block, workspace = (None, own.address) if own else _thread_workspace(self.workspace)
        table, begin = self._table(tensors, workspace)
        data = _DATA(*self._head, begin, self._numbers, workspace)
        threads.run_team(self._task, self._alone, ctypes.addressof(data), team)
        del block, table  # held until here

    def fixed(
        self, tensors: Mapping[Base, Tensor], given: Sequence[Base], team: Team, memory: Memory
    ) -> FixedCall:
        """See `ReadyList`."""
        return _FixedCall(self, tensors, given, team, cast(Workspace, memory))

    def _table(self, tensors: Mapping[Base, Tensor], workspace: int) -> tuple[object, int]:
        """The table of addresses, and where it stands."""
        if not self._entries:
            table = self._addresses(tensors, (), workspace)
            return table, _address(table)
        bases = self._bases(tensors, (), workspace)
        few = self._entry_array(*[bases[base] + offset for base, offset in self._entries])
        return few, ctypes.addressof(few)

    def _addresses(self, tensors: Mapping[Base, Tensor], given: Sequence[Base], workspace: int) -> np.ndarray:
        """The table of addresses: of what is given, those of a tensor at 0."""
        return np.array(self._bases(tensors, given, workspace), dtype=np.int64)[self._which] + self._offsets

    def _bases(self, tensors: Mapping[Base, Tensor], given: Sequence[Base], workspace: int) -> list[int]:
        """The address of each base, by its number."""
        addresses = self._known.copy()
        addresses[self._workspace_number] = workspace
        for number, base in self._tensors:
            if base not in given:
                addresses[number] = tensors[base].data_ptr()
        return addresses


class NativeRaggedList:
    """A list for a ragged batch, whose lengths each call gives; the lists of the last few are kept."""

    def __init__(self, places: Places, head: Part, before: int, chunk: Part, cut: Cut) -> None:
        """
        Args:
            before: commands of the head that come before the chunks.
        """
        self.bases = tuple(base for base in places.bases if base != WORKSPACE)
        self._places, self._cut, self._before = places, cut, before
        self._head, self._chunk = _Forms(head), _Forms(chunk)
        # Layers of a stack with the same sizes take the same list one after the other.
        self._find: Callable[[tuple[Piece, ...]], NativeList] = lru_cache(maxsize=_LENGTHS)(self._of)

    def of(self, pieces: tuple[Piece, ...]) -> NativeList:
        """The list for a batch's lengths."""
        return self._find(pieces)

    def _of(self, pieces: tuple[Piece, ...]) -> NativeList:
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
        numbers = NumberedList(
            np.concatenate([head.which, np.tile(chunk.which, len(known))]),
            np.concatenate([head.offsets.of(once)[0], chunk.offsets.of(own).reshape(-1)]),
            np.concatenate([head.scalars.of(once)[0], chunk.scalars.of(own).reshape(-1)]),
            np.concatenate([commands[: self._before], repeated, commands[self._before :]]),
        )
        return NativeList(self._places, numbers)


class _Forms:
    """The arrays of a part, as functions of a batch's lengths."""

    def __init__(self, part: Part) -> None:
        self.which = np.array([base for base, _ in part.table], dtype=np.int64)
        self.offsets = Form([offset for _, offset in part.table])
        self.scalars = Form(part.scalars)
        self.commands = Form([number for command in part.commands for number in command])


class _FixedCall:
    """A list whose tensors stay where they are, but for some that are given at every call."""

    def __init__(
        self,
        work: NativeList,
        tensors: Mapping[Base, Tensor],
        given: Sequence[Base],
        team: Team,
        memory: Workspace,
    ) -> None:
        self._work, self._team, self._alone, self._memory = work, team, work._alone, memory
        addresses = work._addresses(tensors, given, memory.address)
        self._table = (ctypes.c_int64 * len(addresses))(*addresses)
        places = [work._places.bases.get(name, -1) for name in given]
        self._given = [  # (entry of the table, index of the tensor, offset)
            (int(entry), index, int(work._offsets[entry]))
            for index, place in enumerate(places)
            for entry in np.flatnonzero(work._which == place)
        ]
        table = ctypes.addressof(self._table)
        self._data = _DATA(*work._head, table, work._numbers, memory.address)
        self._at = ctypes.addressof(self._data)

    def __call__(self, *given: Tensor) -> None:
        addresses = [tensor.data_ptr() for tensor in given]
        table = self._table
        for entry, index, offset in self._given:
            table[entry] = addresses[index] + offset
        if self._team == 1:
            self._alone(self._at)
        else:
            threads.run_team(self._work._task, self._alone, self._at, self._team)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


_local = threading.local()


def _thread_workspace(size: int) -> tuple[np.ndarray, int]:
    """This Python thread's scratch memory, and an address in it on a cache line.

    It begins with a barrier's state: zeros, and as good as new after every use.
    """
    known: tuple[np.ndarray, int] | None = getattr(_local, "memory", None)
    if known is not None and known[0].size >= size + LINE:
        return known
    memory = np.empty(size + size // 4 + LINE, np.uint8)
    memory[: BARRIER_BYTES + LINE] = 0
    made = memory, _aligned(memory)
    if memory.size <= _KEPT:
        _local.memory = made
    return made


def _aligned(memory: np.ndarray) -> int:
    """The first address in it that begins a cache line."""
    return -(-_address(memory) // LINE) * LINE
