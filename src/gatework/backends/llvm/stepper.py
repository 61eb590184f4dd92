"""One step at a time: a stack's weights packed once, and one native call a step on arrays that stay in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from gatework.backends.llvm import attended, target, threads
from gatework.backends.llvm.native import native
from gatework.backends.llvm.plan import emitted, plan
from gatework.backends.llvm.worklist import ARENA, Bound, Fixed, Place, Work, WorkList, aligned, new_arena
from gatework.backends.program import MemoryValue
from gatework.graph import Graph
from gatework.graph.node import resolve

_WORTH_A_TEAM = 300_000  # multiplications of one step


@dataclass(frozen=True)
class _Layer:
    """A layer's programs, and where its arrays stand.

    Attributes:
        states: two places, (2, B, size), of each state.
        hoisted: what the outer program hands to the loop.
    """

    outer: Bound | None
    loop: Bound
    states: Mapping[str, Place]
    hoisted: dict[str, Place]


class Stepper:
    """A stack of layers, all of one cell, a step at a time.

    Args:
        parameters: of each layer, by name.
        sizes: of each layer.
        states: (L, B, size) of each state before the first step.
        memories: of each layer.

    Attributes:
        results: (B, size) of the output and of each emitted value; every step writes them.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Sequence[Mapping[str, Tensor]],
        sizes: Sequence[Mapping[str, int]],
        states: tuple[Tensor, ...],
        memories: Sequence[Mapping[str, MemoryValue]],
    ) -> None:
        self._dtype, self._rows = states[0].dtype, states[0].shape[1]
        given_layers = [
            attended.by_rows(graph, own, known) for own, known in zip(parameters, memories, strict=True)
        ]
        self._graph, parameters = attended.lowered_graph(graph), [own for _, own, _ in given_layers]
        graph = self._graph
        sizes = [
            {**own, **{f"{name}_steps": len(memory.values) for name, memory in known.items()}}
            for own, (_, _, known) in zip(sizes, given_layers, strict=True)
        ]
        self._widths = {state.name: resolve(state.size, sizes[0]) for state in graph.states}
        weights = sum(value.numel() for layer in parameters for value in layer.values())
        self._team = threads.most() if weights * self._rows >= _WORTH_A_TEAM else 1
        work = WorkList(self._dtype, target.host(), self._team, self._team)
        layers = [self._layer(work, own, f"{number}:") for number, own in enumerate(sizes)]
        setup = work.finish()
        result = {"output": self._widths[graph.states[0].name], **emitted(graph, sizes[-1])}
        places = {name: work.scratch(self._rows * width) for name, width in result.items()}
        # States change place at every step: one list for even steps, and one for odd ones.
        lists = [self._list(work, layers, places, turn) for turn in (0, 1)]

        self._memory, arena = new_arena(lists[1].arena)
        self._kept = {
            f"{number}:{name}": value.contiguous()
            for number, layer in enumerate(parameters)
            for name, value in layer.items()
        }
        for number, (_, _, known) in enumerate(given_layers):
            for name, memory in known.items():
                self._kept[f"{number}:memory:{name}"] = memory.values.transpose(0, 1).contiguous()
                self._kept[f"{number}:lengths:{name}"] = attended.lengths(memory)
        given = [f"given:{spec.name}" for spec in graph.inputs if spec.kind != "memory"]
        addresses = {ARENA: arena, **dict.fromkeys(given, 0)}
        addresses |= {name: value.data_ptr() for name, value in self._kept.items()}
        setup.call(addresses, 1)
        self._lists = [Fixed(each, addresses, given, self._team) for each in lists]
        self._turn = 0
        with torch.inference_mode(False):  # a stream that is made there may be used elsewhere
            self._states = [
                [self._view(layer.states[name], (2, self._rows, width)) for layer in layers]
                for name, width in self._widths.items()
            ]
            self.results = {n: self._view(places[n], (self._rows, width)) for n, width in result.items()}
        self.set_states(states)

    def _layer(self, work: WorkList, sizes: Mapping[str, int], prefix: str) -> _Layer:
        programs, host = plan(self._graph), target.host()
        outer, hoisted = None, dict[str, Place]()
        if programs.outer is not None:
            code = native(programs.outer, self._dtype, host)
            outer = work.bind(code, self._graph, sizes, self._rows, prefix)
            widths = emitted(programs.outer, sizes)
            hoisted = {f"stream:{name}": work.scratch(self._rows * width) for name, width in widths.items()}
        loop = work.bind(native(programs.loop, self._dtype, host), self._graph, sizes, self._rows, prefix)
        states = {name: work.scratch(2 * self._rows * width) for name, width in self._widths.items()}
        return _Layer(outer, loop, states, hoisted)

    def _list(
        self, work: WorkList, layers: Sequence[_Layer], results: Mapping[str, Place], turn: int
    ) -> Work:
        """A step that reads states in their place `turn` and writes them to the other."""
        own, *further = (spec.name for spec in self._graph.inputs if spec.kind != "memory")
        memories = [spec.name for spec in self._graph.inputs_of_kind("memory")]
        output = self._graph.states[0].name
        new = (1 - turn) * self._rows * self._widths[output]
        below = Place(f"given:{own}")
        masks = dict.fromkeys(self._widths, 1)
        shared = self._team > 1
        for number, layer in enumerate(layers):
            arrays = {
                f"{kind}:{name}": Place(f"given:{name}") for name in further for kind in ("stream", "static")
            }
            for name in memories:
                arrays |= {
                    f"{kind}:{name}": Place(f"{number}:{kind}:{name}") for kind in ("memory", "lengths")
                }
            arrays |= {f"stream:{name}": place for name, place in results.items()} | layer.hoisted
            arrays[f"stream:{own}"] = below
            if layer.outer is not None:
                work.run(layer.outer, arrays, {}, steps=(0, 1), rows=self._rows, by_units=shared)
                work.barrier()
            arrays |= {f"state:{name}": place for name, place in layer.states.items()}
            # The states' step is the turn; the streams have but one, at 0.
            work.run(
                layer.loop,
                arrays,
                masks,
                steps=(turn, turn + 1),
                rows=self._rows,
                begin=-turn,
                by_units=shared,
            )
            work.barrier()
            below = layer.states[output].at(new)
        work.copy(below, results["output"], self._widths[output], self._rows)
        return work.finish()

    def _view(self, place: Place, shape: tuple[int, ...]) -> Tensor:
        """A tensor over a part of the memory."""
        item = torch.finfo(self._dtype).bits // 8
        offset = aligned(self._memory) - self._memory.__array_interface__["data"][0] + place.offset * item
        numbers = torch.frombuffer(self._memory, dtype=self._dtype, count=prod(shape), offset=offset)
        return numbers.view(shape)

    def step(self, *given: Tensor) -> None:
        """One step.

        Args:
            given: (B, size) of the input and of each further one, contiguous.
        """
        turn = self._turn
        self._lists[turn].call(*[value.data_ptr() for value in given])
        self._turn = 1 - turn

    def states(self) -> tuple[Tensor, ...]:
        """(L, B, size) of each state: copies."""
        return tuple(torch.stack([value[self._turn] for value in layers]) for layers in self._states)

    def set_states(self, states: tuple[Tensor, ...]) -> None:
        """Goes on from other states, (L, B, size) each."""
        for layers, new in zip(self._states, states, strict=True):
            for value, given in zip(layers, new, strict=True):
                value[self._turn].copy_(given.detach())
