"""What is exported beside the layers that it was made of, on drawn numbers, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatework.errors import GateworkError
from gatework.export.cell import Array
from gatework.export.maps import VectorMap
from gatework.export.network import Network, Part
from gatework.export.reference import evaluated, expected
from gatework.graph.node import resolve
from gatework.layers.structure import State, suffix

__all__ = [
    "LENGTHS",
    "Drawn",
    "Gave",
    "Given",
    "Wanted",
    "accepted",
    "check_parts",
    "drawn_vectors",
    "largest_error",
]

STEPS, MEMORY_STEPS = 7, 5
LENGTHS, MEMORY_LENGTHS = (7, 3, 1, 6), (5, 2, 4, 1)
TOLERANCE = 1e-5  # of an output, beside 1: sums in another order, over some steps
# A network that makes more of a rounding has so many times the error of torch's own float32, up to a bound.
_ROUNDINGS, _MOST = 8, 1e-2


class Drawn:
    """Numbers that a network is run on: a ragged batch, from states that are not the cell's own start.

    Attributes:
        first: the name of what is read first: `x`, (T, B, I), or `tokens`, (T, B).
        live: (T, B, 1), whether a row has a step.
        states: of every layer and direction, by their names in an export: (B, units).
    """

    def __init__(self, network: Network) -> None:
        random = torch.Generator().manual_seed(0)
        graph, sizes, rows = network.graph, network.cells[0].sizes, len(LENGTHS)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=random) * 0.5

        self.network = network
        self.lengths = torch.tensor(LENGTHS)
        self.live = (torch.arange(STEPS)[:, None] < self.lengths)[..., None]
        self.first = "x" if network.table is None else "tokens"
        self.x = draw(STEPS, rows, network.stack.input_size)
        if network.table is not None:
            self.x = torch.randint(len(network.table), (STEPS, rows), generator=random)
        specs = {kind: graph.inputs_of_kind(kind) for kind in ("input", "static", "memory")}
        self.inputs = {spec.name: draw(STEPS, rows, resolve(spec.size, sizes)) for spec in specs["input"][1:]}
        self.statics = {spec.name: draw(rows, resolve(spec.size, sizes)) for spec in specs["static"]}
        self.memories = {
            spec.name: draw(MEMORY_STEPS, rows, resolve(spec.size, sizes)) for spec in specs["memory"]
        }
        self.memory_lengths = dict.fromkeys(self.memories, torch.tensor(MEMORY_LENGTHS))
        steps = dict.fromkeys(self.memories, MEMORY_STEPS)
        start = network.layer.initial_state(rows, steps or None)
        every = start if isinstance(start, tuple) and len(graph.states) > 1 else (start,)
        alignments = [graph.counts_steps(state.size) for state in graph.states]
        self.hx = tuple(
            state if fixed else _moved(state, draw) for state, fixed in zip(every, alignments, strict=True)
        )
        self.states = _by_name(network, self.hx)

    def wanted(self, *, int8: bool) -> Wanted:
        """What the network's layers give, in float64."""
        found = []
        for dtype in (torch.float64, torch.float32):
            values, finals = expected(
                self.network,
                self.x,
                lengths=self.lengths,
                states=self.hx,
                inputs={**self.inputs, **self.statics},
                memories=self.memories,
                memory_lengths=self.memory_lengths,
                int8=int8,
                dtype=dtype,
            )
            live = {name: value.masked_fill(~self.live, 0.0) for name, value in values.items()}
            found.append((live, _by_name(self.network, finals)))
        (values, states), rounded = found
        of_float32 = [
            largest_error(rounded[place][name].numpy(), value)
            for place, each in enumerate(found[0])
            for name, value in each.items()
        ]
        return Wanted(values, states, _allowed(of_float32))


@dataclass(frozen=True)
class Wanted:
    """What a network must give.

    Attributes:
        values: (T, B, size) by name, `output` among them; of a map of vectors (N, size).
        states: after each row's last step, (B, units) by name.
        allowed: the largest error that is one of rounding: `TOLERANCE`, or a few times torch's own in float32 where a
            network makes more of it.
    """

    values: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    allowed: float


@dataclass(frozen=True)
class Given:
    """What one call of an exported part is given, which knows no batches.

    Attributes:
        part: its name.
        call: `sequence`, the same in `step`s, or a `map` of one vector each, whose vectors are `inputs`.
        x: (T, I), or tokens, (T,).
        inputs: (T, size) by name. memories: (S, M). statics, states: (size,).
    """

    part: str
    call: str
    x: Array | None = None
    inputs: Mapping[str, Array] = field(default_factory=dict)
    memories: Mapping[str, Array] = field(default_factory=dict)
    statics: Mapping[str, Array] = field(default_factory=dict)
    states: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Gave:
    """What it gave: (T, size) by name, and the states after the last step, (units,)."""

    values: Mapping[str, Array]
    states: Mapping[str, Array]


Runs = Callable[[Sequence[Given]], Sequence[Gave]]
"""Runs parts: an answer for each of what is given."""


