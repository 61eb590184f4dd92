"""A whole stack on a dense batch in one native call: what inference runs where nothing stands in its way.

The weights are packed at every call: they may have changed since, also in ways that torch does not count.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from gatework.backends.llvm import memory
from gatework.backends.llvm.passes import add_forward
from gatework.backends.llvm.sequence import shape_for
from gatework.backends.llvm.worklist import ARENA, Fixed, Place, WorkList, new_arena
from gatework.graph import Graph
from gatework.graph.node import resolve

_MOST_ARENA = 1 << 23  # bytes that a prepared call may keep for itself


class Stack:
    """A prepared call.

    Args:
        sizes: of each layer, with the number of its parameters and of the weights among them.
        given: whether states are given; else they begin at zero.
    """

    def __init__(
        self,
        graph: Graph,
        dtype: torch.dtype,
        names: Sequence[str],
        sizes: Sequence[tuple[tuple[tuple[str, int], ...], int]],
        steps: int,
        rows: int,
        most: int,
        *,
        given: bool,
    ) -> None:
        shapes = [shape_for(graph, dtype, own, weights, None, steps, rows, most) for own, weights in sizes]
        top = max(shapes, key=lambda shape: shape.team)
        shapes = [replace(shape, team=top.team, by_units=shape.by_units and top.team > 1) for shape in shapes]
        self.dtype, self.team = dtype, top.team
        work = WorkList(dtype, top.target, top.team if any(shape.by_units for shape in shapes) else 1)
        self._states = [(s.name, resolve(s.size, shapes[0].size_of)) for s in graph.states]
        widths = dict(self._states)
        output = graph.states[0].name
        below = Place("input")
        for number, shape in enumerate(shapes):
            last = number == len(shapes) - 1
            history = Place("history") if last else work.scratch((steps + 1) * rows * widths[output])

            def at(
                name: str, below: Place = below, history: Place = history, number: int = number
            ) -> Place | None:
                kind, _, rest = name.partition(":")
                if kind == "input":
                    return below
                if kind == "history":
                    return history
                if kind == "state" and not given:
                    return None
                return Place(name, number * rows * widths[rest])  # state, final

            add_forward(work, shape, None, at, f"{number}:")
            work.barrier()
            below = history.at(rows * widths[output])
        self._work = work.finish()
        self._shapes = {
            "history": (steps + 1, rows, widths[output]),
            **{f"final:{name}": (len(shapes), rows, width) for name, width in self._states},
        }
        self._bases = [
            "input",
            *(f"{number}:{name}" for number in range(len(shapes)) for name in names),
            *(f"state:{name}" for name in (widths if given else ())),
            *self._shapes,
        ]
        self._fixed: Fixed | None = None
        self._lock = threading.Lock()
        if self._work.arena <= _MOST_ARENA:
            self._memory, arena = new_arena(self._work.arena)
            addresses = {ARENA: arena, **dict.fromkeys(self._bases, 0)}
            self._fixed = Fixed(self._work, addresses, self._bases, self.team)

    def __call__(
        self, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output (T, B, H) and the final states (L, B, size); everything given is contiguous."""
        made = [memory.empty(shape, self.dtype) for shape in self._shapes.values()]
        addresses = [tensor.data_ptr() for tensor in (x, *parameters, *states, *made)]
        if self._fixed is not None and self._lock.acquire(blocking=False):  # else another thread is in it
            try:
                self._fixed.call(*addresses)
            finally:
                self._lock.release()
        else:
            self._work.call(dict(zip(self._bases, addresses, strict=True)), self.team)
        return made[0][1:], tuple(made[1:])


@lru_cache(maxsize=64)
def stack(
    graph: Graph,
    dtype: torch.dtype,
    names: tuple[str, ...],
    sizes: tuple[tuple[tuple[tuple[str, int], ...], int], ...],
    steps: int,
    rows: int,
    most: int,
    given: bool,
) -> Stack:
    """The prepared call of a shape."""
    return Stack(graph, dtype, names, sizes, steps, rows, most, given=given)
