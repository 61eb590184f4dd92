"""One layer on a machine: forward, and its place in torch's autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from gatework.backends import eager
from gatework.backends.admission import native_gradients, readable_saved
from gatework.backends.compiled import attention_rows
from gatework.backends.compiled.commands import Base
from gatework.backends.compiled.forward_backward import ATTENDED_ROWS, backward_work, forward_work
from gatework.backends.compiled.machine import Machine, ReadyList, ReadyRaggedList
from gatework.backends.compiled.once import made_once
from gatework.backends.compiled.programs import KEPT, Shape, kept, training_programs_of
from gatework.backends.compiled.spans import Extent, extent, known_number
from gatework.backends.pieces import run_pieces
from gatework.backends.program import MemoryValue, Piece, SequenceInput, SequenceOutput
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey, Kind
from gatework.graph.node import resolve
from gatework.graph.parameters import named_sizes
from gatework.graph.variants import PUSH, is_push

Tensors = dict[str, Tensor]
Arrays = dict[Base, Tensor]

_GRADIENTS_OF: dict[Kind, Kind] = {
    "input_gradient": "input",
    "hoisted_input_gradient": "input",
    "static_gradient": "static",
    "memory_gradient": "memory",
}
"""Gradients that a command list writes only where they are wanted, and of what they are gradients."""


def shape_of(
    machine: Machine, graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput
) -> Shape:
    """What decides the command lists of a call."""
    like = next(iter(sequence.inputs.values()))
    shapes = tuple((name, value.shape) for name, value in parameters.items())
    memories = {name: memory.values for name, memory in sequence.memories.items()}
    operands = {**sequence.inputs, **sequence.statics, **memories}
    operands |= {state.name: value for state, value in zip(graph.states, sequence.states, strict=True)}
    widths = tuple((name, value.shape[-1]) for name, value in operands.items())
    further = tuple((f"{name}_steps", value.shape[0]) for name, value in memories.items())
    sizes, weights = _sizes(graph, widths, shapes, further)
    steps = None if sequence.pieces is not None else sequence.steps
    total = like.shape[0] if steps is None else steps * sequence.rows
    work = weights * total
    return shape_for(machine, graph, like.dtype, sizes, work, steps, sequence.rows, machine.workers())


@made_once(maxsize=1024)
def _sizes(
    graph: Graph,
    widths: tuple[tuple[str, int], ...],
    shapes: tuple[tuple[str, torch.Size], ...],
    further: tuple[tuple[str, int], ...],
) -> tuple[tuple[tuple[str, int], ...], int]:
    """Sizes that a layer's graph names, and how many weights it has."""
    sizes = named_sizes(graph, dict(widths), {name: shape[0] for name, shape in shapes}) | dict(further)
    weights = sum(prod(shape) for name, shape in shapes if name.startswith("weight_"))
    return tuple(sizes.items()), weights


def shape_for(
    machine: Machine,
    graph: Graph,
    dtype: torch.dtype,
    sizes: tuple[tuple[str, int], ...],
    work: int,
    steps: int | None,
    rows: int,
    most: int,
) -> Shape:
    """The shape of a call, with the workers that share it and how.

    Args:
        work: multiplications: the weights' number times the rows of all steps.
        steps: None for a ragged batch.
        most: workers that may share it.
    """
    return Shape(graph, dtype, machine, sizes, steps, rows, machine.sharing(graph, work, rows, most))


def backward_shape(shape: Shape, weights: int) -> Shape:
    """The same for the backward pass of a layer with so many weights."""
    return replace(shape, sharing=shape.machine.backward_sharing(shape.sharing, weights))


