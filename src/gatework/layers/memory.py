"""Sequences to attend to: checked, masked and projected once, for one call or for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gatework.backends import MemoryValue, attention_reference
from gatework.graph.node import resolve
from gatework.layers.lengths import check_lengths
from gatework.layers.linear import linear
from gatework.layers.structure import LayerStack, Weights

Lengths = Tensor | Mapping[str, Tensor] | None


@dataclass(frozen=True)
class Memories:
    """What a layer attends to, with its keys: made by `layer.attend_to(memory, lengths)`.

    Keys are the layer's own projections of a memory, which no step changes: who calls the layer a step at a time
    makes them once.

    Attributes:
        values: (S, B, M) of each memory by name, 0 past its length.
        masks: (B, S), true where a step exists, of those that were given lengths.
        keys: for each layer and direction (S, B, A) by the name of the attention.
        picked: (N,) which of the B rows each row of a call reads; None where they are the same.
        prepared: what a backend keeps of it from call to call, for each layer and direction.
    """

    values: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    keys: tuple[Mapping[str, Tensor], ...]
    picked: Tensor | None = None
    prepared: tuple[dict[Any, Any], ...] = ()

    def of(self, number: int) -> dict[str, MemoryValue]:
        """What one layer and direction reads."""
        keys = self.keys[number] if self.keys else {}
        prepared = self.prepared[number] if self.prepared else None
        return {
            name: MemoryValue(value, self.masks.get(name), keys, self.picked, prepared)
            for name, value in self.values.items()
        }

    def rows(self, pick: Callable[[Tensor, int], Tensor]) -> Memories:
        """The same for other rows of the batch.

        Args:
            pick: the rows of a tensor, which has them in a dimension.
        """
        picked = self.picked
        if picked is not None:
            before, pick = pick, lambda value, dim: before(value.index_select(dim, picked), dim)
        return Memories(
            {name: pick(value, 1) for name, value in self.values.items()},
            {name: pick(mask, 0) for name, mask in self.masks.items()},
            tuple({name: pick(value, 1) for name, value in keys.items()} for keys in self.keys),
        )

    def select(self, index: Tensor) -> Memories:
        """The rows that an index, (N,), names: row n becomes row index[n], as a beam search wants it.

        Nothing is copied: rows that attend to the same share it.

        Raises:
            ValueError: an index that is no whole number, or that names no row.
        """
        count = self.count
        if index.dim() != 1 or index.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"An index of rows is (N,) whole numbers; this one is {tuple(index.shape)} of {index.dtype}."
            )
        if count is not None and len(index) and not 0 <= int(index.min()) <= int(index.max()) < count:
            raise ValueError(f"An index of rows goes from {index.min()} to {index.max()}; there are {count}.")
        return replace(self, picked=index if self.picked is None else self.picked[index])

    @cached_property
    def whole(self) -> Memories:
        """The same with a row of its own for every row of a call, for those who read no row through an index."""
        return self if self.picked is None else self.rows(lambda value, dim: value)

    @property
    def count(self) -> int | None:
        """Rows of the calls that it is for; None where there is no memory."""
        if self.picked is not None:
            return len(self.picked)
        return next((value.shape[1] for value in self.values.values()), None)

    @property
    def steps(self) -> dict[str, int]:
        """S of each memory."""
        return {name: value.shape[0] for name, value in self.values.items()}


def read_memories(
    stack: LayerStack,
    weights: Weights,
    memory: Tensor | Mapping[str, Tensor] | Memories | None,
    lengths: Lengths,
    rows: int | None = None,
    *,
    kept: bool = False,
) -> Memories:
    """The memories of a call.

    Args:
        rows: B that they must have; None where that is not known yet.
        kept: for many calls, so that a backend may prepare them.

    Raises:
        ValueError: one is missing or has another shape.
    """
    specs = {spec.name: spec for spec in stack.graph.inputs_of_kind("memory")}
    if isinstance(memory, Memories):
        if lengths is not None:
            raise ValueError("memory_lengths are given beside a memory that has its own: leave them out.")
        if list(memory.values) != list(specs) or rows not in (None, memory.count):
            raise ValueError(
                f"The memory was made for {memory.count} rows of {list(memory.values)}; the call has {rows} rows and "
                f"attends to {list(specs)}."
            )
        return memory
    memories = _by_name(memory, list(specs), "memory")
    given_lengths = _by_name(lengths, list(specs), "memory_lengths")
    missing = [name for name in specs if name not in memories]
    if missing:
        raise ValueError(f"{stack.cell.name} attends to {missing[0]!r}: give memory=…, (S, B, size).")
    values, masks = {}, {}
    for name, value in memories.items():
        if value.dim() == 2:
            value = value.unsqueeze(1)
        elif stack.batch_first:
            value = value.transpose(0, 1)
        size = resolve(specs[name].size, stack.layer_sizes(0))
        if value.dim() != 3 or value.shape[2] != size or rows not in (None, value.shape[1]):
            raise ValueError(
                f"The memory {name} has shape {tuple(memories[name].shape)}; "
                f"expected {rows or 'B'} rows and {size} units."
            )
        if name in given_lengths:
            counts = check_lengths(given_lengths[name], value.shape[0], value.shape[1]).to(value.device)
            masks[name] = mask = attention_reference.mask_of(counts, value.shape[0])
            value = value.masked_fill(~mask.t().unsqueeze(-1), 0.0)  # NaN in the padding stays there
        values[name] = value
    if not values:
        return Memories({}, {}, ())
    keys = tuple(_keys(stack, weights(*pair), values) for pair in stack.pairs)
    return Memories(values, masks, keys, prepared=tuple({} for _ in stack.pairs) if kept else ())


def _keys(stack: LayerStack, own: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys of one layer and direction.

    Args:
        own: its parameters.
    """
    nodes = stack.graph.nodes
    keys = {}
    for node in nodes:
        if node.op == "attention_weights":
            label, value = node.text("name"), values[nodes[node.args[1]].text("name")]
            keys[label] = attention_reference.keys(node.text("score"), label, own, value, linear)
    return keys


def _by_name(value: Tensor | Mapping[str, Tensor] | None, names: list[str], label: str) -> dict[str, Tensor]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        for name in value:
            if name not in names:
                raise ValueError(
                    f"{label} names {name!r}, which the cell does not attend to. It attends to {names}."
                )
        return dict(value)
    if len(names) != 1:
        raise ValueError(f"{label} is one tensor; the cell attends to {len(names)} memories: {names}.")
    return {names[0]: value}
