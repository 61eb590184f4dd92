"""The backend `torch`: torch's own fused operators (oneDNN on a CPU, cuDNN on a GPU) for the cells that they know.

A cell is recognised by its equations, not by its name: a user's cell with the equations of `gatework.lstm`
runs here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Literal

import torch
from torch import Tensor

from gatework import cells
from gatework.backends import teams
from gatework.backends.program import (
    Piece,
    Request,
    SequenceInput,
    SequenceOutput,
    StackCall,
    StackSnapshot,
    StepOperator,
)
from gatework.graph import Graph, Node
from gatework.graph.language import relu
from gatework.graph.variants import RESET, is_taped, without_bias

Kind = Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
name = "torch"
ragged = False
gathers = False
plain_tensors = False
whole_stack = "any"
both_directions = False
ragged_stacks = ("cuda",)


def refusal(graph: Graph, sizes: tuple[tuple[str, int], ...], request: Request) -> str | None:
    """Why torch's operators cannot run a graph; None where they can."""
    if any(spec.name == RESET for spec in graph.inputs):
        return "torch's fused operators reset no states inside a sequence"
    if any(is_taped(key) for key, _ in graph.outputs):
        return "torch's fused operators keep no gates"
    if fused_kind(graph) is None:
        own = tuple(output for output in graph.outputs if output[0].kind != "emit")
        if fused_kind(replace(graph, outputs=own)) is not None:
            return "torch's fused operators give the output and the final states alone"
        return f"torch has no fused operator for the equations of {graph.name}"
    known = dict(sizes)
    if graph.states[0].size == "proj_size" and known.get("proj_size") == known.get("hidden_size"):
        return "torch.nn.LSTM treats proj_size == hidden_size as no projection"
    if request.autocast and fused_kind(graph) == "lstm" and graph.states[0].size != "proj_size":
        return lstm_fails_in(request.autocast, request.onednn)
    return None


@lru_cache(maxsize=256)
def step_operator(graph: Graph) -> StepOperator | None:
    """torch's operator for a single step; None where it has none, as for a projected LSTM."""
    return _STEPS[_kind(graph)] if len(graph.slots()) == 2 else None


def cell_step() -> None:
    """None: a plan looks for another way."""


def chain_operator() -> None:
    """None: torch.compile would see each of torch's operators, in a loop over the steps."""


def dense_backend() -> None:
    """None: linear maps are torch's."""


def prepare_stepper(stack: StackSnapshot) -> None:
    """None: a step is a call of torch's operator for one step."""


@cache
def lstm_fails_in(dtype: torch.dtype, onednn: bool) -> str | None:
    """Why torch's LSTM cannot run under autocast to `dtype` on this processor; None where it can.

    Autocast hands the LSTM to oneDNN without asking whether oneDNN has one in that dtype: on a processor without
    AVX-512 it has none in bfloat16, and raises. A small LSTM, forward and backward, tells.

    Args:
        onednn: whether torch may use oneDNN; with another value the answer is another.
    """
    weights = [torch.zeros(8, 2, requires_grad=True) for _ in range(2)]
    x, state = torch.zeros(2, 1, 2, requires_grad=True), torch.zeros(1, 1, 2)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", dtype):
            output, *_ = torch._VF.lstm(x, [state, state], weights, False, 1, 0.0, True, False, False)
            output.float().sum().backward()
    except RuntimeError as error:
        short = str(dtype).removeprefix("torch.")
        return f"torch's LSTM does not run in {short} on this processor ({str(error).split('.')[0]})"
    return None


@lru_cache(maxsize=256)
def fused_kind(graph: Graph) -> Kind | None:
    """Which of torch's operators computes a graph, if any."""
    return _known().get(_skeleton(graph))


@cache
def _known() -> dict[tuple[object, ...], Kind]:
    kinds: dict[Kind, Sequence[Graph]] = {
        "lstm": [cells.lstm.graph, cells.projected_lstm.graph],
        "gru": [cells.gru.graph],
        "rnn_tanh": [cells.elman.graph],
        "rnn_relu": [cells.elman.with_options(activation=relu).graph],
    }
    return {
        _skeleton(variant): kind
        for kind, graphs in kinds.items()
        for graph in graphs
        for variant in (graph, without_bias(graph))
    }


