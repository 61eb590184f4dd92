"""Which value of a scheduled step stands where: arrays, products that are computed together, what is never stored.

It knows the schedule alone: no code is written here.
"""

from __future__ import annotations

from gatework.backends.llvm.codegen.arguments import (
    BEGIN,
    DIRECTION,
    MOST_COLUMNS,
    ROWS,
    Layout,
    MatmulGroup,
    Operand,
)
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Graph, Node
from gatework.graph.ops import OPS
from gatework.graph.schedule import Kernel, Schedule


class Placement:
    """The arrays of a scheduled step.

    Attributes:
        layout: of the argument arrays; code that is written adds what it reads.
        arrays: for each stored node the arrays that its value is written to; it is read again from the first.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.graph: Graph = schedule.graph
        self.layout = Layout()
        for key in (ROWS, BEGIN, DIRECTION):
            self.layout.scalar(key)
        self.arrays: dict[int, list[ArrayKey]] = {}
        for output, index in self.graph.outputs:
            self.arrays.setdefault(self.storage_of(index), []).append(output)
        for index in sorted(schedule.stored):
            if index not in self.arrays and self.node(index).width != 1:
                own = ArrayKey("scratch", str(index))
                self.layout.scratch[own] = self.node(index).width
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

    def groups(self, label: str, kernel: Kernel) -> list[MatmulGroup]:
        """Accumulations with the same operands, at most four together."""
        by_operands: dict[tuple[int, ...], list[int]] = {}
        for position, accumulation in enumerate(kernel.accumulations):
            operands = tuple(self.storage_of(self.node(term).args[0]) for term in accumulation.terms)
            by_operands.setdefault(operands, []).append(position)
        groups = []
        for operands, positions in by_operands.items():
            adjacent: list[list[int]] = []
            for position in positions:  # results of a group stand side by side
                if adjacent and adjacent[-1][-1] == position - 1 and len(adjacent[-1]) < MOST_COLUMNS:
                    adjacent[-1].append(position)
                else:
                    adjacent.append([position])
            for members in adjacent:
                keys = tuple(
                    ArrayKey("packed", f"{label}.{members[0]}.{place}") for place in range(len(operands))
                )
                factors = tuple(
                    tuple(self._operand(kernel.accumulations[member].terms[place]) for member in members)
                    for place in range(len(operands))
                )
                groups.append(MatmulGroup(members[0], factors, operands, keys, kernel.width))
        self.layout.groups[label] = groups
        return groups

    def _operand(self, index: int) -> Operand:
        node = self.node(index)
        return Operand(node.text("slot"), node.text("gate"), node.op == "gate_matmul_transposed")
