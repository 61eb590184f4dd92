"""Simplification and expansion keep every value, infinities and NaN included, and do what they are for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings

import gatework as gw
from gatework.graph import Graph, lower, verify
from gatework.graph.expand import expand
from gatework.graph.keys import ArrayKey
from gatework.graph.ops import OPS
from gatework.graph.simplify import simplify
from tests.contracts.cell_contract import ALONE
from tests.graph.evaluate import Leaves, evaluate, random_leaves
from tests.graph.test_printing import TREES, compute
from tests.tolerances import ROUNDING, assert_close

SIZES = {"input_size": 3, "hidden_size": 4, "proj_size": 2}
EXTREMES = [0.0, -0.0, 1.0, -2.5, 1e30, -1e30, float("inf"), -float("inf"), float("nan")]


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("stage", ["simplify", "expand"])
def test_a_pass_keeps_the_values_of_a_cell(name: str, stage: Any) -> None:
    graph = gw.cells.get(name).graph
    leaves = random_leaves(graph, SIZES, 5)
    expected, got = evaluate(graph, leaves), evaluate(lower(graph, stage), leaves)
    assert list(got) == list(expected)
    for key, value in expected.items():
        assert_close(got[key], value, ROUNDING)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(TREES)
def test_a_pass_keeps_the_values_of_any_expression(tree: Any) -> None:
    words = {name: getattr(gw, name) for name in ("maximum", "minimum", "tanh", "abs", "where")}
    words |= {"number": float, "float": lambda v: float(v) if isinstance(v, bool) else v}

    def random_cell(x: Any, h: Any, c: Any) -> Any:
        return compute(tree, {"h": h, "c": c}, words) * 1.0 + 0.0 * h, c

    try:
        graph = gw.cell(random_cell).graph
    except (ZeroDivisionError, OverflowError):  # of numbers alone, which Python computes by itself
        return
    h, c = torch.meshgrid(*[torch.tensor(EXTREMES, dtype=torch.float64)] * 2, indexing="ij")
    leaves = Leaves(
        {"x": torch.zeros(1, 1)},
        {"h": h.reshape(1, -1), "c": c.reshape(1, -1)},
        {"hidden_size": len(EXTREMES) ** 2},
    )
    expected = evaluate(graph, leaves)[ArrayKey("state", "h")]
    for passed in (simplify(graph), expand(graph), simplify(expand(graph))):
        verify(passed)
        torch.testing.assert_close(evaluate(passed, leaves)[ArrayKey("state", "h")], expected, equal_nan=True)


def test_constants_fold_and_neutral_elements_go() -> None:
    @gw.cell
    def wordy(x: Any, h: Any) -> Any:
        return -((-(1.0 * h + 0.0) / 1.0) ** 1) * gw.where(gw.vector("v") * 0 + 1 > 0.5, 1.0, 2.0)

    @gw.cell
    def plain(x: Any, h: Any) -> Any:
        return gw.maximum(2.0, gw.abs(-3.0)) * (1.0 * (h + 0.0) - 0.0) / 1.0

    assert simplify(plain.graph) == simplify(simplify(plain.graph))
    assert ops(simplify(plain.graph)).count("mul") == 1
    assert "add" not in ops(simplify(plain.graph))
    assert gw.show(plain, "simplify") == "h' = 3 * h"
    assert len(ops(simplify(wordy.graph))) < len(ops(wordy.graph))


def test_zero_times_something_stays() -> None:
    @gw.cell
    def nothing(x: Any, h: Any) -> Any:
        return 0.0 * h

    assert gw.show(nothing, "simplify") == "h' = 0 * h"


def test_dead_nodes_go_and_declared_inputs_stay() -> None:
    @gw.cell
    def idle(x: Any, h: Any, d: gw.Input) -> Any:
        gw.tanh(h) * 3.0
        return gw.sigmoid(h)

    graph = simplify(idle.graph)
    assert ops(graph) == ["state", "sigmoid"]
    assert [spec.name for spec in graph.inputs] == ["x", "d"]


@pytest.mark.parametrize("name", ALONE)
def test_expansion_leaves_basic_operations(name: str) -> None:
    graph = lower(gw.cells.get(name).graph, "expand")
    assert not {op for op in ops(graph) if OPS[op].sort == "composite"}


COMPOSITES: dict[str, Any] = {
    "clip": lambda e: gw.clip(e, -1.0, 2.0),
    "leaky_relu": gw.leaky_relu,
    "elu": gw.elu,
    "softsign": gw.softsign,
    "log_sigmoid": gw.log_sigmoid,
    "hard_sigmoid": lambda e: gw.hard_sigmoid(e, slope=0.2),
    "softmax": gw.softmax,
}


@pytest.mark.parametrize("op", sorted(op for op, row in OPS.items() if row.expansion and row.arity == 1))
def test_an_expansion_keeps_the_value(op: str) -> None:
    def composite(x: Any, h: Any) -> Any:
        return COMPOSITES[op](h)

    values = [0.0, -1.0, 2.0, 3.0, -40.0, 40.0, 700.0, -700.0]
    rows = torch.tensor([values, [1e300 if op != "softmax" else 5.0] * 8], dtype=torch.float64)
    leaves = Leaves({"x": torch.zeros(1, 1)}, {"h": rows}, {"hidden_size": 8})
    graph = gw.cell(composite).graph
    key = ArrayKey("state", "h")
    assert_close(evaluate(expand(graph), leaves)[key], evaluate(graph, leaves)[key], ROUNDING)
