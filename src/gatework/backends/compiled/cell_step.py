"""One step of a cell for loops in Python: what autograd sees of it, and the weights' gradients of all steps at once.

A loop calls the same weights again and again in one graph of autograd. Their gradients are sums over all calls; made
step by step, each would pass through a whole matrix for a few rows of products. So a step hands on what its gradients
are products of, and one node of the graph, which every step reads, multiplies them when the last step has been there.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from gatework.backends import eager
from gatework.backends.admission import native_gradients, readable_saved
from gatework.backends.compiled.commands import UNIT, Address, Base, LayerArray, Outer
from gatework.backends.compiled.forward_backward import HANDED_ON
from gatework.backends.compiled.machine import Machine
from gatework.backends.compiled.programs import KEPT
from gatework.backends.compiled.sequence import differentiate, with_gradients
from gatework.backends.compiled.stack import Stack, prepared
from gatework.backends.program import SequenceInput, StackCall
from gatework.graph.keys import ArrayKey

Gradients = list[Tensor | None]


def run_cell(
    machine: Machine, call: StackCall, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The new states of one step, (B, size) each.

    Args:
        call: of one step, with states that are given.
        x: (B, I)
        parameters: leaves of autograd's graph.
        states: (B, size) each.
    """
    stack = prepared(machine, call)
    if call.input_gradient is None:
        return tuple(stack.step(x, parameters, states)[1 : 1 + len(states)])
    weights = _weights_of(parameters)
    node = None if weights is None else weights.node
    new: tuple[Tensor, ...] = _apply(stack, weights, parameters, node, x, *states)
    return new


