"""The short way through a layer: a dense batch of plain tensors, one call of the backend for the whole stack.

What is checked here only tells the plain call from all others: those, wrong arguments among them, take the long way,
to the same numbers or to their error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatework.backends import admission, asked
from gatework.layers.call_plan import plan_dense_call
from gatework.layers.structure import LayerStack, State


def fast_path(
    stack: LayerStack, parameters: list[Any], x: Any, hx: State | None, training: bool
) -> tuple[Tensor, State] | None:
    """Output and final states of a plain call; None where the call is another kind.

    Args:
        parameters: of all layers, in the order of `stack.module_names`; None for one that is no parameter.
        x: (T, B, I), or (B, T, I) if batch_first.
        hx: (L * directions, B, size) of each state.
        training: the module's mode.
    """
    if type(x) is not Tensor and type(x) is not nn.Parameter:
        return None
    if x.dim() != 3:
        return None
    x = x.transpose(0, 1) if stack.batch_first else x
    shape = x.shape
    if not shape[0] or not shape[1] or shape[2] != stack.input_size:
        return None
    if training and stack.random_in_training:
        return None
    states: tuple[Tensor, ...] = ()
    depth = stack.num_layers * stack.directions
    if hx is not None:
        states = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        if len(states) != len(stack.state_widths):
            return None
        for state, width in zip(states, stack.state_widths, strict=True):
            if not isinstance(state, Tensor) or state.shape != (depth, shape[1], width):
                return None
    elif not stack.starts_at_zero:
        return None
    for parameter, expected in zip(parameters, stack.module_shapes, strict=True):
        if parameter is None or parameter.shape != expected:
            return None
    dtype = x.dtype
    if not admission.all_plain((x, *states), parameters, dtype) or admission.mode_refusal() is not None:
        return None
    if torch.is_autocast_enabled("cpu"):
        return None
    grad = torch.is_grad_enabled()
    input_gradient: bool | None = None
    if grad and (x.requires_grad or any(tensor.requires_grad for tensor in (*parameters, *states))):
        input_gradient = x.requires_grad
    planned = plan_dense_call(
        stack, training, asked(), grad, dtype, shape[0], shape[1], bool(states), input_gradient
    )
    if planned is None:
        return None
    plan, call = planned
    backend = plan.choice.backend
    if not backend.plain_tensors:  # torch's operator, which is always given its states
        states = states or tuple(x.new_zeros(depth, shape[1], width) for width in stack.state_widths)
    elif stack.batch_first:
        x = x.contiguous()
    output, final = backend.run_stack(call, x, parameters, states)
    output = output.transpose(0, 1) if stack.batch_first else output
    return output, final if len(final) > 1 else final[0]
