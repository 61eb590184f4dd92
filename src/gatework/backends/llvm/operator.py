"""A chain of layers as torch operators, for torch.compile: it keeps an operator whole, and asks it only for shapes.

The operators are public, as every operator of torch is: they check all that they are given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatework.backends.admission import readable_in_an_operator
from gatework.backends.compiled.once import made_once
from gatework.backends.compiled.stack import Stack, prepared, saved_size
from gatework.backends.llvm import machine
from gatework.backends.program import StackCall
from gatework.graph import Graph
from gatework.graph.node import resolve
from gatework.graph.parameters import parameter_shapes
from gatework.graph.serialize import from_json, to_json

INFERENCE, TRAINING, TRAINING_WITH_INPUT = -1, 0, 1
"""Which gradients an operator is asked for: none, those of parameters and states, and the input's besides."""


@dataclass(frozen=True)
class _Chain:
    """What an operator's text describes."""

    graph: Graph
    names: tuple[str, ...]
    layers: tuple[tuple[tuple[tuple[str, int], ...], int], ...]

    @property
    def parameter_shapes(self) -> list[tuple[int, ...]]:
        """Of every layer's parameters, in order."""
        in_order = []
        for sizes, _ in self.layers:
            shapes = parameter_shapes(self.graph, dict(sizes))
            in_order += [shapes[name] for name in self.names]
        return in_order

    @property
    def widths(self) -> list[int]:
        """Units of each state."""
        sizes = dict(self.layers[0][0])
        return [resolve(state.size, sizes) for state in self.graph.states]

    @property
    def input_size(self) -> int:
        return resolve(self.graph.inputs[0].size, dict(self.layers[0][0]))


@made_once(maxsize=256)
def _described(text: str) -> _Chain:
    graph, names, layers = json.loads(text)
    own = tuple((tuple((name, size) for name, size in each), weights) for each, weights in layers)
    return _Chain(from_json(graph), tuple(names), own)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def describe(stack: Any, layers: tuple[int, ...]) -> str:
    """Some layers of a `LayerStack` as the operators take them: text, which torch.compile holds as a constant."""
    return json.dumps([to_json(stack.graph), stack.names, [stack.layers[layer] for layer in layers]])


