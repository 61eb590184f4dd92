"""What every backend must pass: `check_backend(name, layer)` compares it with the float64 reference, directly."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

import gatework as gw
from gatework.graph.node import resolve
from tests.contracts.cell_contract import like
from tests.tensors import flat
from tests.tolerances import OF_THE_LARGEST_REFERENCE, of_the_largest

MEMORY_STEPS = 6
SHAPES = ((1, 1, None), (7, 3, None), (9, 7, (9, 0, 4, 1, 9, 3, 7)), (2, 4, (0, 0, 0, 0)))  # T, B, lengths


def check_backend(name: str, layer: gw.Recurrent, dtype: torch.dtype) -> None:
    """Outputs, final states and every gradient of a layer on a backend are the reference's.

    Inputs are not contiguous, and NaN stands in their padding.

    Raises:
        AssertionError: a value differs; the message says which.
    """
    reference = copy.deepcopy(layer).double()
    layer = copy.deepcopy(layer).to(dtype)
    for steps, rows, lengths in SHAPES:
        generator = torch.Generator().manual_seed(steps)
        x = torch.randn(rows, layer.input_size, steps, generator=generator, dtype=torch.float64).permute(
            2, 0, 1
        )
        given = further(layer, steps, rows, generator)
        if lengths is not None:
            past = torch.arange(steps)[:, None] >= torch.tensor(lengths)
            x = x.masked_fill(past[..., None], float("nan"))
            for spec in layer.cell.graph.inputs_of_kind("input")[1:]:
                given[spec.name] = given[spec.name].masked_fill(past[..., None], float("nan"))
        start = [torch.rand(s.shape, generator=generator).double() for s in flat(layer.initial_state(rows))]
        expected = values_and_gradients("eager", reference, x, start, lengths, given)
        own = {key: value.to(dtype) for key, value in given.items()}
        got = values_and_gradients(name, layer, x.to(dtype), [s.to(dtype) for s in start], lengths, own)
        assert list(got) == list(expected)
        for key, value in expected.items():
            difference = of_the_largest(got[key], value)
            where = f"{name}, {layer}, T={steps}, B={rows}, lengths={lengths}: {key}"
            assert difference <= OF_THE_LARGEST_REFERENCE[dtype], (
                f"{where} differs by {difference:.1e}"
            )  # NaN fails too


def further(layer: gw.Recurrent, steps: int, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """What a cell reads beside its input: further inputs (T, B, size), static ones (B, size), and memories
    (S, B, size) with NaN past `memory_lengths`."""
    found: dict[str, Tensor] = {}
    for spec in layer.cell.graph.inputs[1:]:
        size = resolve(spec.size, layer.stack.sizes)
        first = {"memory": (MEMORY_STEPS,), "input": (steps,)}.get(spec.kind, ())
        found[spec.name] = torch.randn(*first, rows, size, generator=generator, dtype=torch.float64)
        if spec.kind == "memory":
            past = torch.arange(MEMORY_STEPS)[:, None] >= memory_lengths(rows)
            found[spec.name] = found[spec.name].masked_fill(past[..., None], float("nan"))
    return found


def memory_lengths(rows: int) -> Tensor:
    """Steps that exist of each row's memory: all, one, none, and others."""
    return torch.tensor([MEMORY_STEPS, 1, 0, 3, 5, 2, MEMORY_STEPS])[:rows]


def values_and_gradients(
    name: str, layer: gw.Recurrent, x: Tensor, start: list[Tensor], lengths: Any, given: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Everything that a call of a layer gives, and the gradients of a weighted sum of it, by name."""
    x = x.detach().clone().requires_grad_()
    start = [s.clone().requires_grad_() for s in start]
    given = {key: value.clone().requires_grad_() for key, value in given.items()}
    memories = {spec.name: given[spec.name] for spec in layer.cell.graph.inputs_of_kind("memory")}
    known = {key: value for key, value in given.items() if key not in memories}
    with gw.backend(name):
        output, state = layer(
            x,
            like(layer.initial_state(x.shape[1]), iter(start)),
            lengths=lengths,
            memory=memories or None,
            memory_lengths=dict.fromkeys(memories, memory_lengths(x.shape[1])) or None,
            inputs=known or None,
        )
    outputs = output if isinstance(output, dict) else {"output": output}
    values = {**outputs, **{f"state {n}": s for n, s in enumerate(flat(state))}}
    loss = torch.stack(
        [(v * torch.linspace(0.5, 1.5, v.numel()).to(v).view_as(v)).sum() for v in values.values()]
    ).sum()
    leaves = {
        "input": x,
        **given,
        **{f"start {n}": s for n, s in enumerate(start)},
        **dict(layer.named_parameters()),
    }
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    found = {f"gradient of {key}": g for key, g in zip(leaves, gradients, strict=True)}
    return {key: value.detach() for key, value in {**values, **found}.items()}
