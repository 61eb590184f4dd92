"""A layer while torch.compile traces: each chain of layers is one operator of the graph, which does not break.

Only what the operator takes goes this way: dense batches of float32 or float64 on the CPU, whatever their directions,
residual connections and dropout are. Everything else breaks the graph once and runs as ever, by `plan_call`, wrong
arguments among it, to their error.

`_chain_backend` decides while torch traces, once for a graph: it asks for no size, since sizes are symbols then, and
the cost table is about torch's fused operators, which a graph does not hold whole. The thread's own backend is a
context variable, which no graph can be guarded by: where some thread has named a backend, all graphs that are traced
from there on break.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gatework.backends import BACKENDS, Request, selection
from gatework.layers.call_plan import plan_compiled_call
from gatework.layers.state import map_state
from gatework.layers.structure import LayerStack, State, Weights


def compiled_path(
    stack: LayerStack, weights: Weights, x: Any, hx: State | None, training: bool
) -> tuple[Tensor, State] | None:
    """Output and final states; None where the call is another kind.

    Args:
        training: the module's mode.
    """
    if selection.named_somewhere or torch.is_autocast_enabled("cpu") or not isinstance(x, Tensor):
        return None  # a thread's own choice is a context variable, which no trace can ask for
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or x.dim() not in (2, 3):
        return None
    backend = _chain_backend(stack, x.dtype, torch.is_grad_enabled(), training)
    if not backend:
        return None
    chain = BACKENDS[backend].chain_operator()
    batched = x.dim() == 3
    if not batched:
        x = x.unsqueeze(1)
    elif stack.batch_first:
        x = x.transpose(0, 1)
    steps, rows, width = x.shape
    if steps == 0 or rows == 0 or width != stack.input_size:
        return None
    states = _states(stack, x, hx, batched)
    parameters = [weights(*pair) for pair in stack.pairs]
    if states is None or any(value.dtype != x.dtype for own in parameters for value in own.values()):
        return None
    if any(value.device.type != "cpu" for own in parameters for value in own.values()):
        return None
    finals: list[tuple[Tensor, ...]] = []
    for layers in _chains(stack):
        outputs = []
        for direction in range(stack.directions):
            own = [
                value
                for layer in layers
                for value in parameters[layer * stack.directions + direction].values()
            ]
            start = [_part(stack, state, layers, direction) for state in states]
            output, final = chain(stack, layers, x.flip(0) if direction else x, own, start)
            outputs.append(output.flip(0) if direction else output)
            finals.append(final)
        joined = torch.cat(outputs, dim=-1) if stack.bidirectional else outputs[0]
        x = joined + x if stack.residual and layers[0] > 0 else joined
        if stack.dropout and layers[-1] < stack.num_layers - 1:
            x = F.dropout(x, stack.dropout, training)
    by_state, ways = zip(*finals, strict=True), stack.directions
    final_states: tuple[State, ...]
    if stack.by_layer:
        final_states = tuple(
            tuple(torch.cat(parts[first : first + ways]) for first in range(0, len(parts), ways))
            for parts in by_state
        )
    else:
        final_states = tuple(torch.cat(parts) for parts in by_state)
    if not batched:
        x, final_states = x.squeeze(1), map_state(lambda state: state.squeeze(1), final_states)
    elif stack.batch_first:
        x = x.transpose(0, 1)
    return x, final_states if len(final_states) > 1 else final_states[0]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _chain_backend(stack: LayerStack, dtype: torch.dtype, grad: bool, training: bool) -> str:
    """The name of the backend whose chain operator runs a compiled call of plain CPU tensors of one dtype: text, which
    torch.compile holds as a constant. Empty where the graph breaks. No size is asked for: sizes are symbols while torch
    traces.
    """
    plan = plan_compiled_call(stack, Request("auto", training=grad, dtype=dtype), training)
    return "" if plan is None else plan.choice.name


def _chains(stack: LayerStack) -> list[tuple[int, ...]]:
    """Layers that run in one operator: all of them where nothing stands between, else each one."""
    every = tuple(range(stack.num_layers))
    between = stack.bidirectional or stack.residual or stack.dropout > 0 or stack.by_layer
    return [(layer,) for layer in every] if between else [every]


def _part(stack: LayerStack, state: Any, layers: tuple[int, ...], direction: int) -> Tensor:
    """(layers, B, size) of a state, of some layers in one direction."""
    if stack.by_layer:
        own: Tensor = state[layers[0]][direction : direction + 1]
        return own
    first = layers[0] * stack.directions + direction
    part: Tensor = state[first : first + len(layers)]
    return part


def _states(stack: LayerStack, x: Tensor, hx: State | None, batched: bool) -> list[Any] | None:
    """(L * directions, B, size) of each state, none where all begin at zero; None where one does not fit, or where each
    layer has its own."""
    rows = x.shape[1]
    if hx is None:
        return [] if stack.starts_at_zero else list(stack.initial_states(rows, x, {}))
    states: list[Any] = list(hx) if isinstance(hx, tuple | list) else [hx]
    if stack.by_layer or not all(isinstance(state, Tensor) for state in states):
        return None
    if not batched:
        states = [state.unsqueeze(1) for state in states]
    if len(states) != len(stack.state_widths):
        return None
    count = stack.num_layers * stack.directions
    for state, width in zip(states, stack.state_widths, strict=True):
        if state.dtype != x.dtype or state.device.type != "cpu" or state.dim() != 3:
            return None
        if state.shape[0] != count or state.shape[1] != rows or state.shape[2] != width:
            return None
    return states
