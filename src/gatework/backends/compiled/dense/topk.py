"""The likeliest units of a softmax over a linear map: what a search asks for, without the table of probabilities."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from gatework.backends.compiled.builder import CommandBuilder
from gatework.backends.compiled.commands import Address, Base, Best
from gatework.backends.compiled.dense.cross_entropy import block_rows, multiply_logits
from gatework.backends.compiled.machine import Machine, ReadyList
from gatework.backends.compiled.once import made_once

_EXACT = 1 << 24  # whole numbers up to here are float32 numbers


def rankable(weight: Tensor, count: int) -> bool:
    """Whether `best` can serve: units are counted in the dtype's numbers."""
    return 0 < count <= len(weight) <= _EXACT


def best(
    machine: Machine, input: Tensor, weight: Tensor, bias: Tensor, count: int, forbidden: Collection[int] = ()
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
        table = machine.empty((units, len(some)), input.dtype)
        multiply_logits(machine, weight, some, table)
        own = [input.new_empty((count, len(some))) for _ in range(2)]
        tensors: dict[Base, Tensor] = {"table": table, "bias": bias, "allowed": allowed}
        tensors |= {"values": own[0], "places": own[1]}
        work = _work(machine, input.dtype, units, len(some), count)
        work.call(tensors, machine.team("logits", units * len(some)))
        values.append(own[0].t())
        places.append(own[1].t())
    return torch.cat(values), torch.cat(places).long()


@made_once(maxsize=1024)
def _work(machine: Machine, dtype: torch.dtype, units: int, rows: int, count: int) -> ReadyList:
    work = CommandBuilder(dtype)
    arrays = {name: Address(name) for name in ("table", "bias", "allowed", "values", "places")}
    work.best(Best(**arrays, units=units, columns=rows, count=count))
    return machine.prepare(work.finish())[0]
