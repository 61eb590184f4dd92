"""A layer's step on weights packed once, for any rows of a memory: what a search calls token after token."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import torch
from torch import Tensor

from gatework.backends.llvm import attended, target, threads
from gatework.backends.llvm.plan import emitted
from gatework.backends.llvm.sequence import shape_for
from gatework.backends.llvm.stepper import bind_layer, run_layer
from gatework.backends.llvm.worklist import ARENA, Fixed, Place, WorkList, new_arena
from gatework.backends.program import MemoryValue, SequenceInput, SequenceOutput
from gatework.graph import Graph
from gatework.graph.layout import named_sizes
from gatework.graph.node import resolve

_PREPARED = "llvm step"


def run_step(
    graph: Graph, parameters: Mapping[str, Tensor], sequence: SequenceInput
) -> SequenceOutput | None:
    """One step of a layer that attends, without autograd; None where the call is another kind.

    What is packed is kept with the memory, as its keys are, and made again where a weight has changed since.
    """
    tensors = [*sequence.inputs.values(), *sequence.statics.values(), *sequence.states]
    if sequence.steps != 1 or sequence.pieces is not None or not sequence.memories:
        return None
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*tensors, *parameters.values())):
        return None
    dtype, rows = tensors[0].dtype, sequence.rows
    if any(tensor.dtype is not dtype for tensor in (*tensors, *parameters.values())):
        return None
    prepared = next(iter(sequence.memories.values())).prepared
    weights = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters.values())
    known = prepared.get(_PREPARED)
    if known is None or known.made_for != (graph, weights) or known.rows < rows:
        prepared[_PREPARED] = known = Step(graph, parameters, sequence, weights)
    step: Step = known
    return step(sequence)


class Step:
    """A step on packed weights and a memory's rows in one piece.

    Attributes:
        rows: the most that a call may have.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Tensor],
        sequence: SequenceInput,
        weights: tuple[tuple[int, int], ...],
    ) -> None:
        self.made_for, self.rows = (graph, weights), sequence.rows
        self._states = [state.name for state in graph.states]
        self._dtype = sequence.states[0].dtype
        lowered, own, memories = attended.by_rows(graph, parameters, sequence.memories)
        self._graph = lowered
        given = {**sequence.inputs, **sequence.statics}
        given |= dict(zip(self._states, sequence.states, strict=True))
        widths = {name: value.shape[-1] for name, value in given.items()}
        widths |= {name: memory.values.shape[-1] for name, memory in memories.items()}
        sizes = named_sizes(lowered, widths, {name: value.shape[0] for name, value in own.items()})
        self._sizes = sizes | {f"{name}_steps": len(memory.values) for name, memory in memories.items()}
        self._emitted = emitted(lowered, self._sizes)
        self._weights = sum(value.numel() for name, value in own.items() if name.startswith("weight_"))
        self._most = threads.most()

        self._work = WorkList(self._dtype, target.host(), self._most, self._most)
        self._layer = bind_layer(self._work, lowered, self._sizes, self.rows, self._dtype)
        self._memory, arena = self._pack(own, memories)
        self._addresses[ARENA] = arena
        self._calls: dict[int, Fixed] = {}
        self._lock = threading.Lock()

    def _pack(self, own: Mapping[str, Tensor], memories: Mapping[str, MemoryValue]) -> tuple[object, int]:
        """Packs the weights: the memory that they are in, and its address."""
        setup = self._work.finish()
        memory, arena = new_arena(setup.arena)
        self._kept = {name: value.detach().contiguous() for name, value in own.items()}
        for name, value in memories.items():
            self._kept[f"memory:{name}"] = value.values.detach().transpose(0, 1).contiguous()
            self._kept[f"lengths:{name}"] = attended.lengths(value)
        self._addresses = {name: value.data_ptr() for name, value in self._kept.items()}
        setup.call({**self._addresses, ARENA: arena}, self._most)
        return memory, arena

    def _call(self, rows: int) -> Fixed:
        """The work for so many rows."""
        if rows in self._calls:
            return self._calls[rows]
        shape = shape_for(
            self._graph, self._dtype, tuple(self._sizes.items()), self._weights, None, 1, rows, self._most
        )
        work = self._work.branch()
        widths = {state.name: resolve(state.size, self._sizes) for state in self._graph.states}
        for name, width in widths.items():
            work.copy(Place(f"state:{name}"), self._layer.states[name], width, rows)
        work.barrier()
        arrays = {f"stream:{name}": Place(f"emit:{name}") for name in self._emitted}
        arrays["attended_rows"] = Place("attended_rows")
        for spec in self._graph.inputs:
            for kind in ("stream", "static", "memory", "lengths"):
                base = f"input:{spec.name}" if kind in ("stream", "static") else f"{kind}:{spec.name}"
                arrays[f"{kind}:{spec.name}"] = Place(base)
        run_layer(work, self._layer, arrays, rows, by_units=rows <= shape.units_up_to)
        for name, width in widths.items():
            work.copy(self._layer.states[name].at(rows * width), Place(f"final:{name}"), width, rows)
        given = [f"input:{spec.name}" for spec in self._graph.inputs if spec.kind != "memory"]
        given += [f"state:{name}" for name in widths]
        given += ["attended_rows", *(f"final:{name}" for name in widths)]
        given += [f"emit:{name}" for name in self._emitted]
        addresses = self._addresses | dict.fromkeys(given, 0)
        self._calls[rows] = call = Fixed(work.finish(), addresses, given, shape.team)
        return call

    def __call__(self, sequence: SequenceInput) -> SequenceOutput:
        rows = sequence.rows
        memory = next(iter(sequence.memories.values()))
        which = attended.every_row(rows, self._dtype) if memory.rows is None else memory.rows.to(self._dtype)
        given = {**sequence.inputs, **sequence.statics}
        specs = [spec.name for spec in self._graph.inputs if spec.kind != "memory"]
        read = [given[name].contiguous() for name in specs]
        read += [state.contiguous() for state in sequence.states]
        finals = tuple(
            torch.empty_like(state, memory_format=torch.contiguous_format) for state in sequence.states
        )
        emits = {
            name: torch.empty((1, rows, width), dtype=self._dtype) for name, width in self._emitted.items()
        }
        with self._lock:
            call = self._call(rows)
            call.call(*(tensor.data_ptr() for tensor in (*read, which, *finals, *emits.values())))
        return SequenceOutput(finals[0].unsqueeze(0), emits, finals)
