"""The one decision for a call of a layer: which backend runs it, on which graph, in one call or layer by layer.

Forward, compiled graphs, streams, single steps and `gatework.explain` all ask here. A plan is pure and is kept by what
it reads, so that the next call of the same kind looks it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gatework.backends import CellStep, Choice, Request, StackCall, StepOperator, asked, choose
from gatework.backends.costs import repaid_from
from gatework.graph import Graph
from gatework.layers.structure import LayerStack


@dataclass(frozen=True)
class CallPlan:
    """How a call runs.

    Attributes:
        choice: the backend, and why.
        graphs: of the present mode, one a layer.
        emitted: of each value that the call asks for its name, its layer, and its name there.
        whole_stack: whether the backend takes the whole stack in one call, where the batch is dense.
    """

    choice: Choice
    graphs: tuple[Graph, ...]
    emitted: tuple[tuple[str, int, str], ...]
    whole_stack: bool

    @property
    def graph(self) -> Graph:
        """The top layer's; every layer's where the call asks for no further value."""
        return self.graphs[-1]


@lru_cache(maxsize=4096)
def plan_call(
    stack: LayerStack,
    request: Request,
    training: bool,
    emitted: tuple[str, ...] = (),
    reset: bool = False,
    taped: tuple[str, ...] | None = None,
    skipped: bool = False,
    scaled: tuple[tuple[str, float], ...] = (),
) -> CallPlan:
    """The plan of a call.

    Args:
        request: all that the choice of a backend reads of the call.
        training: the module's mode.
        emitted: gates and states that the call gives beside the output.
        reset: the call resets states inside its sequences.
        taped: gates and states that tapes keep; None where none records.
        skipped: steps may be left out.
        scaled: gates and what they are multiplied by.

    Raises:
        BackendError: the backend asked for by name cannot serve.
    """
    values = stack.emitted_values(emitted)
    pushed = taped is not None and request.training
    graphs = tuple(
        stack.mode_graph(
            training,
            tuple(name for _, own, name in values if own == layer),
            reset,
            taped,
            pushed,
            skipped,
            scaled,
        )
        for layer in range(stack.num_layers)
    )
    graph = graphs[-1]
    choice = _choose(stack, graph, request)
    backend = choice.backend
    whole = False
    if (
        not request.empty
        and not stack.by_layer
        and len(graph.inputs) == 1
        and not values
        and not graph.emits()
    ):
        if backend.whole_stack == "any":
            whole = not (stack.residual and stack.num_layers > 1)
        elif backend.whole_stack == "one direction":
            whole = stack.simple and not (training and stack.dropout and stack.num_layers > 1)
    return CallPlan(choice, graphs, values, whole)


def _choose(stack: LayerStack, graph: Graph, request: Request) -> Choice:
    """The backend of all layers: where sizes differ from layer to layer, the one that serves every layer.

    torch's operators serve fewest and the reference all.
    """
    sizes = {stack.own_sizes(layer): None for layer in range(stack.num_layers)}
    choices = {choice.name: choice for choice in (choose(graph, own, request) for own in sizes)}
    return next(
        choices[name]
        for name in ("eager", *choices)
        if name in choices and (name != "torch" or len(choices) == 1)
    )


def plan_compiled_call(stack: LayerStack, request: Request, training: bool) -> CallPlan | None:
    """The plan of a call inside a graph of torch.compile's; None where the graph breaks and runs the call as ever.

    Args:
        request: of a dense call.
    """
    graph = stack.graph
    if request.asked != "auto" or request.empty or request.record or request.autocast is not None:
        return None
    if stack.recurrent_dropout or stack.zoneout or len(graph.inputs) > 1 or graph.emits():
        return None
    plan = plan_call(stack, request._replace(compiled=True, rows=1, one_step=False), training)
    return None if plan.choice.backend.chain_operator() is None else plan


FEW_WEIGHTS = 65_536
"""Weights of a layer up to which a single step repays the engine's call, which brings them into its own order."""


@lru_cache(maxsize=1024)
def lone_step(stack: LayerStack, steps: int) -> bool:
    """Whether a call of so many steps is a single one, with too many weights to repay the engine's call."""
    return steps == 1 and max(weights for _, weights in stack.layers) > FEW_WEIGHTS


