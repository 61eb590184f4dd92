"""The operations: what they are called, how many arguments they take, and of which sort they are.

How each is computed, differentiated, expanded and printed stands in tables of its own (`backends/eager.py`,
`derive.py`, `expand.py`, `printing.py`); a test checks that every table covers this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gatework.graph.node import Node

Sort = Literal[
    "leaf", "elementwise", "broadcast", "composite", "reduction", "product", "attention", "gradient"
]
VARIADIC = -1


@dataclass(frozen=True, slots=True)
class Op:
    """An operation.

    Attributes:
        sort: `leaf` reads from outside; `elementwise` works unit by unit and broadcasts width 1;
            `composite` is written in others by the expand pass; `reduction` runs over the units and has
            width 1; `product` is a matrix product; `attention` reads all steps of a row's memory; `gradient`
            stands only in derived graphs.
        arity: number of arguments, or VARIADIC for one or more.
        attributes: names of the attributes, sorted.
        per_step: the value differs from step to step by what a loop over time carries or by a row's own memory,
            so that it, and what is computed from it, cannot be computed for all steps at once.
    """

    sort: Sort
    arity: int
    attributes: tuple[str, ...] = ()
    per_step: bool = False


def depends_on_step(nodes: Iterable[Node], known: Sequence[bool] = ()) -> list[bool]:
    """For each node, whether its value is computed from one that is `per_step`.

    Args:
        nodes: in topological order.
        known: the result for the nodes that stand before them.
    """
    found = list(known)
    for node in nodes:
        found.append(OPS[node.op].per_step or any(found[arg] for arg in node.args))
    return found


OPS: dict[str, Op] = {
    # leaves
    "constant": Op("leaf", 0, ("value",)),
    "input": Op("leaf", 0, ("name",)),
    "static": Op("leaf", 0, ("name",)),
    "memory": Op("leaf", 0, ("name",), per_step=True),
    "state": Op("leaf", 0, ("name",), per_step=True),
    "bias": Op("leaf", 0, ("gate", "slot")),
    "vector": Op("leaf", 0, ("name",)),
    "size": Op("leaf", 0, ("of",)),  # the number of units of a width, as a value
    "cotangent": Op(
        "leaf", 0, ("name",), per_step=True
    ),  # the gradient that flows into an output, in derived graphs
    # elementwise, basic
    "add": Op("elementwise", 2),
    "sub": Op("elementwise", 2),
    "mul": Op("elementwise", 2),
    "div": Op("elementwise", 2),
    "neg": Op("elementwise", 1),
    "pow": Op("elementwise", 1, ("exponent",)),
    "less": Op("elementwise", 2),  # comparisons are 1.0 or 0.0
    "less_equal": Op("elementwise", 2),
    "equal": Op("elementwise", 2),
    "where": Op("elementwise", 3),  # the condition holds where it is not zero
    "maximum": Op("elementwise", 2),
    "minimum": Op("elementwise", 2),
    "sigmoid": Op("elementwise", 1),
    "tanh": Op("elementwise", 1),
    "relu": Op("elementwise", 1),
    "softplus": Op("elementwise", 1),
    "exp": Op("elementwise", 1),
    "expm1": Op("elementwise", 1),
    "log": Op("elementwise", 1),
    "sqrt": Op("elementwise", 1),
    "abs": Op("elementwise", 1),
    "sin": Op("elementwise", 1),
    "cos": Op("elementwise", 1),
    "clip": Op("elementwise", 1, ("high", "low")),
    "hard_sigmoid": Op("elementwise", 1, ("slope",)),
    "stop_gradient": Op("elementwise", 1),
    "broadcast": Op("broadcast", 1),  # a value of width 1 for every unit
    # elementwise, composite
    "leaky_relu": Op("composite", 1, ("slope",)),
    "elu": Op("composite", 1, ("alpha",)),
    "softsign": Op("composite", 1),
    "log_sigmoid": Op("composite", 1),
    "softmax": Op("composite", 1),
    "layer_norm": Op("composite", VARIADIC, ("epsilon", "index", "name")),
    # over the units
    "sum": Op("reduction", VARIADIC),  # over the units of all arguments together
    "largest": Op("reduction", 1),
    # matrix products with a weight block, (rows, columns)
    "product": Op("product", 1, ("gate", "slot")),
    "product_transposed": Op("product", 1, ("gate", "slot")),
    # attention: a row's own work on the steps of its memory
    "align": Op("attention", VARIADIC, ("name", "score")),  # query, memory[, previous alignment]
    "read": Op("attention", 2),  # weights, memory: the sum of its steps by their weights
    "match": Op("attention", 2),  # query, memory: the dot product with each step
    "compare": Op("attention", 3),  # query, keys, energy: energy . tanh(query + key) of each step
    "soften": Op("attention", 2),  # scores, memory: their softmax over the steps that exist, 0 past them
    "soften_back": Op("attention", 3),  # weights, their gradient, memory: the gradient of the scores
    "compare_back": Op("attention", 4),  # gradient of the scores, query, keys, energy: that of the query
    # gradients of parameters: summed over rows and time, once, after the loop
    "weight_gradient": Op("gradient", 2, ("gate", "slot")),  # gradient of the product, its operand
    "bias_gradient": Op("gradient", 1, ("gate", "slot")),
    "vector_gradient": Op("gradient", 1, ("name",)),
    # gradients of memories: summed over time, a row's own
    "memory_gradient": Op("gradient", 2, ("name",)),  # weights of the steps, what they weigh
    # what `compare_back` sums on its way, step by step
    "keys_gradient": Op("gradient", 1, ("name",)),
    "energy_gradient": Op("gradient", 1, ("name",)),
}

TRANSCENDENTAL = frozenset(("sigmoid", "tanh", "softplus", "exp", "expm1", "log", "sin", "cos", "pow"))
COMPARISONS = ("less", "less_equal", "equal")
SCORES = ("additive", "dot", "general", "location")
