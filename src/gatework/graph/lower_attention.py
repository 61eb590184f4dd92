"""Attention weights written as a row's scores and their softmax: the part of `expand` for cells that attend.

A score compares a query with keys, which are the memory's steps or their projection. Keys do not depend on the
step. They are computed once, outside the graph, and enter it as a second memory `NAME_keys`, with the steps and
lengths of the first.
"""

from __future__ import annotations

from dataclasses import replace

from gatework.graph.builder import Builder, Expr
from gatework.graph.node import Block, Graph, InputSpec, Node
from gatework.graph.rewrite import rebuild


def attention_by_rows(graph: Graph) -> Graph:
    """An equal graph without `attention_weights`, but for location-sensitive scores, which stay.

    The weight of an additive score's query is a block now, `NAME_query.NAME`.
    """
    energies = {vector.name: vector.size for vector in graph.vectors}
    named = keys_and_queries(graph)
    keys: dict[str, InputSpec] = {}
    blocks: list[Block] = []
    gone: set[str] = set()

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        if node.op != "attention_weights" or node["score"] == "location":
            return None
        label = node.text("name")
        query, memory = args
        own_name, slot = named[label]
        additive = node["score"] == "additive"
        width = energies[f"{label}_energy"] if additive else query.width
        keys[label] = InputSpec(own_name, "memory", width)
        own = builder.leaf("memory", width, name=own_name)
        gone.update((f"{label}_query", f"{label}_memory"))
        if not additive:
            scores = builder.apply("dot_score", query, own, width=node.width)
        else:
            blocks.append(Block(slot, label, width, query.width, False))
            query = builder.apply("gate_matmul", query, width=width, slot=slot, gate=label)
            energy = builder.leaf("vector", width, name=f"{label}_energy")
            scores = builder.apply("additive_score", query, own, energy, width=node.width)
        return builder.apply("masked_softmax", scores, memory, width=node.width)

    lowered = rebuild(graph, rule)
    return replace(
        lowered,
        inputs=lowered.inputs + tuple(keys.values()),
        blocks=lowered.blocks + tuple(blocks),
        vectors=tuple(vector for vector in lowered.vectors if vector.name not in gone),
    )


def keys_and_queries(graph: Graph) -> dict[str, tuple[str, str]]:
    """Attentions to the names of their keys and of the slot that the query's weight is in: none that the cell has."""
    taken = {spec.name for spec in graph.inputs} | {state.name for state in graph.states} | set(graph.slots())
    taken |= {vector.name.removeprefix("weight_") for vector in graph.vectors}
    attentions = {}
    for node in graph.nodes:
        if node.op == "attention_weights":
            names = []
            for part in ("keys", "query"):
                name = f"{node['name']}_{part}"
                while name in taken:
                    name += "_"
                taken.add(name)
                names.append(name)
            attentions[node.text("name")] = names[0], names[1]
    return attentions
