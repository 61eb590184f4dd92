"""Both directions of a layer on a packed batch, as one node of autograd's graph.

Rows are turned round and outputs joined with one copy each. By themselves the directions would be nodes with others
between them, which takes longer than the kernels of a small layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gatework.backends import eager
from gatework.backends.admission import native_gradients, readable_saved
from gatework.backends.compiled.machine import Machine
from gatework.backends.compiled.sequence import (
    Call,
    backward_pass,
    cut,
    differentiate,
    forward_pass,
    shape_of,
    with_gradients,
)
from gatework.backends.pieces import run_pieces
from gatework.backends.program import Piece, SequenceInput
from gatework.graph import Graph

States = tuple[Tensor, ...]


def run_both(
    machine: Machine,
    graph: Graph,
    parameters: Sequence[Mapping[str, Tensor]],
    x: Tensor,
    states: Sequence[States],
    pieces: tuple[Piece, ...],
    turned: Tensor,
) -> tuple[Tensor, list[States]]:
    """See `gatework.backends.program.Backend.run_both`."""
    name = graph.inputs[0].name
    like = SequenceInput({name: x}, {}, states[0], {}, pieces)
    shape = shape_of(machine, graph, parameters[0], like)
    tensors = [x]
    for own, start in zip(parameters, states, strict=True):
        tensors += [*start, *own.values()]
    training = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    wanted = frozenset([name] if x.requires_grad else [])
    call = Call(shape, pieces, (name,), (), (), tuple(parameters[0]), wanted)
    if training:
        output, *finals = _Both.apply(call, turned, *tensors)
    else:
        output, finals, _ = _forward(call, turned, tensors, training=False)
    first, second = cut(tuple(finals), [len(graph.states)] * 2)
    return output, [first, second]


def _forward(
    call: Call, turned: Tensor, tensors: Sequence[Tensor], *, training: bool
) -> tuple[Tensor, list[Tensor], list[dict[Any, Tensor]]]:
    """The joined output, (R, 2 H), the final states, and in training what each direction keeps for backward."""
    shape, x = call.shape, tensors[0].contiguous()
    finals: list[Tensor] = []
    kept, outputs = [], []
    for direction, own in enumerate(_of_directions(tensors)):
        given = _turned(call, x, turned) if direction else x
        sequence, parameters = call.parts((given, *own))
        wanted = call.inputs_requiring_grad if training else None
        result, saved = forward_pass(shape, parameters, sequence, wanted)
        outputs.append(result.output)
        finals += result.states
        kept.append(saved)
    rows, width = outputs[0].shape
    joined = shape.machine.empty((rows, 2 * width), shape.dtype)
    joined[:, :width] = outputs[0]
    joined.view(2 * rows, width).index_copy_(0, 2 * turned + 1, outputs[1])
    return joined, finals, kept


def _of_directions(tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """States and parameters of each direction."""
    half = (len(tensors) - 1) // 2
    return tuple(tensors[1 : 1 + half]), tuple(tensors[1 + half :])


def _turned(call: Call, value: Tensor, turned: Tensor) -> Tensor:
    """(R, size) with each row's steps in reverse order."""
    return torch.index_select(value, 0, turned, out=call.shape.machine.empty(value.shape, value.dtype))


class _Both(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Call, turned: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        output, finals, kept = _forward(call, turned, tensors, training=True)
        ctx.call, ctx.turned, ctx.names = call, turned, [tuple(saved) for saved in kept]
        ctx.save_for_backward(*tensors, *(value for saved in kept for value in saved.values()))
        ctx.set_materialize_grads(False)
        return output, *finals

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        count = len(ctx.needs_input_grad) - 2
        tensors, *kept = cut(ctx.saved_tensors, [count, *map(len, ctx.names)])
        plain = native_gradients(gradients, call.shape.dtype)
        if plain is None:
            return None, None, *_by_the_reference(call, ctx.turned, tensors, gradients)
        of_output = plain[0]
        finals: tuple[Tensor | None, ...] = tuple(plain[1:])
        of_outputs: list[Tensor | None] = [None, None]
        if of_output is not None:
            rows, width = of_output.shape[0], of_output.shape[1] // 2
            second = call.shape.machine.empty((rows, width), of_output.dtype)
            places = of_output.contiguous().view(2 * rows, width)
            torch.index_select(places, 0, 2 * ctx.turned + 1, out=second)
            of_outputs = [of_output[:, :width], second]
        given: Tensor | None = None
        found: list[Tensor] = []
        name = call.inputs[0]
        for direction, names in enumerate(ctx.names):
            arrays = dict(zip(names, readable_saved(kept[direction], call.shape.dtype), strict=True))
            own = cut(finals, [len(finals) // 2] * 2)[direction]
            made = backward_pass(call, arrays, of_outputs[direction], {}, own)
            found += [*made.states, *(made.parameters[parameter] for parameter in call.parameters)]
            if name in made.inputs:
                read = made.inputs[name]
                given = read if given is None else given.index_add_(0, ctx.turned, read)
        return None, None, given, *found


def _by_the_reference(
    call: Call, turned: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The same gradients by the reference, in a form that torch can differentiate again and batch."""
    tensors = with_gradients(tensors)
    outputs: list[Tensor] = []
    finals: list[Tensor] = []
    with torch.enable_grad():
        for direction, own in enumerate(_of_directions(tensors)):
            given = tensors[0].index_select(0, turned) if direction else tensors[0]
            sequence, parameters = call.parts((given, *own))
            result = run_pieces(partial(eager.run, call.shape.graph, parameters), sequence)
            outputs.append(result.output.index_select(0, turned) if direction else result.output)
            finals += result.states
        joined = torch.cat(outputs, dim=-1)
    return differentiate([joined, *finals], gradients, tensors)
