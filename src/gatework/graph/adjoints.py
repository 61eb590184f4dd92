"""Adjoints too long for a row of the table (`ops.py`): the gradients of an operation's arguments.

Each takes the gradient of the result, the result and the arguments, and gives a gradient for each argument, None
where none flows. At kinks, ties and NaN they are torch's.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatework.graph.builder import Expr

Gradients = Sequence[Expr | None]


def apply(op: str, *args: Expr) -> Expr:
    """An elementwise operation of the graph that the arguments belong to."""
    return args[0].builder.apply(op, *args)


def where(condition: Expr, yes: Expr | float, no: Expr | float) -> Expr:
    """`yes` where the condition is not zero."""
    builder = condition.builder
    return builder.apply("where", condition, builder.lift(yes), builder.lift(no))


def sum_over_units(*args: Expr) -> Expr:
    """The sum over the units of all arguments, of width 1."""
    return args[0].builder.apply("sum", *args, width=1)


def extremum(g: Expr, a: Expr, b: Expr, a_loses: Expr, b_loses: Expr) -> Gradients:
    """Ties share: each of two equal arguments has half of the gradient. Where one is NaN each has the whole."""
    half = 0.5 * g
    tie = apply("equal", a, b)
    return where(tie, half, where(a_loses, 0.0, g)), where(tie, half, where(b_loses, 0.0, g))


def power(g: Expr, y: Expr, a: Expr) -> Gradients:
    exponent = y.node.number("exponent")
    return (g * (exponent * a ** (exponent - 1)) if exponent != 0 else None,)


def clip(g: Expr, y: Expr, a: Expr) -> Gradients:
    # At a bound the whole gradient passes, where that of minimum would be half.
    inside = where(a <= y.node.number("high"), g, 0.0)
    return (where(a >= y.node.number("low"), inside, 0.0),)


def hard_sigmoid(g: Expr, y: Expr, a: Expr) -> Gradients:
    slope = y.node.number("slope")
    line = a * slope + 0.5
    # Flat at the bounds themselves, as torch.nn.functional.hardsigmoid.
    return (where(line > 0, where(line < 1, g * slope, 0.0), 0.0),)


def max_over_units(g: Expr, y: Expr, a: Expr) -> Gradients:
    hit = apply("equal", a, y)
    return (g * hit / sum_over_units(hit),)


def gate_matmul(g: Expr, y: Expr, operand: Expr) -> Gradients:
    """The operand's; the weight's is a node of its own (`derive.py`)."""
    slot, gate = y.node["slot"], y.node["gate"]
    return (g.builder.apply("gate_matmul_transposed", g, width=operand.width, slot=slot, gate=gate),)


def _memory_gradient(weights: Expr, weighed: Expr, memory: Expr) -> Expr:
    name = memory.node["name"]
    return weights.builder.apply("memory_gradient", weights, weighed, width=memory.width, name=name)


def attention_context(g: Expr, y: Expr, weights: Expr, memory: Expr) -> Gradients:
    of_weights = g.builder.apply("dot_score", g, memory, width=weights.width)
    return of_weights, _memory_gradient(weights, g, memory)


def dot_score(g: Expr, y: Expr, query: Expr, memory: Expr) -> Gradients:
    of_query = g.builder.apply("attention_context", g, memory, width=query.width)
    return of_query, _memory_gradient(g, query, memory)


def masked_softmax(g: Expr, y: Expr, scores: Expr, memory: Expr) -> Gradients:
    return g.builder.apply("masked_softmax_gradient", y, g, memory, width=scores.width), None


def location_score(
    g: Expr, y: Expr, query: Expr, keys: Expr, energy: Expr, before: Expr, kernel: Expr
) -> Gradients:
    args = (g, query, keys, energy, before, kernel)
    of_query = g.builder.apply("location_score_gradient", *args, width=query.width)
    return (
        of_query,
        g.builder.apply("keys_gradient", of_query, name=keys.node["name"]),
        g.builder.apply("energy_gradient", of_query, name=energy.node["name"]),
        g.builder.apply("location_gradient", *args, width=before.width),
        g.builder.apply("keys_gradient", of_query, name=kernel.node["name"]),
    )


def additive_score(g: Expr, y: Expr, query: Expr, keys: Expr, energy: Expr) -> Gradients:
    of_query = g.builder.apply("additive_score_gradient", g, query, keys, energy, width=query.width)
    return (
        of_query,
        g.builder.apply("keys_gradient", of_query, name=keys.node["name"]),
        g.builder.apply("energy_gradient", of_query, name=energy.node["name"]),
    )
