"""A linear map on the engine's products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatework.backends import teams
from gatework.backends.admission import native_gradients
from gatework.backends.llvm.codegen import target
from gatework.backends.llvm.command_builder import CommandBuilder
from gatework.backends.llvm.commands import UNIT, Address, CommandList
from gatework.backends.llvm.runtime import result_pool
from gatework.backends.llvm.runtime.once import made_once

_FEW = 4


def linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """input (N, I) times weight (O, I) turned round, plus bias (O): (N, O).

    Every element sums its products in one order, whatever N and the threads are.
    """
    tensors = (input, weight) if bias is None else (input, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        result: Tensor = _Linear.apply(*tensors)
        return result
    return _forward(*tensors)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return _forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, *bias = ctx.saved_tensors
        gradient = gradients[0]
        plain = native_gradients(gradients, weight.dtype)
        if plain is None or plain[0] is None:
            found = gradient @ weight, gradient.t() @ input, gradient.sum(0)
            return found[: 2 + len(bias)]
        wanted = tuple(ctx.needs_input_grad)
        return _backward(plain[0].contiguous(), input.contiguous(), weight.contiguous(), wanted)


def _forward(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    (rows, width), units = input.shape, weight.shape[0]
    few = (
        rows * _FEW < units
    )  # then the rows are packed rather than the weights, and the result is turned round
    tensors = {"left": input, "right": weight}
    if few:
        tensors = {"left": weight, "right": input}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    shape = (units, rows) if few else (rows, units)
    result = result_pool.empty(shape, input.dtype)
    tensors["result"] = result
    if bias is not None and not few:
        tensors["bias"] = bias.contiguous()
    _call(_forward_work, tensors, input.dtype, shape[0], shape[1], width, "bias" in tensors)
    if not few:
        return result
    turned = result.t().contiguous()
    return turned if bias is None else turned.add_(bias)


def _backward(
    gradient: Tensor, input: Tensor, weight: Tensor, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    (rows, width), units = input.shape, weight.shape[0]
    shapes = ((rows, width), (units, width), (units,))
    results = [
        result_pool.empty(shape, input.dtype) if want else None
        for shape, want in zip(shapes, wanted, strict=False)
    ]
    tensors = {"gradient": gradient, "input": input, "weight": weight}
    for name, result in zip(("of_input", "of_weight", "of_bias"), results, strict=False):
        if result is not None:
            tensors[name] = result
    _call(_backward_work, tensors, input.dtype, rows, units, width, wanted)
    return tuple(results)


def _call(
    make: Any, tensors: dict[str, Tensor], dtype: torch.dtype, rows: int, columns: int, depth: int, kind: Any
) -> None:
    work: CommandList = make(dtype, target.host(), rows, columns, depth, kind)
    team = teams.team("product", rows * columns * depth)
    work.call({name: tensor.data_ptr() for name, tensor in tensors.items()}, team)


@made_once(maxsize=256)
def _forward_work(
    dtype: torch.dtype, host: target.Target, rows: int, columns: int, depth: int, bias: bool
) -> CommandList:
    """result (rows, columns) of left (rows, depth) and right (columns, depth), and then the bias."""
    work = CommandBuilder(dtype, host)
    packed = work.pack_panels(Address("right"), columns, depth)
    work.barrier()
    panel = work.panel_columns
    result = Address("result")
    work.outer(
        Address("left"),
        (depth, 1),
        packed,
        panel,
        depth,
        rows,
        columns,
        result,
        panel=depth * panel,
        from_scratch=True,
    )
    if bias:
        work.outer(Address(UNIT), (0, 0), Address("bias"), 0, 1, rows, columns, result)
    return work.finish()


@made_once(maxsize=256)
def _backward_work(
    dtype: torch.dtype, host: target.Target, rows: int, units: int, width: int, wanted: tuple[bool, ...]
) -> CommandList:
    work = CommandBuilder(dtype, host)
    gradient = Address("gradient")
    if wanted[0]:
        work.outer(
            gradient,
            (units, 1),
            Address("weight"),
            width,
            units,
            rows,
            width,
            Address("of_input"),
            from_scratch=True,
        )
    if wanted[1]:
        work.outer(
            gradient,
            (1, units),
            Address("input"),
            width,
            rows,
            units,
            width,
            Address("of_weight"),
            from_scratch=True,
        )
    if len(wanted) > 2 and wanted[2]:
        work.outer(
            Address(UNIT), (0, 0), gradient, units, rows, 1, units, Address("of_bias"), from_scratch=True
        )
    return work.finish()
