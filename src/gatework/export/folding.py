"""What a step computes of learned vectors and constants alone, computed once: the export is a snapshot of them."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor

from gatework.export.cell import Array, Cell
from gatework.graph.builder import Builder, Expr
from gatework.graph.node import Node, resolve
from gatework.graph.ops import OPS
from gatework.graph.rewrite import rebuild


def folded(cell: Cell) -> Cell:
    """An equal cell whose step has a learned vector in the place of what depends on parameters alone."""
    nodes = cell.graph.nodes
    known: dict[int, Tensor] = {}
    for index, node in enumerate(nodes):
        value = _value(cell, node, known)
        if value is not None:
            known[index] = value
    vectors: dict[str, Array] = dict(cell.vectors)
    positions = {node: index for index, node in enumerate(nodes)}

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        index = positions[node]
        if index not in known or OPS[node.op].sort != "elementwise":
            return None
        if known[index].numel() == 1 and node.width == 1:
            return builder.constant(float(known[index]))
        name = f"folded.{index}"
        vectors[name] = known[index].expand(resolve(node.width, cell.sizes)).numpy().astype(np.float32)
        return builder.leaf("vector", node.width, name=name)

    graph = rebuild(cell.graph, rule)
    return Cell(graph, cell.sizes, cell.weights, cell.biases, vectors, cell.keys, cell.kernels)


def _value(cell: Cell, node: Node, known: Mapping[int, Tensor]) -> Tensor | None:
    """The value of a node of parameters, in float64; None where it depends on more."""
    if node.op == "vector":
        return torch.from_numpy(cell.vectors[node.text("name")]).double()
    if node.op == "bias":
        return torch.from_numpy(cell.biases[node.text("slot"), node.text("gate")]).double()
    if node.op == "constant":
        return torch.tensor(node.number("value"), dtype=torch.float64)
    if node.op == "size":
        of = node["of"]
        return torch.tensor(
            float(resolve(of if isinstance(of, str) else int(of), cell.sizes)), dtype=torch.float64
        )
    row = OPS[node.op]
    if row.sort != "elementwise" or row.eager is None or any(arg not in known for arg in node.args):
        return None
    function = attrgetter(row.eager)(torch) if isinstance(row.eager, str) else row.eager
    value: Tensor = function(*(known[arg] for arg in node.args), *(each for _, each in node.attributes))
    return value
