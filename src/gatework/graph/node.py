"""The graph of one step: immutable nodes in topological order, and what the cell declares around them.

A `Graph` is data: it can be compared, hashed, printed, written as JSON and read back. Everything that runs a
cell starts from it; nothing that runs a cell needs the Python function that it was traced from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, cast

from gatework.graph.keys import ArrayKey, Kind

Width = str | int
"""The number of units of a node: a literal, or the name of a size that the layer knows (`hidden_size`)."""

Attribute = str | int | float
MASK_PREFIXES = ("dropout_mask_", "zoneout_mask_", "reset_mask_")
"""What names of the inputs begin with that a variant of a cell adds (`graph/variants.py`); no cell's own does."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of the step.

    Attributes:
        op: a key of `gatework.graph.ops.OPS`.
        args: indices of earlier nodes of the same graph.
        attributes: what the operation needs besides its arguments, sorted by name.
        width: units of the result. A result of width 1 broadcasts over the units.
    """

    op: str
    args: tuple[int, ...] = ()
    attributes: tuple[tuple[str, Attribute], ...] = ()
    width: Width = 1

    def __post_init__(self) -> None:
        # A tuple finds an object equal to itself before it compares values: one NaN for all makes equal nodes equal.
        if any(value != value for _, value in self.attributes):
            one = tuple((name, math.nan if value != value else value) for name, value in self.attributes)
            object.__setattr__(self, "attributes", one)

    def __reduce__(self) -> tuple[type[Node], tuple[Any, ...]]:
        return type(self), (self.op, self.args, self.attributes, self.width)

    def __getitem__(self, name: str) -> Attribute:
        for key, value in self.attributes:
            if key == name:
                return value
        raise KeyError(f"{self.op} has no attribute {name!r}")

    def text(self, name: str) -> str:
        """An attribute that is a string."""
        value = self[name]
        if not isinstance(value, str):
            raise TypeError(f"{self.op}.{name} is {value!r}, not a string")
        return value

    @property
    def key(self) -> ArrayKey:
        """Of a leaf that is read from an array: the array's key."""
        if self.op == "array":
            kind, name = self["kind"], self["name"]
            return ArrayKey(cast(Kind, kind), str(name))
        if self.op in ("input", "static", "memory", "state"):
            return ArrayKey(cast(Kind, self.op), self.text("name"))
        raise TypeError(f"{self.op} is read from no array of a step")

    def number(self, name: str) -> float:
        """An attribute that is a number."""
        value = self[name]
        if isinstance(value, str):
            raise TypeError(f"{self.op}.{name} is {value!r}, not a number")
        return value


RESULT = -1
"""The place of an operation's result beside those of its arguments, 0, 1, …"""


@dataclass(frozen=True, slots=True)
class OnMemory:
    """The widths of an operation that works on a row's memory, by the places of its arguments and its result.

    Attributes:
        memory: the argument that is a memory (S, B, M), or its keys.
        counts_steps: what has one number a step of the memory.
        as_wide: what has the memory's width M.
        energy: the argument that is a learned vector; None where there is none.
        kernel: the argument that is a memory as wide as the first, of a convolution's steps; None where there is none.
    """

    memory: int
    counts_steps: tuple[int, ...]
    as_wide: tuple[int, ...] = ()
    energy: int | None = None
    kernel: int | None = None


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a step reads from outside.

    Attributes:
        kind: `input` has one vector a step (T, B, size); `static` one for the whole sequence (B, size);
            `memory` is a sequence to attend to (S, B, size). A graph that a pass has made also reads arrays of the
            pass's own kinds, with one vector a step.
    """

    name: str
    kind: Kind
    size: Width

    @property
    def key(self) -> ArrayKey:
        return ArrayKey(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class StateSpec:
    """What a step hands to the next one: (B, size), starting at `init`."""

    name: str
    size: Width
    init: float = 0.0


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one gate in the packed weight of a slot: `rows` x `columns`, in declaration order.

    Attributes:
        heads: square blocks on its diagonal, outside of which it is zero; 1 of a weight that is whole.
    """

    slot: str
    gate: str
    rows: Width
    columns: Width
    bias: bool
    heads: int = 1


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """A learned tensor that is no block of a slot: a vector, or a matrix where `columns` is given.

    Attributes:
        init: a number, the two between which it is drawn uniformly, or "uniform" for the layer's own initialisation.
    """

    name: str
    size: Width
    init: float | tuple[float, float] | Literal["uniform"] = "uniform"
    columns: Width | None = None


