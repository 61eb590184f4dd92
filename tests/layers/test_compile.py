"""Layers under torch.compile: a plain stack is one operator of the graph, which does not break."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gatework as gw


@pytest.mark.parametrize("cell", ["lstm", "gru", "layer_norm_lstm"])
def test_a_stack_compiles_whole_with_the_engines_bits(cell: str) -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = torch.nn.Sequential()
    model.layer = gw.Recurrent(cell, 6, 9, num_layers=2)
    model.output = torch.nn.Linear(9, 3)

    def run(x: torch.Tensor, hx: Any = None) -> tuple[torch.Tensor, Any]:
        output, state = model.layer(x * 2, hx)
        return model.output(output).sin(), state

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    x = torch.randn(5, 4, 6)
    with torch.no_grad():
        expected, state = run(x)
        assert torch.equal(compiled(x)[0], expected)
        assert torch.equal(compiled(x, state)[0], run(x, state)[0])
    gradients = []
    for call in (run, compiled):
        model.zero_grad()
        given = x.clone().requires_grad_()
        output, final = call(given, state)
        first = final[0] if isinstance(final, tuple) else final
        (output.sum() + first.pow(2).sum()).backward()
        gradients.append([given.grad, *(p.grad for p in model.parameters())])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_what_is_not_plain_still_compiles() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()
    layer, x = gw.GRU(4, 5, bidirectional=True), torch.randn(6, 3, 4)
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], layer(x)[0])


def test_an_exported_layer_holds_torchs_own_operators() -> None:
    layer, x = gw.GRU(4, 5), torch.randn(6, 3, 4)
    program = torch.export.export(layer, (x,))
    assert "gatework" not in str(program.graph)
    torch.testing.assert_close(program.module()(x)[0], layer(x)[0])


def test_the_operators_keep_torchs_rules() -> None:

    layer = gw.LSTM(3, 4)
    parameters = [p.detach().requires_grad_() for p in layer.parameters()]
    x = torch.randn(5, 2, 3, requires_grad=True)
    torch.library.opcheck(
        torch.ops.gatework.stack.default,
        (x, parameters, [], layer._described, 1),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
