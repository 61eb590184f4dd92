"""Why a graph cannot be compiled for a machine."""

from __future__ import annotations

from gatework.graph import Graph
from gatework.graph.derive import operations_of_adjoint
from gatework.graph.expand import expand
from gatework.graph.lower_attention import attention_by_rows
from gatework.graph.ops import OPS
from gatework.graph.simplify import differentiated, simplify

_SAME_FOR_EVERY_ROW = ("vector", "bias", "constant", "size")


def not_lowered(graph: Graph, supports: frozenset[str]) -> str | None:
    """What of a graph a machine has no code for.

    Args:
        supports: codes of the operations that it has.
    """
    graph = attention_by_rows(graph)
    for node in expand(graph).nodes:
        for op in (node.op, *operations_of_adjoint(node.op, node.attributes, len(node.args))):
            if OPS[op].code not in supports:
                return f"the engine has no code for the operation {op}"
    for node in graph.nodes:
        sort = OPS[node.op].sort
        args = [graph.nodes[arg] for arg in node.args]
        if sort == "attention" and 1 in {node.width, *(arg.width for arg in args)}:
            return "the engine has no attention over single units"
        if sort in ("composite", "reduction") and len({graph.nodes[arg].width for arg in node.args}) > 1:
            return f"{node.op} over values of different widths"
    final = differentiated(
        simplify(expand(simplify(graph)))
    )  # stop_gradient(v) is v there, and so is 1.0 * v
    for node in final.nodes:
        if OPS[node.op].sort == "matmul" and final.nodes[node.args[0]].op in _SAME_FOR_EVERY_ROW:
            return "the engine has no product of what is the same for every row"
    return None
