"""The derived backward graph equals autograd in float64: for the whole catalogue, for every operation, and at
the kinks and ties, where torch's choice of subgradient is ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gatework as gw
from gatework.graph import lower
from gatework.graph.derive import derive
from gatework.graph.expand import expand
from gatework.graph.keys import ArrayKey
from gatework.graph.lower_attention import attention_by_rows
from gatework.graph.ops import OPS, VARIADIC
from gatework.graph.simplify import simplify
from tests.contracts.derivative import check_derivative
from tests.graph.evaluate import ATTRIBUTES, Leaves, evaluate, random_leaves
from tests.tolerances import ROUNDING, assert_close

SORTS = ("elementwise", "composite", "broadcast", "reduction")


@gw.cell
def every_operation(x: Any, h: Any, c: Any, d: gw.Input, s: gw.Static, *, scale: float = 0.7) -> Any:
    """Many operations, on arguments away from kinks and poles."""
    a = gw.linear("a", x, h)
    b = gw.linear("b", x, h, gap=d, speaker=s)
    scalar = gw.sigmoid(gw.linear("scalar", x, h, size=1))
    p, q = gw.layer_norm("pair", a, b)
    positive = 1.0 + a * a
    pieces = (
        gw.sigmoid(a) - gw.tanh(b) / positive,
        gw.relu(a) + gw.leaky_relu(b, slope=0.2) * gw.elu(a, alpha=0.8),
        gw.softplus(a) - gw.softsign(b) + gw.log_sigmoid(a),
        gw.hard_sigmoid(a, slope=0.2) + gw.hard_sigmoid(b),
        gw.exp(-positive) + gw.log(positive) * gw.sqrt(positive),
        gw.abs(a) + gw.sin(b) - gw.cos(a),
        gw.maximum(a, b) * gw.minimum(a, scalar) + gw.clip(a, -0.5, 0.5),
        gw.where(a > b, a, c) + gw.where(c <= a, 0.5, b),
        gw.stop_gradient(a) * b + positive**0.5 + a**3 + 2**b,
        gw.softmax(a) * scalar,
        gw.vector("peephole") * c + gw.layer_norm("single", c),
    )
    for piece in pieces:
        c = c + scale * piece
    gw.emit("pieces", p * scalar)
    return gw.tanh(c) * q, c


@pytest.mark.parametrize("name", gw.cells.names())
@pytest.mark.parametrize("rows", [1, 7])
def test_the_derived_graph_equals_autograd(name: str, rows: int) -> None:
    graph = attention_by_rows(gw.cells.get(name).graph)
    check_derivative(graph, derive(graph), rows)
    check_derivative(graph, lower(graph, "derive"), rows)


def test_two_attentions_to_one_memory_add_their_gradients() -> None:
    @gw.cell
    def twice(x: Any, h: Any, memory: gw.Memory(size="hidden_size")) -> Any:  # type: ignore[valid-type]
        first = gw.attend("first", h, memory, score="dot")
        second = gw.attend("second", first, memory, size=3)
        return gw.tanh(gw.linear("candidate", x, h, context=first + second))

    graph = attention_by_rows(twice.graph)
    derived = derive(graph)
    assert [key for key, _ in derived.outputs if key.kind == "memory_gradient" and key.name == "memory"] == [
        ArrayKey("memory_gradient", "memory", "0"),
        ArrayKey("memory_gradient", "memory", "1"),
    ]
    check_derivative(graph, derived)


def test_an_attention_by_location_equals_autograd() -> None:
    @gw.cell
    def locating(x: Any, h: Any, memory: gw.Memory(size="hidden_size")) -> Any:  # type: ignore[valid-type]
        context = gw.attend("source", h, memory, score="location", size=3)
        return gw.tanh(gw.linear("candidate", x, h, context=context))

    graph = attention_by_rows(locating.graph)
    check_derivative(graph, derive(graph))
    check_derivative(graph, lower(graph, "derive"))


def test_many_operations_in_one_cell_equal_autograd() -> None:
    graph = every_operation.graph
    for _ in range(5):
        check_derivative(graph, derive(graph))
        check_derivative(graph, lower(graph, "derive"))


@pytest.mark.parametrize("op", [op for op, row in OPS.items() if row.sort in SORTS])
@pytest.mark.parametrize("low", [0.05, -0.95])
def test_an_operation_equals_autograd(op: str, low: float) -> None:
    """On arguments between `low` and 0.95: within the domain of every operation, and where it has one, below 0."""
    row = OPS[op]
    for attributes in ATTRIBUTES.get(op, ({},)):

        def applied(x: Any, h: Any, *, attributes: Any = attributes) -> Any:
            count = 2 if row.arity == VARIADIC else row.arity
            pre = [gw.linear(f"gate_{place}", x, h) for place in range(count)]
            args = [low + (0.95 - low) * gw.sigmoid(e) for e in pre]
            width = {"reduction": 1, "broadcast": "hidden_size"}.get(row.sort)
            if row.sort == "broadcast":
                args = [gw.linear("narrow", x, h, size=1)]
            result = h * x.builder.apply(op, *args, width=width, **attributes)
            return sum(args, result)  # so that a gradient reaches them where the operation has none

        graph = gw.cell(applied).graph
        leaves = random_leaves(graph, {"input_size": 2, "hidden_size": 3}, 9)
        if low < 0 and not evaluate(graph, leaves)[ArrayKey("state", "h")].isfinite().all():
            continue  # a logarithm, a root
        check_derivative(graph, derive(graph))
        check_derivative(graph, lower(graph, "derive"))


def test_the_comparison_sees_a_wrong_adjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "tanh", replace(OPS["tanh"], adjoint=lambda g, y, a: (g * (1 - y),)))
    graph = gw.cells.get("lstm").graph
    with pytest.raises(AssertionError):
        check_derivative(graph, derive(graph))


def test_every_operation_of_a_step_has_a_derivative() -> None:
    without = {op for op, row in OPS.items() if row.adjoint is None and row.expansion is None}
    without -= {op for op, row in OPS.items() if row.sort in ("leaf", "gradient")}
    # what stands in derived graphs alone; `align` is expanded by a pass of its own
    assert without == {
        "gate_matmul_transposed",
        "masked_softmax_gradient",
        "additive_score_gradient",
        "location_score_gradient",
        "location_gradient",
        "attention_weights",
    }


# What torch does at the point itself. Arguments: a function of the equations, torch's, and where.
UNARY_KINKS: dict[str, tuple[Callable[..., Any], Callable[..., Tensor], list[float]]] = {
    "relu": (gw.relu, torch.relu, [0.0, -0.0, 1.0]),
    "leaky_relu": (lambda e: gw.leaky_relu(e, slope=0.3), lambda e: F.leaky_relu(e, 0.3), [0.0, -0.0]),
    "elu": (lambda e: gw.elu(e, alpha=0.4), lambda e: F.elu(e, 0.4), [0.0, -0.0, 800.0, -800.0]),
    "abs": (gw.abs, torch.abs, [0.0, -0.0]),
    "softsign": (gw.softsign, F.softsign, [0.0]),
    "clip": (lambda e: gw.clip(e, -1.0, 2.0), lambda e: e.clamp(-1.0, 2.0), [-1.0, 2.0, -1.5, 2.5]),
    "hard_sigmoid": (gw.hard_sigmoid, F.hardsigmoid, [-3.0, 3.0, 0.0, -3.5, 3.5]),
    "sqrt": (gw.sqrt, torch.sqrt, [0.0, 1e-300]),
    "softplus": (gw.softplus, lambda e: torch.logaddexp(e, torch.zeros_like(e)), [0.0, 800.0, -800.0]),
    "log_sigmoid": (gw.log_sigmoid, F.logsigmoid, [0.0, 800.0, -800.0]),
    "square": (lambda e: e**2, lambda e: e**2, [0.0]),
    "power_one": (lambda e: e**1, lambda e: e**1, [0.0]),
    "power_zero": (lambda e: e**0 + e, lambda e: e**0 + e, [0.0]),
    "root": (lambda e: e**0.5, lambda e: e**0.5, [0.0, 4.0]),
    "maximum_with_number": (
        lambda e: gw.maximum(e, 1.0),
        lambda e: torch.maximum(e, torch.ones_like(e)),
        [1.0],
    ),
    "minimum_with_number": (
        lambda e: gw.minimum(1.0, e),
        lambda e: torch.minimum(torch.ones_like(e), e),
        [1.0],
    ),
    "where_with_a_pole": (
        lambda e: gw.where(e > 0, gw.sqrt(gw.maximum(e, 0.0)), e),
        lambda e: torch.where(e > 0, torch.sqrt(torch.maximum(e, torch.zeros_like(e))), e),
        [-1.0, 4.0],
    ),
}


@pytest.mark.parametrize("kink", UNARY_KINKS)
def test_kinks_have_torchs_subgradient(kink: str) -> None:
    ours, theirs, points = UNARY_KINKS[kink]

    def kinked(x: Any, h: Any) -> Any:
        return ours(h)

    h = torch.tensor([points], dtype=torch.float64, requires_grad=True)
    value = theirs(h)
    expected = torch.autograd.grad(value, h, torch.full_like(value, 1.7))[0]
    # torch's holds 1/6 in float32, whatever the dtype
    held = torch.float32 if kink == "hard_sigmoid" else torch.float64
    graph = gw.cell(kinked).graph
    leaves = Leaves(
        {"x": torch.zeros(1, 1)}, {"h": h.detach()}, {"hidden_size": len(points), "input_size": 1}
    )
    leaves.cotangents = {ArrayKey("state", "h"): torch.full_like(h, 1.7).detach()}
    for stage in (graph, simplify(graph), expand(graph)):
        assert_close(evaluate(stage, leaves)[ArrayKey("state", "h")], value.detach(), ROUNDING, dtype=held)
    for derived in (derive(graph), lower(graph, "derive")):
        got = evaluate(derived, leaves)[ArrayKey("state_gradient", "h")].expand_as(h)
        assert_close(got, expected, ROUNDING, dtype=held, equal_nan=True)
    # the eager backend, which torch itself differentiates
    layer = gw.Recurrent(gw.cell(kinked), 1, len(points), dtype=torch.float64)
    with gw.backend("eager"):
        output, _ = layer(torch.zeros(1, 1, 1, dtype=torch.float64), h[None])
    eager = torch.autograd.grad(output, h, torch.full_like(output, 1.7))[0]
    assert_close(eager, expected, ROUNDING, dtype=held, equal_nan=True)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_share_the_gradient(name: str) -> None:
    def tied(x: Any, h: Any, c: Any) -> Any:
        return getattr(gw, name)(h, c), c

    h = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([[1.0, 1.0, 4.0]], dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(getattr(torch, name)(h, c).sum(), (h, c))
    graph = gw.cell(tied).graph
    leaves = Leaves({"x": torch.zeros(1, 1)}, {"h": h.detach(), "c": c.detach()}, {"hidden_size": 3})
    leaves.cotangents = {
        ArrayKey("state", "h"): torch.ones(1, 3).double(),
        ArrayKey("state", "c"): torch.zeros(1, 3).double(),
    }
    got = evaluate(derive(graph), leaves)
    torch.testing.assert_close(
        (got[ArrayKey("state_gradient", "h")], got[ArrayKey("state_gradient", "c")]), expected
    )


def test_a_softmax_owes_nothing_to_its_shift() -> None:
    def shared(x: Any, h: Any) -> Any:
        return gw.softmax(h)

    h = torch.tensor([[1.0, 1.0, 900.0], [2.0, 2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, dtype=torch.float64)
    (expected,) = torch.autograd.grad((torch.softmax(h, -1) * weights).sum(), h)
    leaves = Leaves(
        {"x": torch.zeros(1, 1)},
        {"h": h.detach()},
        {"hidden_size": 3},
        cotangents={ArrayKey("state", "h"): weights},
    )
    torch.testing.assert_close(
        evaluate(derive(gw.cell(shared).graph), leaves)[ArrayKey("state_gradient", "h")], expected
    )


def test_a_largest_unit_that_is_tied_shares_the_gradient() -> None:
    """`largest` is not in the language, but expansion writes it, and its adjoint is torch.amax's."""
    graph = expand(gw.cell(lambda_softmax).graph)
    index = next(i for i, node in enumerate(graph.nodes) if node.op == "max")
    graph = replace(graph, outputs=(*graph.outputs, (ArrayKey("emit", "max"), index)))
    h = torch.tensor([[1.0, 3.0, 3.0]], dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(h.amax(-1).sum(), h)
    leaves = Leaves({"x": torch.zeros(1, 1)}, {"h": h.detach()}, {"hidden_size": 3})
    leaves.cotangents = {
        ArrayKey("state", "h"): torch.zeros(1, 3).double(),
        ArrayKey("emit", "max"): torch.ones(1, 1).double(),
    }
    torch.testing.assert_close(evaluate(derive(graph), leaves)[ArrayKey("state_gradient", "h")], expected)


def lambda_softmax(x: Any, h: Any) -> Any:
    return gw.softmax(h)
