"""The pass `expand`: composite operations written in the basic ones.

What is left is what derivatives and kernels must know. Each rule keeps torch's subgradient at the kinks.
"""

from __future__ import annotations

from collections.abc import Callable

from gatework.graph.attention import attention_by_rows
from gatework.graph.builder import Builder, Expr
from gatework.graph.node import Graph, Node
from gatework.graph.rewrite import rebuild


def expand(graph: Graph) -> Graph:
    """An equal graph without composite operations."""

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        expansion = EXPANSIONS.get(node.op)
        return None if expansion is None else expansion(builder, node, args)

    return attention_by_rows(rebuild(graph, rule))


def _where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    return condition.builder.apply("where", condition, yes, no)


def _leaky_relu(b: Builder, node: Node, args: tuple[Expr, ...]) -> Expr:
    (e,) = args
    return _where(e > 0, e, e * node.number("slope"))


def _elu(b: Builder, node: Node, args: tuple[Expr, ...]) -> Expr:
    (e,) = args
    positive = e > 0
    # The exponential sees no large argument: an infinity in the branch not taken would make 0 * inf of its gradient.
    below = b.apply("expm1", _where(positive, b.constant(0.0), e))
    return _where(positive, e, below * node.number("alpha"))


def _softsign(b: Builder, node: Node, args: tuple[Expr, ...]) -> Expr:
    (e,) = args
    return e / (1 + abs(e))


def _log_sigmoid(b: Builder, node: Node, args: tuple[Expr, ...]) -> Expr:
    (e,) = args
    return -b.apply("softplus", -e)


def _softmax(b: Builder, node: Node, args: tuple[Expr, ...]) -> Expr:
    (e,) = args
    # A softmax does not change with a shift of its argument, so no gradient is owed to the shift.
    weight = b.apply("exp", e - b.apply("stop_gradient", b.apply("largest", e)))
    return weight / b.apply("sum", weight)


def _layer_norm(b: Builder, node: Node, args: tuple[Expr, ...]) -> Expr:
    count = b.leaf("size", 1, of=args[0].width)
    for arg in args[1:]:
        count = count + b.leaf("size", 1, of=arg.width)
    mean = b.apply("sum", *args) / count
    # What is centred sums to 0, so that the mean in the variance has no gradient: that saves a sum over the units.
    fixed = b.apply("stop_gradient", mean)
    squares = tuple((arg - fixed) * (arg - fixed) for arg in args)
    variance = b.apply("sum", *squares) / count
    scale = 1 / b.apply("sqrt", variance + node.number("epsilon"))  # one quotient a row, not one a unit
    return (args[int(node.number("index"))] - mean) * scale


EXPANSIONS: dict[str, Callable[[Builder, Node, tuple[Expr, ...]], Expr]] = {
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softsign": _softsign,
    "log_sigmoid": _log_sigmoid,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
}
