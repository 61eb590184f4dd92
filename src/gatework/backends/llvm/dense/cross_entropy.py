"""The cross-entropy of a softmax over a linear map, a block of rows at a time: the table of logits is never whole.

Where gradients are wanted they are computed with the loss, while a block's part of the table is in the cache;
backward only multiplies them by the incoming scalar.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gatework.backends import teams
from gatework.backends.llvm.codegen import target
from gatework.backends.llvm.command_builder import CommandBuilder
from gatework.backends.llvm.commands import Address, CommandList
from gatework.backends.llvm.runtime import result_pool
from gatework.backends.llvm.runtime.once import made_once

_TABLE = 1 << 21  # numbers of the table at a time
_FEWEST = 32  # rows of a block


def cross_entropy(
    input: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0
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
        result: Tensor = _CrossEntropy.apply(*tensors, targets, smoothing)
        return result
    return _compute(*tensors, targets, smoothing, (False, False, False))[0]


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> Tensor:
        wanted = tuple(ctx.needs_input_grad[:3])
        total, made = _compute(input, weight, bias, targets, smoothing, wanted)
        ctx.save_for_backward(input, weight, bias, targets, *made)
        ctx.smoothing = smoothing
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = gradients
        input, weight, bias, targets, *made = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of the derivative: torch's own operators have it
            with torch.enable_grad():
                logits = F.linear(input, weight, bias)
                total = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=ctx.smoothing)
                asked = [
                    t for t, want in zip((input, weight, bias), ctx.needs_input_grad, strict=False) if want
                ]
                found = iter(torch.autograd.grad(total, asked, scale, create_graph=True))
            return (*(next(found) if want else None for want in ctx.needs_input_grad[:3]), None, None)
        return (*(None if g is None else g * scale for g in made), None, None)


def _compute(
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
    of_input, of_weight, of_bias = (
        torch.zeros_like(tensor) if want else None
        for tensor, want in zip((input, weight, bias), wanted, strict=True)
    )
    total = torch.zeros((), dtype=torch.float64)
    block = block_rows(units)
    floor = input.new_tensor(smoothing / units)
    for begin in range(0, rows, block):
        some, aims = input[begin : begin + block], targets[begin : begin + block].unsqueeze(0)
        table = result_pool.empty(
            (units, len(some)), input.dtype
        )  # turned round: a column is a row's distribution
        multiply_logits(weight, some, table)
        aimed_at = table.gather(0, aims).squeeze(0) + bias[aims[0]]
        tensors = {"table": table, "bias": bias, "normaliser": input.new_empty(len(some))}
        tensors |= {"mean": input.new_empty(len(some)), "floor": floor}
        _call("logits", partial(_softmax_work, any(wanted)), tensors, units, len(some), width)
        losses = tensors["normaliser"] - (1 - smoothing) * aimed_at
        if smoothing:
            losses -= smoothing * tensors["mean"]
        total += losses.sum(dtype=torch.float64)
        if not any(wanted):
            continue
        table.scatter_add_(0, aims, table.new_full(aims.shape, smoothing - 1))
        if of_bias is not None:
            of_bias += table.sum(1)
        if of_input is not None:
            tensors = {"table": table, "weight": weight, "result": of_input[begin : begin + block]}
            _call("product", _of_input_work, tensors, units, len(some), width)
        if of_weight is not None:
            tensors = {"table": table, "input": some, "result": of_weight}
            _call("product", _of_weight_work, tensors, units, len(some), width)
    return total.to(input.dtype), (of_input, of_weight, of_bias)


def block_rows(units: int) -> int:
    """Rows whose table of so many units is made at a time."""
    return max(_FEWEST, _TABLE // units)


def multiply_logits(weight: Tensor, input: Tensor, table: Tensor) -> None:
    """Fills a table, (V, N), with the products of a weight, (V, I), and an input, (N, I)."""
    tensors = {"result": table, "weight": weight, "input": input}
    _call("product", _logits_work, tensors, table.shape[0], table.shape[1], weight.shape[1])


def _call(kind: teams.Work, make: Any, tensors: dict[str, Tensor], units: int, rows: int, width: int) -> None:
    work: CommandList = make(next(iter(tensors.values())).dtype, target.host(), units, rows, width)
    size = units * rows * (width if kind == "product" else 1)
    work.call({name: tensor.data_ptr() for name, tensor in tensors.items()}, teams.team(kind, size))


@made_once(maxsize=256)
def _logits_work(dtype: torch.dtype, host: target.Target, units: int, rows: int, width: int) -> CommandList:
    """result (units, rows) of weight (units, width) and input (rows, width)."""
    work = CommandBuilder(dtype, host)
    packed = work.pack_panels(Address("input"), rows, width)
    work.barrier()
    panel = work.panel_columns
    work.outer(
        Address("weight"), (width, 1), packed, panel, width, units, rows, Address("result"),
        panel=width * panel, from_scratch=True,
    )  # fmt: skip
    return work.finish()


@made_once(maxsize=256)
def _softmax_work(
    gradient: bool, dtype: torch.dtype, host: target.Target, units: int, rows: int, width: int
) -> CommandList:
    """table (units, rows) and bias (units): their softmax and what it is made of."""
    work = CommandBuilder(dtype, host)
    results = Address("normaliser"), Address("mean")
    work.softmax(Address("table"), Address("bias"), results, Address("floor"), units, rows, gradient=gradient)
    return work.finish()


@made_once(maxsize=256)
def _of_input_work(dtype: torch.dtype, host: target.Target, units: int, rows: int, width: int) -> CommandList:
    """result (rows, width) of table (units, rows) turned round and weight (units, width)."""
    work = CommandBuilder(dtype, host)
    work.outer(
        Address("table"),
        (1, rows),
        Address("weight"),
        width,
        units,
        rows,
        width,
        Address("result"),
        from_scratch=True,
    )
    return work.finish()


@made_once(maxsize=256)
def _of_weight_work(
    dtype: torch.dtype, host: target.Target, units: int, rows: int, width: int
) -> CommandList:
    """Adds to result (units, width) table (units, rows) times input (rows, width)."""
    work = CommandBuilder(dtype, host)
    work.outer(Address("table"), (rows, 1), Address("input"), width, rows, units, width, Address("result"))
    return work.finish()
