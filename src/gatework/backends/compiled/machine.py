"""What a machine is: it makes lists of commands ready, and runs them on tensors.

`gatework.backends.llvm.machine` is the machine of CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from gatework.backends.compiled.commands import Address, Base, CommandList
from gatework.backends.program import Piece
from gatework.backends.teams import Team, Work
from gatework.graph import Graph


@dataclass(frozen=True)
class Sharing:
    """How a pass's work is shared among a machine's workers (a CPU's are threads).

    Attributes:
        team: that share it.
        units_up_to: batches of at most this many rows are shared by unit; larger ones by row.
        few: rows of each worker below which those of several steps are multiplied together where they may be.
    """

    team: Team
    units_up_to: int
    few: int

    def multiplied_together(self, rows: int) -> bool:
        """Whether the rows of several steps are, where each step has so many."""
        return rows <= self.units_up_to or rows < self.team * self.few


class Memory(Protocol):
    """The scratch memory of lists that were made ready together."""

    def view(self, place: Address, shape: tuple[int, ...]) -> Tensor:
        """A tensor over a part of it."""
        ...


FixedCall = Callable[..., None]
"""A list whose tensors stay where they are but for some, which each call gives in their order."""


class ReadyList(Protocol):
    """A list of commands that can be run.

    Attributes:
        bases: what it reads or writes, scratch memory aside: a call gives a tensor for each but `UNIT`.
        workspace: bytes of scratch memory.
    """

    bases: tuple[Base, ...]
    workspace: int

    def memory(self) -> Memory:
        """Scratch memory of one's own, for this list and those that were made ready with it."""
        ...

    def call(self, tensors: Mapping[Base, Tensor], team: Team, memory: Memory | None = None) -> None:
        """Does the work.

        Args:
            tensors: contiguous; there may be more of them than `bases`.
            team: workers that share it; fewer may be granted.
            memory: of the caller's own; without it scratch memory holds nothing after the call.
        """
        ...

    def fixed(
        self, tensors: Mapping[Base, Tensor], given: Sequence[Base], team: Team, memory: Memory
    ) -> FixedCall:
        """The list as a call of a few tensors.

        Args:
            tensors: of every base that is not given; the caller keeps them alive.
            given: bases for which each call gives a tensor, in this order.
        """
        ...

    def resize(self, rows: int, *, by_units: bool) -> None:
        """Gives its programs and copies other rows, no more than they were made for."""
        ...


class ReadyRaggedList(Protocol):
    """A list of commands for a ragged batch of any lengths."""

    bases: tuple[Base, ...]

    def of(self, pieces: tuple[Piece, ...]) -> ReadyList:
        """The list for a batch's lengths."""
        ...


class Machine(Protocol):
    """What runs lists of commands. Two that are equal have the same code.

    Attributes:
        supports: codes of the operations that it has (`Op.code`).
        forward_rows, backward_rows: rows that the steps of a chunk should have, in the two passes.
        chunk_bytes: the most that the steps of a chunk hand to the next command.
        padding: bytes that are left between two arrays in one block.
    """

    forward_rows: ClassVar[int]
    backward_rows: ClassVar[int]
    chunk_bytes: ClassVar[int]
    padding: ClassVar[int]

    @property
    def supports(self) -> frozenset[str]: ...

    def workers(self) -> int:
        """How many may share a call's work now."""
        ...

    def team(self, work: Work, size: int, most: int | None = None) -> Team:
        """The workers that share a call's work; see `gatework.backends.teams.team`."""
        ...

    def sharing(self, graph: Graph, work: int, rows: int, most: int) -> Sharing:
        """How a layer's forward pass is shared.

        Args:
            work: multiplications: the weights' number times the rows of all steps.
            rows: B
            most: workers that may share it.
        """
        ...

    def backward_sharing(self, forward: Sharing, weights: int) -> Sharing:
        """The same for the backward pass of a layer with so many weights."""
        ...

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor whose numbers are not set yet."""
        ...

    def prepare(self, *lists: CommandList, team: int = 1, parts: int = 1) -> list[ReadyList]:
        """Lists over the same scratch memory and bound programs, ready to be called.

        Args:
            team: the most workers that will share them.
            parts: the most of them that will share units.
        """
        ...

    def prepare_ragged(self, list: CommandList, *, team: int = 1, parts: int = 1) -> ReadyRaggedList:
        """A list for a ragged batch, ready to be called with any lengths."""
        ...