def _skeleton(graph: Graph) -> tuple[object, ...]:
    """A graph without the names that its author was free to choose."""
    position = {(block.slot, block.gate): index for index, block in enumerate(graph.blocks)}
    states = {state.name: index for index, state in enumerate(graph.states)}
    inputs = {spec.name: index for index, spec in enumerate(graph.inputs)}

    def bare(node: Node) -> tuple[object, ...]:
        attributes = dict(node.attributes)
        if node.op in ("gate_matmul", "bias"):
            named: object = (attributes["slot"], position[attributes["slot"], attributes["gate"]])  # type: ignore[index]
        elif node.op == "state":
            named = states[node.text("name")]
        elif node.op in ("input", "static", "memory"):
            named = inputs[node.text("name")]
        else:
            named = node.attributes
        return node.op, node.args, named, node.width

    return (
        tuple(bare(node) for node in graph.nodes),
        tuple((block.slot, block.rows, block.columns, block.bias) for block in graph.blocks),
        tuple((state.size, state.init) for state in graph.states),
        tuple((spec.kind, spec.size) for spec in graph.inputs),
        tuple(vector.size for vector in graph.vectors),
        graph.next_states(),
        tuple(graph.emits()),
    )


def flat_weights(parameters: Mapping[str, Tensor]) -> list[Tensor]:
    """A layer's parameters in the order in which torch's operators take them."""
    order = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return [parameters[key] for key in order if key in parameters]


_OPERATORS: dict[Kind, Callable[..., tuple[Tensor, ...]]] = {
    "lstm": torch._VF.lstm,
    "gru": torch._VF.gru,
    "rnn_tanh": torch._VF.rnn_tanh,
    "rnn_relu": torch._VF.rnn_relu,
}


_STEPS: dict[Kind, StepOperator] = {
    "lstm": torch._VF.lstm_cell,
    "gru": torch._VF.gru_cell,
    "rnn_tanh": torch._VF.rnn_tanh_cell,
    "rnn_relu": torch._VF.rnn_relu_cell,
}
"""For one step torch has operators of its own, several times quicker than its sequence ones."""


