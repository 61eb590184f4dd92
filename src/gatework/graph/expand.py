"""The pass `expand`: composite operations written in the basic ones.

What is left is what derivatives and kernels must know. The rules stand in the table of operations.
"""

from __future__ import annotations

from gatework.graph.builder import Builder, Expr
from gatework.graph.lower_attention import attention_by_rows
from gatework.graph.node import Graph, Node
from gatework.graph.ops import OPS
from gatework.graph.rewrite import rebuild


def expand(graph: Graph) -> Graph:
    """An equal graph without composite operations."""

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        expansion = OPS[node.op].expansion
        return None if expansion is None else expansion(node, *args)

    return attention_by_rows(rebuild(graph, rule))
