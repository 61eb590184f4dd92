"""A linear map on a machine's products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatework.backends.admission import native_gradients
from gatework.backends.compiled.builder import CommandBuilder
from gatework.backends.compiled.commands import UNIT, Address, Base
from gatework.backends.compiled.machine import Machine, ReadyList
from gatework.backends.compiled.once import made_once


def linear(machine: Machine, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """input (N, I) times weight (O, I) turned round, plus bias (O): (N, O).

    Every element sums its products in one order, whatever N and the threads are.
    """
    wanted = input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    if wanted and torch.is_grad_enabled():
        tensors = (input, weight) if bias is None else (input, weight, bias)
        result: Tensor = _Linear.apply(machine, *tensors)
        return result
    return _forward(machine, input, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, machine: Machine, *tensors: Tensor) -> Tensor:
        ctx.machine = machine
        ctx.save_for_backward(*tensors)
        return _forward(machine, *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, *bias = ctx.saved_tensors
        gradient = gradients[0]
        plain = native_gradients(gradients, weight.dtype)
        if plain is None or plain[0] is None:
            found = gradient @ weight, gradient.t() @ input, gradient.sum(0)
            return None, *found[: 2 + len(bias)]
        wanted = tuple(ctx.needs_input_grad[1:])
        gradient, input, weight = (tensor.contiguous() for tensor in (plain[0], input, weight))
        return None, *_backward(ctx.machine, gradient, input, weight, wanted)


def _forward(machine: Machine, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows, units = input.shape[0], weight.shape[0]
    tensors: dict[Base, Tensor] = {"left": input.contiguous(), "right": weight.contiguous()}
    tensors["result"] = result = machine.empty((rows, units), input.dtype)
    if bias is not None:
        tensors["bias"] = bias.contiguous()
    _call(machine, _forward_work, tensors, input.dtype, rows, units, input.shape[1], bias is not None)
    return result


def _backward(
    machine: Machine, gradient: Tensor, input: Tensor, weight: Tensor, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    (rows, width), units = input.shape, weight.shape[0]
    shapes = ((rows, width), (units, width), (units,))
    results = [
        machine.empty(shape, input.dtype) if want else None
        for shape, want in zip(shapes, wanted, strict=False)
    ]
    tensors: dict[Base, Tensor] = {"gradient": gradient, "input": input, "weight": weight}
    for name, result in zip(("of_input", "of_weight", "of_bias"), results, strict=False):
        if result is not None:
            tensors[name] = result
    _call(machine, _backward_work, tensors, input.dtype, rows, units, width, wanted)
    return tuple(results)


def _call(
    machine: Machine,
    make: Any,
    tensors: dict[Base, Tensor],
    dtype: torch.dtype,
    rows: int,
    columns: int,
    depth: int,
    kind: Any,
) -> None:
    work: ReadyList = make(machine, dtype, rows, columns, depth, kind)
    work.call(tensors, machine.team("product", rows * columns * depth))


@made_once(maxsize=256)
def _forward_work(
    machine: Machine, dtype: torch.dtype, rows: int, columns: int, depth: int, bias: bool
) -> ReadyList:
    """result (rows, columns) of left (rows, depth) and right (columns, depth), and then the bias."""
    work = CommandBuilder(dtype)
    left, right, result = Address("left"), Address("right"), Address("result")
    work.outer(left, (depth, 1), right, (1, depth), depth, rows, columns, result, from_scratch=True)
    if bias:
        work.barrier()  # the two are shared among threads each in its own way
        work.outer(Address(UNIT), (0, 0), Address("bias"), (0, 1), 1, rows, columns, result)
    return machine.prepare(work.finish())[0]


@made_once(maxsize=256)
def _backward_work(
    machine: Machine, dtype: torch.dtype, rows: int, units: int, width: int, wanted: tuple[bool, ...]
) -> ReadyList:
    work = CommandBuilder(dtype)
    gradient, weight, input = Address("gradient"), Address("weight"), Address("input")
    if wanted[0]:
        result = Address("of_input")
        work.outer(gradient, (units, 1), weight, (width, 1), units, rows, width, result, from_scratch=True)
    if wanted[1]:
        result = Address("of_weight")
        work.outer(gradient, (1, units), input, (width, 1), rows, units, width, result, from_scratch=True)
    if len(wanted) > 2 and wanted[2]:
        result = Address("of_bias")
        work.outer(Address(UNIT), (0, 0), gradient, (units, 1), rows, 1, units, result, from_scratch=True)
    return machine.prepare(work.finish())[0]
