"""What a layer's passes are made from: the programs of a graph, the shape of a call, and its arrays over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from gatework.backends.compiled.commands import Address
from gatework.backends.compiled.machine import Machine, Sharing
from gatework.backends.compiled.once import made_once
from gatework.backends.compiled.spans import ANY_EXTENT, Extent, Number, extent
from gatework.backends.program import Piece
from gatework.graph import Graph
from gatework.graph.backward import Backward, backward
from gatework.graph.expand import expand
from gatework.graph.hoist import SplitStep, hoist
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve
from gatework.graph.rewrite import drop_dead
from gatework.graph.simplify import differentiated, simplify
from gatework.graph.variants import is_taped

KEPT = ArrayKey("kept", "")
_FEW_ROWS = 96  # of a single step, which do not repay bringing whole weight matrices in order


@dataclass(frozen=True)
class Programs:
    """The programs of a layer for inference.

    Attributes:
        hoisted: what leaves the loop; None where nothing does.
        loop: the step.
    """

    hoisted: Graph | None
    loop: Graph


@dataclass(frozen=True)
class TrainingPrograms:
    """The programs of a layer for training: forward ones that save what backward reads, and backward ones.

    Attributes:
        hoisted: of what leaves the loop; None where nothing does.
        loop: of the step.
        taped: what a tape keeps and the pass writes anyway, to the key of what holds it: the forward step does not
            write these once more.
    """

    hoisted: Backward | None
    loop: Backward
    taped: dict[ArrayKey, ArrayKey]


@made_once(maxsize=256)
def programs_of(graph: Graph) -> Programs:
    """The programs that a graph falls into."""
    parts = _parts(graph)
    return Programs(
        None if parts.hoisted is None else differentiated(parts.hoisted), differentiated(parts.loop)
    )


@made_once(maxsize=256)
def training_programs_of(graph: Graph, inputs_requiring_grad: frozenset[str]) -> TrainingPrograms:
    """The same for training.

    Args:
        inputs_requiring_grad: inputs, static inputs and memories whose gradients are asked for.
    """
    parts = _parts(graph)
    unwanted = frozenset(spec.name for spec in graph.inputs) - inputs_requiring_grad
    hoisted = None if parts.hoisted is None else _without(backward(parts.hoisted), unwanted)
    loop = _without(backward(parts.loop), unwanted)
    taped = _taped(loop)
    outputs = tuple((key, index) for key, index in loop.forward.outputs if key not in taped)
    return TrainingPrograms(hoisted, replace(loop, forward=replace(loop.forward, outputs=outputs)), taped)


def _taped(loop: Backward) -> dict[ArrayKey, ArrayKey]:
    """What a tape keeps of a step and is a new state, is saved for the backward step, or is made before the loop."""
    read = {spec.key for spec in loop.loop.inputs}
    nodes = loop.forward.nodes
    held = {index: node.key for index, node in enumerate(nodes) if node.op == "array" and node.key in read}
    held |= {index: key for key, index in loop.forward.outputs if key.kind == "saved" and key in read}
    sizes = {state.name: state.size for state in loop.forward.states}
    held |= {
        index: key
        for key, index in loop.forward.outputs
        if key.kind == "state" and nodes[index].width == sizes[key.name]
    }
    outputs = loop.forward.outputs
    return {key: held[index] for key, index in outputs if is_taped(key) and index in held}


@made_once(maxsize=256)
def _parts(graph: Graph) -> SplitStep:
    # Names of gates are for people: what nothing reads is not made for them.
    return hoist(replace(simplify(expand(simplify(graph))), gates=()))


def _without(training: Backward, unwanted: frozenset[str]) -> Backward:
    """Backward without the gradients of some inputs."""
    needed = {weight.gradient for weight in training.weights} | {
        weight.operand for weight in training.weights
    }
    needed |= {entry[-1] for entry in training.biases + training.vectors}
    statics = tuple(entry for entry in training.statics if entry[0] not in unwanted)
    needed |= {flow for _, flow in statics}
    memories = tuple(part for part in training.memories if part.name not in unwanted)
    needed |= {key for part in memories for key in (part.weights, part.weighed)}
    unneeded = {ArrayKey("input_gradient", name) for name in unwanted}
    unneeded |= {flow for name, flow in training.statics if name in unwanted}
    unneeded |= {
        key for part in training.memories if part.name in unwanted for key in (part.weights, part.weighed)
    }
    outputs = tuple(
        (key, index) for key, index in training.loop.outputs if key not in unneeded or key in needed
    )
    loop = drop_dead(replace(training.loop, outputs=outputs))
    return replace(training, loop=loop, statics=statics, memories=memories)


@dataclass(frozen=True)
class Shape:
    """What a command list is prepared for.

    Attributes:
        steps: T; None for a ragged batch, of any lengths.
        rows: B
        sharing: how the machine's workers share the pass.
    """

    graph: Graph
    dtype: torch.dtype
    machine: Machine
    sizes: tuple[tuple[str, int], ...]
    steps: int | None
    rows: int
    sharing: Sharing

    @property
    def size_of(self) -> dict[str, int]:
        return dict(self.sizes)

    @property
    def memories(self) -> dict[str, tuple[int, int]]:
        """Steps and width of each memory."""
        sizes = self.size_of
        specs = self.graph.inputs_of_kind("memory")
        return {spec.name: (sizes[f"{spec.name}_steps"], resolve(spec.size, sizes)) for spec in specs}

    @property
    def pieces(self) -> tuple[Piece, ...] | None:
        """Of a dense batch, its one piece."""
        return None if self.steps is None else ((0, self.steps, self.rows),)

    @property
    def once(self) -> bool:
        """Whether a program runs for one step only, and for few rows; see `BoundProgram`."""
        return self.steps == 1 and self.rows <= _FEW_ROWS

    @property
    def extent(self) -> Extent:
        return ANY_EXTENT if self.pieces is None else extent(self.pieces)

    @property
    def parts(self) -> int:
        """The most workers that share units in some step."""
        fewest = 1 if self.steps is None else self.rows
        return self.sharing.team if fewest <= self.sharing.units_up_to else 1

    def chunk_rows(self, least: int, width: int) -> int:
        """Rows that the steps of a chunk may have; more where there are few steps to choose among.

        Args:
            least: enough of them for a product.
            width: numbers of a row that the chunk hands to the next command.
        """
        most = self.machine.chunk_bytes // (max(width, 1) * self.dtype.itemsize)
        most = min(most, -(-least // self.rows) * self.rows)
        return max(self.rows, most if self.steps is None else min(most, self.steps * self.rows))


class TimeArray(NamedTuple):
    """An array over time, (R, width)."""

    place: Address
    width: int

    def at(self, rows: Number) -> TimeArray:
        """The array from another row on."""
        return TimeArray(self.place.at(rows * self.width), self.width)


TimeArrays = dict[ArrayKey, TimeArray]


@dataclass(frozen=True)
class Kept:
    """What training keeps for backward beside inputs and states, all in one array.

    Attributes:
        loop, hoisted: what the two programs save.
        size: numbers of the array.
    """

    loop: TimeArrays
    hoisted: TimeArrays
    size: Number


@made_once(maxsize=256)
def kept(shape: Shape, inputs_requiring_grad: frozenset[str]) -> Kept:
    """Where saved arrays stand."""
    programs = training_programs_of(shape.graph, inputs_requiring_grad)
    padding = shape.machine.padding // shape.dtype.itemsize
    loop_reads = {spec.key for spec in programs.loop.loop.inputs}
    parts: tuple[TimeArrays, TimeArrays] = ({}, {})
    numbers: Number = 0
    for part, time_arrays in zip((programs.loop, programs.hoisted), parts, strict=True):
        if part is None:
            continue
        reads = {spec.key for spec in part.loop.inputs}
        for key, size in given_at_steps(part.forward, shape.size_of).items():
            of_loop = time_arrays is parts[1] and key.kind == "hoisted" and key in loop_reads
            if of_loop or (key in part.saved and key in reads):
                time_arrays[key] = TimeArray(Address(KEPT, numbers), size)
                numbers += size * shape.extent.total + padding
    return Kept(*parts, numbers)


def given_at_steps(graph: Graph, sizes: Mapping[str, int]) -> dict[ArrayKey, int]:
    """What a program gives at every step beside the new states, and the widths."""
    outputs = (item for item in graph.outputs if item[0].kind != "state")
    return {key: resolve(graph.nodes[index].width, sizes) for key, index in outputs}
