"""What every backend runs: one layer in one direction, over a batch.

Directions and stacks are the layer's business (`gatework.layers`). A batch is dense, or it is ragged and packed:
sorted and without padding. A backend that knows only dense ones is run piece by piece (`backends/pieces.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from gatework.backends.admission import mode_refusal, tensor_refusal
from gatework.backends.reasons import Reason
from gatework.backends.storage import Storage
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
        inputs: (T, B, size) of each sequence input, or (R, size) if packed; the cell's input first.
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
    """

    output: Tensor
    emits: dict[str, Tensor]
    states: tuple[Tensor, ...]


@dataclass(frozen=True)
class StackCall:
    """A whole stack on a dense batch, for `Backend.run_stack`.

    Attributes:
        names: of one layer's parameters.
        layers: of each layer the sizes that its graph names, and how many weights its products have.
        steps, rows: T and B
        given: states are given; else they begin at zero.
        input_gradient: whether the gradient of the input is wanted; None where no gradient is.
        bidirectional, bias, dropout: of the stack.
        training: the module's mode.
    """

    graph: Graph
    dtype: torch.dtype
    names: tuple[str, ...]
    layers: tuple[tuple[tuple[tuple[str, int], ...], int], ...]
    steps: int
    rows: int
    given: bool
    input_gradient: bool | None
    bidirectional: bool = False
    bias: bool = True
    dropout: float = 0.0
    training: bool = False

    @cached_property
    def _hash(self) -> int:
        return hash(
            (self.graph, self.dtype, self.layers, self.steps, self.rows, self.given, self.input_gradient)
        )

    def __hash__(self) -> int:
        return self._hash  # what is prepared for it is looked up at every call


class Request(NamedTuple):
    """What a choice of backend reads of a call, beside the graph and its sizes.

    Attributes:
        asked: the backend that the thread has asked for, or `auto`.
        rows: B
        record: a tape records: where the backend asked for cannot give gates, the reference does.
        empty: there are no steps or no rows.
        one_step: the call is for a single step, which does not repay the engine's call.
        repaid: the call is for a single step, which does: the cost table, which is about sequences, is not asked.
        training: gradients are enabled.
        device, dtype: of the input.
        obstacle: why native code cannot be called now, or not with the call's tensors; None where it can.
        transform: a transform of torch.func is at work.
        autocast: the dtype to which autocast changes a CPU operator's input; None where autocast is off or does not
            touch the input.
        onednn: torch may use oneDNN.
        compiled: torch.compile is making a graph that is to hold the call.
    """

    asked: str
    rows: int = 1
    record: bool = False
    empty: bool = False
    one_step: bool = False
    training: bool = False
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    obstacle: Reason | None = None
    transform: bool = False
    autocast: torch.dtype | None = None
    onednn: bool = True
    compiled: bool = False
    repaid: bool = False

    @classmethod
    def of(
        cls, asked: str, tensors: Sequence[Tensor], *, rows: int, one_step: bool, empty: bool, record: bool
    ) -> Request:
        """The request of a call in what torch is doing now.

        Args:
            tensors: all that the call reads, its input first.
        """
        x = tensors[0]
        mode = mode_refusal()
        casts = torch.is_autocast_enabled("cpu") and x.device.type == "cpu" and x.dtype is not torch.float64
        return cls(
            asked,
            rows,
            record,
            empty,
            one_step,
            torch.is_grad_enabled(),
            x.device.type,
            x.dtype,
            mode or tensor_refusal(tensors),
            torch._C._functorch.peek_interpreter_stack() is not None,
            torch.get_autocast_dtype("cpu") if casts else None,
            bool(torch.backends.mkldnn.enabled),
        )


StepOperator = Callable[..., Tensor | tuple[Tensor, ...]]
"""The new states from an input, (B, I), the states, (B, size) each, and each parameter in torch.nn's order.

Given and new states are a tensor for a graph of one state, and a tuple for one of several.
"""


CellStep = Callable[
    ["StackCall", Tensor, Sequence[Tensor], Sequence[Tensor]],
    tuple[Tensor, ...],
]
"""The new states, (B, size) each, from the call of a single step with given states, the input, (B, I), the parameters,
which are leaves of autograd's graph, and the states, (B, size) each.
"""

ChainOperator = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
"""Layers of a stack, one after the other, as one operator of a graph of torch.compile's.

It takes the stack, the layers' numbers, the input, (T, B, I), the layers' parameters in order, and (layers, B, size) of
each state or none where all begin at zero; and gives (T, B, H) and (layers, B, size) of each state.
"""


