"""One layer through native programs: forward, and its place in torch's autograd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gatework.backends import eager
from gatework.backends.llvm.native import Native, native
from gatework.backends.llvm.runtime import run_program
from gatework.backends.program import SequenceInput, SequenceOutput
from gatework.graph import Graph
from gatework.graph.backward import GRADIENT, Backward, backward
from gatework.graph.expand import expand
from gatework.graph.hoist import hoist
from gatework.graph.layout import gate_rows
from gatework.graph.node import Width, resolve
from gatework.graph.simplify import simplify

Sizes = Mapping[str, int]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """The programs of a layer.

    Attributes:
        outer: what leaves the loop; None where nothing does.
        loop: the step.
        outer_training, loop_training: the same for training, with their backward programs.
    """

    outer: Graph | None
    loop: Graph
    outer_training: Backward | None
    loop_training: Backward


@lru_cache(maxsize=256)
def plan(graph: Graph) -> Plan:
    """The programs that a graph falls into."""
    parts = hoist(simplify(expand(simplify(graph))))
    return Plan(
        parts.outer,
        parts.loop,
        None if parts.outer is None else backward(parts.outer),
        backward(parts.loop),
    )


class _Arrays:
    """Named arrays of one pass: what programs read and write."""

    def __init__(self, graph: Graph, parameters: Mapping[str, Tensor], sizes: Sizes, like: Tensor) -> None:
        self.sizes = sizes
        self.like = like
        self.weights = dict(parameters)
        self.vectors = {f"vector:{vector.name}": parameters[vector.name] for vector in graph.vectors}

    def empty(self, *shape: int) -> Tensor:
        return self.like.new_empty(shape)

    def emitted(self, graph: Graph, *shape: int) -> Tensors:
        """A new stream for each value that a program emits."""
        return {
            name.removeprefix("emit:"): self.empty(*shape, self.width(graph.nodes[index].width))
            for name, index in graph.outputs
            if name.startswith("emit:")
        }

    def width(self, width: Width) -> int:
        return resolve(width, self.sizes)

    def run(self, graph: Graph, streams: Tensors, statics: Tensors, states: Tensors, **shape: Any) -> None:
        """Runs a program over these streams."""
        program: Native = native(graph, self.like.dtype)
        arrays = dict(self.vectors)
        arrays |= {f"stream:{name}": value for name, value in streams.items()}
        arrays |= {f"static:{name}": value for name, value in statics.items()}
        arrays |= {f"state:{name}": value for name, value in states.items()}
        run_program(program, graph, arrays, self.weights, self.sizes, **shape)


def _flat(streams: Tensors) -> Tensors:
    """Streams of (T, B, size) as one step of T * B rows."""
    return {name: value.reshape(1, -1, value.shape[-1]) for name, value in streams.items()}


def _steps_statics(statics: Tensors, steps: int) -> Tensors:
    """(B, size) for each row of all steps."""
    return {name: value.repeat(steps, 1) for name, value in statics.items()}


@dataclass
class _Pass:
    """What a forward pass leaves for the backward one."""

    inputs: Tensors
    statics: Tensors
    hoisted: Tensors
    outer_saved: Tensors
    histories: Tensors
    emitted: Tensors


def _forward(
    graph: Graph, arrays: _Arrays, sequence: SequenceInput, *, training: bool
) -> tuple[SequenceOutput, _Pass]:
    programs = plan(graph)
    steps, rows = sequence.steps, sequence.states[0].shape[0]
    inputs = {name: value.contiguous() for name, value in sequence.inputs.items()}
    statics = {name: value.contiguous() for name, value in sequence.statics.items()}
    hoisted: Tensors = {}
    outer_saved: Tensors = {}
    outer = programs.outer_training.forward if training and programs.outer_training else programs.outer
    if outer is not None:
        made = arrays.emitted(outer, 1, steps * rows)
        statics_all = _steps_statics(statics, steps)
        arrays.run(outer, {**_flat(inputs), **made}, statics_all, {}, steps=1, rows=steps * rows)
        for name, value in made.items():
            (hoisted if name.startswith("hoisted_") else outer_saved)[name] = value
    loop = programs.loop_training.forward if training else programs.loop
    histories: Tensors = {}
    masks: dict[str, int] = {}
    for position, (state, value) in enumerate(zip(graph.states, sequence.states, strict=True)):
        whole = training or position == 0
        histories[state.name] = arrays.empty(steps + 1 if whole else 2, rows, value.shape[-1])
        histories[state.name][0] = value
        if not whole:
            masks[state.name] = 1
    emitted = arrays.emitted(loop, steps, rows)
    streams = {**inputs, **{name: value.view(steps, rows, -1) for name, value in hoisted.items()}, **emitted}
    arrays.run(loop, streams, statics, histories, steps=steps, rows=rows, masks=masks)
    final = tuple(
        histories[state.name][
            1 if state.name in masks and steps % 2 else (0 if state.name in masks else steps)
        ].clone()
        for state in graph.states
    )
    output = histories[graph.states[0].name][1:]
    emits = {name: emitted[name] for name in graph.emits()}
    left = _Pass(inputs, statics, hoisted, outer_saved, histories, emitted)
    return SequenceOutput(output, emits, final), left


def _backward(
    graph: Graph, arrays: _Arrays, left: _Pass, output: Tensor, emits: Tensors, finals: tuple[Tensor, ...]
) -> tuple[Tensors, Tensors, tuple[Tensor, ...], Tensors]:
    """Gradients of inputs, statics, states and parameters."""
    programs = plan(graph)
    training = programs.loop_training
    steps, rows = output.shape[:2]
    carried: Tensors = {}
    for state, final in zip(graph.states, finals, strict=True):
        carried[f"{GRADIENT}{state.name}"] = arrays.empty(2, rows, final.shape[-1])
        carried[f"{GRADIENT}{state.name}"][0] = final
    made = arrays.emitted(training.loop, steps, rows)
    streams = {f"{GRADIENT}output": output.contiguous()}
    streams |= {f"{GRADIENT}emit_{name}": value.contiguous() for name, value in emits.items()}
    streams |= left.inputs | left.emitted
    streams |= {name: value.view(steps, rows, -1) for name, value in left.hoisted.items()}
    for name, history in left.histories.items():
        streams[f"old_{name}"], streams[f"new_{name}"] = history[:-1], history[1:]
    streams |= made
    arrays.run(
        training.loop,
        streams,
        left.statics,
        carried,
        steps=steps,
        rows=rows,
        reverse=True,
        masks=dict.fromkeys(carried, 1),
    )
    parameters = {name: torch.zeros_like(value) for name, value in arrays.weights.items()}
    _add_parameters(graph, training, streams, parameters, arrays.sizes)
    inputs = {name: torch.zeros_like(value) for name, value in left.inputs.items()}
    statics = {name: torch.zeros_like(value) for name, value in left.statics.items()}
    for name in inputs:
        if f"{GRADIENT}{name}" in made:
            inputs[name] = made[f"{GRADIENT}{name}"]
    for name, stream in training.statics:
        statics[name] += streams[stream].sum(0)
    if programs.outer_training is not None:
        outer = programs.outer_training
        flows = {
            f"{GRADIENT}emit_{name}": made.get(
                f"{GRADIENT}{name}", torch.zeros_like(value).view(steps, rows, -1)
            )
            for name, value in left.hoisted.items()
        }
        outer_made = arrays.emitted(outer.loop, 1, steps * rows)
        outer_streams = _flat({**flows, **left.inputs}) | left.outer_saved | outer_made
        statics_all = _steps_statics(left.statics, steps)
        arrays.run(outer.loop, outer_streams, statics_all, {}, steps=1, rows=steps * rows)
        _add_parameters(graph, outer, outer_streams, parameters, arrays.sizes)
        for name in inputs:
            if f"{GRADIENT}{name}" in outer_made:
                inputs[name] = inputs[name] + outer_made[f"{GRADIENT}{name}"].view_as(inputs[name])
        for name, stream in outer.statics:
            statics[name] += outer_streams[stream].view(steps, rows, -1).sum(0)
    first = tuple(carried[f"{GRADIENT}{state.name}"][steps % 2].clone() for state in graph.states)
    return inputs, statics, first, parameters


def _add_parameters(
    graph: Graph, program: Backward, streams: Tensors, gradients: Tensors, sizes: Sizes
) -> None:
    def flat(name: str) -> Tensor:
        return streams[name].reshape(-1, streams[name].shape[-1])

    for weight in program.weights:
        first, last = gate_rows(graph, weight.slot, sizes)[weight.gate]
        gradients[f"weight_{weight.slot}"][first:last].addmm_(flat(weight.gradient).t(), flat(weight.operand))
    for slot, gate, stream in program.biases:
        first, last = gate_rows(graph, slot, sizes)[gate]
        gradients[f"bias_{slot}"][first:last] += flat(stream).sum(0)
    for name, stream in program.vectors:
        gradients[name] += flat(stream).sum(0)


@dataclass(frozen=True)
class _Shape:
    """How the flat list of tensors that autograd sees falls into its parts."""

    graph: Graph
    inputs: tuple[str, ...]
    statics: tuple[str, ...]
    parameters: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]

    def parts(self, tensors: tuple[Tensor, ...]) -> tuple[SequenceInput, Tensors]:
        ends = [len(self.inputs), len(self.statics), len(self.graph.states)]
        inputs = dict(zip(self.inputs, tensors, strict=False))
        statics = dict(zip(self.statics, tensors[ends[0] :], strict=False))
        states = tensors[ends[0] + ends[1] : sum(ends)]
        parameters = dict(zip(self.parameters, tensors[sum(ends) :], strict=True))
        return SequenceInput(inputs, statics, tuple(states)), parameters


class _Layer(torch.autograd.Function):
    """Outputs, emitted values and final states from inputs, statics, states and parameters."""

    @staticmethod
    def forward(ctx: Any, shape: _Shape, *tensors: Tensor) -> tuple[Tensor, ...]:
        sequence, parameters = shape.parts(tensors)
        like = next(iter(sequence.inputs.values()))
        arrays = _Arrays(shape.graph, parameters, dict(shape.sizes), like)
        result, left = _forward(shape.graph, arrays, sequence, training=True)
        ctx.shape, ctx.left, ctx.arrays = shape, left, arrays
        ctx.save_for_backward(*tensors, result.output)  # the backward loop reads the output again
        return (result.output, *result.emits.values(), *result.states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        shape: _Shape = ctx.shape
        if torch.is_grad_enabled():  # a derivative of the derivative: the reference has it
            return None, *_again(shape, ctx.saved_tensors[:-1], gradients)
        _ = ctx.saved_tensors  # raises if one of them was changed in place since
        emits = len(shape.graph.emits())
        rows = ctx.left.histories[shape.graph.states[0].name].shape
        like = ctx.left.histories[shape.graph.states[0].name]
        output = gradients[0] if gradients[0] is not None else like.new_zeros((rows[0] - 1, *rows[1:]))
        named = {
            name: gradient if gradient is not None else torch.zeros_like(ctx.left.emitted[name])
            for name, gradient in zip(shape.graph.emits(), gradients[1 : 1 + emits], strict=True)
        }
        finals = tuple(
            gradient if gradient is not None else torch.zeros_like(ctx.left.histories[state.name][0])
            for state, gradient in zip(shape.graph.states, gradients[1 + emits :], strict=True)
        )
        inputs, statics, states, parameters = _backward(
            shape.graph, ctx.arrays, ctx.left, output, named, finals
        )
        return (
            None,
            *inputs.values(),
            *statics.values(),
            *states,
            *(parameters[name] for name in shape.parameters),
        )


def _again(
    shape: _Shape, tensors: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The same gradients by the reference, in a form that torch can differentiate again."""
    with torch.enable_grad():
        sequence, parameters = shape.parts(tensors)
        result = eager.run(shape.graph, parameters, sequence, record=False)
        outputs = (result.output, *result.emits.values(), *result.states)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None]
        wanted = [tensor for tensor in tensors if tensor.requires_grad]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
    return tuple(next(found) if tensor.requires_grad else None for tensor in tensors)


def run_sequence(
    graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput, sizes: Sizes
) -> SequenceOutput:
    """One layer over a dense batch, differentiable once natively and again through the reference."""
    graph_inputs = [spec.name for spec in graph.inputs_of_kind("input")]
    graph_statics = [spec.name for spec in graph.inputs_of_kind("static")]
    tensors = (
        *(sequence.inputs[name] for name in graph_inputs),
        *(sequence.statics[name] for name in graph_statics),
        *sequence.states,
        *parameters.values(),
    )
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        like = next(iter(sequence.inputs.values()))
        arrays = _Arrays(graph, parameters, sizes, like)
        return _forward(graph, arrays, sequence, training=False)[0]
    shape = _Shape(graph, tuple(graph_inputs), tuple(graph_statics), tuple(parameters), tuple(sizes.items()))
    results = _Layer.apply(shape, *tensors)
    emits = graph.emits()
    return SequenceOutput(
        results[0],
        dict(zip(emits, results[1 : 1 + len(emits)], strict=True)),
        tuple(results[1 + len(emits) :]),
    )
