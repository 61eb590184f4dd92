"""The pass `simplify`: constants folded, neutral elements dropped, dead nodes gone.

Only what holds for every value is done, infinities and NaN included: `0 * e` stays, since it is NaN where e
is infinite. The sign of a zero is not kept: `e + 0` is e, also where e is -0.
"""

from __future__ import annotations

import math

from gatework.graph.adjoints import sum_over_units
from gatework.graph.builder import Builder, Expr
from gatework.graph.node import Graph, Node
from gatework.graph.ops import OPS
from gatework.graph.rewrite import rebuild


def simplify(graph: Graph) -> Graph:
    """An equal graph with fewer nodes."""
    return rebuild(graph, _simpler)


def differentiated(graph: Graph) -> Graph:
    """A graph that is not differentiated any more, with fewer nodes: what `stop_gradient` is applied to stands for
    it, and sums over the units that are added up are one sum."""
    return rebuild(graph, _after_derivatives)


def _after_derivatives(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
    if node.op == "stop_gradient":
        return args[0]
    if node.op == "add" and all(arg.node.op == "sum" for arg in args):
        parts = [Expr(builder, index) for arg in args for index in arg.node.args]
        if len({part.width for part in parts}) == 1:
            return sum_over_units(*parts)
    return None


def _value(expr: Expr) -> float | None:
    return expr.node.number("value") if expr.node.op == "constant" else None


def _simpler(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
    values = [_value(arg) for arg in args]
    fold = OPS[node.op].fold
    if fold is not None and all(value is not None and math.isfinite(value) for value in values):
        folded = fold(*values)
        if math.isfinite(folded):
            return builder.constant(folded)
    match node.op:
        case "add":
            if values[0] == 0:
                return args[1]
            if values[1] == 0:
                return args[0]
        case "sub":
            if values[1] == 0:
                return args[0]
            if values[0] == 0:
                return builder.apply("neg", args[1])
        case "mul":
            if values[0] == 1:
                return args[1]
            if values[1] == 1:
                return args[0]
            if values[0] == -1:
                return builder.apply("neg", args[1])
            if values[1] == -1:
                return builder.apply("neg", args[0])
        case "div":
            if values[1] == 1:
                return args[0]
        case "neg":
            inner = args[0].node
            if inner.op == "neg":
                return Expr(builder, inner.args[0])
        case "pow":
            exponent = node.number("exponent")
            if exponent == 1:
                return args[0]
            if exponent == 2:
                return builder.apply("mul", args[0], args[0])
        case "where":
            if values[0] is not None and args[1].width == args[2].width == node.width:
                return args[1] if values[0] != 0 else args[2]
        case _:
            pass
    return None
