"""Influence: against steps that are taken away, against differences, and in a network whose reasons are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import gatework as gw
from gatework.inspect import Influence, influence
from tests.tolerances import FINITE_DIFFERENCES, VALUES, assert_close

T, B, INPUT, H = 12, 3, 4, 5


def latch() -> gw.LSTM:
    """It takes in the first number at the step that the second one marks, and keeps it."""
    layer = gw.LSTM(2, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_ih_l0[0, 1], layer.bias_ih_l0[0] = 20.0, -10.0
        layer.weight_ih_l0[1, 1], layer.bias_ih_l0[1] = -20.0, 10.0
        layer.weight_ih_l0[2, 0] = 1.0
        layer.bias_ih_l0[3] = 10.0
    return layer


def marked(rows: int) -> tuple[Tensor, Tensor]:
    """Sequences (T, B, 2) and the step that is marked in each, (B,)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(T, rows, 2, generator=generator) + 0.2
    places = torch.randint(T, (rows,), generator=generator)
    x[..., 1] = torch.nn.functional.one_hot(places, T).T
    return x, places


def last(result: Any) -> Tensor:
    return result[1][0][0, :, 0]


def test_what_a_latch_says_was_said_at_the_mark() -> None:
    x, places = marked(100)
    found = influence(latch(), x, last)
    assert torch.equal(found.most(1).int().argmax(0), places)
    by_chance = torch.rand(T, 100, generator=torch.Generator().manual_seed(1)).argsort(0) == 0
    named = (found.without(found.most(1)) - found.value).abs()
    others = (found.without(by_chance & ~found.most(1)) - found.value).abs()
    assert (named > others).all()
    assert (named > 0.1).all()


@pytest.mark.parametrize("backend", ["llvm", "eager"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_step_that_is_left_out_is_as_one_that_never_was(
    cell: str, bidirectional: bool, backend: str
) -> None:
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, INPUT, H, num_layers=2, bidirectional=bidirectional, dtype=torch.float64)
    x, weights = torch.randn(T, B, INPUT).double(), torch.randn(B, layer.num_directions * H).double()
    lengths = torch.tensor([T, 7, 9])

    def output(result: Any) -> Tensor:
        states = result[1][0] if cell == "lstm" else result[1]
        return (states[-layer.num_directions :].transpose(0, 1).flatten(1) * weights).sum(1)

    with gw.backend(backend):
        found = influence(layer, x, output, lengths=lengths)
        gone = torch.zeros(T, B, dtype=torch.bool)
        gone[[2, 5]] = True
        kept = [step for step in range(T) if step not in (2, 5)]
        assert_close(found.without(gone), output(layer(x[kept], lengths=lengths - 2)), VALUES)
        little = 1e-6 * torch.rand(T, B, dtype=torch.float64)
        expected = -(found.steps * little).sum(0) / little.sum(0)
        assert_close((found.without(little) - found.value) / little.sum(0), expected, FINITE_DIFFERENCES)
    assert next(iter(found.units)) == "l0.h"
    assert not found.steps[7:, 1].any()


def test_a_module_is_explained_and_left_as_it_was() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.above = gw.GRU(INPUT, H, batch_first=True), gw.LSTM(H, H, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.above(self.below(x)[0])[0]

    model = Model().train()
    x = torch.randn(B, T, INPUT)
    found = influence(model, x, lambda output: output[:, -1].sum(1), batch_first=True)
    assert isinstance(found, Influence)
    assert list(found.units) == ["below.l0.h", "above.l0.h", "above.l0.c"]
    assert_close(found.steps, sum(unit.sum(-1) for unit in found.units.values()))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert found.most(3).sum(0).tolist() == [3] * B
    with pytest.raises(ValueError, match="one number a row"):
        influence(model, x, lambda output: output[:, -1], batch_first=True)
    with pytest.raises(ValueError, match="read 3 steps of 12 rows"):
        influence(model, x, lambda output: output[0, :, 0])
