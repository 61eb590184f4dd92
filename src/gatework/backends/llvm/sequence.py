"""One layer through native programs: forward, and its place in torch's autograd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatework.backends import eager
from gatework.backends.llvm import memory, target, threads
from gatework.backends.llvm.passes import Piece, Shape, backward_work, forward_work, kept
from gatework.backends.program import SequenceInput, SequenceOutput
from gatework.graph import Graph
from gatework.graph.node import resolve

Sizes = Mapping[str, int]
Tensors = dict[str, Tensor]

_FEW_ROWS = 2  # a thread's, below which threads share the units instead


def shape_of(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    sequence: SequenceInput,
    sizes: Sizes,
    pieces: tuple[Piece, ...] | None,
) -> Shape:
    """What decides the work list of a call."""
    like = next(iter(sequence.inputs.values()))
    steps, rows = sequence.steps, sequence.states[0].shape[0]
    if pieces is None:
        pieces = ((0, steps, rows),)
    weights = sum(value.numel() for value in parameters.values())
    team = threads.team(weights * sum((stop - start) * n for start, stop, n in pieces))
    by_units = team > 1 and rows < team * _FEW_ROWS
    return Shape(graph, like.dtype, target.host(), tuple(sizes.items()), pieces, rows, steps, team, by_units)


class _Buffers:
    """Tensors of a pass, by the names of the work list's bases."""

    def __init__(self, shape: Shape, like: Tensor) -> None:
        self.shape, self.like = shape, like
        self.tensors: Tensors = {}

    def read(self, kind: str, tensors: Mapping[str, Tensor]) -> None:
        """Arrays that the work reads: whole rows, one after the other."""
        for name, value in tensors.items():
            self.tensors[kind + name] = value.contiguous()

    def write(self, name: str, *shape: int) -> Tensor:
        """An array that the work writes; where the batch is ragged, zeros past each row's end."""
        self.tensors[name] = tensor = memory.empty(shape, self.shape.dtype)
        return tensor if self.shape.whole else tensor.zero_()

    def addresses(self) -> dict[str, int]:
        return {name: value.data_ptr() for name, value in self.tensors.items()}


@dataclass(frozen=True)
class _Pass:
    """What a forward pass leaves for the backward one."""

    shape: Shape
    wanted: frozenset[str]
    parameters: tuple[str, ...]
    tensors: Tensors
    like: Tensor


def _forward(
    shape: Shape, parameters: Mapping[str, Tensor], sequence: SequenceInput, wanted: frozenset[str] | None
) -> tuple[SequenceOutput, Tensors]:
    graph, sizes = shape.graph, shape.size_of
    steps, rows = shape.steps, shape.rows
    buffers = _Buffers(shape, next(iter(sequence.inputs.values())))
    buffers.read("", parameters)
    buffers.read("input:", sequence.inputs)
    buffers.read("static:", sequence.statics)
    finals = []
    for state, value in zip(graph.states, sequence.states, strict=True):
        width = value.shape[-1]
        buffers.tensors[f"state:{state.name}"] = value.contiguous()
        buffers.tensors[f"final:{state.name}"] = final = torch.empty_like(
            value, memory_format=torch.contiguous_format
        )
        finals.append(final)
        if wanted is not None or state is graph.states[0]:
            buffers.write(f"history:{state.name}", steps + 1, rows, width)
    emits = {
        name: buffers.write(f"emit:{name}", steps, rows, resolve(graph.nodes[index].width, sizes))
        for name, index in graph.emits().items()
    }
    if wanted is not None:
        buffers.tensors["kept"] = memory.empty((kept(shape, wanted).width * steps * rows,), shape.dtype)
    forward_work(shape, wanted).call(buffers.addresses(), shape.team)
    output = buffers.tensors[f"history:{graph.states[0].name}"][1:]
    # What autograd takes as its outputs lead to their node, and it to what is left: hence other tensors there.
    left = {name: value for name, value in buffers.tensors.items() if not name.startswith("final:")}
    left |= {f"emit:{name}": value.detach() for name, value in emits.items()}
    return SequenceOutput(output, emits, tuple(finals)), left


