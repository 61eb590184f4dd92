"""Which value of a scheduled step stands where: in which arrays it is stored, and what is computed where it is read.

It knows the schedule alone: no code is written here.
"""

from __future__ import annotations

from gatework.graph.keys import ArrayKey
from gatework.graph.node import Graph, Node, Width
from gatework.graph.ops import OPS
from gatework.graph.schedule import Kernel, Schedule


class Placement:
    """The arrays of a scheduled step.

    Attributes:
        arrays: for each stored node the arrays that its value is written to; it is read again from the first.
        scratch: widths of the arrays that only the step needs.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.graph: Graph = schedule.graph
        self.arrays: dict[int, list[ArrayKey]] = {}
        self.scratch: dict[ArrayKey, Width] = {}
        for output, index in self.graph.outputs:
            self.arrays.setdefault(self.storage_of(index), []).append(output)
        for index in sorted(schedule.stored):
            if index not in self.arrays and self.node(index).width != 1:
                own = ArrayKey("scratch", str(index))
                self.scratch[own] = self.node(index).width
                self.arrays[index] = [own]

    def node(self, index: int) -> Node:
        return self.graph.nodes[index]

    def storage_of(self, index: int) -> int:
        """The node whose value an addition that was made needless has."""
        while index in self.schedule.alias_of:
            index = self.schedule.alias_of[index]
        return index

    def is_inlined(self, index: int, kernel: Kernel, stage: int) -> bool:
        """Whether a kernel of a stage computes a value itself, rather than reading it."""
        node = self.node(index)
        if OPS[node.op].sort in ("leaf", "matmul", "reduction", "attention"):
            return False
        own = self.schedule.stage_of[index]
        if node.width == 1 and kernel.width != 1 and own is not None:
            return False  # a scalar of the row, computed before the kernels
        return own is None or own == stage or index in self.schedule.recomputed

    def read_by(self, kernel: Kernel, stage: int) -> frozenset[int]:
        """The nodes whose values a kernel of a stage computes with."""
        known: set[int] = set()
        waiting = [*kernel.stores, *(arg for total in kernel.sums for arg in self.node(total).args)]
        while waiting:
            index = self.storage_of(waiting.pop())
            if index in known:
                continue
            known.add(index)
            if self.is_inlined(index, kernel, stage):
                waiting += self.node(index).args
        return frozenset(known)
