"""One step at a time: a stack's weights packed once, and one native call a step on arrays that stay in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gatework.backends.llvm import target, threads
from gatework.backends.llvm.native import native
from gatework.backends.llvm.passes import plan
from gatework.backends.llvm.worklist import ARENA, Bound, Fixed, Place, WorkList, aligned
from gatework.graph import Graph
from gatework.graph.node import resolve

_WORTH_A_TEAM = 300_000  # multiplications of one step


class Stepper:
    """A stack of layers, all of one cell, a step at a time.

    Args:
        parameters: of each layer, by name.
        sizes: of each layer.
        states: (L, B, size) of each state before the first step.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Sequence[Mapping[str, Tensor]],
        sizes: Sequence[Mapping[str, int]],
        states: tuple[Tensor, ...],
    ) -> None:
        like = states[0]
        self._dtype, self._rows = like.dtype, like.shape[1]
        weights = sum(value.numel() for layer in parameters for value in layer.values())
        team = threads.most() if weights * self._rows >= _WORTH_A_TEAM else 1
        work = WorkList(self._dtype, target.host(), team)
        programs, host = plan(graph), target.host()
        loops: list[Bound] = []
        outers: list[Bound | None] = []
        for number, own in enumerate(sizes):
            prefix = f"{number}:"
            loops.append(work.bind(native(programs.loop, self._dtype, host), graph, own, self._rows, prefix))
            outer = programs.outer
            outers.append(
                None
                if outer is None
                else work.bind(native(outer, self._dtype, host), graph, own, self._rows, prefix)
            )
        setup = work.finish()

        # States have two places each and change them at every step: two lists, for even and odd ones.
        names = [state.name for state in graph.states]
        widths = [value.shape[-1] for value in states]
        places = [
            {name: work.scratch(2 * self._rows * width) for name, width in zip(names, widths, strict=True)}
            for _ in sizes
        ]
        emits = {name: resolve(graph.nodes[index].width, sizes[-1]) for name, index in graph.emits().items()}
        result = {"output": widths[0], **emits}
        results = {name: work.scratch(self._rows * width) for name, width in result.items()}
        own_input = graph.inputs[0].name
        further = [spec.name for spec in graph.inputs[1:]]
        hoisted = [
            {}
            if programs.outer is None
            else {
                f"stream:{name}": work.scratch(self._rows * resolve(programs.outer.nodes[index].width, own))
                for name, index in programs.outer.emits().items()
            }
            for own in sizes
        ]
        lists = []
        for turn in (0, 1):
            for number, (loop, outer_bound) in enumerate(zip(loops, outers, strict=True)):
                arrays = {f"stream:{name}": Place(f"given:{name}") for name in further}
                arrays |= {f"static:{name}": Place(f"given:{name}") for name in further}
                below = Place(f"given:{own_input}")
                if number:
                    below = places[number - 1][names[0]].at((1 - turn) * self._rows * widths[0])
                arrays[f"stream:{own_input}"] = below
                arrays |= {f"stream:{name}": results[name] for name in emits}
                arrays |= hoisted[number]
                if outer_bound is not None:
                    work.run(outer_bound, arrays, {}, steps=(0, 1), rows=self._rows, by_units=team > 1)
                    work.barrier()
                arrays |= {f"state:{name}": place for name, place in places[number].items()}
                masks = dict.fromkeys(names, 1)
                # The streams' only step is step 0; the states' is the turn.
                work.run(
                    loop,
                    arrays,
                    masks,
                    steps=(turn, turn + 1),
                    rows=self._rows,
                    begin=-turn,
                    by_units=team > 1,
                )
                work.barrier()
            new = places[-1][names[0]].at((1 - turn) * self._rows * widths[0])
            work.copy(new, results["output"], widths[0], self._rows)
            lists.append(work.finish())

        self._memory = np.zeros(max(lists[1].arena, setup.arena) + 64, np.uint8)
        arena = aligned(self._memory)
        addresses = {ARENA: arena, **{f"given:{name}": 0 for name in (own_input, *further)}}
        kept = {
            f"{number}:{name}": value.contiguous()
            for number, layer in enumerate(parameters)
            for name, value in layer.items()
        }
        self._kept = kept
        addresses |= {name: value.data_ptr() for name, value in kept.items()}
        setup.call(addresses, 1)
        given = [f"given:{name}" for name in (own_input, *further)]
        self._lists = [Fixed(each, addresses, given, team) for each in lists]
        self._turn = 0
        self._states = [
            [self._view(places[number][name], (2, self._rows, width)) for number in range(len(sizes))]
            for name, width in zip(names, widths, strict=True)
        ]
        self.results = {name: self._view(results[name], (self._rows, result[name])) for name in result}
        self.set_states(states)

    def _view(self, place: Place, shape: tuple[int, ...]) -> Tensor:
        """A tensor over a part of the memory."""
        item = torch.finfo(self._dtype).bits // 8
        offset = aligned(self._memory) - self._memory.__array_interface__["data"][0] + place.offset * item
        count = int(np.prod(shape))
        return torch.frombuffer(self._memory, dtype=self._dtype, count=count, offset=offset).view(shape)

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
                value[self._turn].copy_(given)
