"""Layers under torch.compile: a plain stack is one operator of the graph, which does not break."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

import gatework as gw
from gatework.backends import StackCall
from gatework.backends.compiled.stack import prepared, saved_size
from gatework.backends.llvm import machine
from gatework.backends.llvm.operator import describe
from tests.tolerances import assert_close


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


KINDS: dict[str, dict[str, Any]] = {
    "both directions": {"bidirectional": True, "num_layers": 2},
    "batch first": {"batch_first": True, "num_layers": 2},
    "both": {"bidirectional": True, "batch_first": True},
    "residual": {"residual": True, "num_layers": 3},
    "projected": {"proj_size": 4, "num_layers": 2},
    "dropout": {"dropout": 0.5, "num_layers": 2},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batched", [True, False])
def test_every_dense_layer_compiles_without_a_break(kind: str, batched: bool) -> None:
    torch._dynamo.reset()
    layer = gw.LSTM(6, 6, **KINDS[kind])
    if kind == "dropout":
        layer.eval()
    x = torch.randn(5, 3, 6) if batched else torch.randn(5, 6)
    states = layer.initial_state(3 if layer.batch_first is False else 5)
    states = tuple(torch.randn_like(s) if batched else torch.randn_like(s[:, 0]) for s in states)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    gradients = []
    for call in (layer, compiled):
        layer.zero_grad()
        given = x.clone().requires_grad_()
        output, (h, c) = call(given, states)
        (output.square().sum() + h.sum() + c.sin().sum()).backward()
        gradients.append([output, h, c, given.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*gradients, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "batch_first": True}])
@pytest.mark.parametrize("training", [False, True])
def test_steps_and_rows_may_change(options: dict[str, Any], training: bool) -> None:
    """torch.compile makes a symbol of a size that has changed once (pytorch#158007)."""
    torch._dynamo.reset()
    layer = gw.GRU(4, 5, **options)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for steps, rows in ((6, 3), (9, 3), (9, 7), (2, 2), (1, 1), (12, 5)):
        x = torch.randn(steps, rows, 4)
        found = []
        for call in (layer, compiled):
            layer.zero_grad()
            with torch.set_grad_enabled(training):
                output, state = call(x)
            if training:
                (output.square().sum() + state.sum()).backward()
            found.append([output, state, *(p.grad for p in layer.parameters() if training)])
        for a, b in zip(*found, strict=True):
            assert_close(a, b)


def test_what_training_saves_is_as_large_as_the_formula_says() -> None:
    for layer in (gw.LSTM(3, 5, num_layers=3, proj_size=2), gw.Recurrent("layer_norm_lstm", 3, 5)):
        for steps, rows, gradient in ((1, 1, True), (7, 3, False), (50, 9, True)):
            stack = layer.stack
            call = StackCall(
                stack.graph, torch.float32, stack.names, stack.layers, steps, rows, True, gradient
            )
            expected = saved_size(
                machine.host(), stack.graph, stack.layers, torch.float32, gradient, steps, rows
            )
            assert prepared(machine.host(), call).made[-2] == (expected,)


def test_an_output_of_a_compiled_layer_may_be_changed_in_place() -> None:
    torch._dynamo.reset()
    layer, x = gw.GRU(4, 5), torch.randn(6, 3, 4)
    compiled = torch.compile(layer, backend="aot_eager")
    expected = torch.autograd.grad((layer(x)[0] + 1).square().sum(), layer.weight_hh_l0)[0]
    output = compiled(x)[0]
    output += 1
    torch.testing.assert_close(torch.autograd.grad(output.square().sum(), layer.weight_hh_l0)[0], expected)


def test_what_the_operator_does_not_take_still_compiles() -> None:
    torch._dynamo.reset()
    layer, x = gw.GRU(4, 5, bidirectional=True, zoneout=0.2).eval(), torch.randn(6, 3, 4)
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], layer(x)[0])
    lengths = torch.tensor([6, 2, 4])
    torch.testing.assert_close(compiled(x, lengths=lengths)[0], layer(x, lengths=lengths)[0])
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x)[0], layer(x)[0])


@pytest.mark.parametrize("name", ["eager", "torch"])
def test_a_compiled_layer_asks_the_backend_that_is_named(name: str) -> None:
    torch._dynamo.reset()
    layer, x = gw.GRU(4, 5), torch.randn(6, 3, 4)
    compiled = torch.compile(layer, backend="aot_eager")
    with torch.no_grad():
        engine = compiled(x)[0]
        with gw.backend(name):
            assert torch.equal(compiled(x)[0], layer(x)[0])
            thread_found: list[torch.Tensor] = []
            thread = threading.Thread(target=lambda: thread_found.append(compiled(x)[0]))
            thread.start()
            thread.join()
        assert torch.equal(compiled(x)[0], engine)
    unknown = torch.compile(gw.Recurrent("slstm", 4, 5), backend="aot_eager")
    with gw.backend("torch"), pytest.raises(gw.BackendError, match="slstm"):
        unknown(x)


