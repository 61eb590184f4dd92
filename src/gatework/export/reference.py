"""What an exported network must give, by the layer itself and torch's operations: exports are checked against it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from operator import attrgetter

import torch
from torch import Tensor

from gatework.backends import backend
from gatework.backends.storage import stored
from gatework.export.cell import Cell
from gatework.export.network import Network
from gatework.graph.ops import OPS
from gatework.layers import Recurrent


def rounded_layer(layer: Recurrent) -> Recurrent:
    """A copy of a layer whose weight matrices are as 8 bits hold them."""
    made = copy.deepcopy(layer)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() == 2 and "_location" not in name:
                parameter.copy_(stored(parameter, "int8"))
    return made


def expected(
    network: Network,
    x: Tensor,
    *,
    lengths: Tensor,
    states: tuple[Tensor, ...],
    inputs: Mapping[str, Tensor],
    memories: Mapping[str, Tensor],
    memory_lengths: Mapping[str, Tensor],
    int8: bool,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What a sequence gives by name, `output` among it, and the final states as the layer gives them.

    Args:
        x: (T, B, I), or tokens, (T, B). The others are as for the layer's call.
    """
    layer = rounded_layer(network.layer) if int8 else network.layer
    if network.table is not None:
        table = torch.from_numpy(network.table)
        x = (stored(table, "int8") if int8 else table)[x]
    training = layer.training
    layer.eval()
    try:
        with torch.no_grad(), backend("eager"):
            given, final = layer(
                x,
                states if len(states) > 1 else states[0],
                lengths=lengths,
                inputs=dict(inputs) or None,
                memory=dict(memories) or None,
                memory_lengths=dict(memory_lengths) or None,
                emit=network.emitted,
            )
    finally:
        layer.train(training)
    values = dict(given) if isinstance(given, dict) else {"output": given}
    if network.head is not None:
        values["output"] = evaluated(network.head, {**values, "x": x}, int8=int8)["output"]
    return values, list(final) if len(states) > 1 else [final]


def evaluated(head: Cell, reads: Mapping[str, Tensor], *, int8: bool) -> dict[str, Tensor]:
    """What a cell without states gives, by torch."""
    values: list[Tensor] = []
    for node in head.graph.nodes:
        args = [values[arg] for arg in node.args]
        if node.op == "input":
            values.append(reads[node.text("name")])
        elif node.op == "bias":
            values.append(torch.from_numpy(head.biases[node.text("slot"), node.text("gate")]))
        elif node.op == "gate_matmul":
            weight = torch.from_numpy(head.weights[node.text("slot"), node.text("gate")])
            values.append(args[0] @ (stored(weight, "int8") if int8 else weight).T)
        else:
            named = OPS[node.op].eager
            function = attrgetter(named)(torch) if isinstance(named, str) else named
            if function is None:
                raise ValueError(f"{node.op} stands in no head")
            values.append(function(*args, *(value for _, value in node.attributes)))
    return {name: values[index] for name, index in head.graph.emits().items()}
