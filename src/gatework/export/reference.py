"""What an exported network must give, by the layer itself and torch's operations: exports are checked against it."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

import torch
from torch import Tensor, nn

from gatework.backends import backend
from gatework.backends.storage import stored
from gatework.export.cell import Array, Cell
from gatework.export.network import Network
from gatework.graph.ops import OPS
from gatework.layers import Recurrent
from gatework.layers.structure import State, suffix


def reference_layer(layer: Recurrent, *, int8: bool, dtype: torch.dtype) -> Recurrent:
    """A layer of the same weights on the CPU, in eval mode, that reads (T, B, I).

    Args:
        int8: its weight matrices are as 8 bits hold them.
    """
    stack, sizes = layer.stack, dict(layer.stack.named_sizes)
    made = Recurrent(
        layer.cell,
        stack.input_size,
        sizes.pop("hidden_size"),
        stack.num_layers,
        stack.bias,
        bidirectional=stack.bidirectional,
        zoneout=dict(stack.zoneout),
        residual=stack.residual,
        sizes=sizes,  # type: ignore[arg-type]
        device="meta",  # where no numbers are drawn
    )
    for pair in stack.pairs:
        for name in stack.names:
            weight = getattr(layer, name + suffix(*pair)).detach().cpu()
            if int8 and weight.dim() == 2 and "_location" not in name:
                weight = stored(weight, "int8")
            made.register_parameter(name + suffix(*pair), nn.Parameter(weight.to(dtype, copy=True)))
    return made.eval()


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
    dtype: torch.dtype = torch.float32,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What a sequence gives by name, `output` among it, and the final states as the layer gives them.

    Args:
        x: (T, B, I), or tokens, (T, B). The others are as for the layer's call.
        dtype: that it is computed in.
    """
    layer = reference_layer(network.layer, int8=int8, dtype=dtype)
    if network.table is not None:
        x = _array(network.table, int8=int8, dtype=dtype)[x]
    x = x.to(dtype)
    start = [_in(state, dtype) for state in states]
    with torch.no_grad(), backend("eager"):
        given, final = layer(
            x,
            tuple(start) if len(start) > 1 else start[0],
            lengths=lengths,
            inputs={name: value.to(dtype) for name, value in inputs.items()} or None,
            memory={name: value.to(dtype) for name, value in memories.items()} or None,
            memory_lengths=dict(memory_lengths) or None,
            emit=network.emitted,
        )
    values = dict(given) if isinstance(given, dict) else {"output": given}
    if network.head is not None:
        values["output"] = evaluated(network.head, {**values, "x": x}, int8=int8, dtype=dtype)["output"]
    return values, list(final) if len(states) > 1 else [final]


def _in(state: State, dtype: torch.dtype) -> State:
    """A state in a dtype; of layers of different widths it is a tuple."""
    return tuple(_in(each, dtype) for each in state) if isinstance(state, tuple) else state.to("cpu", dtype)


def _array(values: Array, *, int8: bool, dtype: torch.dtype) -> Tensor:
    """A weight as an export holds it."""
    weight = torch.from_numpy(values)
    return (stored(weight, "int8") if int8 else weight).to(dtype)


def evaluated(
    head: Cell, reads: Mapping[str, Tensor], *, int8: bool, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """What a cell without states gives, by torch, in a dtype."""
    values: list[Tensor] = []
    for node in head.graph.nodes:
        args = [values[arg] for arg in node.args]
        if node.op == "input":
            values.append(reads[node.text("name")].to(dtype))
        elif node.op == "bias":
            bias = head.biases[node.text("slot"), node.text("gate")]
            values.append(_array(bias, int8=False, dtype=dtype))
        elif node.op == "gate_matmul":
            weight = head.weights[node.text("slot"), node.text("gate")]
            values.append(args[0] @ _array(weight, int8=int8, dtype=dtype).T)
        else:
            named = OPS[node.op].eager
            function = attrgetter(named)(torch) if isinstance(named, str) else named
            if function is None:
                raise ValueError(f"{node.op} stands in no head")
            values.append(function(*args, *(value for _, value in node.attributes)))
    return {name: values[index] for name, index in head.graph.emits().items()}
