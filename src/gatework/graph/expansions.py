"""Expansions of the composite operations: each written in the others, with torch's subgradient at the kinks.

A rule takes the operation's node, whose attributes it reads, and its arguments.
"""

from __future__ import annotations

from gatework.graph.adjoints import apply, sum_over_units, where
from gatework.graph.builder import Expr
from gatework.graph.node import Node


def leaky_relu(node: Node, e: Expr) -> Expr:
    return where(e > 0, e, e * node.number("slope"))


def elu(node: Node, e: Expr) -> Expr:
    positive = e > 0
    # The exponential sees no large argument: an infinity in the branch not taken would make 0 * inf of its gradient.
    below = apply("expm1", where(positive, 0.0, e))
    return where(positive, e, below * node.number("alpha"))


def softsign(node: Node, e: Expr) -> Expr:
    return e / (1 + abs(e))


def log_sigmoid(node: Node, e: Expr) -> Expr:
    return -apply("softplus", -e)


def softmax(node: Node, e: Expr) -> Expr:
    # A softmax does not change with a shift of its argument, so no gradient is owed to the shift.
    largest = e.builder.apply("max", e, width=1)
    weight = apply("exp", e - apply("stop_gradient", largest))
    return weight / sum_over_units(weight)


def layer_norm(node: Node, *args: Expr) -> Expr:
    builder = args[0].builder
    count = builder.leaf("size", 1, of=args[0].width)
    for arg in args[1:]:
        count = count + builder.leaf("size", 1, of=arg.width)
    mean = sum_over_units(*args) / count
    # What is centred sums to 0, so that the mean in the variance has no gradient: that saves a sum over the units.
    fixed = apply("stop_gradient", mean)
    squares = tuple((arg - fixed) * (arg - fixed) for arg in args)
    variance = sum_over_units(*squares) / count
    scale = 1 / apply("sqrt", variance + node.number("epsilon"))  # one quotient a row, not one a unit
    return (args[int(node.number("index"))] - mean) * scale
