"""The cross-entropy of a softmax over a linear map, a block of rows at a time: the table of logits is never whole.

Where gradients are wanted they are computed with the loss, while a block's part of the table is in the cache;
backward only multiplies them by the incoming scalar.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gatework.backends.compiled.builder import CommandBuilder
from gatework.backends.compiled.commands import Address, Base, Softmax
from gatework.backends.compiled.machine import Machine, ReadyList
from gatework.backends.compiled.once import made_once
from gatework.backends.compiled.sequence import with_gradients
from gatework.backends.teams import Work

_TABLE = 1 << 21  # numbers of the table at a time
_FEWEST = 32  # rows of a block


def cross_entropy(
    machine: Machine, input: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Minus the log-probabilities of the targets, summed, in nats.

    Args:
        input: (N, I)
        weight, bias: (V, I) and (V,) of the linear map.
        targets: (N,) in 0 … V - 1.
        smoothing: share of the targets' probability that is spread evenly over all V.
    """
    tensors = (input, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        result: Tensor = _CrossEntropy.apply(machine, *tensors, targets, smoothing)
        return result
    return _compute(machine, *tensors, targets, smoothing, (False, False, False))[0]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        machine: Machine,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
    ) -> Tensor:
        wanted = tuple(ctx.needs_input_grad[1:4])
        total, made = _compute(machine, input, weight, bias, targets, smoothing, wanted)
        ctx.save_for_backward(input, weight, bias, targets, *made)
        ctx.smoothing = smoothing
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = gradients
        input, weight, bias, targets, *made = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of the derivative: torch's own operators have it
            with torch.enable_grad():
                input, weight, bias = with_gradients((input, weight, bias))
                logits = F.linear(input, weight, bias)
                total = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=ctx.smoothing)
                wanted = ctx.needs_input_grad[1:4]
                asked = [t for t, want in zip((input, weight, bias), wanted, strict=True) if want]
                found = iter(torch.autograd.grad(total, asked, scale, create_graph=True))
            return (None, *(next(found) if want else None for want in wanted), None, None)
        return (None, *(None if g is None else g * scale for g in made), None, None)


def _compute(
    machine: Machine,
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    smoothing: float,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The loss, and the wanted gradients of it."""
    input, weight, bias = (tensor.detach().contiguous() for tensor in (input, weight, bias))
    rows, width = input.shape
    units = len(weight)
    tensors: dict[Base, Tensor]
    of_input, of_weight, of_bias = (
        torch.zeros_like(tensor) if want else None
        for tensor, want in zip((input, weight, bias), wanted, strict=True)
    )
    total = torch.zeros((), dtype=torch.float64)
    block = block_rows(units)
    floor = input.new_tensor(smoothing / units)
    for begin in range(0, rows, block):
        some, aims = input[begin : begin + block], targets[begin : begin + block].unsqueeze(0)
        # Turned round: a column is a row's distribution.
        table = machine.empty((units, len(some)), input.dtype)
        multiply_logits(machine, weight, some, table)
        aimed_at = table.gather(0, aims).squeeze(0) + bias[aims[0]]
        normaliser, mean = (input.new_empty(len(some)) for _ in range(2))
        tensors = {"table": table, "bias": bias, "normaliser": normaliser, "mean": mean, "floor": floor}
        _call(machine, "logits", partial(_softmax_work, any(wanted)), tensors, units, len(some), width)
        losses = normaliser - (1 - smoothing) * aimed_at
        if smoothing:
            losses -= smoothing * mean
        total += losses.sum(dtype=torch.float64)
        if not any(wanted):
            continue
        table.scatter_add_(0, aims, table.new_full(aims.shape, smoothing - 1))
        if of_bias is not None:
            of_bias += table.sum(1)
        if of_input is not None:
            tensors = {"table": table, "weight": weight, "result": of_input[begin : begin + block]}
            _call(machine, "product", _of_input_work, tensors, units, len(some), width)
        if of_weight is not None:
            tensors = {"table": table, "input": some, "result": of_weight}
            _call(machine, "product", _of_weight_work, tensors, units, len(some), width)
    return total.to(input.dtype), (of_input, of_weight, of_bias)


def block_rows(units: int) -> int:
    """Rows whose table of so many units is made at a time."""
    return max(_FEWEST, _TABLE // units)


def multiply_logits(machine: Machine, weight: Tensor, input: Tensor, table: Tensor) -> None:
    """Fills a table, (V, N), with the products of a weight, (V, I), and an input, (N, I)."""
    tensors: dict[Base, Tensor] = {"result": table, "weight": weight, "input": input}
    _call(machine, "product", _logits_work, tensors, table.shape[0], table.shape[1], weight.shape[1])


def _call(
    machine: Machine,
    kind: Work,
    make: Any,
    tensors: Mapping[Base, Tensor],
    units: int,
    rows: int,
    width: int,
) -> None:
    work: ReadyList = make(machine, next(iter(tensors.values())).dtype, units, rows, width)
    work.call(tensors, machine.team(kind, units * rows * (width if kind == "product" else 1)))


@made_once(maxsize=256)
def _logits_work(machine: Machine, dtype: torch.dtype, units: int, rows: int, width: int) -> ReadyList:
    """result (units, rows) of weight (units, width) and input (rows, width)."""
    work = CommandBuilder(dtype)
    weight, input, result = Address("weight"), Address("input"), Address("result")
    work.outer(weight, (width, 1), input, (1, width), width, units, rows, result, from_scratch=True)
    return machine.prepare(work.finish())[0]


@made_once(maxsize=256)
def _softmax_work(
    gradient: bool, machine: Machine, dtype: torch.dtype, units: int, rows: int, width: int
) -> ReadyList:
    """table (units, rows) and bias (units): their softmax and what it is made of."""
    work = CommandBuilder(dtype)
    names = "table", "bias", "normaliser", "mean", "floor"
    arrays = {name: Address(name) for name in names}
    work.softmax(Softmax(**arrays, units=units, columns=rows, gradient=gradient))
    return machine.prepare(work.finish())[0]


@made_once(maxsize=256)
def _of_input_work(machine: Machine, dtype: torch.dtype, units: int, rows: int, width: int) -> ReadyList:
    """result (rows, width) of table (units, rows) turned round and weight (units, width)."""
    work = CommandBuilder(dtype)
    table, weight, result = Address("table"), Address("weight"), Address("result")
    work.outer(table, (1, rows), weight, (width, 1), units, rows, width, result, from_scratch=True)
    return machine.prepare(work.finish())[0]


@made_once(maxsize=256)
def _of_weight_work(machine: Machine, dtype: torch.dtype, units: int, rows: int, width: int) -> ReadyList:
    """Adds to result (units, width) table (units, rows) times input (rows, width)."""
    work = CommandBuilder(dtype)
    table, input, result = Address("table"), Address("input"), Address("result")
    work.outer(table, (rows, 1), input, (width, 1), rows, units, width, result)
    return machine.prepare(work.finish())[0]
