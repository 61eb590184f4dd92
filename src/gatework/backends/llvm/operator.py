"""A plain stack as torch operators, for torch.compile: it keeps an operator whole, and asks it only for shapes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatework.backends.llvm.once import made_once
from gatework.backends.llvm.stack import Plain, prepared
from gatework.backends.llvm.threads import most
from gatework.graph import Graph
from gatework.graph.serialize import from_json


@made_once(maxsize=256)
def _described(layer: str) -> tuple[Graph, tuple[str, ...], Any]:
    graph, names, sizes = json.loads(layer)
    own = tuple((tuple((name, size) for name, size in each), weights) for each, weights in sizes)
    return from_json(graph), tuple(names), own


def _plain(layer: str, x: Tensor, given: bool, wanted: int) -> Plain:
    graph, names, sizes = _described(layer)
    training = None if wanted < 0 else bool(wanted)
    return Plain(graph, x.dtype, names, sizes, x.shape[0], x.shape[1], most(), given, training)


@torch.library.custom_op("gatework::stack", mutates_args=())
def stack(x: Tensor, parameters: list[Tensor], states: list[Tensor], layer: str, wanted: int) -> list[Tensor]:
    """The history of the output (T + 1, B, H), the final states, and in training what backward needs and the output.

    Args:
        wanted: -1 for inference; in training whether the gradient of the input is wanted.
    """
    made = prepared(_plain(layer, x, bool(states), wanted))
    return made.forward(x.contiguous(), _whole(parameters), _whole(states))


@stack.register_fake
def _(x: Tensor, parameters: list[Tensor], states: list[Tensor], layer: str, wanted: int) -> list[Tensor]:
    return [x.new_empty(shape) for shape in prepared(_plain(layer, x, bool(states), wanted)).made]


@torch.library.custom_op("gatework::stack_backward", mutates_args=())
def stack_backward(
    x: Tensor,
    parameters: list[Tensor],
    states: list[Tensor],
    history: Tensor,
    kept: Tensor,
    output: Tensor,
    finals: list[Tensor],
    layer: str,
    wanted: int,
) -> list[Tensor]:
    """Gradients of parameters, of the given states, and of the input where that is wanted.

    Args:
        output, finals: gradients of the output and of the final states.
    """
    made = prepared(_plain(layer, x, bool(states), wanted))
    of_input, of_parameters, of_states = made.backward(
        x.contiguous(), _whole(parameters), history, kept, output, finals
    )
    return [*of_parameters, *of_states, *([] if of_input is None else [of_input])]


@stack_backward.register_fake
def _(x: Tensor, parameters: list[Tensor], states: list[Tensor], *others: Any) -> list[Tensor]:
    wanted = others[-1]
    results = [*parameters, *states, *([x] if wanted == 1 else [])]
    return [torch.empty_like(value, memory_format=torch.contiguous_format) for value in results]


def _whole(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, parameters, states, ctx.layer, ctx.wanted = inputs
    ctx.counts = len(parameters), len(states)
    history, *finals, saved, _ = output
    ctx.shapes = [final.shape for final in finals]
    ctx.save_for_backward(x, *parameters, *states, history, saved)


def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    saved, (count, given) = ctx.saved_tensors, ctx.counts
    x, parameters, states = saved[0], list(saved[1 : 1 + count]), list(saved[1 + count : 1 + count + given])
    history, kept = saved[1 + count + given :]
    _, *finals, _, output = gradients
    of_output = torch.zeros_like(history[1:]) if output is None else output.contiguous()
    of_finals = [
        history.new_zeros(shape) if gradient is None else gradient
        for shape, gradient in zip(ctx.shapes, finals, strict=True)
    ]
    found = stack_backward(x, parameters, states, history, kept, of_output, of_finals, ctx.layer, ctx.wanted)
    of_input = found[-1] if ctx.wanted == 1 else None
    return of_input, found[:count], found[count : count + given], None, None


stack.register_autograd(_backward, setup_context=_keep)
