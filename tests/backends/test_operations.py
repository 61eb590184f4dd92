"""Every operation on every backend is torch's, values and gradients: at ordinary points, kinks, ties, signed zeros,
infinities and NaN, in float64 and float32. The reference is the tests' own interpreter, which autograd
differentiates."""

from __future__ import annotations

import inspect
from functools import lru_cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

import gatework as gw
from gatework.backends.selection import BACKENDS
from gatework.graph import Node
from gatework.graph.ops import OPS, VARIADIC, Op
from tests.graph.evaluate import ATTRIBUTES, FUNCTIONS, WITH_ATTRIBUTES
from tests.tolerances import OPERATIONS, assert_close

SORTS = ("elementwise", "composite", "broadcast", "reduction")  # the others have contracts of their own
CASES = {
    f"{op}{list(attributes.values()) or ''}": (op, attributes)
    for op, what in OPS.items()
    if what.sort in SORTS
    for attributes in ATTRIBUTES.get(op, ({},))
}
NAN, INF = float("nan"), float("inf")
POINTS = (NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 2.0, -2.0, 0.5)
ORDINARY = (-2.5, -1.0, -0.7, -0.3, 0.2, 0.5, 1.0, 1.9, 3.1)
ROWS, UNITS = 192, 19  # of any three operands every one of POINTS meets each of the others in some row


def operand_count(op: str) -> int:
    return 2 if OPS[op].arity == VARIADIC else OPS[op].arity


def operands(op: str, dtype: torch.dtype) -> list[Tensor]:
    """(1, ROWS, UNITS) each, of ordinary values, with one of POINTS in each row: all tuples of them take part."""
    generator = torch.Generator().manual_seed(7)
    count = operand_count(op)
    width = 1 if OPS[op].sort == "broadcast" else UNITS
    tuples = list(product(POINTS, repeat=count)) if count < 3 else list(product(POINTS[:5], repeat=count))
    found = []
    for place in range(count):
        picked = torch.randint(len(ORDINARY), (1, ROWS, width), generator=generator)
        values = torch.tensor(ORDINARY, dtype=dtype)[picked]
        for row in range(ROWS):
            values[0, row, 5 * row % width] = tuples[row % len(tuples)][place]
        found.append(values.requires_grad_())
    return found


def expected(op: str, attributes: dict[str, Any], values: list[Tensor]) -> Tensor:
    """The operation as the tests' interpreter has it."""
    if op in FUNCTIONS:
        return FUNCTIONS[op](*values)
    if op == "broadcast":
        return values[0].expand(1, ROWS, UNITS)
    if op == "layer_norm":
        joined = torch.cat(values, -1)
        normal = torch.nn.functional.layer_norm(joined, joined.shape[-1:], eps=attributes["epsilon"])
        return normal.split(UNITS, -1)[attributes["index"]]
    return WITH_ATTRIBUTES[op](Node(op, (), tuple(sorted(attributes.items()))), *values)


def layer_of(cases: tuple[str, ...], dtype: torch.dtype) -> tuple[gw.Recurrent, dict[str, tuple[str, int]]]:
    """A layer whose cell emits every case as `case_0`, …, each of operands of its own, and the inputs' names with
    the case and the place that each is the operand of."""
    streams = {
        f"operand_{place}_{number}": (case, place)
        for number, case in enumerate(cases)
        for place in range(operand_count(CASES[case][0]))
    }

    def everything(x: Any, h: Any, *values: Any) -> Any:
        own = dict(zip(streams.values(), values, strict=True))
        for number, case in enumerate(cases):
            op, attributes = CASES[case]
            args = [own[case, place] for place in range(operand_count(op))]
            width = {"broadcast": "hidden_size", "reduction": 1}.get(OPS[op].sort)
            gw.emit(f"case_{number}", x.builder.apply(op, *args, width=width, **attributes))
        return h

    def parameter(name: str, annotation: Any = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)

    def size(case: str) -> Any:
        return 1 if OPS[CASES[case][0]].sort == "broadcast" else "hidden_size"

    annotated = [parameter(name, gw.Input(size=size(case))) for name, (case, _) in streams.items()]
    signature = inspect.Signature([parameter("x"), parameter("h"), *annotated])
    everything.__signature__ = signature  # type: ignore[attr-defined]
    return gw.Recurrent(gw.cell(everything), 1, UNITS, dtype=dtype), streams


@lru_cache(maxsize=256)
def refusal(backend: str, case: str) -> str | None:
    """Why a backend does not run a case; None where it does."""
    layer, _ = layer_of((case,), torch.float64)
    with gw.backend(backend):
        try:
            gw.explain(layer, torch.zeros(1, ROWS, 1, dtype=torch.float64))
        except gw.BackendError as error:
            return str(error)
    return None


