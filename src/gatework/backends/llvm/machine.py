"""The machine of CPUs: what a command list becomes there, and how threads share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gatework.backends import teams, threads
from gatework.backends.compiled.commands import CommandList
from gatework.backends.compiled.machine import ReadyList, ReadyRaggedList, Sharing
from gatework.backends.compiled.once import made_once
from gatework.backends.compiled.programs import programs_of
from gatework.backends.llvm.codegen import target
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.llvm.encoder import ARRAY_PADDING, Encoder
from gatework.backends.llvm.runtime import result_pool
from gatework.backends.teams import Team, Work
from gatework.graph import Graph
from gatework.graph.ops import OPS
from gatework.graph.schedule import schedule

_FEW_ROWS = 6


@dataclass(frozen=True)
class CpuMachine:
    """Threads of a processor; see `gatework.backends.compiled.machine.Machine`."""

    target: Target

    forward_rows: ClassVar[int] = 96  # the loop finds them in the second cache, and weights are read seldom
    backward_rows: ClassVar[int] = 384
    chunk_bytes: ClassVar[int] = 1 << 21  # of the second cache
    padding: ClassVar[int] = ARRAY_PADDING

    @property
    def supports(self) -> frozenset[str]:
        from gatework.backends.llvm.codegen.lower import SUPPORTED

        return SUPPORTED

    def workers(self) -> int:
        """Threads that may share a call's work now."""
        return threads.most()

    def team(self, work: Work, size: int, most: int | None = None) -> Team:
        """The threads that share a call's work."""
        return teams.team(work, size, most)

    def sharing(self, graph: Graph, work: int, rows: int, most: int) -> Sharing:
        """See `Machine`."""
        team = teams.team("sequence", work, most)
        units_up_to = team * teams.FORWARD_ROWS if team > 1 else 0
        if _has_row_numbers(graph):
            units_up_to = min(units_up_to, 1)
        if rows <= units_up_to and work < teams.WORTH_A_TEAM["sequence"] * _stages(graph):
            team, units_up_to = teams.CALLER, 0  # threads that share units meet at every stage
        return _sharing(team, units_up_to)

    def backward_sharing(self, forward: Sharing, weights: int) -> Sharing:
        """See `Machine`: units are shared less often than in forward."""
        shared = forward.team > 1 and weights >= teams.BACKWARD_WEIGHTS
        return _sharing(forward.team, forward.team * teams.BACKWARD_ROWS if shared else 0)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor whose numbers are not set yet, in memory that is used again."""
        return result_pool.empty(shape, dtype)

    def prepare(self, *lists: CommandList, team: int = 1, parts: int = 1) -> list[ReadyList]:
        """See `Machine`."""
        encoder = Encoder(lists[0].dtype, self.target, team, parts)
        encoded = [encoder.encode(list) for list in lists]
        return [encoder.ready(numbers) for numbers in encoded]

    def prepare_ragged(self, list: CommandList, *, team: int = 1, parts: int = 1) -> ReadyRaggedList:
        """See `Machine`."""
        return Encoder(list.dtype, self.target, team, parts).ragged(list)


def host() -> CpuMachine:
    """The machine that this runs on."""
    return _machine(target.host())


@made_once()
def _machine(on: Target) -> CpuMachine:
    return CpuMachine(on)


def _sharing(team: Team, units_up_to: int) -> Sharing:
    return Sharing(team, units_up_to, _FEW_ROWS)


@made_once(maxsize=256)
def _has_row_numbers(graph: Graph) -> bool:
    """Whether a step makes numbers of a whole row: threads that share units would all write them."""
    return any(OPS[node.op].sort == "reduction" for node in programs_of(graph).loop.nodes)


@made_once(maxsize=256)
def _stages(graph: Graph) -> int:
    return len(schedule(programs_of(graph).loop).stages)