def request_of(
    tensors: Sequence[Tensor], *, rows: int, one_step: bool, empty: bool = False, record: bool = False
) -> Request:
    """What the choice of a backend reads of a call.

    Args:
        tensors: all that the call reads, its input first.
        rows: B
        one_step: whether it is a single step that does not repay the engine's call.
    """
    return Request.of(asked(), tensors, rows=rows, one_step=one_step, empty=empty, record=record)


@lru_cache(maxsize=4096)
def plan_dense_call(
    stack: LayerStack,
    training: bool,
    asked: str,
    grad: bool,
    dtype: torch.dtype,
    steps: int,
    rows: int,
    given: bool,
    input_gradient: bool | None,
) -> tuple[CallPlan, StackCall] | None:
    """The plan of a dense call on plain CPU tensors of one dtype, in no mode of torch's; None where layers run one by
    one.

    Args:
        given: states are given; else they begin at zero.
        input_gradient: whether the gradient of the input is wanted; None where no gradient is.
    """
    request = Request(asked, rows, one_step=lone_step(stack, steps), training=grad, dtype=dtype)
    plan = plan_call(stack, request, training)
    if not plan.whole_stack:
        return None
    return plan, stack_call(stack, plan.graph, training, dtype, steps, rows, given, input_gradient)


@lru_cache(maxsize=1024)
def plan_step(stack: LayerStack, asked: str, grad: bool) -> StepOperator | None:
    """An operator for one step, in no mode of torch's, that takes tensors of every kind, as torch's do; None where a
    plan looks at them.
    """
    request = Request(asked, one_step=True, training=grad)
    plan = plan_call(stack, request, training=False)
    return plan.choice.backend.step_operator(plan.graph)


REPAID_ROWS, REPAID_WEIGHTS = 4, 200_000
"""Bounds of a single step beside `costs.repaid_from`, below which it does not repay the engine's call: rows of a step
in inference, for which a block of weights is brought into order; weights in training, whose gradients are made once for
all steps. Time of torch's operator over the engine's, LSTM and GRU, medians of paired turns, on one thread of an AMD
EPYC of the third generation (AVX2) beside other work:

| rows x inputs x units | 1x256x256 | 8x64x64 | 64x64x64 | 16x128x128 | 4x256x256 | 8x384x256 | 32x384x256 |
|---|---|---|---|---|---|---|---|
| inference | 0.8, 0.8 | 1.1, 1.2 | 1.2, 1.2 | 1.1, 1.2 | 1.2, 1.4 | 1.2, 1.2 | 1.2, 1.2 |
| training, 10 steps | 1.4, 1.4 | 0.9, 0.9 | 0.8, 0.8 | 1.0, 1.0 | 1.8, 1.4 | 1.6, 1.4 | 1.2, 1.2 |
"""


@lru_cache(maxsize=1024)
def plan_cell_step(
    stack: LayerStack, asked: str, dtype: torch.dtype, rows: int, input_gradient: bool | None
) -> tuple[CellStep, StackCall] | None:
    """What runs a step of a loop in Python, on plain CPU tensors in no mode of torch's, and its call; None where
    another way is quicker or the only one.

    Args:
        input_gradient: whether the gradient of the input is wanted; None where no gradient is.
    """
    (_, weights), *_ = stack.layers
    training = input_gradient is not None
    enough = weights >= REPAID_WEIGHTS if training else rows >= REPAID_ROWS
    repaid = enough and weights * rows >= repaid_from(training)
    if not rows or (asked == "auto" and not repaid):
        return None
    request = Request(asked, rows, training=training, dtype=dtype, repaid=True)
    plan = plan_call(stack, request, training=False)
    step = plan.choice.backend.cell_step()
    if step is None or not plan.whole_stack:
        return None
    return step, stack_call(stack, plan.graph, False, dtype, 1, rows, True, input_gradient)


def stack_call(
    stack: LayerStack,
    graph: Graph,
    training: bool,
    dtype: torch.dtype,
    steps: int,
    rows: int,
    given: bool,
    input_gradient: bool | None,
) -> StackCall:
    """A whole stack in one call, as a backend takes it."""
    return StackCall(
        graph,
        dtype,
        stack.names,
        stack.layers,
        steps,
        rows,
        given,
        input_gradient,
        stack.bidirectional,
        stack.bias,
        stack.dropout,
        training,
    )
