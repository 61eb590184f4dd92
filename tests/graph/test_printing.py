"""Printed equations: the exact text and LaTeX of the two best known cells, and text that, run as Python,
computes what the equations compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gatework as gw

LSTM_TEXT = """\
input = sigmoid(W_ih[input] x + b_ih[input] + W_hh[input] h + b_hh[input])
forget = sigmoid(W_ih[forget] x + b_ih[forget] + W_hh[forget] h + b_hh[forget])
candidate = tanh(W_ih[candidate] x + b_ih[candidate] + W_hh[candidate] h + b_hh[candidate])
output = sigmoid(W_ih[output] x + b_ih[output] + W_hh[output] h + b_hh[output])
c' = forget * c + input * candidate
h' = output * tanh(c')"""

GRU_TEXT = """\
reset = sigmoid(W_ih[reset] x + b_ih[reset] + W_hh[reset] h + b_hh[reset])
update = sigmoid(W_ih[update] x + b_ih[update] + W_hh[update] h + b_hh[update])
candidate = tanh(W_ih[candidate] x + b_ih[candidate] + reset * (W_hh[candidate] h + b_hh[candidate]))
h' = (1 - update) * candidate + update * h"""


def latex_preactivation(gate: str) -> str:
    """W x + b + W h + b of a gate, as the printer writes it."""
    return " + ".join(latex_side(slot, gate, operand) for slot, operand in (("ih", "x_t"), ("hh", "h_{t-1}")))


def latex_side(slot: str, gate: str, operand: str) -> str:
    """W x + b of one slot."""
    above, below = rf"^{{\mathrm{{{slot}}}}}", rf"_{{\mathrm{{{gate}}}}}"
    return f"W{above}{below} {operand} + b{above}{below}"


LSTM_LATEX = (
    "\\begin{aligned}\n"
    + "".join(
        rf"\mathrm{{{gate}}}_t &= {function}\left({latex_preactivation(gate)}\right) \\" + "\n"
        for gate, function in (
            ("input", r"\sigma"),
            ("forget", r"\sigma"),
            ("candidate", r"\tanh"),
            ("output", r"\sigma"),
        )
    )
    + r"c_t &= \mathrm{forget}_t \odot c_{t-1} + \mathrm{input}_t \odot \mathrm{candidate}_t \\"
    + "\n"
    + r"h_t &= \mathrm{output}_t \odot \tanh\left(c_t\right)"
    + "\n\\end{aligned}"
)

GRU_LATEX = "\n".join(
    [
        r"\begin{aligned}",
        rf"\mathrm{{reset}}_t &= \sigma\left({latex_preactivation('reset')}\right) \\",
        rf"\mathrm{{update}}_t &= \sigma\left({latex_preactivation('update')}\right) \\",
        rf"\mathrm{{candidate}}_t &= \tanh\left({latex_side('ih', 'candidate', 'x_t')}"
        rf" + \mathrm{{reset}}_t \odot ({latex_side('hh', 'candidate', 'h_{t-1}')})\right) \\",
        r"h_t &= (1 - \mathrm{update}_t) \odot \mathrm{candidate}_t + \mathrm{update}_t \odot h_{t-1}",
        r"\end{aligned}",
    ]
)


@pytest.mark.parametrize(
    ("name", "text", "latex"), [("lstm", LSTM_TEXT, LSTM_LATEX), ("gru", GRU_TEXT, GRU_LATEX)]
)
def test_the_exact_text_and_latex(name: str, text: str, latex: str) -> None:
    cell = gw.cells.get(name)
    assert cell.equations() == text
    assert cell.latex() == latex


@pytest.mark.parametrize("name", gw.cells.names())
def test_every_cell_says_what_it_is(name: str) -> None:
    cell = gw.cells.get(name)
    described = cell.describe()
    assert any(year in cell.doc for year in map(str, range(1985, 2027))), "no paper"
    for line in cell.equations().splitlines():
        assert line in described
    for gate, _ in cell.graph.gates:
        assert gate in described
    for state in cell.graph.states:
        assert f"{state.name}' = " in cell.equations()
    latex = cell.latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")


@pytest.mark.parametrize("name", gw.cells.names())
def test_the_parameter_count_is_the_layers(name: str) -> None:
    cell = gw.cells.get(name)
    projected = {"proj_size": 5} if name == "projected_lstm" else {}
    further = {size: 4 for size in ("memory_size", "context_size") if size in cell.graph.sizes()}
    layer = gw.Recurrent(cell, 3, 7, **projected, sizes=further)
    sizes = {"input_size": 3, "hidden_size": 7, "proj_size": 5, **further}
    (printed,) = (
        line.removeprefix("parameters")
        for line in cell.describe().splitlines()
        if line.startswith("parameters")
    )
    assert eval(printed.strip(), {}, sizes) == sum(p.numel() for p in layer.parameters())


