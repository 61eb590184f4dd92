"""Cells drawn at random, on the engine and on the reference: operations meet in ways that nobody thought of."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import gatework as gw
from gatework.graph.ops import OPS
from tests.tolerances import GRADIENTS, assert_close

STEPS, ROWS, INPUT, MEMORY = 4, 5, 3, 6
LENGTHS, MEMORY_LENGTHS = torch.tensor([4, 2, 3, 1, 4]), torch.tensor([6, 1, 3, 5, 6])
UNARY: tuple[Callable[..., Any], ...] = (
    gw.sigmoid,
    gw.tanh,
    gw.relu,
    gw.softplus,
    gw.abs,
    gw.sin,
    gw.softsign,
    gw.log_sigmoid,
    gw.hard_sigmoid,
    gw.elu,
    gw.stop_gradient,
    lambda e: gw.exp(gw.tanh(e)),
)
BINARY: tuple[Callable[..., Any], ...] = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * gw.tanh(b),
    lambda a, b: a / (1.0 + b * b),
    lambda a, b: gw.where(a > b, a, 0.5 * b),
    gw.maximum,
    gw.minimum,
)
Wide, Narrow = gw.Input(size="hidden_size"), gw.Input(size=1)
WideStatic, NarrowStatic = gw.Static(size="hidden_size"), gw.Static(size=1)


def random_cell(seed: int) -> gw.Cell:
    """A cell of two wide states and a narrow one over inputs of every kind; the same for the same seed."""
    draw = random.Random(seed)

    def drawn(
        x: Any,
        h: Any,
        c: Any,
        scale: gw.State(size=1),  # type: ignore[valid-type]
        d: Wide,
        e: Narrow,
        g: WideStatic,
        k: NarrowStatic,
        memory: gw.Memory(size="hidden_size"),  # type: ignore[valid-type]
    ) -> Any:
        wide, narrow = [h, c, d, g, gw.vector("v")], [scale, e, k]

        def product(name: str, size: Any) -> Any:
            operand = draw.choice([h, c, d, *wide[5:]])
            return gw.linear(name, x, size=size, **{f"of_{name}": operand})

        for number in range(draw.randint(4, 14)):
            name = f"value_{number}"
            match draw.choice(
                ["gate", "gate", "narrow gate", "unary", "narrow", "binary", "norm", "attention"]
            ):
                case "gate":
                    wide.append(product(name, "hidden_size"))
                case "narrow gate":
                    narrow.append(product(name, 1))
                case "unary":
                    wide.append(draw.choice([*UNARY, gw.softmax])(draw.choice(wide)))
                case "narrow":
                    value = draw.choice(UNARY)(draw.choice(narrow))
                    narrow.append(draw.choice(BINARY)(value, draw.choice(narrow)))
                case "binary":
                    wide.append(draw.choice(BINARY)(draw.choice(wide), draw.choice(wide + narrow)))
                case "norm":
                    wide.append(gw.layer_norm(name, draw.choice(wide)))
                case _:
                    score = draw.choice(["additive", "dot", "general", "location"])
                    wide.append(gw.attend(name, draw.choice(wide[:2] + wide[5:]), memory, score=score))
        gw.emit("wide", draw.choice(wide))
        gw.emit("narrow", draw.choice(narrow))
        return gw.tanh(0.9 * wide[-1] + 0.1 * h), gw.tanh(draw.choice(wide)), gw.tanh(draw.choice(narrow))

    return gw.cell(drawn)


def values_and_gradients(layer: gw.Recurrent, lengths: Tensor | None) -> list[Tensor]:
    """Everything that a call gives, and the gradient of a weighted sum of it by everything that it reads."""
    torch.manual_seed(0)
    size = layer.hidden_size

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64).requires_grad_()

    x, memory = leaf(STEPS, ROWS, INPUT), leaf(MEMORY, ROWS, size)
    inputs = {
        "d": leaf(STEPS, ROWS, size),
        "e": leaf(STEPS, ROWS, 1),
        "g": leaf(ROWS, size),
        "k": leaf(ROWS, 1),
    }
    located = layer.cell.graph.states[3:]  # the alignments of attentions by location
    start = (
        leaf(1, ROWS, size),
        leaf(1, ROWS, size),
        leaf(1, ROWS, 1),
        *(leaf(1, ROWS, MEMORY) for _ in located),
    )
    output, state = layer(
        x, start, lengths=lengths, inputs=inputs, memory=memory, memory_lengths=MEMORY_LENGTHS
    )
    values = [*output.values(), *state]
    loss = torch.stack([(v * torch.linspace(0.5, 1.5, v.numel()).view_as(v)).sum() for v in values]).sum()
    leaves = [x, *inputs.values(), memory, *start, *layer.parameters()]
    return [*values, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]


def check_random_cell(seed: int, lengths: Tensor | None) -> None:
    """Raises AssertionError where the engine's values or gradients are not the reference's."""
    layer = gw.Recurrent(random_cell(seed), INPUT, 3 + 5 * (seed % 3), dtype=torch.float64)
    with gw.backend("eager"):
        expected = values_and_gradients(layer, lengths)
    with gw.backend("llvm"):
        got = values_and_gradients(layer, lengths)
    assert_close(got, expected, GRADIENTS)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["dense", "ragged"])
@pytest.mark.parametrize("seed", range(6))
def test_a_random_cell_on_the_engine_is_the_references(seed: int, lengths: Tensor | None) -> None:
    check_random_cell(seed, lengths)


def test_the_comparison_sees_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "tanh", replace(OPS["tanh"], adjoint=lambda g, y, a: (g * (1 - y),)))
    with pytest.raises(AssertionError, match="not close"):
        check_random_cell(1000, None)  # no other test has this cell, of which a plan would be kept
