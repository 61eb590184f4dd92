"""How long a unit remembers: the share of a state that a step keeps, read from the cell's own equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from gatework.graph import Graph
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Node

__all__ = ["half_life", "kept_share"]

Values = Mapping[str, np.ndarray]
_LEAST = 1e-12  # a share below it is as good as nothing


def kept_share(graph: Graph, state: str, values: Values) -> np.ndarray | None:
    """What a step keeps of a state directly, not by way of its gates: of an LSTM's c the forget gate, of a GRU's h
    the update gate.

    Args:
        graph: of the cell.
        state: its name.
        values: the gates by name, each (T, size).

    Returns:
        (T, size), or None where the new value has no such part, or one that is more than sums and products of gates
        and the old value.
    """
    gates = {index: name for name, index in graph.gates}

    def value(index: int) -> np.ndarray | float | None:
        """A node that is made of gates and numbers alone."""
        if index in gates:
            return values.get(gates[index])
        node = graph.nodes[index]
        if node.op == "constant":
            return node.number("value")
        parts = [value(argument) for argument in node.args]
        if any(part is None for part in parts):
            return None
        return _COMPUTED[node.op](*parts) if node.op in _COMPUTED else None

    def share(index: int) -> np.ndarray | float | None:
        """The factor of the old value in a node; 0 where it is not in it."""
        node = graph.nodes[index]
        if index in gates or not _reads(graph, index, state, gates.keys()):
            return 0.0
        if node.op == "state":
            return 1.0
        parts = [share(argument) for argument in node.args]
        if any(part is None for part in parts):
            return None
        return _product(node, parts) if node.op == "mul" else _sum(node, parts)

    def _product(node: Node, parts: list[Any]) -> np.ndarray | float | None:
        for own, other in ((0, 1), (1, 0)):
            if isinstance(parts[other], float) and parts[other] == 0.0:
                factor = value(node.args[other])
                return None if factor is None else parts[own] * factor
        return None

    def _sum(node: Node, parts: list[Any]) -> np.ndarray | float | None:
        return _COMPUTED[node.op](*parts) if node.op in ("add", "sub", "neg") else None

    found = share(dict(graph.outputs)[ArrayKey("state", state)])
    return found if isinstance(found, np.ndarray) else None


_COMPUTED: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
}


def _reads(graph: Graph, index: int, state: str, gates: Collection[int]) -> bool:
    """Whether a node depends on a state by a way without gates."""
    node = graph.nodes[index]
    if node.op == "state":
        return node.text("name") == state
    return any(each not in gates and _reads(graph, each, state, gates) for each in node.args)


def half_life(kept: np.ndarray) -> np.ndarray:
    """After how many steps half of a unit's state is left: log 2 over minus the mean of log of the share that is kept.

    Args:
        kept: (T, size) shares, T at least 1.

    Returns:
        (size,) steps; infinite where all is kept, or more.
    """
    rate = -np.log(np.maximum(np.abs(kept.astype(np.float64)), _LEAST)).mean(0)
    return np.divide(math.log(2), rate, out=np.full(rate.shape, np.inf), where=rate > 0)