# Random expressions of two states, written as nested tuples, computed three ways: by Python on floats, by
# tracing and printing, and then by Python from the print.
LEAVES = st.sampled_from(["h", "c", 2.0, -0.5, 3.0])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "<", "<=", ">", "maximum", "minimum"]), inner, inner),
        st.tuples(st.sampled_from(["neg", "square", "cube", "tanh", "abs"]), inner),
        st.tuples(st.just("where"), inner, inner, inner),
    ),
    max_leaves=8,
)


def compute(tree: Any, leaves: dict[str, Any], words: dict[str, Any]) -> Any:
    if isinstance(tree, str):
        return leaves[tree]
    if isinstance(tree, float):
        return words["number"](tree)
    op, *rest = tree
    args = [compute(part, leaves, words) for part in rest]
    match op:
        case "+":
            return args[0] + args[1]
        case "-":
            return args[0] - args[1]
        case "*":
            return args[0] * args[1]
        case "/":
            return args[0] / args[1]
        case "<":
            return words["float"](args[0] < args[1])
        case "<=":
            return words["float"](args[0] <= args[1])
        case ">":
            return words["float"](args[0] > args[1])
        case "neg":
            return -args[0]
        case "square":
            return args[0] ** 2
        case "cube":
            return args[0] ** 3
        case _:
            return words[op](*args)


NUMBERS = {
    "number": lambda v: torch.tensor(v, dtype=torch.float64),
    "float": lambda v: v.double(),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "where": lambda c, a, b: torch.where(c != 0, a, b),
}


def equations_of(tree: Any) -> str:
    words = {name: getattr(gw, name) for name in ("maximum", "minimum", "tanh", "abs", "where")}

    def traced(x: Any, h: Any, c: Any) -> Any:
        # 0 * h gives the width of a state to an expression of numbers alone
        value = compute(
            tree,
            {"h": h, "c": c},
            {"number": float, "float": lambda v: float(v) if isinstance(v, bool) else v, **words},
        )
        return value + 0.0 * h, c

    traced.__name__ = "random_cell"
    return gw.cell(traced).equations()


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(TREES)
def test_the_text_run_as_python_computes_the_equations(tree: Any) -> None:
    h, c = (
        torch.tensor([0.3, -1.1, 2.0, 0.0], dtype=torch.float64),
        torch.tensor([1.5, -0.2, 0.0, 0.7]).double(),
    )
    try:
        text = equations_of(tree)
    except (
        ZeroDivisionError,
        TypeError,
        AttributeError,
        OverflowError,
    ):  # numbers alone, which Python computes
        return
    expected = compute(tree, {"h": h, "c": c}, NUMBERS) + 0.0 * h
    names: dict[str, Any] = {
        "h": h,
        "c": c,
        "tanh": lambda e: torch.tanh(as_double(e)),
        "abs": lambda e: torch.abs(as_double(e)),
        "maximum": lambda a, b: torch.maximum(as_double(a), as_double(b)),
        "minimum": lambda a, b: torch.minimum(as_double(a), as_double(b)),
        "where": lambda p, a, b: torch.where(as_double(p) != 0, as_double(a), as_double(b)),
    }
    for line in text.splitlines():
        name, _, value = line.partition(" = ")
        result = eval(value.replace("'", "_new"), {}, names)
        names[name.replace("'", "_new")] = as_double(result)
    torch.testing.assert_close(names["h_new"], expected, equal_nan=True)


def as_double(value: Any) -> torch.Tensor:
    """A tensor of what an equation computes: a number, a truth value, a tensor of either."""
    return torch.as_tensor(value).double()


def test_a_comparison_inside_arithmetic_has_brackets() -> None:
    @gw.cell
    def counting(x: Any, h: Any) -> Any:
        return (h > 0) + h

    assert counting.equations() == "h' = (0 < h) + h"


def test_show_prints_every_stage_and_names_the_right_one() -> None:
    lstm = gw.cells.get("lstm")
    assert gw.show(lstm, "trace") == lstm.equations()
    assert "W_ih[forget]^T" in gw.show(lstm, "derive")
    with pytest.raises(ValueError, match="Did you mean 'derive'"):
        gw.show(lstm, "derived")