class _Buffers:
    """Tensors of a pass, by the bases of the command list."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.tensors: Arrays = {}

    def read(self, kind: Kind, tensors: Mapping[str, Tensor]) -> None:
        """Arrays that the work reads: whole rows, one after the other."""
        for name, value in tensors.items():
            if value.dtype is not self.shape.dtype or value.device.type != "cpu":
                raise ValueError(
                    f"{name} is {value.dtype} on {value.device}, and the input {self.shape.dtype} on the CPU."
                )
            self.tensors[ArrayKey(kind, name)] = value.contiguous()

    def write(self, key: ArrayKey, *shape: int) -> Tensor:
        """An array that the work writes."""
        self.tensors[key] = tensor = self.shape.machine.empty(shape, self.shape.dtype)
        return tensor


def forward_pass(
    shape: Shape,
    parameters: Mapping[str, Tensor],
    sequence: SequenceInput,
    inputs_requiring_grad: frozenset[str] | None,
) -> tuple[SequenceOutput, Arrays]:
    """The outputs, and in training every array that the backward pass reads.

    The caller may write into what it is given, but for what a tape keeps, and for the output in training, which is a
    part of an array that is kept.
    """
    graph, sizes = shape.graph, shape.size_of
    steps = next(iter(sequence.inputs.values())).shape[:-1]
    total = prod(steps)
    buffers = _Buffers(shape)
    buffers.read("parameter", parameters)
    buffers.read("input", {name: value for name, value in sequence.inputs.items() if not is_push(name)})
    buffers.read("static", sequence.statics)
    if sequence.memories:
        buffers.tensors[ATTENDED_ROWS] = attention_rows.every_row(shape.rows, shape.dtype)
    for name, attended_to in sequence.memories.items():
        buffers.read("memory", {name: attended_to.values.transpose(0, 1)})
        buffers.read("lengths", {name: attention_rows.lengths(attended_to)})
    finals = []
    for state, value in zip(graph.states, sequence.states, strict=True):
        width = value.shape[-1]
        buffers.read("state", {state.name: value})
        finals.append(buffers.write(ArrayKey("final", state.name), shape.rows, width))
        if inputs_requiring_grad is not None or state is graph.states[0]:
            buffers.write(ArrayKey("history", state.name), shape.rows + total, width)
    held: Tensors = {}
    if inputs_requiring_grad is not None:
        whole = shape.extent if sequence.pieces is None else extent(sequence.pieces)
        buffers.write(KEPT, known_number(kept(shape, inputs_requiring_grad).size, whole))
        held = _held(shape, inputs_requiring_grad, whole, buffers.tensors)
    emits = {
        name: held[name].view(*steps, -1)
        if name in held
        else buffers.write(ArrayKey("emit", name), *steps, resolve(graph.nodes[index].width, sizes))
        for name, index in graph.emits().items()
    }
    _call(forward_work(shape, inputs_requiring_grad), sequence.pieces, buffers)
    output = buffers.tensors[ArrayKey("history", graph.states[0].name)][shape.rows :].view(*steps, -1)
    if inputs_requiring_grad is None:
        return SequenceOutput(output, emits, tuple(finals)), {}
    # Final states and emitted values are the caller's alone: the backward pass reads what was kept of them.
    theirs = {ArrayKey("final", state.name) for state in graph.states}
    theirs |= {ArrayKey("emit", name) for name in emits}
    saved = {key: value for key, value in buffers.tensors.items() if key not in theirs}
    return SequenceOutput(output, emits, tuple(finals)), saved


def _held(shape: Shape, inputs_requiring_grad: frozenset[str], whole: Extent, tensors: Arrays) -> Tensors:
    """What a tape keeps and stands in the arrays of the pass itself, (R, width) each, by the names of its outputs."""
    taped = training_programs_of(shape.graph, inputs_requiring_grad).taped
    if not taped:
        return {}
    saved = kept(shape, inputs_requiring_grad)
    places, held = saved.loop | saved.hoisted, {}
    for emit, key in taped.items():
        if key.kind == "state":
            held[emit.name] = tensors[ArrayKey("history", key.name)][shape.rows :]
        else:
            place, width = places[key]
            start = known_number(place.offset, whole)
            held[emit.name] = tensors[KEPT][start : start + known_number(whole.total, whole) * width].view(
                -1, width
            )
    return held


def _call(work: ReadyList | ReadyRaggedList, pieces: tuple[Piece, ...] | None, buffers: _Buffers) -> None:
    ready = cast(ReadyList, work) if pieces is None else cast(ReadyRaggedList, work).of(pieces)
    ready.call(buffers.tensors, buffers.shape.sharing.team)


@dataclass(frozen=True)
class _Gradients:
    """What a backward pass gives, by names."""

    inputs: Tensors
    statics: Tensors
    memories: Tensors
    states: tuple[Tensor, ...]
    parameters: Tensors


def backward_pass(
    call: Call,
    saved: Arrays,
    output: Tensor | None,
    emits: Mapping[str, Tensor | None],
    finals: tuple[Tensor | None, ...],
) -> _Gradients:
    """Gradients of everything that the forward pass read and that has one.

    Args:
        saved: the arrays that the forward pass kept.
        output, emits, finals: gradients of its outputs.
    """
    shape, graph = call.shape, call.shape.graph
    buffers = _Buffers(shape)
    buffers.tensors |= saved
    weights = sum(saved[ArrayKey("parameter", name)].numel() for name in call.parameters)
    work = backward_work(backward_shape(shape, weights), call.inputs_requiring_grad)

    zeros: dict[tuple[int, int], Tensor] = {}

    def read(key: ArrayKey, value: Tensor | None, rows: int, width: int) -> None:
        if value is None and (rows, width) not in zeros:
            zeros[rows, width] = history.new_zeros(rows, width)
        buffers.tensors[key] = zeros[rows, width] if value is None else value.contiguous()

    first = graph.states[0].name
    history = saved[ArrayKey("history", first)]
    total = len(history) - shape.rows
    read(ArrayKey("output_gradient", first), output, total, history.shape[-1])
    for name, index in graph.emits().items():
        width = resolve(graph.nodes[index].width, shape.size_of)
        read(ArrayKey("emit_gradient", name), emits[name], total, width)
    states = []
    for state, value in zip(graph.states, finals, strict=True):
        own = ArrayKey("state", state.name)
        read(ArrayKey("final_gradient", state.name), value, *saved[own].shape)
        states.append(buffers.write(own.gradient, *saved[own].shape))
    parameters = {}
    for name in call.parameters:
        own = ArrayKey("parameter", name)
        parameters[name] = buffers.write(own.gradient, *saved[own].shape)
    written: dict[Kind, Tensors] = {kind: {} for kind in _GRADIENTS_OF}
    for base in work.bases:
        if isinstance(base, ArrayKey) and base.kind in _GRADIENTS_OF:
            own = ArrayKey(_GRADIENTS_OF[base.kind], base.name)
            given = _shape_of_push(graph, saved, base.name) if is_push(base.name) else saved[own].shape
            written[base.kind][base.name] = buffers.write(base, *given)
    _call(work, call.pieces, buffers)
    inputs = written["input_gradient"]
    for name, value in written["hoisted_input_gradient"].items():
        inputs[name] = inputs[name] + value if name in inputs else value
    return _Gradients(
        inputs, written["static_gradient"], written["memory_gradient"], tuple(states), parameters
    )


def _shape_of_push(graph: Graph, saved: Arrays, name: str) -> tuple[int, ...]:
    """The shape of a push, which no pass reads: as many steps as the first input, and as wide as its state."""
    steps = saved[graph.inputs_of_kind("input")[0].key].shape[:-1]
    return *steps, saved[ArrayKey("history", name.removeprefix(PUSH))].shape[-1]


@dataclass(frozen=True)
class Call:
    """How the flat list of tensors that autograd sees falls into its parts."""

    shape: Shape
    pieces: tuple[Piece, ...] | None
    inputs: tuple[str, ...]
    statics: tuple[str, ...]
    memories: tuple[tuple[str, Tensor | None], ...]  # with their masks
    parameters: tuple[str, ...]
    inputs_requiring_grad: frozenset[str]

    def parts(self, tensors: tuple[Tensor, ...]) -> tuple[SequenceInput, Tensors]:
        known = (self.inputs, self.statics, self.memories, self.shape.graph.states, self.parameters)
        inputs, statics, memories, states, parameters = cut(tensors, [len(names) for names in known])
        sequence = SequenceInput(
            dict(zip(self.inputs, inputs, strict=True)),
            dict(zip(self.statics, statics, strict=True)),
            states,
            {
                name: MemoryValue(value, mask)
                for (name, mask), value in zip(self.memories, memories, strict=True)
            },
            self.pieces,
        )
        return sequence, dict(zip(self.parameters, parameters, strict=True))


def cut(values: tuple[Any, ...], counts: Sequence[int]) -> list[tuple[Any, ...]]:
    parts, start = [], 0
    for count in counts:
        parts.append(tuple(values[start : start + count]))
        start += count
    return parts


class _Layer(torch.autograd.Function):
    """Outputs, emitted values and final states from inputs, statics, memories, states and parameters."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        sequence, parameters = call.parts(tensors)
        result, saved = forward_pass(call.shape, parameters, sequence, call.inputs_requiring_grad)
        ctx.call, ctx.names = call, tuple(saved)
        ctx.save_for_backward(*tensors, *saved.values())
        ctx.set_materialize_grads(False)
        copied = call.shape.machine.empty(result.output.shape, result.output.dtype).copy_(result.output)
        return (copied, *result.emits.values(), *result.states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        tensors, saved = cut(ctx.saved_tensors, (len(ctx.needs_input_grad) - 1, len(ctx.names)))
        plain = native_gradients(gradients, call.shape.dtype)
        if plain is None:
            return None, *_by_the_reference(call, tensors, gradients)
        graph = call.shape.graph
        output, emits, finals = cut(tuple(plain), (1, len(graph.emits()), len(graph.states)))
        arrays = dict(zip(ctx.names, readable_saved(saved, call.shape.dtype), strict=True))
        made = backward_pass(call, arrays, output[0], dict(zip(graph.emits(), emits, strict=True)), finals)
        memories = {name: value.transpose(0, 1) for name, value in made.memories.items()}
        return (
            None,
            *(made.inputs.get(name) for name in call.inputs),
            *(made.statics.get(name) for name in call.statics),
            *(memories.get(name) for name, _ in call.memories),
            *made.states,
            *(made.parameters[name] for name in call.parameters),
        )


def _by_the_reference(
    call: Call, tensors: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The same gradients by the reference, in a form that torch can differentiate again and batch."""
    tensors = with_gradients(tensors)
    with torch.enable_grad():
        sequence, parameters = call.parts(tensors)
        run = partial(eager.run, call.shape.graph, parameters)
        result = run(sequence) if call.pieces is None else run_pieces(run, sequence)
        outputs = (result.output, *result.emits.values(), *result.states)
    return differentiate(outputs, gradients, tensors)


def with_gradients(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Saved tensors as a recomputation reads them, so that gradients which are asked for them end at them.

    Where a derivative of the derivative is wanted they are views: an input may itself be computed from the weights, as
    where a layer is called twice, and gradients of the weights themselves would pass through both calls. Otherwise
    they have no history, and no hook of theirs is called.
    """
    if torch.is_grad_enabled():
        return tuple(tensor.view_as(tensor) if tensor.requires_grad else tensor for tensor in tensors)
    return tuple(tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors)


def differentiate(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], tensors: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients of tensors from those of outputs; None where one asks for none.

    Torch can differentiate them again where gradients are enabled.
    """
    twice = torch.is_grad_enabled()
    pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None]
    inputs_requiring_grad = [tensor for tensor in tensors if tensor.requires_grad]
    computed = iter(
        torch.autograd.grad(
            [o for o, _ in pairs],
            inputs_requiring_grad,
            [g for _, g in pairs],
            create_graph=twice,
            allow_unused=True,
        )
    )
    return tuple(next(computed) if tensor.requires_grad else None for tensor in tensors)


def run_sequence(
    machine: Machine, graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput
) -> SequenceOutput:
    """One layer over a batch, differentiable once on the machine and again through the reference."""
    if sequence.memories:
        graph, parameters, memories = attention_rows.by_rows(graph, parameters, sequence.memories)
        sequence = replace(sequence, memories=memories)
    shape = shape_of(machine, graph, parameters, sequence)
    if not torch.is_grad_enabled():
        return forward_pass(shape, parameters, sequence, None)[0]
    operands = {**sequence.inputs, **sequence.statics}
    operands |= {name: memory.values for name, memory in sequence.memories.items()}
    tensors = (*operands.values(), *sequence.states, *parameters.values())
    if not any(tensor.requires_grad for tensor in tensors):
        return forward_pass(shape, parameters, sequence, None)[0]
    inputs_requiring_grad = frozenset(name for name, value in operands.items() if value.requires_grad)
    masks = tuple((name, memory.mask) for name, memory in sequence.memories.items())
    names = tuple(sequence.inputs), tuple(sequence.statics), masks, tuple(parameters)
    call = Call(shape, sequence.pieces, *names, inputs_requiring_grad)
    results = _Layer.apply(call, *tensors)
    output, emits, states = cut(results, (1, len(graph.emits()), len(graph.states)))
    return SequenceOutput(output[0], dict(zip(graph.emits(), emits, strict=True)), states)
