"""Linear maps and activations of vectors, as the graph of a cell without states: what stands after recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gatework.export.cell import Cell
from gatework.graph.builder import Builder, Expr
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Block, Graph, InputSpec, resolve


class Maps:
    """A graph under construction.

    Args:
        reads: names and sizes of the vectors that it reads.
    """

    def __init__(self, reads: Mapping[str, int]) -> None:
        self._builder = Builder()
        self._reads = dict(reads)
        self._blocks: list[Block] = []
        self._weights: dict[tuple[str, str], np.ndarray] = {}
        self._biases: dict[tuple[str, str], np.ndarray] = {}

    def read(self, name: str) -> Expr:
        """One of the vectors."""
        return self._builder.leaf("input", self._reads[name], name=name)

    def linear(self, parts: Sequence[Expr], weight: np.ndarray, bias: np.ndarray | None = None) -> Expr:
        """weight · (the parts, one after the other) + bias."""
        gate, rows, first = f"map{len(self._blocks)}", weight.shape[0], 0
        total: Expr | None = None
        for number, part in enumerate(parts):
            columns = int(part.width)
            slot = f"{gate}_{number}"
            self._weights[slot, gate] = np.ascontiguousarray(weight[:, first : first + columns])
            self._blocks.append(Block(slot, gate, rows, columns, bias is not None and not number))
            product = self._builder.apply("gate_matmul", part, width=rows, slot=slot, gate=gate)
            total = product if total is None else total + product
            first += columns
        if total is None:
            raise ValueError("a linear map reads one vector at least")
        if bias is not None:
            self._biases[f"{gate}_0", gate] = bias
            total = total + self._builder.leaf("bias", rows, slot=f"{gate}_0", gate=gate)
        return total

    def apply(self, op: str, value: Expr) -> Expr:
        """An operation of one argument, such as `tanh`."""
        return self._builder.apply(op, value)

    def cell(self, name: str, gives: Mapping[str, Expr]) -> Cell:
        """The whole, whose emitted values are what it gives."""
        graph = Graph(
            name,
            tuple(self._builder.nodes),
            tuple(InputSpec(each, "input", size) for each, size in self._reads.items()),
            (),
            tuple(self._blocks),
            (),
            tuple((ArrayKey("emit", each), value.index) for each, value in gives.items()),
        )
        return Cell(graph, {}, self._weights, self._biases)


def linear_map(name: str, reads: str, weight: np.ndarray, bias: np.ndarray | None = None) -> Cell:
    """`output` = weight · one vector + bias."""
    maps = Maps({reads: weight.shape[1]})
    return maps.cell(name, {"output": maps.linear([maps.read(reads)], weight, bias)})


@dataclass(frozen=True)
class VectorMap:
    """A part of an export that keeps no state: some vectors in, some vectors out.

    Attributes:
        name: what its function is called by.
        cell: without states; its inputs are what it reads, its emitted values what it gives.
    """

    name: str
    cell: Cell

    @property
    def reads(self) -> dict[str, int]:
        """The vectors that it reads, with their sizes."""
        return {spec.name: resolve(spec.size, {}) for spec in self.cell.graph.inputs}

    @property
    def gives(self) -> dict[str, int]:
        """Those that it gives."""
        graph = self.cell.graph
        return {name: resolve(graph.nodes[index].width, {}) for name, index in graph.emits().items()}

    @property
    def parameters(self) -> int:
        """Numbers that are learned."""
        return sum(array.size for part in (self.cell.weights, self.cell.biases) for array in part.values())