def check_parts(parts: Sequence[Part], run: Runs, how: str, *, int8: bool) -> float:
    """The largest error of parts that are run a row at a time.

    Args:
        how: they are run, for the message.

    Raises:
        GateworkError: it is larger than that of rounding: nothing is to be written.
    """
    calls = [(part, wanted, row, given) for part in parts for wanted, row, given in _calls(part, int8=int8)]
    answers = run([given for _, _, _, given in calls])
    error = 0.0
    for (part, wanted, row, given), gave in zip(calls, answers, strict=True):
        error = max(error, accepted(part.name, how, _of_row(wanted, row, given, gave), wanted.allowed))
    return error


def accepted(name: str, how: str, error: float, allowed: float) -> float:
    """An error, where it is no larger than allowed.

    Raises:
        GateworkError: it is.
    """
    if not error <= allowed:
        raise GateworkError(
            f"{name}: {how} gives numbers that differ from the layer's by {error:.1e}, more than "
            f"{allowed:.0e}; nothing is written."
        )
    return error


def drawn_vectors(part: VectorMap, *, int8: bool) -> tuple[dict[str, Tensor], Wanted]:
    """What a map is run on, (N, size) by name, and what it must give."""
    random = torch.Generator().manual_seed(0)
    reads = {name: torch.randn(len(LENGTHS), size, generator=random) for name, size in part.reads.items()}
    values, rounded = (
        evaluated(part.cell, reads, int8=int8, dtype=dtype) for dtype in (torch.float64, torch.float32)
    )
    errors = [largest_error(rounded[name].numpy(), value) for name, value in values.items()]
    return reads, Wanted(values, {}, _allowed(errors))


def largest_error(got: Array, wanted: Tensor) -> float:
    """The largest error, beside 1 or the number itself where that is larger; infinity of another shape, and of a number
    that is finite in one of both alone."""
    known = wanted.detach().numpy()
    finite = np.isfinite(known)
    if got.shape != known.shape or (np.isfinite(got) != finite).any():
        return float("inf")
    difference = np.abs(got[finite] - known[finite]) / np.maximum(np.abs(known[finite]), 1.0)
    return float(difference.max()) if difference.size else 0.0


def _allowed(of_float32: Sequence[float]) -> float:
    return max(TOLERANCE, min(_ROUNDINGS * max(of_float32), _MOST))


def _calls(part: Part, *, int8: bool) -> list[tuple[Wanted, int, Given]]:
    """Each row of what a part is run on, in every way in which its code can be called."""
    if isinstance(part, VectorMap):
        reads, of_map = drawn_vectors(part, int8=int8)
        return [(of_map, -1, Given(part.name, "map", inputs=_arrays(reads)))]
    drawn = Drawn(part)
    wanted = drawn.wanted(int8=int8)
    made = []
    for row, steps in enumerate(LENGTHS):
        for call in ("sequence",) if part.stack.bidirectional else ("sequence", "step"):
            given = Given(
                part.name,
                call,
                drawn.x[:steps, row].numpy(),
                _arrays({name: value[:steps, row] for name, value in drawn.inputs.items()}),
                _arrays(
                    {
                        name: value[: drawn.memory_lengths[name][row], row]
                        for name, value in drawn.memories.items()
                    }
                ),
                _arrays({name: value[row] for name, value in drawn.statics.items()}),
                _arrays({name: value[row] for name, value in _of_fixed_size(part, drawn.states).items()}),
            )
            made.append((wanted, row, given))
    return made


def _of_row(wanted: Wanted, row: int, given: Given, gave: Gave) -> float:
    """The largest error of an answer."""
    if given.x is None:
        return max(largest_error(gave.values[name], value) for name, value in wanted.values.items())
    steps, errors = len(given.x), []
    for name, value in wanted.values.items():
        got = gave.values[name]  # weights of an attention have the steps of the row's own memory
        errors.append(largest_error(got, value[:steps, row, : got.shape[1]]))
    errors += [largest_error(gave.states[name], wanted.states[name][row]) for name in given.states]
    return max(errors)


def _arrays(values: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(value.numpy()) for name, value in values.items()}


def _moved(state: Any, draw: Any) -> Any:
    """A start that is not the cell's own."""
    if isinstance(state, tuple):
        return tuple(_moved(each, draw) for each in state)
    return (state.detach().cpu() + draw(*state.shape)).detach()


def _by_name(network: Network, states: Sequence[State]) -> dict[str, Tensor]:
    """(B, size) of each layer and direction, by its name in an export."""
    return {
        state.name + suffix(*pair): network.stack.state_of(states[place], *pair).detach()
        for pair in network.stack.pairs
        for place, state in enumerate(network.graph.states)
    }


def _of_fixed_size(network: Network, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The states but alignments, whose sizes are a memory's steps: what follows from them is in the outputs."""
    graph = network.graph
    fixed = [state.name for state in graph.states if not graph.counts_steps(state.size)]
    return {
        name + suffix(*pair): states[name + suffix(*pair)] for pair in network.stack.pairs for name in fixed
    }
