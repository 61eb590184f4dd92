"""What every backend must pass: `check_backend(name, layer)` compares it with the float64 reference, directly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import gatework as gw
from gatework.graph.node import resolve
from tests.contracts.cell_contract import like
from tests.tensors import flat
from tests.tolerances import OF_THE_LARGEST_REFERENCE, of_the_largest

MEMORY_STEPS = 6
SHAPES = ((1, 1, None), (7, 3, None), (9, 7, (9, 0, 4, 1, 9, 3, 7)), (2, 4, (0, 0, 0, 0)))  # T, B, lengths


Call = Callable[[gw.Recurrent, Tensor, Any, dict[str, Any]], tuple[dict[str, Tensor], Any]]
"""Outputs by name and the final state, from a layer, its input, hx and the other arguments of its call."""


def check_backend(name: str, layer: gw.Recurrent, dtype: torch.dtype) -> None:
    """Outputs, final states and every gradient of a layer on a backend are the reference's.

    Inputs are not contiguous, and NaN stands in their padding.

    Raises:
        AssertionError: a value differs; the message says which.
    """
    for steps, rows, lengths in SHAPES:
        _check(name, layer, dtype, (steps, rows, lengths), {}, whole_call)


def check_resets(name: str, layer: gw.Recurrent, dtype: torch.dtype) -> None:
    """Sequences that are cut by `reset` give what the reference gives for their pieces, one call each, in float64; the
    states of every step, by `emit`, among it.

    Raises:
        AssertionError: a value differs; the message says which.
    """
    for steps, rows, lengths in SHAPES:
        cuts = torch.rand(steps, rows, generator=torch.Generator().manual_seed(7)) < 0.4
        _check(
            name,
            layer,
            dtype,
            (steps, rows, lengths),
            {"reset": cuts, "emit": every_state(layer)},
            piece_by_piece,
        )


def check_states_of_all_steps(name: str, layer: gw.Recurrent, dtype: torch.dtype) -> None:
    """Every state of every step and layer, by `emit`, is what a tape keeps of the reference in float64.

    Raises:
        AssertionError: a value differs; the message says which.
    """
    for steps, rows, lengths in SHAPES:
        _check(name, layer, dtype, (steps, rows, lengths), {"emit": every_state(layer)}, recorded)


def every_state(layer: gw.Recurrent) -> list[str]:
    """Names of the states, of the top layer and of each layer, as `emit` takes them."""
    names = [state.name for state in layer.cell.graph.states]
    return [*names, *(f"l{number}.{state}" for number in range(layer.num_layers) for state in names)]


def _check(
    name: str,
    layer: gw.Recurrent,
    dtype: torch.dtype,
    shape: tuple[int, int, Any],
    options: dict[str, Any],
    reference_call: Call,
) -> None:
    """One of `SHAPES`, with options of the call."""
    steps, rows, lengths = shape
    reference = copy.deepcopy(layer).double()
    layer = copy.deepcopy(layer).to(dtype)
    generator = torch.Generator().manual_seed(steps)
    x = torch.randn(rows, layer.input_size, steps, generator=generator, dtype=torch.float64).permute(2, 0, 1)
    given = further(layer, steps, rows, generator)
    if lengths is not None:
        past = torch.arange(steps)[:, None] >= torch.tensor(lengths)
        x = x.masked_fill(past[..., None], float("nan"))
        for spec in layer.cell.graph.inputs_of_kind("input")[1:]:
            given[spec.name] = given[spec.name].masked_fill(past[..., None], float("nan"))
    start = [torch.rand(s.shape, generator=generator).double() for s in flat(layer.initial_state(rows))]
    options = {**options, "lengths": lengths}
    expected = values_and_gradients("eager", reference, x, start, given, options, reference_call)
    own = {key: value.to(dtype) for key, value in given.items()}
    got = values_and_gradients(
        name, layer, x.to(dtype), [s.to(dtype) for s in start], own, options, whole_call
    )
    assert list(got) == list(expected)
    for key, value in expected.items():
        difference = of_the_largest(got[key], value)
        where = f"{name}, {layer}, T={steps}, B={rows}, lengths={lengths}: {key}"
        assert difference <= OF_THE_LARGEST_REFERENCE[dtype], (
            f"{where} differs by {difference:.1e}"
        )  # NaN too


def whole_call(
    layer: gw.Recurrent, x: Tensor, hx: Any, given: dict[str, Any]
) -> tuple[dict[str, Tensor], Any]:
    """One call of the layer."""
    output, state = layer(x, hx, **given)
    return output if isinstance(output, dict) else {"output": output}, state


def piece_by_piece(
    layer: gw.Recurrent, x: Tensor, hx: Any, given: dict[str, Any]
) -> tuple[dict[str, Tensor], Any]:
    """What `reset` means: each row by itself, and of it each piece by itself."""
    reset, lengths = given["reset"], given["lengths"]
    outputs, finals = [], []
    for row in range(x.shape[1]):
        length = len(x) if lengths is None else lengths[row]
        start = [state[:, row : row + 1] for state in flat(hx)]
        cut = reset[:length, row].tolist()
        output, final = _one_row(layer, x[:length, row : row + 1], start, cut, _of_row(layer, given, row))
        padding = (0, 0, 0, 0, 0, len(x) - length)
        outputs.append({name: nn.functional.pad(value, padding) for name, value in output.items()})
        finals.append(final)
    joined = {name: torch.cat([output[name] for output in outputs], 1) for name in outputs[0]}
    return joined, like(hx, iter([torch.cat(parts, 1) for parts in zip(*finals, strict=True)]))


def _one_row(
    layer: gw.Recurrent, x: Tensor, start: list[Tensor], cut: list[bool], given: dict[str, Any]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """A row, cut before each step t at which cut[t] is true. Each direction's first piece begins at `start`."""
    fresh = layer.initial_state(1)
    bounds = [0, *(t for t in range(1, len(x)) if cut[t]), len(x)]

    def by_direction(forward: list[Tensor], backward: list[Tensor]) -> list[Tensor]:
        return [
            torch.stack([(b if n % layer.num_directions else f)[n] for n in range(len(f))])
            for f, b in zip(forward, backward, strict=True)
        ]

    outputs, ends = [], []
    for first, last in pairwise(bounds):
        begin = by_direction(
            start if first == 0 and not any(cut[:1]) else flat(fresh),
            start if last == len(x) else flat(fresh),
        )
        steps = {name: value[first:last] for name, value in given["steps"].items()}
        inputs = {**steps, **given["statics"]} or None
        part = {**given["memories"], "inputs": inputs, "emit": given["emit"]}
        output, end = whole_call(layer, x[first:last], like(fresh, iter(begin)), part)
        outputs.append(output)
        ends.append(flat(end))
    joined = {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
    return joined, by_direction(ends[-1], ends[0])


def _of_row(layer: gw.Recurrent, given: dict[str, Any], row: int) -> dict[str, Any]:
    """What one row reads beside its input, by what it is."""
    kinds = {spec.name: spec.kind for spec in layer.cell.graph.inputs}
    inputs = given["inputs"] or {}
    found: dict[str, Any] = {
        "steps": {name: v[:, row : row + 1] for name, v in inputs.items() if kinds[name] == "input"},
        "statics": {name: v[row : row + 1] for name, v in inputs.items() if kinds[name] == "static"},
        "memories": {},
        "emit": given["emit"],
    }
    if given["memory"]:
        found["memories"] = {
            "memory": {name: value[:, row : row + 1] for name, value in given["memory"].items()},
            "memory_lengths": {name: n[row : row + 1] for name, n in given["memory_lengths"].items()},
        }
    return found


def recorded(layer: gw.Recurrent, x: Tensor, hx: Any, given: dict[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """What `emit` means for states: what a tape keeps of them."""
    with gw.record(layer) as tape:
        outputs, state = whole_call(layer, x, hx, {**given, "emit": ()})
    ends = ["", "_reverse"][: layer.num_directions]
    for name in given["emit"]:
        number, _, value = name.rpartition(".")
        number = number or f"l{layer.num_layers - 1}"
        outputs[name] = torch.cat([tape[f"{number}{end}.{value}"] for end in ends], -1)
    return outputs, state


def further(layer: gw.Recurrent, steps: int, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """What a cell reads beside its input: further inputs (T, B, size), static ones (B, size), and memories
    (S, B, size) with NaN past `memory_lengths`."""
    found: dict[str, Tensor] = {}
    for spec in layer.cell.graph.inputs[1:]:
        size = resolve(spec.size, layer.stack.layer_sizes(0))
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
    name: str,
    layer: gw.Recurrent,
    x: Tensor,
    start: list[Tensor],
    given: dict[str, Tensor],
    options: dict[str, Any],
    call: Call,
) -> dict[str, Tensor]:
    """Everything that a call of a layer gives, and the gradients of a weighted sum of it, by name."""
    x = x.detach().clone().requires_grad_()
    start = [s.clone().requires_grad_() for s in start]
    given = {key: value.clone().requires_grad_() for key, value in given.items()}
    memories = {spec.name: given[spec.name] for spec in layer.cell.graph.inputs_of_kind("memory")}
    known = {key: value for key, value in given.items() if key not in memories}
    further = {
        **options,
        "memory": memories or None,
        "memory_lengths": dict.fromkeys(memories, memory_lengths(x.shape[1])) or None,
        "inputs": known or None,
    }
    with gw.backend(name):
        outputs, state = call(layer, x, like(layer.initial_state(x.shape[1]), iter(start)), further)
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