def run_stack(
    call: StackCall,
    x: Tensor,
    parameters: Sequence[Tensor],
    states: tuple[Tensor, ...],
    pieces: tuple[Piece, ...] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A whole stack in one call of torch's operator; see `gatework.backends.program.Backend.run_stack`."""
    kind = _kind(call.graph)
    count = len(call.names)
    layers = [
        flat_weights(dict(zip(call.names, parameters[first : first + count], strict=True)))
        for first in range(0, len(parameters), count)
    ]
    # cuDNN keeps what a backward pass needs in training mode alone; without dropout its results are the same.
    training = call.training or (x.is_cuda and torch.is_grad_enabled())
    dropout = call.dropout if call.training and len(call.layers) > 1 else 0.0
    alone = call.steps == 1 and not (call.bidirectional or dropout or pieces or "weight_hr" in call.names)
    weights = [weight for layer in layers for weight in layer]
    options = call.bias, len(call.layers), dropout, training, call.bidirectional
    work = sum(numbers for _, numbers in call.layers) * call.steps * call.rows
    with teams.by_size("sequence", work):
        if alone:
            return _run_step(kind, x, layers, states)
        if pieces is not None:
            return _run_packed(kind, x, weights, states, pieces, options)
        output, *finals = _OPERATORS[kind](x, _hx(kind, states), weights, *options, False)
    return output, tuple(finals)


def _hx(kind: Kind, states: Sequence[Tensor]) -> Tensor | list[Tensor]:
    """The states as torch's operators take them."""
    return list(states) if kind == "lstm" else states[0]


def _run_packed(
    kind: Kind,
    x: Tensor,
    weights: Sequence[Tensor],
    states: tuple[Tensor, ...],
    pieces: tuple[Piece, ...],
    options: tuple[object, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A whole stack over a packed batch. torch's own has the rows of a step in the other order, the longest first.

    Args:
        x: (R, I)
        states: (L * directions, B, size) each, of all rows; those without a step come first and keep theirs.
    """
    steps = torch.tensor([rows for start, stop, rows in pieces for _ in range(start, stop)])
    begins = steps.cumsum(0) - steps
    turned = (2 * begins + steps - 1).repeat_interleave(steps) - torch.arange(len(x))
    turned = turned.to(x.device)
    idle = states[0].shape[1] - pieces[0][2]
    own = [state[:, idle:].flip(1) for state in states]
    output, *finals = _OPERATORS[kind](x.index_select(0, turned), steps, _hx(kind, own), weights, *options)
    every = (
        torch.cat([state[:, :idle], final.flip(1)], 1) if idle else final.flip(1)
        for state, final in zip(states, finals, strict=True)
    )
    return output.index_select(0, turned), tuple(every)


def join_weights(graph: Graph, layers: Sequence[Mapping[str, Tensor]], *, directions: int) -> None:
    """Put the parameters of a stack on a GPU side by side in memory, where cuDNN reads them without copying them first.

    Args:
        graph: the layers'.
        layers: parameters by their names without suffix, layer by layer and direction by direction.
        directions: of each layer.

    Does nothing for what cuDNN does not run: other devices, other cells, tensors that share memory.
    """
    kind, weights = fused_kind(graph), [weight for layer in layers for weight in flat_weights(layer)]
    if kind is None or not all(
        weight.is_cuda and torch.backends.cudnn.is_acceptable(weight) for weight in weights
    ):
        return
    if len({weight.data_ptr() for weight in weights}) < len(weights) or len({w.dtype for w in weights}) > 1:
        return
    from torch.backends.cudnn import rnn

    first = layers[0]
    proj_size = first["weight_hr"].shape[0] if "weight_hr" in first else 0
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    with torch.cuda.device_of(weights[0]), torch.no_grad():
        torch._cudnn_rnn_flatten_weight(
            weights,
            len(flat_weights(first)),
            first["weight_ih"].shape[1],
            rnn.get_cudnn_mode(kind.upper()),
            first["weight_ih"].shape[0] // gates,
            proj_size,
            len(layers) // directions,
            False,
            directions == 2,
        )


def _run_step(
    kind: Kind, x: Tensor, layers: Sequence[Sequence[Tensor]], states: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step of a whole stack, layer by layer."""
    below, finals = x[0], []
    for layer, weights in enumerate(layers):
        stepped = _STEPS[kind](below, _hx(kind, [state[layer] for state in states]), *weights)
        finals.append(stepped if isinstance(stepped, tuple) else (stepped,))
        below = finals[-1][0]
    if len(layers) == 1:  # the caller may write into the output: it has memory of its own
        return below.unsqueeze(0).clone(), tuple(state.unsqueeze(0) for state in finals[0])
    return below.unsqueeze(0), tuple(torch.stack(state) for state in zip(*finals, strict=True))


def _kind(graph: Graph) -> Kind:
    kind = fused_kind(graph)
    if kind is None:
        raise ValueError(f"torch's fused operators cannot run {graph.name}: ask `refusal` first.")
    return kind


def run(graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> SequenceOutput:
    """One layer over a dense batch; see `gatework.backends.program.Backend.run`."""
    weights = sum(value.numel() for value in parameters.values())
    with teams.by_size("sequence", weights * sequence.steps * sequence.rows):
        return _run(_kind(graph), parameters, sequence)


def _run(kind: Kind, parameters: Mapping[str, Tensor], sequence: SequenceInput) -> SequenceOutput:
    x = next(iter(sequence.inputs.values()))
    if sequence.steps == 1 and "weight_hr" not in parameters:
        states = tuple(state.unsqueeze(0) for state in sequence.states)
        output, states = _run_step(kind, x, [flat_weights(parameters)], states)
        return SequenceOutput(output=output, emits={}, states=tuple(state.squeeze(0) for state in states))
    hx = _hx(kind, [state.unsqueeze(0) for state in sequence.states])
    options = "bias_ih" in parameters, 1, 0.0, torch.is_grad_enabled(), False, False
    result = _OPERATORS[kind](x, hx, flat_weights(parameters), *options)
    return SequenceOutput(output=result[0], emits={}, states=tuple(state.squeeze(0) for state in result[1:]))
