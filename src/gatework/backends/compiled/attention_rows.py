"""Memories as a machine takes them: with their keys beside them, and the parameters that are left."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatework.backends.compiled.once import made_once
from gatework.backends.program import MemoryValue
from gatework.graph import Graph
from gatework.graph.lower_attention import attention_by_rows, keys_and_queries


def by_rows(
    graph: Graph, parameters: Mapping[str, Tensor], memories: Mapping[str, MemoryValue]
) -> tuple[Graph, dict[str, Tensor], dict[str, MemoryValue]]:
    """The graph without `attention_weights`, with the parameters and the memories that it has."""
    whole = {name: memory.whole() for name, memory in memories.items()}
    own_memories = {name: MemoryValue(memory.values, memory.mask) for name, memory in whole.items()}
    own = dict(parameters)
    named = keys_and_queries(graph)
    for node in graph.nodes:
        if node.op == "attention_weights":
            label, memory = node.text("name"), whole[graph.nodes[node.args[1]].text("name")]
            keys, slot = named[label]
            own_memories[keys] = MemoryValue(memory.keys[label], memory.mask)
            own.pop(f"{label}_memory", None)
            query = own.pop(f"{label}_query", None)
            if query is not None:
                own[f"weight_{slot}"] = query
    return lowered_graph(graph), own, own_memories


@made_once(maxsize=256)
def lowered_graph(graph: Graph) -> Graph:
    """A graph without `attention_weights`."""
    return attention_by_rows(graph)


@made_once(maxsize=256)
def every_row(rows: int, dtype: torch.dtype) -> Tensor:
    """The rows in their order, as a program reads which row of a memory belongs to a row of the call."""
    with torch.inference_mode(False):
        return torch.arange(rows, dtype=dtype)


def lengths(memory: MemoryValue) -> Tensor:
    """Steps that exist, (B,), as numbers of the memory's dtype."""
    if memory.mask is None:
        return memory.values.new_full(memory.values.shape[1:2], memory.values.shape[0])
    return memory.mask.sum(1, dtype=memory.values.dtype)
