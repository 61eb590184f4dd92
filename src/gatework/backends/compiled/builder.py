"""Command lists under construction: written once for a shape, command by command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
    Cut,
    Outer,
    OuterOfRows,
    Run,
    Scratch,
    Softmax,
)
from gatework.backends.compiled.spans import ANY_CHUNK, Chunk, Number, chunks
from gatework.backends.program import Piece
from gatework.backends.storage import Storage
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey


class CommandBuilder:
    """A command list under construction.

    Several lists may be written one after the other over the same scratch memory and the same bound programs: `finish`
    ends one and begins the next. A machine makes them ready together.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._scratches = 0
        self._first: list[Command] = []
        self._chunk: list[Command] = []
        self._last: list[Command] = []
        self._commands = self._first  # those that are being written
        self._cut: Cut | None = None

    def scratch(self, numbers: int) -> Address:
        """Memory that the list needs while it runs."""
        self._scratches += 1
        return Address(Scratch(self._scratches, numbers))

    def chunks(
        self, pieces: Sequence[Piece] | None, chunk_rows: int, units_up_to: int, *, backward: bool = False
    ) -> Iterator[Chunk]:
        """The chunks of a batch, in the order in which a pass works on them.

        Of a ragged batch of any lengths it is one: what is added for it is the pattern of all of them.

        Args:
            pieces: None for a ragged batch.
            chunk_rows: rows that the steps of a chunk may have.
            units_up_to: rows up to which workers share units.
            backward: from the last step to the first.
        """
        if pieces is not None:
            known = list(chunks(pieces, chunk_rows, units_up_to, backward=backward))
            yield from reversed(known) if backward else known
            return
        self._cut = Cut(chunk_rows, units_up_to, backward)
        self._commands = self._chunk
        yield ANY_CHUNK
        self._commands = self._last

    def bind(
        self,
        program: Graph,
        graph: Graph,
        sizes: Mapping[str, int],
        rows: int,
        layer: int | None = None,
        storage: Storage = "full",
        *,
        once: bool = False,
    ) -> BoundProgram:
        """A program with the parameters of a layer as they are when this command runs; see `BoundProgram`."""
        bound = BoundProgram(program, graph, sizes, rows, layer, storage, once)
        self._commands.append(Bind(bound))
        return bound

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
        """See `Run`."""
        self._commands.append(Run(bound, arrays, masks, steps, rows, begin, direction, by_units))

    def copy(self, source: Address | None, to: Address, numbers: int, rows: Number = 1) -> None:
        """See `Copy`."""
        if rows and numbers:
            self._commands.append(Copy(source, to, numbers, rows))

    def outer(
        self,
        left: Address,
        left_strides: tuple[int, int],
        right: Address,
        right_strides: tuple[Number, int],
        depth: Number,
        rows: int,
        columns: Number,
        result: Address,
        result_row: Number | None = None,
        *,
        from_scratch: bool = False,
    ) -> None:
        """See `Outer`; without a `result_row` the rows of the result stand one after the other."""
        if depth and rows and columns:
            row = columns if result_row is None else result_row
            strides = left_strides, right, right_strides
            self._commands.append(Outer(left, *strides, depth, rows, columns, result, row, from_scratch))

    def outer_of_rows(
        self, left: Address, left_stride: Number, right: Address, right_stride: Number, depth: Number,
        shape: tuple[Number, int, int], result: Address,
    ) -> None:  # fmt: skip
        """See `OuterOfRows`."""
        if depth and all(shape):
            self._commands.append(OuterOfRows(left, left_stride, right, right_stride, depth, shape, result))

    def softmax(self, command: Softmax) -> None:
        self._commands.append(command)

    def best(self, command: Best) -> None:
        self._commands.append(command)

    def barrier(self) -> None:
        """What comes after reads what came before has written."""
        commands = self._commands
        if commands[-1:] != [Barrier()] and (commands or commands is not self._first):
            commands.append(Barrier())

    def finish(self) -> CommandList:
        """The list. What is added from here on makes another one."""
        first, chunk, last = (tuple(part) for part in (self._first, self._chunk, self._last))
        made = CommandList(self._dtype, first, chunk, last, self._cut)
        for part in (self._first, self._chunk, self._last):
            part.clear()
        self._commands, self._cut = self._first, None
        return made
