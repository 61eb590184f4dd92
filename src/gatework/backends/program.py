"""What every backend runs: one layer in one direction, over a batch.

Directions and stacks are the layer's business (`gatework.layers`). A batch is dense, or it is ragged and packed:
sorted and without padding. A backend that knows only dense ones is run piece by piece (`backends/pieces.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from gatework.graph import Graph

Piece = tuple[int, int, int]
"""(first step, one past the last, rows): in these steps the last `rows` rows of a sorted batch go on."""


@dataclass(frozen=True)
class MemoryValue:
    """A sequence to attend to.

    Attributes:
        values: (S, B, M)
        mask: (B, S), true where a step exists; None where all do.
        keys: what each attention's queries are compared with, (S, B, A), by its name.
        rows: (N,) which of the B rows each row of the call reads; None where they are the same.
        prepared: what a backend makes of it and keeps for further calls; None where there will be none.
    """

    values: Tensor
    mask: Tensor | None = None
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Tensor | None = None
    prepared: dict[Any, Any] | None = None

    def whole(self) -> MemoryValue:
        """The same with a row of its own for every row of the call."""
        if self.rows is None:
            return self
        keys = {name: value.index_select(1, self.rows) for name, value in self.keys.items()}
        mask = None if self.mask is None else self.mask.index_select(0, self.rows)
        return MemoryValue(self.values.index_select(1, self.rows), mask, keys)


@dataclass(frozen=True)
class SequenceInput:
    """What a layer's pass reads.

    Attributes:
        inputs: (T, B, size) of each input stream, or (R, size) if packed; the cell's input first.
        statics: (B, size) of each static vector.
        states: (B, size) of each state before the first step.
        memories: of each memory.
        pieces: of a ragged batch; its rows are sorted by rising length, and its inputs are packed.
    """

    inputs: Mapping[str, Tensor]
    statics: Mapping[str, Tensor]
    states: tuple[Tensor, ...]
    memories: Mapping[str, MemoryValue] = field(default_factory=dict)
    pieces: tuple[Piece, ...] | None = None

    @property
    def steps(self) -> int:
        """T; of a ragged batch the longest row's."""
        if self.pieces is not None:
            return self.pieces[-1][1] if self.pieces else 0
        return next(iter(self.inputs.values())).shape[0]

    @property
    def rows(self) -> int:
        """B"""
        return self.states[0].shape[0]


@dataclass(frozen=True)
class SequenceOutput:
    """What a layer's pass gives.

    Attributes:
        output: (T, B, size) of the first state; like everything here that has steps, (R, size) if packed.
        emits: (T, B, size) of each emitted value.
        states: (B, size) of each state after the last step.
        gates: (T, B, size) of each gate and each state; empty unless asked for.
        step_states: the first state of every step, as the tensors that gradients flow through; empty unless
            asked for.
    """

    output: Tensor
    emits: dict[str, Tensor]
    states: tuple[Tensor, ...]
    gates: dict[str, Tensor] = field(default_factory=dict)
    step_states: list[Tensor] = field(default_factory=list)


class Backend(Protocol):
    """A way from a graph to numbers.

    Attributes:
        ragged: whether `run` takes packed batches.
    """

    name: str
    ragged: bool

    def refusal(
        self, graph: Graph, *, record: bool, sizes: Mapping[str, int], like: Tensor | None = None
    ) -> str | None:
        """Why this backend cannot run a graph with these sizes; None where it can.

        Args:
            like: a tensor of the call's device and dtype; None where they are not known yet.
        """
        ...

    def run(
        self, graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput, *, record: bool
    ) -> SequenceOutput:
        """One layer over a batch.

        Args:
            parameters: `weight_SLOT`, `bias_SLOT` and vectors by name, without the layer's suffix.
            record: keep gates and step states.
        """
        ...
