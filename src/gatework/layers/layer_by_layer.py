"""A call that runs layer by layer and direction by direction, with what stands between them: any cell, any batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from gatework.backends import SequenceInput, SequenceOutput, run_pieces
from gatework.graph import Graph
from gatework.graph.node import resolve
from gatework.graph.variants import PUSH, RESET, SKIP, TAPE
from gatework.layers.arguments import LayerArguments
from gatework.layers.call_plan import CallPlan
from gatework.layers.dropout import dropout
from gatework.layers.masks import sequence_masks, step_masks
from gatework.layers.structure import LayerStack, State, Weights, suffix
from gatework.layers.tape import RecordedLayer


def run_layers(
    stack: LayerStack,
    weights: Weights,
    plan: CallPlan,
    call: LayerArguments,
    training: bool,
    recorded: dict[str, RecordedLayer] | None = None,
    skips: Tensor | None = None,
) -> tuple[dict[str, Tensor], tuple[State, ...]]:
    """The outputs by name, (T, B, ·) or packed, and the final states.

    Args:
        recorded: is given what a tape keeps of each layer and direction by its name; None where no tape records.
        skips: (T, B), 1 where the states stay as they were; None where no step may be left out.
    """
    x = call.x
    finals: list[tuple[Tensor, ...]] = []
    emits: dict[str, Tensor] = {}
    asked: dict[str, Tensor] = {}
    for layer in range(stack.num_layers):
        if _both_at_once(stack, plan, call, layer, recorded is not None or skips is not None):
            joined, both = _run_both(stack, weights, plan, call, x, layer)
            finals += both
            x = _above(stack, joined, x, layer, training)
            continue
        results = []
        for direction in range(stack.directions):
            result = _run_layer(stack, weights, plan, call, x, layer, direction, recorded, skips)
            results.append(result)
            finals.append(result.states)
        joined = results[0].output
        if stack.bidirectional:
            joined = torch.cat([result.output for result in results], dim=-1)
        emits = {
            name: torch.cat([result.emits[name] for result in results], dim=-1) for name in results[0].emits
        }
        asked |= {name: emits[own] for name, number, own in plan.emitted if number == layer}
        x = _above(stack, joined, x, layer, training)
    own = {name: emits[name] for name in stack.graph.emits()}
    outputs = {"output": x, **own, **{name: asked[name] for name, *_ in plan.emitted}}
    return outputs, stack.joined_states(finals)


def _above(stack: LayerStack, output: Tensor, x: Tensor, layer: int, training: bool) -> Tensor:
    """What stands above a layer: its output with the residual and the dropout.

    Args:
        x: what the layer read.
    """
    if stack.residual and layer > 0:
        output = output + x
    if stack.dropout and layer < stack.num_layers - 1:
        output = dropout(output, stack.dropout, training)
    return output


def _both_at_once(stack: LayerStack, plan: CallPlan, call: LayerArguments, layer: int, taped: bool) -> bool:
    """Whether the backend runs both directions of a layer as one: of a packed batch that reads nothing but its input.

    Args:
        taped: a tape records, or steps are left out.
    """
    graph = plan.graphs[layer]
    plain = len(graph.inputs) == 1 and not graph.emits() and not taped
    packed = stack.bidirectional and call.ragged is not None and not call.empty
    return plain and packed and plan.choice.backend.both_directions


def _run_both(
    stack: LayerStack, weights: Weights, plan: CallPlan, call: LayerArguments, x: Tensor, layer: int
) -> tuple[Tensor, Sequence[tuple[Tensor, ...]]]:
    """The joined output, (R, 2 H), and the final states of each direction."""
    packed = call.ragged
    assert packed is not None
    states = [tuple(stack.state_of(state, layer, own) for state in call.states) for own in range(2)]
    parameters = [weights(layer, direction) for direction in range(2)]
    return plan.choice.backend.run_both(
        plan.graphs[layer], parameters, x, states, packed.pieces, packed.turned
    )


def _run_layer(
    stack: LayerStack,
    weights: Weights,
    plan: CallPlan,
    call: LayerArguments,
    x: Tensor,
    layer: int,
    direction: int,
    recorded: dict[str, RecordedLayer] | None,
    skips: Tensor | None,
) -> SequenceOutput:
    """One layer in one direction; its output's steps are in the order of the input's."""
    graph, backend = plan.graphs[layer], plan.choice.backend
    reverse = call.reversed if direction else call.unchanged
    sizes = stack.layer_sizes(layer)
    masks = sequence_masks(graph, x, call.rows, stack.recurrent_dropout, sizes)
    inputs = {
        graph.inputs[0].name: x,
        **call.sequence_inputs,
        **step_masks(graph, x, dict(stack.zoneout), sizes),
    }
    if call.resets:
        inputs[RESET] = call.resets[direction]
    pushes = _beside_states(graph, PUSH, x.new_zeros((*x.shape[:-1], 1)), sizes)
    left_out: dict[str, Tensor] = {}
    if skips is not None:
        given = skips.to(x).unsqueeze(-1)
        given = given if call.ragged is None else call.ragged.pack(given)
        left_out = _beside_states(graph, SKIP, reverse(given), sizes)
    sequence = SequenceInput(
        inputs={**{name: reverse(value) for name, value in inputs.items()}, **pushes, **left_out},
        statics={**call.statics, **masks},
        states=tuple(stack.state_of(state, layer, direction) for state in call.states),
        memories=call.memories.of(layer * stack.directions + direction),
        pieces=None if call.ragged is None else call.ragged.pieces,
    )
    run = partial(backend.run, graph, weights(layer, direction))
    cut = call.ragged is not None and not backend.ragged
    result = run_pieces(run, sequence) if cut else run(sequence)
    emits = {name: reverse(value) for name, value in result.emits.items()}
    if recorded is not None:
        taped = {
            name.removeprefix(TAPE): call.as_given(value)
            for name, value in emits.items()
            if name.startswith(TAPE)
        }
        states = [state.name for state in graph.states]
        recorded[suffix(layer, direction)[1:]] = RecordedLayer(
            taped,
            {name: pushes.get(f"{PUSH}{name}") for name in states},
            {name: left_out.get(f"{SKIP}{name}") for name in states},
            lambda value: call.as_given(reverse(value)),
        )
        emits = {name: value for name, value in emits.items() if not name.startswith(TAPE)}
    return replace(result, output=reverse(result.output), emits=emits)


def _beside_states(graph: Graph, prefix: str, value: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """The inputs of a graph that stand beside its states, whose gradients a tape keeps.

    Args:
        prefix: what their names begin with.
        value: (T, B, 1), or (R, 1) if packed, of all units.
    """
    return {
        spec.name: value.expand(*value.shape[:-1], resolve(spec.size, sizes)).requires_grad_()
        for spec in graph.inputs_of_kind("input")
        if spec.name.startswith(prefix)
    }