@dataclass(frozen=True)
class StackSnapshot:
    """A stack as a stream runs it: layers of one cell, with their weights as they are now.

    Attributes:
        graph: of the cell, in eval mode.
        parameters: of each layer, by name.
        sizes: of each layer.
        states: (L, B, size) of each state before the first step.
        memories: of each layer.
        storage: how weight matrices may be kept; the parameters are as they are read back from it.
    """

    graph: Graph
    parameters: Sequence[Mapping[str, Tensor]]
    sizes: Sequence[Mapping[str, int]]
    states: tuple[Tensor, ...]
    memories: Sequence[Mapping[str, MemoryValue]]
    storage: Storage = "full"


class Stepper(Protocol):
    """A stack a step at a time, on a snapshot of its weights; made by `Backend.prepare_stepper`.

    Attributes:
        results: what the last step gave, (B, size) by name: `output` and what the cell emits. Each step overwrites it.
    """

    results: dict[str, Tensor]

    def step(self, x: Tensor, *further: Tensor) -> None:
        """One step from the input and each further one, (B, size), plain and contiguous."""
        ...

    def states(self) -> tuple[Tensor, ...]:
        """Copies of the states, (L, B, size) each."""
        ...

    def set_states(self, states: tuple[Tensor, ...]) -> None:
        """Goes on from other states, (L, B, size) each."""
        ...


class DenseBackend(Protocol):
    """A backend's linear map, and the softmax over one without its table of logits."""

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """input (N, I) times weight (O, I) transposed, plus bias (O): (N, O)."""
        ...

    def cross_entropy(
        self, input: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        """Minus the log-probabilities of the targets, (N,), of a softmax over the linear map, summed."""
        ...

    def likeliest(
        self, input: Tensor, weight: Tensor, bias: Tensor, count: int, forbidden: Collection[int]
    ) -> tuple[Tensor, Tensor] | None:
        """The log-probabilities of each row's likeliest units and the units, (N, count) each; None where it cannot."""
        ...


class Backend(Protocol):
    """A way from a graph to numbers.

    Attributes:
        ragged: whether `run` takes packed batches.
        gathers: whether `run` reads a memory's rows through an index.
        plain_tensors: whether `run` reads tensors by their memory, so that they must be plain (`admission.py`).
        whole_stack: which stacks `run_stack` takes in one call: dense ones of `one direction` without anything between
            the layers, `any` but residual ones, or `none`.
        both_directions: whether there is `run_both`.
        ragged_stacks: types of device on which `run_stack` takes packed batches too, and casts what it reads under
            autocast.
    """

    name: str
    ragged: bool
    gathers: bool
    plain_tensors: bool
    whole_stack: Literal["none", "one direction", "any"]
    both_directions: bool
    ragged_stacks: tuple[str, ...]

    def refusal(
        self, graph: Graph, sizes: tuple[tuple[str, int], ...], request: Request
    ) -> Reason | str | None:
        """Why this backend cannot run a graph with these sizes for a call; None where it can."""
        ...

    def run(self, graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> SequenceOutput:
        """One layer over a batch.

        Args:
            parameters: `weight_SLOT`, `bias_SLOT` and vectors by name, without the layer's suffix.
        """
        ...

    def run_both(
        self,
        graph: Graph,
        parameters: Sequence[Mapping[str, Tensor]],
        x: Tensor,
        states: Sequence[tuple[Tensor, ...]],
        pieces: tuple[Piece, ...],
        turned: Tensor,
    ) -> tuple[Tensor, Sequence[tuple[Tensor, ...]]]:
        """Both directions of a layer on a packed batch, of a graph that reads one input and emits nothing.

        Args:
            parameters, states: of each direction.
            x: (R, I).
            turned: (R,) positions of the packed steps of the same rows in reverse order.

        Returns:
            The outputs side by side, (R, 2 H), and each direction's states after the last step.
        """
        ...

    def run_stack(
        self,
        call: StackCall,
        x: Tensor,
        parameters: Sequence[Tensor],
        states: tuple[Tensor, ...],
        pieces: tuple[Piece, ...] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A whole stack, for backends whose `whole_stack` is not `none`.

        Args:
            x: (T, B, I), or (R, I) if packed.
            parameters: of all layers, layer by layer and direction by direction.
            states: (L * directions, B, size) each, or none where `call.given` is false.
            pieces: of a packed batch; only on a device of `ragged_stacks`.

        Returns:
            (T, B, directions * H), or (R, directions * H), and the states after the last step.
        """
        ...

    def step_operator(self, graph: Graph) -> StepOperator | None:
        """A graph's single step as one operator for tensors of every kind; None where `run` serves."""
        ...

    def cell_step(self) -> CellStep | None:
        """What runs one step on plain and contiguous tensors of one dtype; None where there is no such way."""
        ...

    def chain_operator(self) -> ChainOperator | None:
        """What a compiled graph holds of this backend; None where the graph breaks."""
        ...

    def dense_backend(self) -> DenseBackend | None:
        """Its linear maps; None where they are torch's."""
        ...

    def prepare_stepper(self, stack: StackSnapshot) -> Stepper | None:
        """A stack prepared for a step at a time; None where `run` is called for every step."""
        ...
