"""Attention weights written as a row's scores and their softmax: the part of `expand` for cells that attend.

A score compares a query with keys, which are the memory's steps or their projection. Keys do not depend on the
step. They are computed once, outside the graph, and enter it as a second memory `NAME_keys`, with the steps and
lengths of the first.

The location score's two weights, U and the filters F, follow each other without anything between: U (F * a) is one
convolution, with the kernel U F. That is computed outside the graph too, and enters it as a memory `NAME_kernel` whose
steps are the kernel's, the same for every row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gatework.graph.builder import Builder, Expr
from gatework.graph.node import Block, Graph, InputSpec, Node
from gatework.graph.rewrite import rebuild

__all__ = ["AttentionNames", "attention_by_rows", "names_of_attentions"]

_HIDDEN_LAYER = ("additive", "location")


class AttentionNames(NamedTuple):
    """What an attention's parts are called: none has the name of something that the cell has.

    keys, kernel: memories. query: the slot of the query's weight.
    """

    keys: str
    query: str
    kernel: str


def attention_by_rows(graph: Graph) -> Graph:
    """An equal graph without `attention_weights`.

    The weight of an additive score's query is a block now, `NAME_query.NAME`.
    """
    energies = {vector.name: vector.size for vector in graph.vectors}
    named = names_of_attentions(graph)
    memories: dict[str, InputSpec] = {}
    blocks: list[Block] = []
    gone: set[str] = set()

    def rule(builder: Builder, node: Node, args: tuple[Expr, ...]) -> Expr | None:
        if node.op != "attention_weights":
            return None
        label, names = node.text("name"), named[node.text("name")]
        query, memory, *before = args
        hidden_layer = node["score"] in _HIDDEN_LAYER
        width = energies[f"{label}_energy"] if hidden_layer else query.width

        def own(name: str) -> Expr:
            memories[name] = InputSpec(name, "memory", width)
            return builder.leaf("memory", width, name=name)

        gone.update(f"{label}_{part}" for part in ("query", "memory", "location", "location_filter"))
        if not hidden_layer:
            scores = builder.apply("dot_score", query, own(names.keys), width=node.width)
        else:
            blocks.append(Block(names.query, label, width, query.width, False))
            query = builder.apply("gate_matmul", query, width=width, slot=names.query, gate=label)
            compared = [
                query,
                own(names.keys),
                builder.leaf("vector", width, name=f"{label}_energy"),
                *before,
            ]
            if before:
                scores = builder.apply("location_score", *compared, own(names.kernel), width=node.width)
            else:
                scores = builder.apply("additive_score", *compared, width=node.width)
        return builder.apply("masked_softmax", scores, memory, width=node.width)

    lowered = rebuild(graph, rule)
    return replace(
        lowered,
        inputs=lowered.inputs + tuple(memories.values()),
        blocks=lowered.blocks + tuple(blocks),
        vectors=tuple(vector for vector in lowered.vectors if vector.name not in gone),
    )


def names_of_attentions(graph: Graph) -> dict[str, AttentionNames]:
    """The names of each attention's parts."""
    taken = {spec.name for spec in graph.inputs} | {state.name for state in graph.states} | set(graph.slots())
    taken |= {vector.name.removeprefix("weight_") for vector in graph.vectors}
    attentions = {}
    for node in graph.nodes:
        if node.op == "attention_weights":
            names = []
            for part in AttentionNames._fields:
                name = f"{node['name']}_{part}"
                while name in taken:
                    name += "_"
                taken.add(name)
                names.append(name)
            attentions[node.text("name")] = AttentionNames(*names)
    return attentions
