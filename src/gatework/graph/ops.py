"""The table of operations: a row says everything that is known of one.

What a row leaves out is refused by those who need it, and named by the tests: an operation without an adjoint or an
expansion has no derivative, one without the engine's code runs on the eager reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gatework.graph import adjoints, expansions, formats, torch_functions
from gatework.graph.adjoints import Gradients, apply, where
from gatework.graph.builder import Expr
from gatework.graph.formats import ADD, ATOM, MULTIPLY, POWER, UNARY, Format, infix, template
from gatework.graph.node import RESULT, Node, OnMemory

Sort = Literal[
    "leaf", "elementwise", "broadcast", "composite", "reduction", "matmul", "attention", "gradient"
]
Cost = Literal["cheap", "costly", "transcendental"]
VARIADIC = -1
SCORES = ("additive", "dot", "general", "location")


@dataclass(frozen=True, slots=True)
class Op:
    """An operation.

    Attributes:
        sort: `leaf` reads from outside; `elementwise` works unit by unit and broadcasts width 1;
            `composite` is written in others by the expand pass; `reduction` runs over the units and has
            width 1; `matmul` is a product with a gate's block of a weight; `attention` reads all steps of a
            row's memory; `gradient` stands only in derived graphs.
        arity: number of arguments, or VARIADIC for one or more.
        attributes: names of the attributes, sorted.
        adjoint: from the gradient of the result, the result and the arguments to the gradients of the arguments, None
            where none flows.
        expansion: of a composite operation: from its node and its arguments to its value, in other operations.
        eager: the torch function of the arguments and then the attributes, in their order: its name in `torch`, or a
            function. None where the backend needs more than the arguments (`backends/eager.py`).
        code: the engine's code for it, by name (`backends/llvm/codegen`: `elementwise.py`, `attention_code.py`); empty
            where the engine has none.
        fold: the value for constant arguments.
        cost: a unit's work: `cheap` is about that of reading the result back from memory, `costly` a quotient's,
            `transcendental` a polynomial's.
        text, latex: how it is printed; None is a call by its name; in LaTeX a text is the command that is called.
        activation: its result is the gate of the pre-activation that it is applied to.
        per_step: the value differs from step to step by what a loop over time carries or by a row's own memory,
            so that it, and what is computed from it, cannot be computed for all steps at once.
        on_memory: of an operation that a pass has made to work on a row's memory: the widths of its arguments.
        traced: it may stand in the graph of a cell; others are made by passes alone.
        file_name: its name in `cell.json`, where that is another: files keep the names that they had at first.
    """

    sort: Sort
    arity: int
    attributes: tuple[str, ...] = ()
    adjoint: Callable[..., Gradients] | None = None
    expansion: Callable[..., Expr] | None = None
    eager: str | Callable[..., Any] | None = None
    code: str = ""
    fold: Callable[..., float] | None = None
    cost: Cost = "cheap"
    text: Format | None = None
    latex: Format | str | None = None
    activation: bool = False
    per_step: bool = False
    on_memory: OnMemory | None = None
    traced: bool = True
    file_name: str = ""


def _leaf(*attributes: str, **row: Any) -> Op:
    return Op("leaf", 0, attributes, **{"code": "leaf", **row})


def _on_memory(
    code: str, arity: int, widths: OnMemory, adjoint: Callable[..., Gradients] | None = None
) -> Op:
    return Op("attention", arity, adjoint=adjoint, code=code, on_memory=widths, traced=False)


def _comparison(
    symbol: str, latex: str, fold: Callable[..., bool], eager: Callable[..., Any], code: str
) -> Op:
    """A comparison: 1.0 where it holds and 0.0 elsewhere, without a gradient."""
    return Op(
        "elementwise",
        2,
        adjoint=lambda g, y, a, b: (None, None),
        eager=lambda a, b: eager(a, b).to(a.dtype),
        code=code,
        fold=lambda a, b: float(fold(a, b)),
        text=formats.comparison(symbol),
        latex=formats.comparison(latex),
    )


OPS: dict[str, Op] = {
    # leaves
    "constant": _leaf("value", text=formats.constant, latex=formats.constant),
    "input": _leaf("name"),
    "static": _leaf("name"),
    "memory": _leaf("name", per_step=True),
    "state": _leaf("name", per_step=True),
    "bias": _leaf(
        "gate", "slot", text=template("b_{slot}[{gate}]"), latex=formats.latex_block("b", operand=False)
    ),
    "vector": _leaf("name", text=template("{name}"), latex=formats.latex_named),
    "size": _leaf("of", text=template("size({of})")),  # the number of units of a width, as a value
    "array": _leaf("kind", "name", traced=False),  # one vector a step that a pass hands to another graph
    "cotangent": _leaf("kind", "name", text=formats.gradient_in, per_step=True, traced=False),  # of an output
    # elementwise, basic
    "add": Op(
        "elementwise",
        2,
        adjoint=lambda g, y, a, b: (g, g),
        eager="add",
        code="add",
        fold=lambda a, b: a + b,
        text=infix(" + ", ADD),
        latex=infix(" + ", ADD),
    ),
    "sub": Op(
        "elementwise",
        2,
        adjoint=lambda g, y, a, b: (g, -g),
        eager="sub",
        code="sub",
        fold=lambda a, b: a - b,
        text=infix(" - ", ADD, right=MULTIPLY),
        latex=infix(" - ", ADD, right=MULTIPLY),
    ),
    "mul": Op(
        "elementwise",
        2,
        adjoint=lambda g, y, a, b: (g * b, g * a),
        eager="mul",
        code="mul",
        fold=lambda a, b: a * b,
        text=infix(" * ", MULTIPLY),
        latex=infix(r" \odot ", MULTIPLY),
    ),
    "div": Op(
        "elementwise",
        2,
        adjoint=lambda g, y, a, b: (g / b, -(g * y / b)),
        eager="div",
        code="div",
        cost="costly",
        text=infix(" / ", MULTIPLY, right=UNARY),
        latex=template(r"\frac{{{0}}}{{{1}}}"),
    ),
    "neg": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (-g,),
        eager="neg",
        code="neg",
        fold=lambda a: -a,
        text=formats.negative,
        latex=formats.negative,
    ),
    "pow": Op(
        "elementwise",
        1,
        ("exponent",),
        adjoint=adjoints.power,
        eager="pow",
        code="pow",
        cost="transcendental",
        text=template("{0} ** {exponent}", POWER, within=ATOM),
        latex=template("{0}^{{{exponent}}}", POWER, within=ATOM),
    ),
    "less": _comparison(" < ", " < ", lambda a, b: a < b, lambda a, b: a < b, "less"),
    "less_equal": _comparison(" <= ", r" \le ", lambda a, b: a <= b, lambda a, b: a <= b, "less_equal"),
    "equal": _comparison(" == ", " = ", lambda a, b: a == b, lambda a, b: a == b, "equal"),
    "where": Op(  # the condition holds where it is not zero
        "elementwise",
        3,
        adjoint=lambda g, y, c, a, b: (None, where(c, g, 0.0), where(c, 0.0, g)),
        eager=lambda condition, yes, no: yes.where(condition != 0, no),
        code="where",
    ),
    "maximum": Op(
        "elementwise",
        2,
        adjoint=lambda g, y, a, b: adjoints.extremum(g, a, b, a < b, b < a),
        eager="maximum",
        code="maximum",
        fold=max,
        latex=r"\max",
    ),
    "minimum": Op(
        "elementwise",
        2,
        adjoint=lambda g, y, a, b: adjoints.extremum(g, a, b, b < a, a < b),
        eager="minimum",
        code="minimum",
        fold=min,
        latex=r"\min",
    ),
    "sigmoid": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g * (y * (1 - y)),),
        eager="sigmoid",
        code="sigmoid",
        cost="transcendental",
        latex=r"\sigma",
        activation=True,
    ),
    "tanh": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g * (1 - y * y),),
        eager="tanh",
        code="tanh",
        cost="transcendental",
        latex=r"\tanh",
        activation=True,
    ),
    "relu": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (where(a <= 0, 0.0, g),),
        eager="relu",
        code="relu",
        activation=True,
    ),
    "softplus": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g * apply("sigmoid", a),),
        eager=torch_functions.softplus,
        code="softplus",
        cost="transcendental",
        activation=True,
    ),
    "exp": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g * y,),
        eager="exp",
        code="exp",
        cost="transcendental",
        latex=r"\exp",
        activation=True,
    ),
    "expm1": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g * (y + 1),),
        eager="expm1",
        code="expm1",
        cost="transcendental",
    ),
    "log": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g / a,),
        eager="log",
        code="log",
        cost="transcendental",
        latex=r"\log",
    ),
    "sqrt": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g / (2 * y),),
        eager="sqrt",
        code="sqrt",
        cost="costly",
        latex=template(r"\sqrt{{{0}}}"),
    ),
    "abs": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (where(a > 0, g, where(a < 0, -g, 0.0)),),
        eager="abs",
        code="abs",
        fold=math.fabs,
        latex=template(r"\left|{0}\right|"),
    ),
    "sin": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (g * apply("cos", a),),
        eager="sin",
        code="sin",
        cost="transcendental",
        latex=r"\sin",
    ),
    "cos": Op(
        "elementwise",
        1,
        adjoint=lambda g, y, a: (-(g * apply("sin", a)),),
        eager="cos",
        code="cos",
        cost="transcendental",
        latex=r"\cos",
    ),
    "clip": Op(
        "elementwise",
        1,
        ("high", "low"),
        adjoint=adjoints.clip,
        eager=lambda e, high, low: e.clamp(low, high),
        code="clip",
        activation=True,
    ),
    "hard_sigmoid": Op(
        "elementwise",
        1,
        ("slope",),
        adjoint=adjoints.hard_sigmoid,
        eager=torch_functions.hard_sigmoid,
        code="hard_sigmoid",
        activation=True,
    ),
    "stop_gradient": Op(
        "elementwise", 1, adjoint=lambda g, y, a: (None,), eager=lambda e: e.detach(), code="copy"
    ),
    "broadcast": Op("broadcast", 1, adjoint=lambda g, y, a: (g,), code="copy"),  # of width 1, for every unit
    # elementwise, composite
    "leaky_relu": Op(
        "composite",
        1,
        ("slope",),
        expansion=expansions.leaky_relu,
        eager="nn.functional.leaky_relu",
        activation=True,
    ),
    "elu": Op(
        "composite", 1, ("alpha",), expansion=expansions.elu, eager="nn.functional.elu", activation=True
    ),
    "softsign": Op(
        "composite", 1, expansion=expansions.softsign, eager="nn.functional.softsign", activation=True
    ),
    "log_sigmoid": Op(
        "composite",
        1,
        expansion=expansions.log_sigmoid,
        eager="nn.functional.logsigmoid",
        latex=r"\log \sigma",
        activation=True,
    ),
    "softmax": Op(
        "composite", 1, expansion=expansions.softmax, eager=lambda e: e.softmax(dim=-1), activation=True
    ),
    "layer_norm": Op(
        "composite",
        VARIADIC,
        ("epsilon", "index", "name"),
        expansion=expansions.layer_norm,
        text=formats.normalised,
        latex=formats.latex_normalised,
    ),
    # over the units
    "sum": Op(  # over the units of all arguments together
        "reduction",
        VARIADIC,
        adjoint=lambda g, y, *args: tuple(g for _ in args),
        eager=torch_functions.total,
        code="reduction",
    ),
    "max": Op(
        "reduction",
        1,
        adjoint=adjoints.max_over_units,
        file_name="largest",
        latex=r"\max",
        eager=lambda e: e.amax(dim=-1, keepdim=True),
        code="reduction",
    ),
    # matrix products with a weight block, (rows, columns)
    "gate_matmul": Op(
        "matmul",
        1,
        ("gate", "slot"),
        adjoint=adjoints.gate_matmul,
        file_name="product",
        code="matmul",
        text=template("W_{slot}[{gate}] {0}", MULTIPLY, within=UNARY),
        latex=formats.latex_block("W", operand=True),
    ),
    "gate_matmul_transposed": Op(
        "matmul",
        1,
        ("gate", "slot"),
        code="matmul",
        text=template("W_{slot}[{gate}]^T {0}", MULTIPLY, within=UNARY),
        traced=False,
    ),
    # attention: a row's own work on the steps of its memory
    "attention_weights": Op(  # query, memory[, previous alignment]
        "attention",
        VARIADIC,
        ("name", "score"),
        file_name="align",
        text=formats.alignment,
        latex=formats.latex_alignment,
    ),
    "attention_context": Op(  # weights, memory: the sum of its steps by their weights
        "attention",
        2,
        adjoint=adjoints.attention_context,
        file_name="read",
        code="attention_context",
        text=template("sum_i {0}[i] * {1}[i]", ADD),
        latex=template(r"\sum_i {0}^{{(i)}} {1}_i", ADD),
    ),
    # query, memory: the dot product with each step
    "dot_score": _on_memory("dot_score", 2, OnMemory(1, (RESULT,), (0,)), adjoints.dot_score),
    # query, keys, energy: energy . tanh(query + key) of each step
    "additive_score": _on_memory(
        "additive_score", 3, OnMemory(1, (RESULT,), (0, 2), energy=2), adjoints.additive_score
    ),
    # query, keys, energy, alignment before, kernel (K, B, A): energy . tanh(query + key + location) of each step, whose
    # location is the sum over k of alignment[step + k - K // 2] kernel[k]
    "location_score": _on_memory(
        "location_score", 5, OnMemory(1, (RESULT, 3), (0, 2), energy=2, kernel=4), adjoints.location_score
    ),
    # scores, memory: their softmax over the steps that exist, 0 past them
    "masked_softmax": _on_memory("masked_softmax", 2, OnMemory(1, (RESULT, 0)), adjoints.masked_softmax),
    # weights, their gradient, memory: the gradient of the scores
    "masked_softmax_gradient": _on_memory("masked_softmax_gradient", 3, OnMemory(2, (RESULT, 0, 1))),
    # gradient of the scores, query, keys, energy: that of the query
    "additive_score_gradient": _on_memory(
        "additive_score_gradient", 4, OnMemory(2, (0,), (RESULT, 1, 3), energy=3)
    ),
    # gradient of the scores, query, keys, energy, alignment before, kernel: that of the query, and of the alignment
    "location_score_gradient": _on_memory(
        "location_score_gradient", 6, OnMemory(2, (0, 4), (RESULT, 1, 3), energy=3, kernel=5)
    ),
    "location_gradient": _on_memory(
        "location_gradient", 6, OnMemory(2, (RESULT, 0, 4), (1, 3), energy=3, kernel=5)
    ),
    # gradients of parameters: summed over rows and time, once, after the loop
    "weight_gradient": Op(  # gradient of the product, its operand
        "gradient",
        2,
        ("gate", "slot"),
        text=template("sum_t {0} {1}^T", MULTIPLY, within=ATOM),
        code="after_loop",
        traced=False,
    ),
    "bias_gradient": Op(
        "gradient",
        1,
        ("gate", "slot"),
        text=template("sum_t {0}", MULTIPLY, within=ATOM),
        code="after_loop",
        traced=False,
    ),
    "vector_gradient": Op(
        "gradient",
        1,
        ("name",),
        text=template("sum_t {0}", MULTIPLY, within=ATOM),
        code="after_loop",
        traced=False,
    ),
    # gradients of memories: summed over time, a row's own
    "memory_gradient": Op(
        "gradient", 2, ("name",), code="after_loop", traced=False
    ),  # weights of the steps, what they weigh
    # what `additive_score_gradient` sums on its way, step by step
    "keys_gradient": Op("gradient", 1, ("name",), code="after_loop", traced=False),
    "energy_gradient": Op("gradient", 1, ("name",), code="after_loop", traced=False),
}


def is_transcendental(node: Node) -> bool:
    """Whether an operation is a polynomial's worth of work a unit."""
    return OPS[node.op].cost == "transcendental"


def depends_on_step(nodes: Iterable[Node], known: Sequence[bool] = ()) -> list[bool]:
    """For each node, whether its value is computed from one that is `per_step`.

    Args:
        nodes: in topological order.
        known: the result for the nodes that stand before them.
    """
    depends = list(known)
    for node in nodes:
        depends.append(OPS[node.op].per_step or any(depends[arg] for arg in node.args))
    return depends
