"""What is exported of a layer: the graphs of its steps as numbers will run them, and its weights as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gatework.backends import attention_reference
from gatework.errors import InputError
from gatework.export.cell import Array, Cell
from gatework.export.folding import folded
from gatework.export.maps import VectorMap, linear_map
from gatework.graph import Graph
from gatework.graph.expand import expand
from gatework.graph.lower_attention import names_of_attentions
from gatework.graph.node import resolve
from gatework.graph.parameters import gate_rows
from gatework.graph.simplify import differentiated, simplify
from gatework.layers import Recurrent
from gatework.layers.parameters import whole_weight
from gatework.layers.structure import LayerStack, suffix

Call = Literal["sequence", "step"]


@dataclass(frozen=True)
class Network:
    """A stack of recurrent layers, with what stands before and after it.

    Attributes:
        name: what its functions are called by.
        stack: of the layers.
        cells: each layer in each of its directions, in the order of `stack.pairs`.
        table: (V, I), of which a step reads a row by its number, instead of numbers; None where it reads numbers.
        head: what stands after the layers: it reads `output`, what they emit by name, and `x`, what they read, and
            gives `output`; None where there is none.
        emitted: gates and states of the top layer that a step gives beside its output.
        layer: what it is a snapshot of, which an export may be checked against.
        calls: how it is called; a form whose steps and sequences are files of their own has these alone.
    """

    name: str
    stack: LayerStack
    cells: tuple[Cell, ...]
    layer: Recurrent
    table: Array | None = None
    head: Cell | None = None
    emitted: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ("sequence", "step")

    @property
    def graph(self) -> Graph:
        """As the layers' author wrote it, in eval mode: what a step reads and gives."""
        return self.stack.mode_graph(False, self.emitted)

    @property
    def output_size(self) -> int:
        """Numbers that a step gives."""
        if self.head is None:
            return self.stack.output_size * self.stack.directions
        graph = self.head.graph
        return resolve(graph.nodes[graph.emits()["output"]].width, self.head.sizes)

    @property
    def parameters(self) -> int:
        """Numbers that are learned."""
        cells = [*self.cells, *([] if self.head is None else [self.head])]
        arrays = [
            a for cell in cells for part in (cell.weights, cell.biases, cell.vectors) for a in part.values()
        ]
        arrays += [a for cell in cells for _, a in cell.keys.values() if a is not None]
        arrays += [] if self.table is None else [self.table]
        return sum(array.size for array in arrays)


Part = Network | VectorMap
"""What an export has one or several of, each with functions or files of its own."""


def network(
    layer: Recurrent,
    name: str,
    *,
    table: Tensor | nn.Embedding | None = None,
    head: nn.Linear | Cell | None = None,
    emit: Sequence[str] = (),
    calls: tuple[Call, ...] = ("sequence", "step"),
) -> Network:
    """A layer as it runs in eval mode: a snapshot of its weights.

    Args:
        name: of its functions; a name in C.
        table: embeddings of tokens, (V, I).
        head: a linear map of each output, or more than that (`Network`).
        emit: gates and states of the top layer that a step gives beside its output.
        calls: as for `Network`.

    Raises:
        InputError: weights that are not float32 or not finite, or sizes that do not fit each other.
        ValueError: a gate or state that the cell does not have.
    """
    if not name.isidentifier() or not name.isascii():
        raise InputError(
            f"name {name!r}", "is no name of a function in C", "Give letters, digits and underscores."
        )
    stack = layer.stack
    wrong = next((p.dtype for p in layer.parameters() if p.dtype != torch.float32), None)
    if wrong is not None:
        raise InputError(
            name, f"its weights are {wrong}; what is exported computes in float32", "Give layer.float()."
        )
    infinite = next((name for name, p in layer.named_parameters() if not p.isfinite().all()), None)
    if infinite is not None:
        raise InputError(
            name,
            f"{infinite} has numbers that are not finite",
            "Export a layer whose training did not diverge.",
        )
    given = table.weight if isinstance(table, nn.Embedding) else table
    rows = None if given is None else array_of(given)
    if rows is not None and rows.shape[1:] != (stack.input_size,):
        raise InputError(
            name, f"the table is {rows.shape} and the layer reads {stack.input_size} numbers", "Give (V, I)."
        )
    if isinstance(head, nn.Linear):
        width = stack.output_size * stack.directions
        if head.in_features != width:
            raise InputError(
                name, f"the head reads {head.in_features} numbers and the layer gives {width}", "Give (O, H)."
            )
        bias = None if head.bias is None else array_of(head.bias)
        head = linear_map("head", "output", array_of(head.weight), bias)
    cells = tuple(_cell(layer, number, direction, tuple(emit)) for number, direction in stack.pairs)
    return Network(name, stack, cells, layer, rows, head, tuple(emit), calls)


def _cell(layer: Recurrent, number: int, direction: int, emitted: tuple[str, ...]) -> Cell:
    stack = layer.stack
    own = {
        name: whole_weight(name, getattr(layer, name + suffix(number, direction)).detach(), stack.heads)
        for name in stack.names
    }
    graph, sizes = stack.mode_graph(False, emitted), stack.layer_sizes(number)
    weights: dict[tuple[str, str], Array] = {}
    biases: dict[tuple[str, str], Array] = {}
    for slot in graph.slots():
        for gate, (first, last) in gate_rows(graph, slot, sizes).items():
            weights[slot, gate] = array_of(own[f"weight_{slot}"][first:last])
            if f"bias_{slot}" in own:
                biases[slot, gate] = array_of(own[f"bias_{slot}"][first:last])
    vectors = {vector.name: array_of(own[vector.name]) for vector in graph.vectors if vector.columns is None}
    keys: dict[str, tuple[str, Array | None]] = {}
    kernels: dict[str, Array] = {}
    named = names_of_attentions(graph)
    for node in graph.nodes:
        if node.op != "attention_weights":
            continue
        label, score = node.text("name"), node.text("score")
        memory = graph.nodes[node.args[1]].text("name")
        projection = None if score == "dot" else array_of(own[f"{label}_memory"])
        keys[named[label].keys] = memory, projection
        if score in attention_reference.HIDDEN_LAYER:
            weights[named[label].query, label] = array_of(own[f"{label}_query"])
        if score == "location":
            kernel = attention_reference.location_kernel(
                own[f"{label}_location"], own[f"{label}_location_filter"]
            )
            kernels[named[label].kernel] = array_of(kernel)
    if number < stack.num_layers - 1:  # what a cell emits is given of the top layer
        states = tuple((key, index) for key, index in graph.outputs if key.kind == "state")
        graph = replace(graph, outputs=states)
    lowered = differentiated(simplify(expand(simplify(replace(graph, gates=())))))
    return folded(Cell(lowered, sizes, weights, biases, vectors, keys, kernels))


def array_of(value: Tensor) -> Array:
    """A tensor's numbers."""
    return value.detach().cpu().contiguous().numpy()
