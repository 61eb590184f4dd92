"""Memories as a machine takes them: with their keys beside them, and the parameters that are left."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatework.backends.attention_reference import location_kernel
from gatework.backends.compiled.once import made_once
from gatework.backends.program import MemoryValue
from gatework.graph import Graph
from gatework.graph.lower_attention import attention_by_rows, names_of_attentions


def by_rows(
    graph: Graph, parameters: Mapping[str, Tensor], memories: Mapping[str, MemoryValue]
) -> tuple[Graph, dict[str, Tensor], dict[str, MemoryValue]]:
    """The graph without `attention_weights`, with the parameters and the memories that it has."""
    whole = {name: memory.whole() for name, memory in memories.items()}
    own_memories = {name: MemoryValue(memory.values, memory.mask) for name, memory in whole.items()}
    own = dict(parameters)
    named = names_of_attentions(graph)
    for node in graph.nodes:
        if node.op == "attention_weights":
            label, memory = node.text("name"), whole[graph.nodes[node.args[1]].text("name")]
            names = named[label]
            own_memories[names.keys] = MemoryValue(memory.keys[label], memory.mask)
            own.pop(f"{label}_memory", None)
            if (query := own.pop(f"{label}_query", None)) is not None:
                own[f"weight_{names.query}"] = query
            if (filters := own.pop(f"{label}_location_filter", None)) is not None:
                kernel = location_kernel(own.pop(f"{label}_location"), filters).unsqueeze(1)
                own_memories[names.kernel] = MemoryValue(kernel.expand(-1, memory.values.shape[1], -1))
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