def _backward(
    left: _Pass, output: Tensor | None, emits: Mapping[str, Tensor | None], finals: tuple[Tensor | None, ...]
) -> tuple[Tensors, Tensors, tuple[Tensor, ...], Tensors]:
    """Gradients of inputs, statics, states and parameters."""
    shape, graph, tensors = left.shape, left.shape.graph, left.tensors
    buffers = _Buffers(shape, left.like)
    buffers.tensors |= tensors
    work = backward_work(shape, left.wanted)

    def gradient(name: str, value: Tensor | None, like: Tensor) -> None:
        buffers.tensors[name] = torch.zeros_like(like) if value is None else value.contiguous()

    first = graph.states[0].name
    gradient("gradient:output", output, tensors[f"history:{first}"][1:])
    for name, value in emits.items():
        gradient(f"gradient:emit:{name}", value, tensors[f"emit:{name}"])
    for state, value in zip(graph.states, finals, strict=True):
        gradient(f"gradient:final:{state.name}", value, tensors[f"state:{state.name}"])
    states = tuple(
        buffers.write(f"gradient:state:{state.name}", *tensors[f"state:{state.name}"].shape)
        for state in graph.states
    )
    parameters = {name: buffers.write(f"gradient:{name}", *tensors[name].shape) for name in left.parameters}
    found: dict[str, Tensors] = {"input": {}, "outer": {}, "static": {}}
    for base in work.bases:
        _, _, rest = base.partition("gradient:")
        kind, _, name = rest.partition(":")
        if kind in found:
            source = tensors[f"{'static' if kind == 'static' else 'input'}:{name}"]
            found[kind][name] = buffers.write(base, *source.shape)
    work.call(buffers.addresses(), shape.team)
    inputs = found["input"]
    for name, value in found["outer"].items():
        inputs[name] = inputs[name] + value if name in inputs else value
    return inputs, found["static"], states, parameters


@dataclass(frozen=True)
class _Call:
    """How the flat list of tensors that autograd sees falls into its parts."""

    shape: Shape
    inputs: tuple[str, ...]
    statics: tuple[str, ...]
    parameters: tuple[str, ...]
    wanted: frozenset[str]

    def parts(self, tensors: tuple[Tensor, ...]) -> tuple[SequenceInput, Tensors]:
        counts = (len(self.inputs), len(self.statics), len(self.shape.graph.states), len(self.parameters))
        inputs, statics, states, parameters = _cut(tensors, counts)
        sequence = SequenceInput(
            dict(zip(self.inputs, inputs, strict=True)), dict(zip(self.statics, statics, strict=True)), states
        )
        return sequence, dict(zip(self.parameters, parameters, strict=True))


def _cut(values: tuple[Any, ...], counts: tuple[int, ...]) -> list[tuple[Any, ...]]:
    parts, start = [], 0
    for count in counts:
        parts.append(tuple(values[start : start + count]))
        start += count
    return parts


class _Layer(torch.autograd.Function):
    """Outputs, emitted values and final states from inputs, statics, states and parameters."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        sequence, parameters = call.parts(tensors)
        result, left = _forward(call.shape, parameters, sequence, call.wanted)
        like = next(iter(sequence.inputs.values()))
        ctx.call, ctx.left = call, _Pass(call.shape, call.wanted, call.parameters, left, like)
        # The backward loop reads these outputs again: they are saved so that a change in place is noticed.
        ctx.save_for_backward(*tensors, result.output, *result.emits.values())
        ctx.set_materialize_grads(False)
        return (result.output, *result.emits.values(), *result.states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        if torch.is_grad_enabled():  # a derivative of the derivative: the reference has it
            return None, *_again(call, ctx.saved_tensors[: len(ctx.needs_input_grad) - 1], gradients)
        _ = ctx.saved_tensors  # raises if one of them was changed in place since
        graph = call.shape.graph
        output, emits, finals = _cut(gradients, (1, len(graph.emits()), len(graph.states)))
        inputs, statics, states, parameters = _backward(
            ctx.left, output[0], dict(zip(graph.emits(), emits, strict=True)), finals
        )
        return (
            None,
            *(inputs.get(name) for name in call.inputs),
            *(statics.get(name) for name in call.statics),
            *states,
            *(parameters[name] for name in call.parameters),
        )


def _again(
    call: _Call, tensors: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The same gradients by the reference, in a form that torch can differentiate again."""
    with torch.enable_grad():
        sequence, parameters = call.parts(tensors)
        result = eager.run(call.shape.graph, parameters, sequence, record=False)
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
    shape = shape_of(graph, parameters, sequence, sizes, None)
    tensors = (
        *sequence.inputs.values(),
        *sequence.statics.values(),
        *sequence.states,
        *parameters.values(),
    )
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        return _forward(shape, parameters, sequence, None)[0]
    given = {**sequence.inputs, **sequence.statics}
    wanted = frozenset(name for name, value in given.items() if value.requires_grad)
    call = _Call(shape, tuple(sequence.inputs), tuple(sequence.statics), tuple(parameters), wanted)
    results = _Layer.apply(call, *tensors)
    output, emits, states = _cut(results, (1, len(graph.emits()), len(graph.states)))
    return SequenceOutput(output[0], dict(zip(graph.emits(), emits, strict=True)), states)