class _Step(torch.autograd.Function):
    """The new states from the node of the weights, the input and the states."""

    @staticmethod
    def forward(
        ctx: Any, stack: Stack, weights: _Weights | None, parameters: Sequence[Tensor], node: Tensor | None,
        x: Tensor, *states: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        history, *new, saved, _ = stack.step(x, parameters, states)
        ctx.stack, ctx.weights, ctx.count = stack, weights, len(states)
        ctx.save_for_backward(x, *states, *parameters, history, saved)
        ctx.set_materialize_grads(False)
        return tuple(new)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        stack: Stack = ctx.stack
        weights: _Weights | None = ctx.weights
        tensors = ctx.saved_tensors
        gathered = None
        if weights is not None and torch._C._will_engine_execute_node(weights.place):
            # The graph holds what is gathered: a pass that fails leaves nothing behind.
            gathered = ctx.gathered = weights.gathered_now()
        plain = native_gradients(gradients, stack.plain.dtype)
        if plain is None:
            of_tensors = _by_the_reference(stack, ctx.count, tensors[:-2], gradients)
            if gathered is not None:
                gathered.sums.append(list(of_tensors[1 + ctx.count :]))
            return None, None, None, None, *of_tensors[: 1 + ctx.count]
        x, *rest, history, saved = readable_saved(tensors, stack.plain.dtype)
        parameters = rest[ctx.count :]
        of_output = torch.zeros_like(history[1]) if plain[0] is None else plain[0]
        of_input, handed_on, of_states = stack.hand_on(
            x, parameters, history, saved, of_output, (None, *plain[1:])
        )
        if gathered is not None:
            own = [tensor.reshape(-1) for tensor in (x, history, saved, handed_on)]
            gathered.steps.setdefault(stack, []).append(own)
        return None, None, None, None, of_input, *(state[0] for state in of_states)


# Function.apply without its look for transforms of torch.func: no call in one comes here (`backends/admission.py`).
_apply = super(torch.autograd.Function, _Step).apply


def _by_the_reference(
    stack: Stack, count: int, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The same gradients by the reference, in a form that torch can differentiate again and batch."""
    plain, tensors = stack.plain, with_gradients(tensors)
    with torch.enable_grad():
        x, states, parameters = tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
        own = dict(zip(plain.names, parameters, strict=True))
        read = SequenceInput({plain.graph.inputs[0].name: x.unsqueeze(0)}, {}, tuple(states))
        new = eager.run(plain.graph, own, read).states
    return differentiate(new, gradients, tensors)


class _Gathered:
    """What the steps of one backward pass have handed on for the gradients of their weights.

    Attributes:
        steps: of each step its input, history, saved numbers and what it handed on, flat.
        sums: gradients that were made whole.
    """

    def __init__(self) -> None:
        self.steps: dict[Stack, list[list[Tensor]]] = {}
        self.sums: list[Gradients] = []


class _Weights:
    """The one node of autograd's graph by which the steps of a loop reach their weights.

    Attributes:
        node: a number that the steps read; its gradient is never looked at.
        place: where the graph has it.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)
        # By the number of the backward pass: two may be under way at once.
        self._gathered: weakref.WeakValueDictionary[int, _Gathered] = weakref.WeakValueDictionary()
        self.node: Tensor = _WeightsNode.apply(self._gathered, *parameters)
        self.place = cast(torch.autograd.graph.Node, self.node.grad_fn)

    def gathered_now(self) -> _Gathered:
        """What is gathered in the backward pass that is under way."""
        task = torch._C._current_graph_task_id()
        gathered = self._gathered.get(task)
        if gathered is None:
            self._gathered[task] = gathered = _Gathered()
        return gathered


_known: weakref.WeakValueDictionary[tuple[Any, ...], _Weights] = weakref.WeakValueDictionary()
"""Those of which a graph is alive, by their weights."""


def _weights_of(parameters: Sequence[Tensor]) -> _Weights | None:
    """The node of weights: the same for all steps of a graph, since each step holds it; None where all are frozen."""
    wanted = [parameter.requires_grad for parameter in parameters]
    if True not in wanted:
        return None
    key = (parameters[0].dtype, *map(id, parameters), *wanted)
    weights = _known.get(key)
    if weights is None:
        _known[key] = weights = _Weights(parameters)
    return weights


class _WeightsNode(torch.autograd.Function):
    """A number, whose gradient's place is where the gradients of the weights are made."""

    @staticmethod
    def forward(ctx: Any, gathered: Any, *parameters: Tensor) -> Tensor:
        ctx.gathered, ctx.like = gathered, [parameter.detach() for parameter in parameters]
        ctx.set_materialize_grads(False)
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor | None) -> tuple[Tensor | None, ...]:
        found: _Gathered | None = ctx.gathered.pop(torch._C._current_graph_task_id(), None)
        total: Gradients = [None] * len(ctx.like)
        if found is not None:
            parts = [_multiplied(stack, steps, ctx.like) for stack, steps in found.steps.items()]
            for part in (*parts, *found.sums):
                total = [_added(one, other) for one, other in zip(total, part, strict=True)]
            found.steps.clear()
            found.sums.clear()
        return None, *total


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _multiplied(stack: Stack, steps: list[list[Tensor]], like: Sequence[Tensor]) -> Gradients:
    """Gradients of the weights: what the stack leaves to be multiplied, with the rows of all steps."""
    plain = stack.plain
    first, output = plain.graph.inputs[0].name, plain.graph.states[0].name
    places: list[Base] = [ArrayKey("input", first), ArrayKey("history", output), KEPT, HANDED_ON]
    whole: dict[Base, Tensor] = {}
    arrays: dict[tuple[Address, int], Tensor] = {}

    def rows(place: Address, width: int) -> Tensor:
        """An array of all steps, (T B, width)."""
        if (place, width) not in arrays:
            if place.base not in whole:
                whole[place.base] = torch.stack([step[places.index(place.base)] for step in steps])
            begin = cast(int, place.offset)
            of_steps = whole[place.base][:, begin : begin + plain.rows * width]
            arrays[place, width] = of_steps.reshape(-1, width)
        return arrays[place, width]

    made = dict(zip(plain.names, (torch.zeros_like(value) for value in like), strict=True))
    for products in _together(stack.products()):
        one, columns = products[0], cast(int, products[0].columns)
        right, (name, begin) = rows(one.right, columns), _place(one)
        count = sum(product.rows for product in products) * columns
        to = made[name].view(-1)[begin : begin + count].view(-1, columns)
        if one.left.base == UNIT:
            to += right.sum(0)
        else:
            to.addmm_(torch.cat([rows(product.left, product.rows) for product in products], 1).t(), right)
    return list(made.values())


def _place(product: Outer) -> tuple[str, int]:
    """Of which parameter a product gives gradients, and from which of its numbers on."""
    base = cast(LayerArray, product.result.base)
    return base.key.name, cast(int, product.result.offset)


def _together(products: Sequence[Outer]) -> list[list[Outer]]:
    """Products of the same right operand whose results follow one another, which are one product."""
    found: list[list[Outer]] = []
    for product in sorted(products, key=_place):
        last = found[-1][-1] if found else None
        if (
            last is not None
            and UNIT not in (product.left.base, last.left.base)
            and last.right == product.right
            and last.result.at(last.rows * last.columns) == product.result
        ):
            found[-1].append(product)
        else:
            found.append([product])
    return found
