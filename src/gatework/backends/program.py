"""What every backend runs: one layer in one direction, over a dense batch.

Ragged batches, directions and stacks are the layer's business (`gatework.layers`): what reaches a backend
has the same number of steps in every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from gatework.graph import Graph


@dataclass(frozen=True)
class MemoryValue:
    """A sequence to attend to.

    Attributes:
        values: (S, B, M)
        mask: (B, S), true where a step exists; None where all do.
    """

    values: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class SequenceInput:
    """What a layer's pass reads.

    Attributes:
        inputs: (T, B, size) of each input stream; the cell's input first.
        statics: (B, size) of each static vector.
        states: (B, size) of each state before the first step.
        memories: of each memory.
    """

    inputs: Mapping[str, Tensor]
    statics: Mapping[str, Tensor]
    states: tuple[Tensor, ...]
    memories: Mapping[str, MemoryValue] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return next(iter(self.inputs.values())).shape[0]


@dataclass(frozen=True)
class SequenceOutput:
    """What a layer's pass gives.

    Attributes:
        output: (T, B, size) of the first state.
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
    """A way from a graph to numbers."""

    name: str

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
        """One layer over a dense batch.

        Args:
            parameters: `weight_SLOT`, `bias_SLOT` and vectors by name, without the layer's suffix.
            record: keep gates and step states.
        """
        ...