@lru_cache(maxsize=8)
def computed(backend: str, dtype: torch.dtype) -> dict[str, tuple[Tensor, list[Tensor]]]:
    """Values and gradients of every case that a backend runs."""
    cases = tuple(case for case in CASES if refusal(backend, case) is None)
    layer, streams = layer_of(cases, dtype)
    given = {case: operands(CASES[case][0], dtype) for case in cases}
    inputs = {name: given[case][place] for name, (case, place) in streams.items()}
    with gw.backend(backend):
        output, _ = layer(torch.zeros(1, ROWS, 1, dtype=dtype), inputs=inputs)
        results = {case: output[f"case_{number}"] for number, case in enumerate(cases)}
        loss = torch.stack([(value * cotangent(value)).sum() for value in results.values()]).sum()
        leaves = [value for values in given.values() for value in values]
        flat = iter(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    return {case: (results[case].detach(), [next(flat) for _ in values]) for case, values in given.items()}


def cotangent(value: Tensor) -> Tensor:
    """The gradient that flows into a result: it differs everywhere."""
    return torch.linspace(0.5, 1.5, value.numel()).to(value).view_as(value)


@pytest.mark.parametrize("dtype", OPERATIONS, ids=str)
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "torch"])
@pytest.mark.parametrize("case", CASES)
def test_an_operation_is_torchs(case: str, backend: str, dtype: torch.dtype) -> None:
    op, attributes = CASES[case]
    why_not = refusal(backend, case)
    if why_not is not None:
        assert "has no code for the operation" in why_not
        return
    values = operands(op, dtype)
    result = expected(op, attributes, values)
    gradients = [torch.zeros_like(value) for value in values]
    if result.requires_grad:
        found = torch.autograd.grad(result, values, cotangent(result), allow_unused=True)
        gradients = [zero if g is None else g for g, zero in zip(found, gradients, strict=True)]
    got, got_gradients = computed(backend, dtype)[case]
    assert_close(got, result.detach().to(dtype), OPERATIONS, equal_nan=True)
    for mine, torchs in zip(got_gradients, gradients, strict=True):
        assert_close(mine, torchs, OPERATIONS, equal_nan=True)


@gw.cell
def of_single_units(
    x: Any, h: Any, scale: gw.State(size=1), gain: gw.Input(size=1), level: gw.Static(size=1)
) -> Any:  # type: ignore[valid-type]
    gate = gw.linear("gate", x, h, size=1)  # without an activation: its gradient is a sum over the units
    candidate = gw.softmax(gw.linear("candidate", x, h)) * gate
    return candidate * scale * gain + level * h, scale


def test_a_sum_over_the_units_that_is_read_outside_its_step_is_written() -> None:
    """Gradients of values of one unit are such sums, and so is what a softmax keeps for its backward step."""
    layer = gw.Recurrent(of_single_units, 4, 6, dtype=torch.float64)
    x, gain, level = (torch.randn(shape, dtype=torch.float64) for shape in ((5, 3, 4), (5, 3, 1), (3, 1)))
    start = torch.randn(1, 3, 6).double(), torch.randn(1, 3, 1).double()
    leaves = [value.requires_grad_() for value in (x, gain, level, *start)] + list(layer.parameters())
    found = {}
    for backend in ("eager", "llvm"):
        with gw.backend(backend):
            output, _ = layer(x, start, inputs={"gain": gain, "level": level})
            found[backend] = torch.autograd.grad((output * cotangent(output)).sum(), leaves)
    torch.testing.assert_close(found["llvm"], found["eager"])


def planted(monkeypatch: pytest.MonkeyPatch, name: str, row: Op) -> gw.Cell:
    """A cell that uses an operation which the table has for this test alone."""
    monkeypatch.setitem(OPS, name, row)

    @gw.cell
    def with_planted(x: Any, h: Any) -> Any:
        pre = gw.linear("candidate", x, h)
        return pre.builder.apply(name, pre)

    return with_planted


def test_an_operation_without_the_engines_code_is_refused_and_runs_on_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Op("elementwise", 1, adjoint=lambda g, y, a: (g * y,), eager=lambda e: e.sinh() + e.cosh())
    cell = planted(monkeypatch, "planted", row)
    layer, x = gw.Recurrent(cell, 3, 5), torch.randn(4, 2, 3, requires_grad=True)
    reason = "the engine has no code for the operation planted"
    choice = gw.explain(layer, x)
    assert choice.name == "eager"
    assert reason in choice.reason
    with gw.backend("llvm"), pytest.raises(gw.BackendError, match=reason):
        layer(x)
    output, _ = layer(x)
    (gradient,) = torch.autograd.grad(output.sum(), x)
    assert gradient.any()


def test_an_adjoint_without_the_engines_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "planted_derivative", Op("elementwise", 1, eager="cosh"))
    row = Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g * a.builder.apply("planted_derivative", a),),
        eager="sinh",
        code="sin",  # the engine could compute it, but for its derivative
    )
    cell = planted(monkeypatch, "planted_known", row)
    layer = gw.Recurrent(cell, 3, 5)
    with (
        gw.backend("llvm"),
        pytest.raises(gw.BackendError, match="no code for the operation planted_derivative"),
    ):
        layer(torch.randn(4, 2, 3))


def test_an_operation_written_in_others_needs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def expansion(node: Node, e: Any) -> Any:
        return 0.5 * (e.builder.apply("exp", e) - e.builder.apply("exp", -e))

    cell = planted(monkeypatch, "planted_composite", Op("composite", 1, expansion=expansion, eager="sinh"))
    layer, x = gw.Recurrent(cell, 3, 5, dtype=torch.float64), torch.randn(4, 2, 3).double()
    found = []
    for backend in ("eager", "llvm"):
        with gw.backend(backend):
            output, _ = layer(x)
            found.append((output, torch.autograd.grad(output.sum(), layer.weight_hh_l0)))
    torch.testing.assert_close(found[0], found[1])


def test_every_operation_is_compared() -> None:
    compared = {op for op, _ in CASES.values()}
    others = {op for op, row in OPS.items() if row.sort in ("leaf", "matmul", "attention", "gradient")}
    assert compared | others == set(OPS)  # the others: tests/contracts and tests/graph/test_derive.py
    assert not compared & others


def test_the_engine_has_code_for_the_table_and_none_beside_it() -> None:
    from gatework.backends.llvm.codegen.lower import SUPPORTED

    assert {row.code for row in OPS.values()} - {""} == SUPPORTED
    assert not [op for op, row in OPS.items() if row.code and row.expansion]
