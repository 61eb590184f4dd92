"""Where a network's states stand in one array of the caller's, and what memory its functions need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gatework.export.cell import width_of
from gatework.export.network import Network
from gatework.graph.node import InputSpec, resolve


class StatePlace(NamedTuple):
    """A state of one layer and direction.

    Attributes:
        cell: its position among the network's cells.
        offset: numbers before it that do not depend on a memory.
        units: of it; None for an alignment, which has one number a step of its memory.
        after: alignments before it, by the names of their widths.
        width: the name of an alignment's width.
    """

    cell: int
    name: str
    init: float
    offset: int
    units: int | None
    after: tuple[str, ...] = ()
    width: str = ""


class Count(NamedTuple):
    """So many numbers: fixed ones, and for each of some widths as many as a memory has steps, in whole blocks."""

    fixed: int
    by_steps: tuple[str, ...] = ()

    def plus(self, other: Count) -> Count:
        return Count(self.fixed + other.fixed, self.by_steps + other.by_steps)

    def most(self, other: Count) -> Count:
        """Enough for either."""
        widths = dict.fromkeys(self.by_steps + other.by_steps)
        both = [[width] * max(self.by_steps.count(width), other.by_steps.count(width)) for width in widths]
        return Count(max(self.fixed, other.fixed), tuple(width for each in both for width in each))


@dataclass(frozen=True)
class Interface:
    """What a network's functions take.

    Attributes:
        inputs, statics, memories: beside the first input, by name, with their sizes.
        emits: names and sizes of what a step gives beside its output.
        states: where each state stands.
        state: numbers of all states.
        lanes: of a block.
    """

    network: Network
    inputs: tuple[tuple[str, int], ...]
    statics: tuple[tuple[str, int], ...]
    memories: tuple[tuple[str, int], ...]
    emits: tuple[tuple[str, int | None, str], ...]
    states: tuple[StatePlace, ...]
    state: Count
    lanes: int

    def keys_width(self, memory: str) -> int:
        """Numbers of all keys of one step of a memory."""
        projections = [
            array for cell in self.network.cells for of, array in cell.keys.values() if of == memory
        ]
        return sum(array.shape[0] for array in projections if array is not None)

    def padded(self, count: int) -> int:
        return -(-count // self.lanes) * self.lanes


def _joined(units: int | None, network: Network) -> int | None:
    """Units of a value in all directions."""
    return None if units is None else units * network.stack.directions


def interface(network: Network, lanes: int) -> Interface:
    """What the functions of a network take on a target with so many lanes."""
    graph, sizes = network.graph, network.cells[0].sizes

    def sized(specs: tuple[InputSpec, ...]) -> tuple[tuple[str, int], ...]:
        return tuple((spec.name, resolve(spec.size, sizes)) for spec in specs)

    top = network.cells[-1]
    emits = [(name, graph.nodes[index].width) for name, index in graph.emits().items()]
    places: list[StatePlace] = []
    offset = 0
    for number, cell in enumerate(network.cells):
        for state in graph.states:
            units = width_of(cell, state.size)
            if units is not None:
                places.append(StatePlace(number, state.name, state.init, offset, units))
                offset += -(-units // lanes) * lanes
    after: tuple[str, ...] = ()
    for number in range(len(network.cells)):
        for state in graph.states:
            if width_of(network.cells[number], state.size) is None:
                width = str(state.size)
                places.append(StatePlace(number, state.name, state.init, offset, None, after, width))
                after += (width,)
    return Interface(
        network,
        sized(graph.inputs_of_kind("input")[1:]),
        sized(graph.inputs_of_kind("static")),
        sized(graph.inputs_of_kind("memory")),
        tuple((name, _joined(width_of(top, width), network), str(width)) for name, width in emits),
        tuple(places),
        Count(offset, after),
        lanes,
    )
