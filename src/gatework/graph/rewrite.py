"""Rebuilding a graph node by node: what simplification, expansion and variants share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gatework.graph.builder import Builder, Expr
from gatework.graph.node import Graph, Node

Rule = Callable[[Builder, Node, tuple[Expr, ...]], Expr | None]
"""What stands in place of a node, given its new arguments; None keeps the node."""


def rebuild(graph: Graph, rule: Rule) -> Graph:
    """The graph with a rule applied to every node, without the nodes that nothing needs any more.

    Inputs and states that the equations declare stay declared even where no node reads them.
    """
    builder = Builder()
    placed: list[Expr] = []
    for node in graph.nodes:
        args = tuple(placed[arg] for arg in node.args)
        expr = rule(builder, node, args)
        if expr is None:
            expr = builder.intern(replace(node, args=tuple(arg.index for arg in args)))
        placed.append(expr)
    nodes = tuple(builder.nodes)
    outputs = tuple((name, placed[index].index) for name, index in graph.outputs)
    gates = tuple((name, placed[index].index) for name, index in graph.gates)
    return drop_dead(replace(graph, nodes=nodes, outputs=outputs, gates=gates))


def drop_dead(graph: Graph) -> Graph:
    """The graph without nodes that no output and no gate needs."""
    alive = [False] * len(graph.nodes)
    for _, index in graph.outputs + graph.gates:
        alive[index] = True
    for index in range(len(graph.nodes) - 1, -1, -1):
        if alive[index]:
            for arg in graph.nodes[index].args:
                alive[arg] = True
    moved: dict[int, int] = {}
    nodes: list[Node] = []
    for index, node in enumerate(graph.nodes):
        if alive[index]:
            moved[index] = len(nodes)
            nodes.append(replace(node, args=tuple(moved[arg] for arg in node.args)))
    return replace(
        graph,
        nodes=tuple(nodes),
        outputs=tuple((name, moved[index]) for name, index in graph.outputs),
        gates=tuple((name, moved[index]) for name, index in graph.gates),
    )
