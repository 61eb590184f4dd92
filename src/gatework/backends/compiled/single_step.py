"""A layer's step on weights packed once, for any rows of a memory: what a search calls token after token."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from gatework.backends import teams
from gatework.backends.compiled import attention_rows
from gatework.backends.compiled.builder import CommandBuilder
from gatework.backends.compiled.commands import Address, Base, CommandList, parameter
from gatework.backends.compiled.forward_backward import ATTENDED_ROWS
from gatework.backends.compiled.machine import Machine
from gatework.backends.compiled.programs import given_at_steps
from gatework.backends.compiled.sequence import shape_for, shape_of
from gatework.backends.compiled.stream_step import BoundLayer, bind_layer, run_layer
from gatework.backends.program import SequenceInput, SequenceOutput
from gatework.graph import Graph
from gatework.graph.keys import ArrayKey, Kind
from gatework.graph.node import resolve

_BEFORE_AND_BOTH: tuple[Kind, Kind] = (
    "old",
    "state",
)  # a state that is given, and the array of its two halves


def run_step(
    machine: Machine, graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput
) -> SequenceOutput | None:
    """One step of a layer that attends, without autograd; None where the call is another kind.

    What is packed is kept with the memory, as its keys are, and made again where a weight has changed since.
    """
    memories = sequence.memories.values()
    prepared = next(iter(memories)).prepared
    if prepared is None or sequence.steps != 1 or sequence.pieces is not None:
        return None
    read = [*sequence.inputs.values(), *sequence.statics.values(), *sequence.states, *parameters.values()]
    read += [tensor for memory in memories for tensor in (memory.values, *memory.keys.values())]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in read):
        return None
    like = sequence.states[0]
    if any(tensor.dtype is not like.dtype or tensor.device != like.device for tensor in read):
        return None  # the sequence's own pass says what is wrong
    if any(parameter.is_inference() for parameter in parameters.values()):
        return None  # nothing says whether they have changed
    made_for = machine.workers(), tuple((p.data_ptr(), p._version) for p in parameters.values())
    known = prepared.get(graph)
    if known is None or known.made_for != made_for or known.rows < sequence.rows:
        prepared[graph] = known = Step(machine, graph, parameters, sequence, made_for)
    step: Step = known
    return step(sequence)


class Step:
    """A step on packed weights and a memory's rows in one piece.

    Attributes:
        made_for: the workers there were, and the weights as they were.
        rows: the most that a call may have.
    """

    def __init__(
        self,
        machine: Machine,
        graph: Graph,
        parameters: Mapping[str, Tensor],
        sequence: SequenceInput,
        made_for: tuple[int, tuple[tuple[int, int], ...]],
    ) -> None:
        self.made_for, self.rows = made_for, sequence.rows
        self._machine = machine
        # Held, so that no other tensor takes their addresses.
        self._weights_as_given = tuple(parameters.values())
        self._dtype = sequence.states[0].dtype
        every = {name: replace(memory, rows=None) for name, memory in sequence.memories.items()}
        lowered, own, memories = attention_rows.by_rows(graph, parameters, every)
        self._graph = lowered
        self._sizes = shape_of(machine, lowered, own, replace(sequence, memories=memories)).size_of
        self._emitted = given_at_steps(lowered, self._sizes)
        self._weights = sum(value.numel() for name, value in own.items() if name.startswith("weight_"))
        self._most, _ = made_for

        work = CommandBuilder(self._dtype)
        layer = bind_layer(work, lowered, self._sizes, self.rows)
        lists = work.finish(), self._step(work, layer)
        setup, self._work = machine.prepare(*lists, team=self._most, parts=self._most)
        memory = setup.memory()
        self._kept: dict[Base, Tensor] = {
            parameter(name, None): value.detach().contiguous() for name, value in own.items()
        }
        for name, value in memories.items():
            self._kept[ArrayKey("memory", name)] = value.values.detach().transpose(0, 1).contiguous()
            self._kept[ArrayKey("lengths", name)] = attention_rows.lengths(value)
        packed = sum(value.numel() for value in self._kept.values())
        setup.call(self._kept, machine.team("copy", packed, self._most), memory)

        self._inputs = [spec.key for spec in lowered.inputs if spec.kind != "memory"]
        states = [state.name for state in lowered.states]
        given = [*self._inputs, *(ArrayKey(kind, name) for kind in _BEFORE_AND_BOTH for name in states)]
        given += [ATTENDED_ROWS, *self._emitted]
        sizes = {teams.CALLER, teams.Team(self._most)}
        self._calls = {size: self._work.fixed(self._kept, given, size, memory) for size in sizes}
        self._resize(self.rows)
        self._lock = threading.Lock()

    def _step(self, work: CommandBuilder, layer: BoundLayer) -> CommandList:
        """The step for as many rows as there may be.

        States are read from the first half of their array and written to the second.
        """
        arrays = {key: Address(key) for key in (*self._emitted, ATTENDED_ROWS)}
        for spec in self._graph.inputs:
            arrays[spec.key] = Address(spec.key)
            if spec.kind == "memory":
                lengths = ArrayKey("lengths", spec.name)
                arrays[lengths] = Address(lengths)
        states = {}
        for name, width in _state_widths(self._graph, self._sizes).items():
            states[name] = Address(ArrayKey("state", name))
            work.copy(Address(ArrayKey("old", name)), states[name], width, self.rows)
        work.barrier()
        run_layer(work, replace(layer, states=states), arrays, self.rows, by_units=False)
        return work.finish()

    def _resize(self, rows: int) -> None:
        sizes = tuple(self._sizes.items())
        work = self._weights * rows
        self._shape = shape_for(self._machine, self._graph, self._dtype, sizes, work, 1, rows, self._most)
        self._work.resize(rows, by_units=rows <= self._shape.sharing.units_up_to)

    def __call__(self, sequence: SequenceInput) -> SequenceOutput:
        rows = sequence.rows
        memory = next(iter(sequence.memories.values()))
        which = (
            attention_rows.every_row(rows, self._dtype)
            if memory.rows is None
            else memory.rows.to(self._dtype)
        )
        known = {"input": sequence.inputs, "static": sequence.statics}
        read = [known[key.kind][key.name].contiguous() for key in self._inputs]
        old = [state.contiguous() for state in sequence.states]
        both = [state.new_empty((2, *state.shape)) for state in old]
        emits = {key.name: old[0].new_empty((1, rows, width)) for key, width in self._emitted.items()}
        with self._lock:
            if rows != self._shape.rows:
                self._resize(rows)
            self._calls[self._shape.sharing.team](*read, *old, *both, which, *emits.values())
        finals = tuple(state[1] for state in both)
        return SequenceOutput(finals[0].clone().unsqueeze(0), emits, finals)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy of what keeps it has none, and makes its own."""
        return type(None), ()


def _state_widths(graph: Graph, sizes: Mapping[str, int]) -> dict[str, int]:
    """Units of each state."""
    return {state.name: resolve(state.size, sizes) for state in graph.states}
