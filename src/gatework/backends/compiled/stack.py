"""A whole stack on a dense batch in one native call; in training one call forward and one back.

What takes this way is plain: no masks, no emitted values, nothing between the layers. The weights are packed at
every call: they may have changed since, also in ways that torch does not count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from gatework.backends import eager
from gatework.backends.admission import native_gradients, readable_saved
from gatework.backends.compiled.builder import CommandBuilder
from gatework.backends.compiled.commands import UNIT, Address, Base, LayerArray, Outer
from gatework.backends.compiled.forward_backward import HANDED_ON, HandedOn, add_backward, add_forward
from gatework.backends.compiled.machine import FixedCall, Machine, ReadyList
from gatework.backends.compiled.once import LOCK, made_once
from gatework.backends.compiled.programs import KEPT, Shape, given_at_steps, kept, training_programs_of
from gatework.backends.compiled.sequence import backward_shape, differentiate, shape_for, with_gradients
from gatework.backends.compiled.spans import known_number
from gatework.backends.program import SequenceInput, StackCall
from gatework.backends.teams import Team
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve

_OUTPUT = ArrayKey("output", "")
_SMALL = 1 << 16  # bytes up to which a tensor is torch's own to make
_MOST_WORKSPACE = 1 << 20  # bytes that a prepared call may keep for itself

Sizes = tuple[tuple[tuple[tuple[str, int], ...], int], ...]
"""Of each layer: the sizes that its graph names, and how many weights it has."""


@dataclass(frozen=True)
class StackSignature:
    """What a prepared stack is made for.

    Attributes:
        names: of a layer's parameters.
        most: workers that may share the work.
        given: whether states are given; else they begin at zero.
        input_gradient: in training, whether the gradient of the input is wanted; None for inference.
    """

    graph: Graph
    dtype: torch.dtype
    names: tuple[str, ...]
    sizes: Sizes
    steps: int
    rows: int
    most: int
    given: bool
    input_gradient: bool | None


class Stack:
    """Prepared calls: each takes tensors in a fixed order, all of them contiguous.

    Attributes:
        made: shapes of what `forward` makes: the history (T + 1, B, H), the final states (L, B, size), and in training
            what is kept for backward and a copy of the output. A small inference makes the output (T, B, H) in place of
            the history.
        has_history: whether the history is among them.
    """

    def __init__(self, plain: StackSignature, machine: Machine) -> None:
        self.plain, self.machine = plain, machine
        graph, steps, rows = plain.graph, plain.steps, plain.rows
        shapes = [
            shape_for(machine, graph, plain.dtype, sizes, weights * steps * rows, steps, rows, plain.most)
            for sizes, weights in plain.sizes
        ]
        self._team = max(shape.sharing.team for shape in shapes)
        self._shapes = [replace(shape, sharing=replace(shape.sharing, team=self._team)) for shape in shapes]
        self._inputs_requiring_grad: list[frozenset[str] | None] = [None] * len(shapes)
        if plain.input_gradient is not None:
            first = graph.inputs[0].name
            self._inputs_requiring_grad = [
                frozenset([first] if n or plain.input_gradient else []) for n in range(len(shapes))
            ]
        self._widths = {state.name: resolve(state.size, shapes[0].size_of) for state in graph.states}
        self._output = graph.states[0].name
        self._input = ArrayKey("input", graph.inputs[0].name)
        self._input_width = resolve(graph.inputs[0].size, shapes[0].size_of)
        history = (steps + 1, rows, self._widths[self._output])
        finals = [(len(shapes), rows, width) for width in self._widths.values()]
        self._kept, numbers = self._keep()
        output = (steps, rows, self._widths[self._output])
        self.has_history = plain.input_gradient is not None or _bytes(history, plain.dtype) > _SMALL
        self.made: list[tuple[int, ...]] = [history if self.has_history else output, *finals]
        if plain.input_gradient is not None:
            self.made += [(numbers,), output]
        self._make = [_maker(machine, shape, plain.dtype) for shape in self.made]
        last = len(finals) + 1
        step_finals = [_maker(machine, shape[1:], plain.dtype) for shape in finals]
        self._make_step = [*self._make[:1], *step_finals, *self._make[last:]]
        self._parameters = [
            (index, ArrayKey("parameter", name)) for index in range(len(shapes)) for name in plain.names
        ]
        self._states = [ArrayKey("state", name) for name in self._widths]
        self._forward = self._prepare_forward()
        self._backward: dict[tuple[bool, ...], _Call] = {}
        self._handing_on: dict[tuple[bool, ...], tuple[_Call, HandedOn]] = {}

    def _keep(self) -> tuple[list[dict[ArrayKey, Address]], int]:
        """Where each layer's histories and saved arrays stand in one array, and its size."""
        places_by_layer, numbers = [], 0
        for number, (shape, inputs_requiring_grad) in enumerate(
            zip(self._shapes, self._inputs_requiring_grad, strict=True)
        ):
            places: dict[ArrayKey, Address] = {}
            for name, width in self._widths.items():
                if number == len(self._shapes) - 1 and name == self._output:
                    places[ArrayKey("history", name)] = Address(ArrayKey("history", name))
                elif inputs_requiring_grad is not None:
                    places[ArrayKey("history", name)] = Address(KEPT, numbers)
                    numbers += (self.plain.steps + 1) * self.plain.rows * width
            if inputs_requiring_grad is not None:
                places[KEPT] = Address(KEPT, numbers)
                numbers += known_number(kept(shape, inputs_requiring_grad).size, shape.extent)
            places_by_layer.append(places)
        return places_by_layer, numbers

    def _layer_place(self, number: int, key: ArrayKey) -> Address:
        """A state's part of an array of all layers."""
        return Address(key, number * self.plain.rows * self._widths[key.name])

    def _call(self, work: CommandBuilder, shapes: Sequence[Shape], bases: Sequence[Base]) -> _Call:
        """What was written for the layers' shapes, as the machine runs it."""
        parts = max(shape.parts for shape in shapes)
        ready = self.machine.prepare(work.finish(), team=self._team, parts=parts)[0]
        return _Call(ready, bases, self._team)

    def _prepare_forward(self) -> _Call:
        rows, width = self.plain.rows, self._widths[self._output]
        work = CommandBuilder(self.plain.dtype)
        below = Address(self._input)
        history = ArrayKey("history", self._output)
        for number, (shape, inputs_requiring_grad) in enumerate(
            zip(self._shapes, self._inputs_requiring_grad, strict=True)
        ):
            places = dict(self._kept[number])
            if history not in places or not self.has_history:
                places[history] = work.scratch((self.plain.steps + 1) * rows * width)

            def at(
                key: ArrayKey,
                below: Address = below,
                places: dict[ArrayKey, Address] = places,
                number: int = number,
            ) -> Address | None:
                if key.kind == "input":
                    return below
                if key.kind == "state" and not self.plain.given:
                    return None
                return places[key] if key in places else self._layer_place(number, key)

            add_forward(work, shape, inputs_requiring_grad, at, number)
            work.barrier()
            below = places[history].at(rows * width)
        made: list[Base] = [history if self.has_history else _OUTPUT]
        made += [ArrayKey("final", name) for name in self._widths]
        if self.plain.input_gradient is not None or not self.has_history:
            # The caller may write into the output: backward reads the history, of which the output is a copy.
            work.copy(below, Address(_OUTPUT), width, rows * self.plain.steps)
        if self.plain.input_gradient is not None:
            made += [KEPT, _OUTPUT]
        states = self._states if self.plain.given else []
        bases = [self._input, *self._layer_parameters(), *states, *made]
        return self._call(work, self._shapes, bases)

    def _layer_parameters(self) -> list[Base]:
        return [LayerArray(layer, key) for layer, key in self._parameters]

    def forward(self, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        """What `made` says."""
        made = [make() for make in self._make]
        self._forward([x, *parameters, *states, *made])
        return made

    def step(self, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        """The same for one step of a single layer, but (B, size) of the final states."""
        made = [make() for make in self._make_step]
        self._forward([x, *parameters, *states, *made])
        return made

    def _prepare_backward(self, finals: tuple[bool, ...], handed_on: HandedOn | None = None) -> _Call:
        rows, steps, widths = self.plain.rows, self.plain.steps, self._widths
        weights = [weights for _, weights in self.plain.sizes]
        shapes = [backward_shape(shape, count) for shape, count in zip(self._shapes, weights, strict=True)]
        work = CommandBuilder(self.plain.dtype)
        has_gradient = dict(zip(widths, finals, strict=True))
        first = self._input.name
        history, of_output = ArrayKey("history", self._output), ArrayKey("output_gradient", self._output)
        above = Address(of_output)
        for number in reversed(range(len(shapes))):
            inputs_requiring_grad = self._inputs_requiring_grad[number]
            assert inputs_requiring_grad is not None
            below = Address(self._input)
            if number:
                below = self._kept[number - 1][history].at(rows * widths[self._output])
            of_input, width = Address(self._input.gradient), self._input_width
            if number:
                width = widths[self._output]
                of_input = work.scratch(steps * rows * width)
            both = self._made_twice(inputs_requiring_grad)
            of_outer = work.scratch(steps * rows * width) if both else of_input
            places = {
                of_output: above,
                self._input: below,
                self._input.gradient: of_input,
                ArrayKey("hoisted_input_gradient", first): of_outer,
                **self._kept[number],
            }
            if not self.plain.given:
                for state in self._states:
                    places[state.gradient] = work.scratch(rows * widths[state.name])

            def at(
                key: ArrayKey, places: dict[ArrayKey, Address] = places, number: int = number
            ) -> Address | None:
                if key in places:
                    return places[key]
                if key.kind == "final_gradient":
                    return self._layer_place(number, key) if has_gradient[key.name] else None
                if key.kind == "state_gradient":
                    return self._layer_place(number, key)
                return Address(LayerArray(number, key))

            add_backward(work, shapes[number], inputs_requiring_grad, at, number, handed_on)
            work.barrier()
            if both:
                work.outer(Address(UNIT), (0, 0), of_outer, (0, 1), 1, 1, steps * rows * width, of_input)
                work.barrier()
            above = of_input
        bases: list[Base] = [self._input, *self._layer_parameters(), history, KEPT, of_output]
        bases += [ArrayKey("final_gradient", name) for name in widths if has_gradient[name]]
        if handed_on is None:
            bases += [LayerArray(layer, key.gradient) for layer, key in self._parameters]
        else:
            bases.append(HANDED_ON)
        bases += [key.gradient for key in self._states] if self.plain.given else []
        bases += [self._input.gradient] if self.plain.input_gradient else []
        return self._call(work, shapes, bases)

    def _made_twice(self, inputs_requiring_grad: frozenset[str]) -> bool:
        """Whether the loop and the hoisted program both make a gradient of the input, which are then added."""
        programs = training_programs_of(self.plain.graph, inputs_requiring_grad)
        parts = (programs.loop, programs.hoisted)
        key, sizes = self._input.gradient, self._shapes[0].size_of
        return all(part is not None and key in given_at_steps(part.loop, sizes) for part in parts)

    def backward(
        self,
        x: Tensor,
        parameters: Sequence[Tensor],
        history: Tensor,
        saved: Tensor,
        output: Tensor,
        finals: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Gradients of the input, of parameters and of the given states.

        Args:
            history, saved: made by `forward`.
            output, finals: gradients of the output and of the final states.
        """
        has_gradient = tuple(final is not None for final in finals)
        if has_gradient not in self._backward:
            with LOCK:  # by one thread
                if has_gradient not in self._backward:
                    self._backward[has_gradient] = self._prepare_backward(has_gradient)
        gradients = [self._empty_like(value) for value in parameters]
        arrays = [x, *parameters, history, saved, output.contiguous()]
        of_input, states = self._run_backward(self._backward[has_gradient], arrays, finals, gradients)
        return of_input, gradients, states

    def hand_on(
        self,
        x: Tensor,
        parameters: Sequence[Tensor],
        history: Tensor,
        saved: Tensor,
        output: Tensor,
        finals: Sequence[Tensor | None],
    ) -> tuple[Tensor | None, Tensor, list[Tensor]]:
        """The same for a single layer, with the array `HANDED_ON` in place of the gradients of parameters."""
        has_gradient = tuple(final is not None for final in finals)
        if has_gradient not in self._handing_on:
            with LOCK:
                if has_gradient not in self._handing_on:
                    handed_on = HandedOn()
                    call = self._prepare_backward(has_gradient, handed_on)
                    self._handing_on[has_gradient] = call, handed_on
        call, handed_on = self._handing_on[has_gradient]
        made = self.machine.empty((handed_on.numbers,), self.plain.dtype)
        arrays = [x, *parameters, history, saved, output.contiguous()]
        of_input, states = self._run_backward(call, arrays, finals, [made])
        return of_input, made, states

    def products(self) -> list[Outer]:
        """What `hand_on` leaves to be multiplied, the same whatever gradients there are."""
        return next(iter(self._handing_on.values()))[1].products

    def _run_backward(
        self, call: _Call, arrays: list[Tensor], finals: Sequence[Tensor | None], written: list[Tensor]
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of the input and of the given states; `written` are those of parameters, or what is handed on."""
        dtype, x = self.plain.dtype, arrays[0]
        shape = (len(self._shapes), self.plain.rows)
        states = (
            [self.machine.empty((*shape, w), dtype) for w in self._widths.values()]
            if self.plain.given
            else []
        )
        of_input = self._empty_like(x) if self.plain.input_gradient else None
        final_gradients = [final.contiguous() for final in finals if final is not None]
        further = [] if of_input is None else [of_input]
        call([*arrays, *final_gradients, *written, *states, *further])
        return of_input, states

    def _empty_like(self, tensor: Tensor) -> Tensor:
        """A contiguous tensor of the shape of another, which is contiguous."""
        if _bytes(tensor.shape, tensor.dtype) > _SMALL:
            return self.machine.empty(tensor.shape, tensor.dtype)
        return torch.empty_like(tensor)


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return prod(shape) * dtype.itemsize


def _maker(machine: Machine, shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[], Tensor]:
    """What makes tensors of a shape: small ones as torch makes another of the same kind, which is quickest."""
    if _bytes(shape, dtype) > _SMALL:
        return partial(machine.empty, shape, dtype)
    with torch.inference_mode(False):
        return partial(torch.empty_like, machine.empty(shape, dtype))


class _Call:
    """A command list that is called with tensors of the same bases again and again."""

    def __init__(self, work: ReadyList, bases: Sequence[Base], team: Team) -> None:
        self._work, self._bases, self._team = work, bases, team
        self._lock = threading.Lock()
        self._fixed: FixedCall | None = None
        if work.workspace <= _MOST_WORKSPACE:
            self._fixed = work.fixed({}, bases, team, work.memory())

    def __call__(self, tensors: Sequence[Tensor]) -> None:
        if self._fixed is not None and self._lock.acquire(blocking=False):  # else another thread is in it
            try:
                self._fixed(*tensors)
            finally:
                self._lock.release()
        else:
            self._work.call(dict(zip(self._bases, tensors, strict=True)), self._team)


class _Train(torch.autograd.Function):
    """Output and final states of a stack, from its input, parameters and states."""

    @staticmethod
    def forward(ctx: Any, stack: Stack, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        x, parameters, states = tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
        history, *finals, saved, output = stack.forward(x, parameters, states)
        ctx.stack, ctx.count = stack, count
        ctx.save_for_backward(*tensors, history, saved)
        ctx.set_materialize_grads(False)
        return (output, *finals)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        stack, count = ctx.stack, ctx.count
        plain = native_gradients(gradients, stack.plain.dtype)
        if plain is None:
            return None, None, *_by_the_reference(stack, count, tensors[:-2], gradients)
        x, *others, history, saved = readable_saved(tensors, stack.plain.dtype)
        of_output = torch.zeros_like(history[1:]) if plain[0] is None else plain[0]
        of_input, of_parameters, of_states = stack.backward(
            x, others[:count], history, saved, of_output, plain[1:]
        )
        return None, None, of_input, *of_parameters, *of_states


# Function.apply without its look for transforms of torch.func: no call in one comes here (`backends/admission.py`).
_apply = super(torch.autograd.Function, _Train).apply


def _by_the_reference(
    stack: Stack, count: int, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The same gradients by the reference, in a form that torch can differentiate again and batch."""
    plain, tensors = stack.plain, with_gradients(tensors)
    with torch.enable_grad():
        x, states = tensors[0], tensors[1 + count :]
        finals = []
        for number, (sizes, _) in enumerate(plain.sizes):
            names = len(plain.names)
            own = dict(zip(plain.names, tensors[1 + number * names :], strict=False))
            begin = tuple(state[number] for state in states) or tuple(
                x.new_zeros(plain.rows, resolve(state.size, dict(sizes))) for state in plain.graph.states
            )
            result = eager.run(plain.graph, own, SequenceInput({plain.graph.inputs[0].name: x}, {}, begin))
            x = result.output
            finals.append(result.states)
        outputs = [x, *(torch.stack(parts) for parts in zip(*finals, strict=True))]
    return differentiate(outputs, gradients, tensors)


def saved_size(
    machine: Machine,
    graph: Graph,
    layers: Sizes,
    dtype: torch.dtype,
    input_gradient: bool,
    steps: Any,
    rows: Any,
) -> Any:
    """How many numbers a training call saves beside its history; steps and rows may be symbols of torch.compile."""
    first, output = graph.inputs[0].name, graph.states[0].name
    total: Any = 0
    for index, (sizes, weights) in enumerate(layers):
        inputs_requiring_grad = frozenset([first] if index or input_gradient else [])
        one_row = shape_for(machine, graph, dtype, sizes, weights, 1, 1, 1)
        for state in graph.states:
            if (
                index < len(layers) - 1 or state.name != output
            ):  # the last layer's output is the history itself
                total += (steps + 1) * rows * resolve(state.size, dict(sizes))
        saved = kept(one_row, inputs_requiring_grad)
        width = sum(array.width for array in (*saved.loop.values(), *saved.hoisted.values()))
        total += width * steps * rows + known_number(saved.size, one_row.extent) - width
    return total


def prepared(machine: Machine, call: StackCall) -> Stack:
    """The prepared calls of a shape, for a machine and the workers that there are."""
    return _prepared(machine, call, machine.workers())


@made_once(maxsize=64)
def _prepared(machine: Machine, call: StackCall, most: int) -> Stack:
    return Stack(
        StackSignature(
            call.graph,
            call.dtype,
            call.names,
            call.layers,
            call.steps,
            call.rows,
            most,
            call.given,
            call.input_gradient,
        ),
        machine,
    )


def run_stack(
    machine: Machine, call: StackCall, x: Tensor, parameters: Sequence[Tensor], states: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Output (T, B, H) and final states (L, B, size)."""
    stack = prepared(machine, call)
    if call.input_gradient is None:
        output, *finals = stack.forward(x, parameters, states)
        return output[1:] if stack.has_history else output, tuple(finals)
    output, *finals = _apply(stack, len(parameters), x, *parameters, *states)
    return output, tuple(finals)
