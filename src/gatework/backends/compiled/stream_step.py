"""One step at a time: a stack's weights packed once, and one native call a step on arrays that stay in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gatework.backends import teams
from gatework.backends.compiled import attention_rows
from gatework.backends.compiled.builder import CommandBuilder
from gatework.backends.compiled.commands import (
    Address,
    Base,
    BoundProgram,
    CommandList,
    LayerArray,
    parameter,
)
from gatework.backends.compiled.forward_backward import ATTENDED_ROWS
from gatework.backends.compiled.machine import Machine
from gatework.backends.compiled.programs import given_at_steps, programs_of
from gatework.backends.program import StackSnapshot
from gatework.backends.storage import Storage
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve

_OUTPUT = ArrayKey("output", "")


@dataclass(frozen=True)
class BoundLayer:
    """A layer's programs, and where its arrays stand.

    Attributes:
        states: two places, (2, B, size), of each state.
        hoisted: what the hoisted program hands to the loop.
    """

    outer: BoundProgram | None
    loop: BoundProgram
    states: Mapping[str, Address]
    hoisted: dict[ArrayKey, Address]


def bind_layer(
    work: CommandBuilder,
    graph: Graph,
    sizes: Mapping[str, int],
    rows: int,
    layer: int | None = None,
    storage: Storage = "full",
) -> BoundLayer:
    """A layer's programs with its weights as they are now, for so many rows at most.

    Args:
        layer: its number in a stack; None where it is alone.
        storage: how its weight matrices may be kept.
    """
    programs = programs_of(graph)
    outer, hoisted = None, dict[ArrayKey, Address]()
    if programs.hoisted is not None:
        outer = work.bind(programs.hoisted, graph, sizes, rows, layer, storage)
        widths = given_at_steps(programs.hoisted, sizes)
        hoisted = {key: work.scratch(rows * width) for key, width in widths.items()}
    loop = work.bind(programs.loop, graph, sizes, rows, layer, storage)
    states = {state.name: work.scratch(2 * rows * resolve(state.size, sizes)) for state in graph.states}
    return BoundLayer(outer, loop, states, hoisted)


def run_layer(
    work: CommandBuilder,
    layer: BoundLayer,
    arrays: Mapping[ArrayKey, Address],
    rows: int,
    *,
    by_units: bool,
    turn: int = 0,
) -> None:
    """A step that reads states in their place `turn` and writes them to the other.

    Args:
        arrays: inputs, static inputs, memories and emitted values.
    """
    arrays = {**arrays, **layer.hoisted}
    if layer.outer is not None:
        work.run(layer.outer, arrays, {}, steps=(0, 1), rows=rows, by_units=by_units)
        work.barrier()
    arrays |= {ArrayKey("state", name): place for name, place in layer.states.items()}
    masks = dict.fromkeys(layer.states, 1)
    # States alternate between two buffers (`turn`); all other arrays hold one step, index 0.
    work.run(layer.loop, arrays, masks, steps=(turn, turn + 1), rows=rows, begin=-turn, by_units=by_units)
    work.barrier()


def _memory_keys(name: str) -> tuple[ArrayKey, ArrayKey]:
    """A memory, and how many of its steps exist."""
    return ArrayKey("memory", name), ArrayKey("lengths", name)


class Stepper:
    """A stack of layers a step at a time; see `gatework.backends.program.Stepper`.

    Attributes:
        results: (B, size) of the output and of each emitted value; every step writes them.
    """

    def __init__(self, machine: Machine, stack: StackSnapshot) -> None:
        states, memories = stack.states, stack.memories
        self._dtype, self._rows = states[0].dtype, states[0].shape[1]
        given_layers = [
            attention_rows.by_rows(stack.graph, own, known)
            for own, known in zip(stack.parameters, memories, strict=True)
        ]
        self._graph = graph = attention_rows.lowered_graph(stack.graph)
        parameters = [own for _, own, _ in given_layers]
        sizes = [
            {**own, **{f"{name}_steps": len(memory.values) for name, memory in known.items()}}
            for own, (_, _, known) in zip(stack.sizes, given_layers, strict=True)
        ]
        self._widths = {state.name: resolve(state.size, sizes[0]) for state in graph.states}
        weights = sum(value.numel() for layer in parameters for value in layer.values())
        self._team = machine.team("step", weights * self._rows)
        work = CommandBuilder(self._dtype)
        layers = [
            bind_layer(work, graph, own, self._rows, number, stack.storage)
            for number, own in enumerate(sizes)
        ]
        setup = work.finish()
        result = {_OUTPUT: self._widths[graph.states[0].name], **given_at_steps(graph, sizes[-1])}
        places = {key: work.scratch(self._rows * width) for key, width in result.items()}
        # States change place at every step: one list for even steps, and one for odd ones.
        lists = [self._list(work, layers, places, turn) for turn in (0, 1)]

        ready, *steps = machine.prepare(setup, *lists, team=self._team, parts=self._team)
        scratch = ready.memory()
        self._kept: dict[Base, Tensor] = {
            parameter(name, number): value.contiguous()
            for number, layer in enumerate(parameters)
            for name, value in layer.items()
        }
        for number, (_, _, known) in enumerate(given_layers):
            for name, memory in known.items():
                own_memory, lengths = (LayerArray(number, key) for key in _memory_keys(name))
                self._kept[own_memory] = memory.values.transpose(0, 1).contiguous()
                self._kept[lengths] = attention_rows.lengths(memory)
        if memories[0]:
            self._kept[ATTENDED_ROWS] = attention_rows.every_row(self._rows, self._dtype)
        given = [spec.key for spec in graph.inputs if spec.kind != "memory"]
        ready.call(self._kept, teams.CALLER, scratch)
        read = {base for each in steps for base in each.bases}  # the weights are packed, and may go
        self._kept = {base: value for base, value in self._kept.items() if base in read}
        self._calls = [each.fixed(self._kept, given, self._team, scratch) for each in steps]
        self._turn = 0
        with torch.inference_mode(False):  # a stream that is made there may be used elsewhere
            self._states = [
                [scratch.view(layer.states[name], (2, self._rows, width)) for layer in layers]
                for name, width in self._widths.items()
            ]
            self._views = [
                [[value[turn : turn + 1] for value in layers] for layers in self._states] for turn in (0, 1)
            ]  # a view takes longer than a copy of few numbers
            self.results = {
                key.name or key.kind: scratch.view(places[key], (self._rows, width))
                for key, width in result.items()
            }
        self.set_states(states)

    def _list(
        self,
        work: CommandBuilder,
        layers: Sequence[BoundLayer],
        results: Mapping[ArrayKey, Address],
        turn: int,
    ) -> CommandList:
        """A step that reads states in their place `turn` and writes them to the other."""
        own, *further = (spec.key for spec in self._graph.inputs if spec.kind != "memory")
        memories = [spec.name for spec in self._graph.inputs_of_kind("memory")]
        output = self._graph.states[0].name
        new = (1 - turn) * self._rows * self._widths[output]
        below = Address(own)
        for number, layer in enumerate(layers):
            arrays = {key: Address(key) for key in (*further, ATTENDED_ROWS)}
            for name in memories:
                arrays |= {key: Address(LayerArray(number, key)) for key in _memory_keys(name)}
            arrays |= results
            arrays[own] = below
            run_layer(work, layer, arrays, self._rows, by_units=self._team > 1, turn=turn)
            below = layer.states[output].at(new)
        work.copy(below, results[_OUTPUT], self._widths[output], self._rows)
        return work.finish()

    def step(self, x: Tensor, *further: Tensor) -> None:
        """One step.

        Args:
            x, further: (B, size) of the input and of each further one, contiguous.
        """
        self._calls[self._turn](x, *further)
        self._turn = 1 - self._turn

    def states(self) -> tuple[Tensor, ...]:
        """(L, B, size) of each state: copies."""
        views = self._views[self._turn]
        return tuple(own[0].clone() if len(own) == 1 else torch.cat(own) for own in views)

    def set_states(self, states: tuple[Tensor, ...]) -> None:
        """Goes on from other states, (L, B, size) each."""
        for layers, new in zip(self._states, states, strict=True):
            for value, given in zip(layers, new, strict=True):
                value[self._turn].copy_(given.detach())