WRONG: dict[str, tuple[Any, Any]] = {
    "float64 input": (torch.randn(5, 8, 6).double(), None),
    "hx of one row": (torch.randn(5, 8, 6), torch.zeros(1, 1, 7)),
    "hx of other units": (torch.randn(5, 8, 6), torch.zeros(1, 8, 5)),
    "float64 hx": (torch.randn(5, 8, 6), torch.zeros(1, 8, 7).double()),
    "input of other units": (torch.randn(5, 8, 7), None),
    "two states": (torch.randn(5, 8, 6), (torch.zeros(1, 8, 7), torch.zeros(1, 8, 7))),
    "whole numbers": (torch.ones(5, 8, 6, dtype=torch.int64), None),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}])
def test_a_compiled_layer_refuses_what_the_layer_refuses(kind: str, options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    layer = gw.GRU(6, 7, **options)
    x, hx = WRONG[kind]
    with pytest.raises(ValueError, match=r"dtype|expected|units|states|whole|float"):
        layer(x, hx)
    with pytest.raises(ValueError, match=r"dtype|expected|units|states|whole|float"):
        torch.compile(layer, backend="aot_eager")(x, hx)


def test_the_public_operators_check_all_that_they_are_given() -> None:
    layer = gw.LSTM(3, 4)
    x, own = torch.randn(5, 2, 3), [p.detach() for p in layer.parameters()]
    states = [torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)]
    text = describe(layer.stack, (0,))
    stack, backward = torch.ops.gatework.stack, torch.ops.gatework.stack_backward
    good = stack(x, own, states, text, 1)
    torch.testing.assert_close(good[-1], layer(x)[0])
    torch.testing.assert_close(
        stack(x.transpose(0, 1).contiguous().transpose(0, 1), own, states, text, -1)[0], good[-1]
    )
    long = torch.randn(5, 2, 4)
    wrong: list[tuple[Any, ...]] = [
        (x.double(), own, states, text, 1),
        (x.bfloat16(), own, states, text, 1),
        (x[:, :, :2], own, states, text, 1),
        (x[0], own, states, text, 1),
        (x[:0], own, states, text, 1),
        (x, own[:3], states, text, 1),
        (x, [own[0].double(), *own[1:]], states, text, 1),
        (x, [own[0][:, :2], *own[1:]], states, text, 1),
        (x, own, states[:1], text, 1),
        (x, own, [states[0][:, :1], states[1]], text, 1),
        (x, own, [states[0].double(), states[1]], text, 1),
        (x, own, states, text, 2),
    ]
    for given in wrong:
        with pytest.raises(ValueError, match="gatework::stack"):
            stack(*given)
    history, *finals, saved, output = good
    right = (x, own, states, history, saved, output, finals, text, 1)
    assert len(backward(*right)) == len(own) + len(states) + 1
    for index, value in ((3, history[1:]), (4, saved[:-1]), (5, long.double()), (6, finals[:1]), (8, -1)):
        with pytest.raises(ValueError, match="gatework::stack"):
            backward(*(value if place == index else each for place, each in enumerate(right)))
    with torch._subclasses.FakeTensorMode() as mode:
        fake = [mode.from_tensor(p) for p in own]
        assert [v.shape for v in stack(mode.from_tensor(x), fake, [], text, 1)] == [v.shape for v in good]
        with pytest.raises(ValueError, match="gatework::stack"):
            stack(mode.from_tensor(x).double(), fake, [], text, 1)


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
        (x, parameters, [], describe(layer.stack, (0,)), 1),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )


def test_a_compiled_call_is_explained_as_it_runs() -> None:
    torch._dynamo.reset()
    layer, x = gw.GRU(4, 200), torch.randn(1, 3, 4)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert gw.explain(layer, x).name == "torch"  # one step
    for choice in (gw.explain(compiled, x), gw.explain(layer, x, compiled=True)):
        assert choice.name == "llvm"
        assert "compiled graph" in choice.reason
    assert gw.explain(compiled, x, compiled=False) == gw.explain(layer, x)
    with gw.backend("eager"):
        assert gw.explain(compiled, x).name == "eager"
    within = gw.GRU(4, 5)
    within.compile(backend="aot_eager")
    assert gw.explain(within, x).name == "llvm"
    broken = gw.GRU(4, 5, zoneout=0.2)  # its graph breaks, and the call runs as it does outside
    assert gw.explain(broken, x, compiled=True) == gw.explain(broken, x)


def test_a_cell_that_the_engine_refuses_compiles_with_a_break() -> None:
    """The plan is asked before the operator is put into the graph."""
    torch._dynamo.reset()

    @gw.cell
    def shared(x: Any, h: Any) -> Any:
        return gw.tanh(gw.linear("candidate", x, h) + gw.linear("fixed", own=gw.vector("start")))

    layer = gw.Recurrent(shared, 3, 3)
    assert gw.explain(layer, compiled=True).name == "eager"
    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager")(x)[0], layer(x)[0])