def chain(
    stack: Any, layers: tuple[int, ...], x: Tensor, parameters: list[Tensor], states: list[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Some layers of a `LayerStack` in one operator, under torch.compile.

    Args:
        x: (T, B, I) of the first of them.
        parameters: theirs, layer by layer.
        states: (layers, B, size) each, or none where they begin at zero.

    Returns:
        (T, B, H), and the final states, (layers, B, size) each.
    """
    gradients = INFERENCE
    if torch.is_grad_enabled():
        gradients = TRAINING_WITH_INPUT if x.requires_grad else TRAINING
    made = torch.ops.gatework.stack(x, parameters, states, describe(stack, layers), gradients)
    return made[0] if gradients == INFERENCE else made[-1], tuple(made[1 : 1 + len(stack.graph.states)])


def _check(
    known: _Chain, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], gradients: int
) -> None:
    """Refuses tensors that the described layers do not have.

    Raises:
        ValueError: a shape, dtype or number of tensors that does not fit; the message has the one received.
    """
    if gradients not in (INFERENCE, TRAINING, TRAINING_WITH_INPUT):
        raise ValueError(f"gatework::stack: gradients={gradients}; it must be -1, 0 or 1.")
    if x.dtype not in (torch.float32, torch.float64) or x.dim() != 3 or x.shape[2] != known.input_size:
        raise ValueError(
            f"gatework::stack: x is {tuple(x.shape)} of {x.dtype}; expected (T, B, {known.input_size}) of float32 or "
            "float64."
        )
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise ValueError(f"gatework::stack: x has shape {tuple(x.shape)}; there must be a step and a row.")
    _check_shapes("parameters", parameters, known.parameter_shapes, x)
    if states:
        count, rows = len(known.layers), x.shape[1]
        _check_shapes("states", states, [(count, rows, width) for width in known.widths], x)
    elif any(state.init for state in known.graph.states):
        raise ValueError(
            f"gatework::stack: the states of {known.graph.name} do not begin at zero: give them."
        )


def _check_shapes(
    label: str, tensors: Sequence[Tensor], shapes: Sequence[tuple[Any, ...]], x: Tensor
) -> None:
    if len(tensors) != len(shapes):
        raise ValueError(f"gatework::stack: there are {len(tensors)} {label}; expected {len(shapes)}.")
    for index, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        same = tensor.dim() == len(shape) and all(a == b for a, b in zip(tensor.shape, shape, strict=True))
        if not same or tensor.dtype != x.dtype or tensor.device != x.device:
            raise ValueError(
                f"gatework::stack: {label}[{index}] is {tuple(tensor.shape)} of {tensor.dtype} on {tensor.device}; "
                f"expected {shape} of {x.dtype} on {x.device}."
            )


def _call(known: _Chain, x: Tensor, given: bool, gradients: int) -> StackCall:
    gradient = None if gradients == INFERENCE else gradients == TRAINING_WITH_INPUT
    return StackCall(known.graph, x.dtype, known.names, known.layers, x.shape[0], x.shape[1], given, gradient)


def _prepared(known: _Chain, x: Tensor, given: bool, gradients: int) -> Stack:
    return prepared(machine.host(), _call(known, x, given, gradients))


@torch.library.custom_op("gatework::stack", mutates_args=(), device_types="cpu")
def stack(
    x: Tensor, parameters: list[Tensor], states: list[Tensor], layer: str, gradients: int
) -> list[Tensor]:
    """The output (T, B, H) and the final states; in training the history (T + 1, B, H) of the output, the final states,
    what backward needs, and the output.

    Args:
        x: (T, B, I)
        parameters: of all layers, in torch.nn's order.
        states: (L, B, size) each, or none where they begin at zero.
        layer: made by `describe`.
        gradients: INFERENCE, TRAINING or TRAINING_WITH_INPUT.

    Raises:
        ValueError: a shape, dtype or number of tensors that does not fit.
    """
    known = _described(layer)
    _check(known, x, parameters, states, gradients)
    x, *others = readable_in_an_operator([x, *parameters, *states])
    made = _prepared(known, x, bool(states), gradients)
    results = made.forward(x, others[: len(parameters)], others[len(parameters) :])
    if gradients == INFERENCE and made.has_history:
        results[0] = results[0][1:]
    return results


@stack.register_fake
def _(x: Tensor, parameters: list[Tensor], states: list[Tensor], layer: str, gradients: int) -> list[Tensor]:
    known = _described(layer)
    _check(known, x, parameters, states, gradients)
    steps, rows = x.shape[:2]  # these may be symbols: nothing is looked up by them
    widths = known.widths
    first = steps if gradients == INFERENCE else steps + 1
    shapes: list[tuple[Any, ...]] = [(first, rows, widths[0])]
    shapes += [(len(known.layers), rows, width) for width in widths]
    if gradients != INFERENCE:
        gradient = gradients == TRAINING_WITH_INPUT
        saved = saved_size(machine.host(), known.graph, known.layers, x.dtype, gradient, steps, rows)
        shapes += [(saved,), (steps, rows, widths[0])]
    return [x.new_empty(shape) for shape in shapes]


@torch.library.custom_op("gatework::stack_backward", mutates_args=(), device_types="cpu")
def stack_backward(
    x: Tensor,
    parameters: list[Tensor],
    states: list[Tensor],
    history: Tensor,
    saved: Tensor,
    output: Tensor,
    finals: list[Tensor],
    layer: str,
    gradients: int,
) -> list[Tensor]:
    """Gradients of parameters, of the given states, and of the input where that is wanted.

    Args:
        history, saved: of `stack` in training.
        output, finals: gradients of the output and of the final states.

    Raises:
        ValueError: a shape, dtype or number of tensors that does not fit.
    """
    known = _described(layer)
    _check(known, x, parameters, states, gradients)
    if gradients == INFERENCE:
        raise ValueError("gatework::stack_backward: gradients=-1; there are no gradients of an inference.")
    made = _prepared(known, x, bool(states), gradients)
    history_shape, *final_shapes, saved_shape, output_shape = made.made
    _check_shapes(
        "history, saved and output", [history, saved, output], [history_shape, saved_shape, output_shape], x
    )
    _check_shapes("finals", finals, final_shapes, x)
    tensors = readable_in_an_operator([x, *parameters, history, saved, output, *finals])
    x, own, rest = tensors[0], tensors[1 : 1 + len(parameters)], tensors[1 + len(parameters) :]
    of_input, of_parameters, of_states = made.backward(x, own, rest[0], rest[1], rest[2], rest[3:])
    return [*of_parameters, *of_states, *([] if of_input is None else [of_input])]


@stack_backward.register_fake
def _(x: Tensor, parameters: list[Tensor], states: list[Tensor], *others: Any) -> list[Tensor]:
    gradients = others[-1]
    results = [*parameters, *states, *([x] if gradients == TRAINING_WITH_INPUT else [])]
    return [torch.empty_like(value, memory_format=torch.contiguous_format) for value in results]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, parameters, states, ctx.layer, ctx.gradients = inputs
    ctx.counts = len(parameters), len(states)
    history, *finals, saved, _ = output
    ctx.shapes = [final.shape for final in finals]
    ctx.save_for_backward(x, *parameters, *states, history, saved)


def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    tensors, (count, given) = ctx.saved_tensors, ctx.counts
    x, parameters, states = (
        tensors[0],
        list(tensors[1 : 1 + count]),
        list(tensors[1 + count : 1 + count + given]),
    )
    history, saved = tensors[1 + count + given :]
    _, *finals, _, output = gradients
    of_output = torch.zeros_like(history[1:]) if output is None else output
    of_finals = [
        history.new_zeros(shape) if gradient is None else gradient
        for shape, gradient in zip(ctx.shapes, finals, strict=True)
    ]
    made = stack_backward(
        x, parameters, states, history, saved, of_output, of_finals, ctx.layer, ctx.gradients
    )
    of_input = made[-1] if ctx.gradients == TRAINING_WITH_INPUT else None
    return of_input, made[:count], made[count : count + given], None, None


stack.register_autograd(_backward, setup_context=_keep)
