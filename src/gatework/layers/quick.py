"""The short way through a layer: a dense batch, one native call for the whole stack.

What is checked here only tells the plain case from all others: those, wrong arguments among them, go the long way,
to the same numbers or to their error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gatework.backends import choose
from gatework.graph.node import resolve
from gatework.graph.parameters import parameter_shapes
from gatework.graph.serialize import to_json
from gatework.layers.call import State
from gatework.layers.tape import tapes_of

if TYPE_CHECKING:
    from gatework.layers.recurrent import Recurrent


def plain_sizes(layer: Recurrent) -> tuple[tuple[tuple[tuple[str, int], ...], int], ...]:
    """Sizes and number of weights of each layer of a stack; empty where the short way is never to be taken."""
    unusual = layer.bidirectional or layer.batch_first or (layer.residual and layer.num_layers > 1)
    if unusual or len(layer._graph.inputs) > 1 or layer._graph.emits():
        return ()
    found = []
    for number in range(layer.num_layers):
        sizes = layer._layer_sizes(number)
        shapes = parameter_shapes(layer._graph, sizes)
        weights = sum(rows * rest[0] for name, (rows, *rest) in shapes.items() if name.startswith("weight_"))
        found.append((tuple(sizes.items()), weights))
    return tuple(found)


def describe(layer: Recurrent) -> str:
    """A plain layer as the operator of `traced` takes it: text, which torch.compile holds as a constant."""
    return json.dumps([to_json(layer._graph), layer._names, layer._plain]) if layer._plain else ""


def quick(layer: Recurrent, x: Any, hx: State | None) -> tuple[Tensor, State] | None:
    """Output and final states of a call that is plain, on the engine; else None."""
    if not layer._plain or not isinstance(x, Tensor) or x.dim() != 3:
        return None
    if layer.training and (layer.dropout or layer.recurrent_dropout or layer._zoneout):
        return None
    steps, rows, width = x.shape
    if steps < 2 or not rows or width != layer.input_size or not x.is_contiguous() or tapes_of(layer):
        return None
    graph = layer._mode_graph()
    states: tuple[Tensor, ...] = ()
    if hx is not None:
        states = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        shapes = [(layer.num_layers, rows, resolve(state.size, layer._sizes)) for state in graph.states]
        if [tuple(state.shape) for state in states] != shapes:
            return None
    elif any(state.init for state in graph.states):
        return None
    parameters = [
        value for number in range(layer.num_layers) for value in layer._parameters_of(number, 0).values()
    ]
    tensors = (*parameters, *states)
    if choose(graph, layer._sizes, record=False, like=x, rows=rows, tensors=tensors).name != "llvm":
        return None
    needed = False
    for value in tensors:
        if value.dtype is not x.dtype or not value.is_contiguous() or value.device != x.device:
            return None
        needed = needed or value.requires_grad
    from gatework.backends.llvm.stack import Plain, run_stack
    from gatework.backends.llvm.threads import most

    wanted = None
    if torch.is_grad_enabled() and (needed or x.requires_grad):
        wanted = x.requires_grad
    plain = Plain(graph, x.dtype, layer._names, layer._plain, steps, rows, most(), bool(states), wanted)
    output, *final = run_stack(plain, x, parameters, states)
    return output, tuple(final) if len(final) > 1 else final[0]


def traced(layer: Recurrent, x: Any, hx: State | None) -> tuple[Tensor, State] | None:
    """The same while torch.compile traces: the stack is one operator of its graph. None where it is not plain."""
    if not layer._plain or not isinstance(x, Tensor) or x.dim() != 3 or x.device.type != "cpu":
        return None
    if layer.recurrent_dropout or layer._zoneout or (layer.training and layer.dropout):
        return None
    steps, rows, width = x.shape
    if steps < 2 or not rows or width != layer.input_size or x.dtype not in (torch.float32, torch.float64):
        return None
    states = [] if hx is None else list(hx) if isinstance(hx, tuple | list) else [hx]
    if len(states) not in (0, len(layer._graph.states)) or (
        hx is None and any(state.init for state in layer._graph.states)
    ):
        return None
    parameters = [
        value for number in range(layer.num_layers) for value in layer._parameters_of(number, 0).values()
    ]
    wanted = -1
    if torch.is_grad_enabled():
        wanted = int(x.requires_grad)
    import gatework.backends.llvm.operator  # noqa: F401 - registers the operator

    made = torch.ops.gatework.stack(x, parameters, states, layer._described, wanted)
    made = torch.ops.gatework.stack(x, parameters, states, layer._described, wanted)
    final = made[1 : 1 + len(layer._graph.states)]
    output = made[0][1:] if wanted < 0 else made[-1]
    return output, tuple(final) if len(final) > 1 else final[0]