@dataclass(frozen=True)
class Graph:
    """A cell's step, traced.

    Attributes:
        nodes: in topological order.
        inputs: the first one is the cell's input; then further inputs, static vectors, memories.
        states: in the order of the signature; the first one is the output. Alignments carried by a
            location-sensitive score come last.
        blocks: weight blocks, in the order in which the equations first use them within a slot.
        vectors: learned vectors, normalisation gains and the parameters of scores.
        outputs: keys to nodes. A forward graph has the kind `state` for the new value of every state and `emit` for
            each emitted value; a derived one has the gradients.
        gates: names to nodes, for the tape. Every name is one that the cell's author wrote.
        doc: what the cell is, and its paper.
        options: the options that the cell was traced with, as text.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[InputSpec, ...]
    states: tuple[StateSpec, ...]
    blocks: tuple[Block, ...]
    vectors: tuple[VectorSpec, ...]
    outputs: tuple[tuple[ArrayKey, int], ...]
    gates: tuple[tuple[str, int], ...] = ()
    doc: str = ""
    options: tuple[tuple[str, str], ...] = field(default=())

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @cached_property
    def _hash(self) -> int:
        return hash(
            (self.name, self.nodes, self.inputs, self.states, self.blocks, self.vectors, self.outputs)
        )

    def __hash__(self) -> int:
        return self._hash  # plans are looked up by graph at every call, and a graph is some hundred nodes

    def __getstate__(self) -> dict[str, Any]:
        return declared_fields(self)

    def next_state(self, name: str) -> int:
        """The index of the new value of a state."""
        for key, index in self.outputs:
            if key == ArrayKey("state", name):
                return index
        raise KeyError(f"{self.name} gives no new value to the state {name!r}")

    def next_states(self) -> tuple[int, ...]:
        """Indices of the new values of the states, in their order."""
        return tuple(self.next_state(state.name) for state in self.states)

    def emits(self) -> dict[str, int]:
        """Names and indices of the emitted values."""
        return {key.name: index for key, index in self.outputs if key.kind == "emit"}

    def slots(self) -> dict[str, tuple[Block, ...]]:
        """Slot names to their blocks, slots in order of first use with `ih` and `hh` first."""
        blocks: dict[str, list[Block]] = {}
        for block in self.blocks:
            blocks.setdefault(block.slot, []).append(block)
        first = [slot for slot in ("ih", "hh") if slot in blocks]
        rest = [slot for slot in blocks if slot not in first]
        return {slot: tuple(blocks[slot]) for slot in first + rest}

    def weight_names(self) -> dict[str, str]:
        """Names of the packed weights and biases to the slot that each belongs to."""
        names: dict[str, str] = {}
        for slot, blocks in self.slots().items():
            names[f"weight_{slot}"] = slot
            if blocks[0].bias:
                names[f"bias_{slot}"] = slot
        return names

    def inputs_of_kind(self, kind: Kind) -> tuple[InputSpec, ...]:
        """The declared inputs of one kind, in order."""
        return tuple(spec for spec in self.inputs if spec.kind == kind)

    def counts_steps(self, size: Width) -> bool:
        """Whether a size is the number of a memory's steps, which a call decides: that of an alignment."""
        return any(size == f"{spec.name}_steps" for spec in self.inputs_of_kind("memory"))

    def sizes(self) -> tuple[str, ...]:
        """Every named size that the layer must know to run this graph."""
        widths: list[Width] = [spec.size for spec in self.inputs]
        widths += [spec.size for spec in self.states]
        for block in self.blocks:
            widths += [block.rows, block.columns]
        for vector in self.vectors:
            widths += [vector.size] + ([vector.columns] if vector.columns is not None else [])
        return tuple(dict.fromkeys(width for width in widths if isinstance(width, str)))


def is_start(init: object) -> bool:
    """Whether a learned vector can start so: "uniform", a finite number, or two in ascending order."""
    ends = init if isinstance(init, tuple) and len(init) == 2 else (init,)
    numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in ends)
    return init == "uniform" or (numbers and list(ends) == sorted(ends))


def resolve(width: Width, sizes: Mapping[str, int]) -> int:
    """The number behind a width.

    Raises:
        KeyError: the width names a size that is not in `sizes`.
    """
    return width if isinstance(width, int) else sizes[width]


def declared_fields(value: Any) -> dict[str, Any]:
    """The fields of a frozen dataclass, without what it has worked out of them and keeps.

    A copy in another process must work these out anew: hashes of texts differ from process to process.
    """
    return {each.name: getattr(value, each.name) for each in fields(value)}
