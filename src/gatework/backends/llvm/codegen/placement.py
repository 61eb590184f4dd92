"""Where a program's values stand, and which of its products the CPU computes together."""

from __future__ import annotations

from gatework.backends.compiled.placement import Placement
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
from gatework.graph.schedule import Kernel, Schedule


class NativePlacement(Placement):
    """The arrays of a scheduled step, and its argument arrays.

    Attributes:
        layout: of the argument arrays; code that is written adds what it reads.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        self.layout = Layout(scratch=dict(self.scratch))
        for key in (ROWS, BEGIN, DIRECTION):
            self.layout.scalar(key)

    def groups(self, label: str, kernel: Kernel) -> list[MatmulGroup]:
        """Accumulations with the same operands, at most four together, whose weights are read in one direction."""
        by_operands: dict[tuple[tuple[int, str], ...], list[int]] = {}
        for position, accumulation in enumerate(kernel.accumulations):
            terms = map(self.node, accumulation.terms)
            operands_of = tuple((self.storage_of(term.args[0]), term.op) for term in terms)
            by_operands.setdefault(operands_of, []).append(position)
        groups = []
        for read, positions in by_operands.items():
            operands = tuple(operand for operand, _ in read)
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
