"""The likeliest units of a softmax over a linear map: what a search asks for, without the table of probabilities."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from gatework.backends import teams
from gatework.backends.llvm.codegen import target
from gatework.backends.llvm.command_builder import CommandBuilder
from gatework.backends.llvm.commands import Address, CommandList
from gatework.backends.llvm.dense.cross_entropy import block_rows, multiply_logits
from gatework.backends.llvm.runtime import result_pool
from gatework.backends.llvm.runtime.once import made_once

_EXACT = 1 << 24  # whole numbers up to here are float32 numbers


def rankable(weight: Tensor, count: int) -> bool:
    """Whether `best` can serve: units are counted in the dtype's numbers."""
    return 0 < count <= len(weight) <= _EXACT


def best(
    input: Tensor, weight: Tensor, bias: Tensor, count: int, forbidden: Collection[int] = ()
) -> tuple[Tensor, Tensor]:
    """The log-probabilities of each row's likeliest units, (N, count), falling, and the units.

    Args:
        input: (N, I)
        weight, bias: (V, I) and (V,) of the linear map.
        forbidden: units that are not to be among them.
    """
    input, weight, bias = (tensor.detach().contiguous() for tensor in (input, weight, bias))
    units = len(weight)
    allowed = torch.zeros_like(bias)
    if forbidden:
        allowed[list(forbidden)] = -torch.inf
    values, places = [], []
    block = block_rows(units)
    for begin in range(0, len(input), block):
        some = input[begin : begin + block]
        table = result_pool.empty((units, len(some)), input.dtype)
        multiply_logits(weight, some, table)
        found = {name: input.new_empty((count, len(some))) for name in ("values", "places")}
        tensors = {"table": table, "bias": bias, "allowed": allowed, **found}
        work = _work(input.dtype, target.host(), units, len(some), count)
        team = teams.team("logits", units * len(some))
        work.call({name: tensor.data_ptr() for name, tensor in tensors.items()}, team)
        values.append(found["values"].t())
        places.append(found["places"].t())
    return torch.cat(values), torch.cat(places).long()


@made_once(maxsize=1024)
def _work(dtype: torch.dtype, host: target.Target, units: int, rows: int, count: int) -> CommandList:
    work = CommandBuilder(dtype, host)
    results = Address("values"), Address("places")
    work.best(Address("table"), Address("bias"), Address("allowed"), results, units, rows, count)
    return work.finish()
