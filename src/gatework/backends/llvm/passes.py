"""The work lists of a layer's passes: what is packed, run, multiplied and copied, chunk of steps by chunk.

Products of the input alone run over a chunk of steps at a time, so that what they hand to the loop is still in
the processor's cache when the loop reads it; in backward the gradients of a chunk are multiplied into those of
the weights while they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch

from gatework.backends.llvm.native import native
from gatework.backends.llvm.target import Target
from gatework.backends.llvm.worklist import ONE, Place, Work, WorkList
from gatework.graph import Graph
from gatework.graph.backward import GRADIENT, Backward, backward
from gatework.graph.expand import expand
from gatework.graph.hoist import PREFIX, hoist
from gatework.graph.layout import gate_rows, parameter_shapes
from gatework.graph.node import resolve
from gatework.graph.rewrite import drop_dead
from gatework.graph.simplify import simplify

_FORWARD_ROWS = 192  # of a chunk: enough for the weights to be read from memory seldom
_BACKWARD_ROWS = 384
_CHUNK_BYTES = 1 << 21  # the most that a chunk hands on
_FEW_ROWS = 6  # a thread's, below which rows of several steps are multiplied together

Piece = tuple[int, int, int]


@dataclass(frozen=True)
class Plan:
    """The programs of a layer.

    Attributes:
        outer: what leaves the loop; None where nothing does.
        loop: the step.
        outer_training, loop_training: the same for training, with their backward programs.
    """

    outer: Graph | None
    loop: Graph
    outer_training: Backward | None
    loop_training: Backward


@lru_cache(maxsize=256)
def plan(graph: Graph, wanted: frozenset[str] | None = None) -> Plan:
    """The programs that a graph falls into.

    Args:
        wanted: inputs and static inputs whose gradients are asked for; None for all.
    """
    parts = hoist(simplify(expand(simplify(graph))))
    given = {spec.name for spec in graph.inputs}
    unwanted = frozenset() if wanted is None else frozenset(given - wanted)
    return Plan(
        parts.outer,
        parts.loop,
        None if parts.outer is None else _without(backward(parts.outer), unwanted),
        _without(backward(parts.loop), unwanted),
    )


def _without(training: Backward, unwanted: frozenset[str]) -> Backward:
    """Backward without the gradients of some inputs."""
    needed = {weight.gradient for weight in training.weights} | {
        weight.operand for weight in training.weights
    }
    needed |= {entry[-1] for entry in training.biases + training.vectors}
    statics = tuple(entry for entry in training.statics if entry[0] not in unwanted)
    needed |= {stream for _, stream in statics}
    unneeded = {f"emit:{GRADIENT}{name}" for name in unwanted} | {
        f"emit:{stream}" for name, stream in training.statics if name in unwanted
    }
    outputs = tuple(
        (name, index)
        for name, index in training.loop.outputs
        if name not in unneeded or name.removeprefix("emit:") in needed
    )
    return replace(training, loop=drop_dead(replace(training.loop, outputs=outputs)), statics=statics)


@dataclass(frozen=True)
class Shape:
    """What a work list is prepared for.

    Attributes:
        pieces: (first step, one past the last, rows) of each part of the batch with equally many rows.
        rows: of the arrays.
        steps: of the arrays.
        team: threads.
        by_units: the loop's units are shared, rather than its rows.
    """

    graph: Graph
    dtype: torch.dtype
    target: Target
    sizes: tuple[tuple[str, int], ...]
    pieces: tuple[Piece, ...]
    rows: int
    steps: int
    team: int
    by_units: bool

    @property
    def size_of(self) -> dict[str, int]:
        return dict(self.sizes)

    @property
    def whole(self) -> bool:
        """Whether every row has every step."""
        return self.pieces == ((0, self.steps, self.rows),)

    def chunk(self, least_rows: int, width: int) -> int:
        """Steps of a chunk.

        Args:
            least_rows: enough of them for a product.
            width: numbers that a row hands on.
        """
        step_bytes = self.rows * max(width, 1) * (torch.finfo(self.dtype).bits // 8)
        return min(self.steps, max(1, _CHUNK_BYTES // step_bytes), -(-least_rows // self.rows))

    def chunks(self, chunk: int) -> Iterator[tuple[int, int, int, int]]:
        """(first step, one past the last, rows, rows that go on after it) of each chunk."""
        for number, (start, stop, rows) in enumerate(self.pieces):
            after = self.pieces[number + 1][2] if number + 1 < len(self.pieces) else 0
            for first in range(start, stop, chunk):
                last = min(first + chunk, stop)
                yield first, last, rows, after if last == stop else rows


class Stream(NamedTuple):
    """An array over time, (T, B, width)."""

    place: Place
    width: int

    def from_step(self, first: int, rows: int) -> Stream:
        """The same array, whose first step is not step 0 but another."""
        return Stream(self.place.at(-first * rows * self.width), self.width)


Streams = dict[str, Stream]


@dataclass(frozen=True)
class Kept:
    """What training keeps for backward beside inputs and states, all in one array.

    Attributes:
        loop, outer: what the two programs save, by name.
        width: numbers for each row of each step.
    """

    loop: Streams
    outer: Streams
    width: int


@lru_cache(maxsize=256)
def kept(shape: Shape, wanted: frozenset[str]) -> Kept:
    """Where saved streams stand."""
    programs = plan(shape.graph, wanted)
    every = shape.steps * shape.rows
    loop_reads = {spec.name for spec in programs.loop_training.loop.inputs}
    found: tuple[Streams, Streams] = ({}, {})
    width = 0
    for part, streams in zip((programs.loop_training, programs.outer_training), found, strict=True):
        if part is None:
            continue
        reads = {spec.name for spec in part.loop.inputs}
        for name, size in _emitted(part.forward, shape.size_of).items():
            of_loop = streams is found[1] and name.startswith(PREFIX) and name in loop_reads
            if of_loop or (name in part.saved and name in reads):
                streams[name] = Stream(Place("kept", width * every), size)
                width += size
    return Kept(*found, width)


def _emitted(graph: Graph, sizes: Mapping[str, int]) -> dict[str, int]:
    """Emitted streams and their widths."""
    return {name: resolve(graph.nodes[index].width, sizes) for name, index in graph.emits().items()}


@lru_cache(maxsize=256)
def forward_work(shape: Shape, wanted: frozenset[str] | None) -> Work:
    """The forward pass; for training where `wanted` is given.

    Bases: `input:NAME`, `static:NAME`, `state:NAME` and parameters are read; `emit:NAME`, `final:NAME`,
    `history:NAME` (of the first state; in training of all) and `kept` are written.
    """
    graph, sizes, rows_all = shape.graph, shape.size_of, shape.rows
    programs = plan(graph, wanted)
    outer, loop = programs.outer, programs.loop
    saved = Kept({}, {}, 0)
    if wanted is not None:
        outer = None if programs.outer_training is None else programs.outer_training.forward
        loop = programs.loop_training.forward
        saved = kept(shape, wanted)
    work = WorkList(shape.dtype, shape.target, shape.team if shape.by_units else 1)

    bound = work.bind(native(loop, shape.dtype, shape.target), graph, sizes, rows_all)
    states, masks, begun = {}, {}, shape.pieces[0][2]
    for state in graph.states:
        name, width = state.name, resolve(state.size, sizes)
        whole = wanted is not None or state is graph.states[0]
        masks[name] = -1 if whole else 1
        states[name] = Stream(
            Place(f"history:{name}") if whole else work.scratch(2 * rows_all * width), width
        )
        first = Place(f"state:{name}")
        work.copy(first, states[name].place, width, rows_all)
        skipped = begun * width  # rows without a step end as they begin
        work.copy(first.at(skipped), Place(f"final:{name}", skipped), width, rows_all - begun)
    given = _given(graph, sizes)
    emits = {name: Stream(Place(f"emit:{name}"), width) for name, width in _emitted(loop, sizes).items()}
    loop_streams = given | emits | saved.loop

    handed = (
        {} if outer is None else {n: w for n, w in _emitted(outer, sizes).items() if n not in saved.outer}
    )
    chunk = shape.chunk(_FORWARD_ROWS, sum(handed.values()))
    buffers = {name: Stream(work.scratch(chunk * rows_all * width), width) for name, width in handed.items()}
    outside = None
    if outer is not None:
        few = shape.by_units or rows_all < shape.team * _FEW_ROWS
        outside = _Outer(work, shape, outer, chunk, together=few)
    work.barrier()
    for first_step, last, rows, after in shape.chunks(chunk):
        made = saved.outer | _from_step(buffers, first_step, rows_all)
        if outside is not None:
            outside.run(given | made, (first_step, last), rows)
            if outside.together or shape.by_units:
                work.barrier()
        arrays = _arrays(graph, loop_streams | _hoisted(made))
        arrays |= {f"state:{name}": state.place for name, state in states.items()}
        work.run(
            bound,
            arrays,
            masks,
            steps=(first_step, last),
            rows=rows,
            stride=rows_all,
            by_units=shape.by_units,
        )
        if after < rows or (outside is not None and outside.together):
            work.barrier()
        for name, (place, width) in states.items() if after < rows else ():
            at = ((last if masks[name] == -1 else last & 1) * rows_all + after) * width
            work.copy(place.at(at), Place(f"final:{name}", after * width), width, rows - after)
    return work.finish()


def _hoisted(streams: Streams) -> Streams:
    """What the outer program makes for the loop: the names of what each of them saves are its own."""
    return {name: stream for name, stream in streams.items() if name.startswith(PREFIX)}


def _given(graph: Graph, sizes: Mapping[str, int]) -> Streams:
    """The inputs of a call."""
    specs = graph.inputs_of_kind("input")
    return {spec.name: Stream(Place(f"input:{spec.name}"), resolve(spec.size, sizes)) for spec in specs}


def _from_step(streams: Streams, first: int, rows: int) -> Streams:
    return {name: stream.from_step(first, rows) for name, stream in streams.items()}


def _arrays(graph: Graph, streams: Streams) -> dict[str, Place]:
    """Streams and static inputs by the names of layouts."""
    statics = {f"static:{spec.name}": Place(f"static:{spec.name}") for spec in graph.inputs_of_kind("static")}
    return statics | {f"stream:{name}": stream.place for name, stream in streams.items()}


class _Outer:
    """An outer program: over the rows of all steps of a chunk together, or step by step.

    Args:
        together: wished; not where the batch is ragged or the program reads static inputs.
    """

    def __init__(self, work: WorkList, shape: Shape, program: Graph, chunk: int, *, together: bool) -> None:
        static = any(node.op == "static" for node in program.nodes)
        self.together = together and shape.whole and not static
        self.work, self.shape = work, shape
        rows = shape.rows * (chunk if self.together else 1)
        self.bound = work.bind(native(program, shape.dtype, shape.target), shape.graph, shape.size_of, rows)

    def run(self, streams: Streams, steps: tuple[int, int], rows: int) -> None:
        """Some steps of it."""
        stride, graph = self.shape.rows, self.shape.graph
        if self.together:
            arrays = _arrays(graph, _from_step(streams, -steps[0], stride))
            count = (steps[1] - steps[0]) * stride
            self.work.run(self.bound, arrays, {}, steps=(0, 1), rows=count, stride=count)
        else:
            self.work.run(self.bound, _arrays(graph, streams), {}, steps=steps, rows=rows, stride=stride)


@lru_cache(maxsize=256)
def backward_work(shape: Shape, wanted: frozenset[str]) -> Work:
    """The backward pass.

    Bases: those of forward, `gradient:output`, `gradient:emit:NAME` and `gradient:final:NAME` are read;
    `gradient:input:NAME` (by the loop), `gradient:outer:NAME` (by the outer program; the caller adds them),
    `gradient:static:NAME`, `gradient:state:NAME` and `gradient:PARAMETER` are written.
    """
    graph, sizes, rows_all = shape.graph, shape.size_of, shape.rows
    programs = plan(graph, wanted)
    training, outer = programs.loop_training, programs.outer_training
    saved = kept(shape, wanted)
    work = WorkList(shape.dtype, shape.target, shape.team if shape.by_units else 1)

    given = _given(graph, sizes)
    loop_streams = given | saved.loop | _hoisted(saved.outer)
    states = {state.name: resolve(state.size, sizes) for state in graph.states}
    output_width = states[graph.states[0].name]
    loop_streams[f"{GRADIENT}output"] = Stream(Place("gradient:output"), output_width)
    for name, width in _emitted(graph, sizes).items():
        loop_streams[name] = Stream(Place(f"emit:{name}"), width)
        loop_streams[f"{GRADIENT}emit_{name}"] = Stream(Place(f"gradient:emit:{name}"), width)
    for name, width in states.items():
        loop_streams[f"old_{name}"] = Stream(Place(f"history:{name}"), width)
        loop_streams[f"new_{name}"] = Stream(Place(f"history:{name}", rows_all * width), width)

    made = _emitted(training.loop, sizes)
    outer_made = {} if outer is None else _emitted(outer.loop, sizes)
    of_inputs = {f"{GRADIENT}{name}": name for name in given}
    handed = [width for name, width in (*made.items(), *outer_made.items()) if name not in of_inputs]
    chunk = shape.chunk(_BACKWARD_ROWS, sum(handed))

    def places(widths: Mapping[str, int], maker: str) -> tuple[Streams, Streams]:
        """Streams that a program writes: gradients of inputs, and what only the chunk needs."""
        whole = {
            n: Stream(Place(f"gradient:{maker}:{of_inputs[n]}"), w)
            for n, w in widths.items()
            if n in of_inputs
        }
        rest = {
            n: Stream(work.scratch(chunk * rows_all * w), w) for n, w in widths.items() if n not in of_inputs
        }
        return whole, rest

    whole, buffers = places(made, "input")
    loop_streams |= whole
    outer_whole, outer_buffers = places(outer_made, "outer")
    flows: dict[str, str] = {}  # what the outer program reads, by the loop's names
    for name, width in {} if outer is None else _emitted(outer.forward, sizes).items():
        if name.startswith(PREFIX):
            flows[f"{GRADIENT}emit_{name}"] = flow = f"{GRADIENT}{name}"
            if flow not in made:  # the step does not depend on it
                buffers[flow] = Stream(work.scratch(chunk * rows_all * width), width)
                work.copy(None, buffers[flow].place, chunk * rows_all * width)

    bound = work.bind(native(training.loop, shape.dtype, shape.target), graph, sizes, rows_all)
    outside = (
        _Outer(work, shape, outer.loop, chunk, together=True) if outer is not None and outer_made else None
    )
    for name, (length, *columns) in parameter_shapes(graph, sizes).items():
        work.copy(None, Place(f"gradient:{name}"), columns[0] if columns else 1, length)
    for name in _static_gradients(programs):
        width = next(resolve(spec.size, sizes) for spec in graph.inputs if spec.name == name)
        work.copy(None, Place(f"gradient:static:{name}"), width, rows_all)

    carried = {name: work.scratch(2 * rows_all * width) for name, width in states.items()}
    masks = {f"{GRADIENT}{name}": 1 for name in carried}
    total, running = shape.pieces[-1][1], 0
    work.barrier()
    for first, last, rows, _ in reversed(list(shape.chunks(chunk))):
        if rows > running:  # these rows end here: their gradient is that of the final state
            for name, width in states.items():
                at = ((total - last & 1) * rows_all + running) * width
                source = Place(f"gradient:final:{name}", running * width)
                work.copy(source, carried[name].at(at), width, rows - running)
            running = rows
            work.barrier()
        here = loop_streams | _from_step(buffers, first, rows_all)
        arrays = _arrays(graph, here) | {f"state:{GRADIENT}{name}": place for name, place in carried.items()}
        work.run(
            bound, arrays, masks, steps=(total - last, total - first), rows=rows, stride=rows_all,
            begin=total - 1, direction=-1, by_units=shape.by_units,
        )  # fmt: skip
        work.barrier()
        sums = _Sums(work, shape, (first, last), rows)
        sums.add(training, here)
        if outer is not None:
            there = given | saved.outer | {name: here[flow] for name, flow in flows.items()}
            there |= outer_whole | _from_step(outer_buffers, first, rows_all)
            if outside is not None:
                outside.run(there, (first, last), rows)
                if outer_buffers:
                    work.barrier()
            sums.add(outer, there)
        work.barrier()
    for name, width in states.items():
        to = Place(f"gradient:state:{name}")
        work.copy(carried[name].at((total & 1) * rows_all * width), to, width, running)
        skipped = running * width
        work.copy(Place(f"gradient:final:{name}", skipped), to.at(skipped), width, rows_all - running)
    return work.finish()


def _static_gradients(programs: Plan) -> list[str]:
    parts = (programs.loop_training, programs.outer_training)
    return list(dict.fromkeys(name for part in parts if part is not None for name, _ in part.statics))


class _Sums:
    """Gradients of parameters and static inputs: sums over the rows of a chunk, from its streams."""

    def __init__(self, work: WorkList, shape: Shape, steps: tuple[int, int], rows: int) -> None:
        self.work, self.shape = work, shape
        self.first, self.count, self.rows = steps[0], steps[1] - steps[0], rows

    def add(self, program: Backward, streams: Streams) -> None:
        """What a backward program's streams give."""
        graph, sizes = self.shape.graph, self.shape.size_of
        for weight in program.weights:
            first, last = gate_rows(graph, weight.slot, sizes)[weight.gate]
            right = streams[weight.operand]
            result = Place(f"gradient:weight_{weight.slot}", first * right.width)
            self.products(streams[weight.gradient], right, last - first, result)
        for slot, gate, name in program.biases:
            first, _ = gate_rows(graph, slot, sizes)[gate]
            self.products(None, streams[name], 1, Place(f"gradient:bias_{slot}", first))
        for name, stream in program.vectors:
            self.products(None, streams[stream], 1, Place(f"gradient:{name}"))
        for name, stream in program.statics:
            place, width = streams[stream].from_step(-self.first, self.shape.rows)
            result = Place(f"gradient:static:{name}")
            step, columns = self.shape.rows * width, self.rows * width
            self.work.outer(Place(ONE), (0, 0), place, step, self.count, 1, columns, result)

    def products(self, left: Stream | None, right: Stream, rows: int, result: Place) -> None:
        """Adds the outer products of two streams' rows; where there is no left one, the sums of the right one's."""
        stride = self.shape.rows
        place, width = right.from_step(-self.first, stride)
        other, left_width = (Place(ONE), 0) if left is None else left.from_step(-self.first, stride)
        strides = (0, 0) if left is None else (1, left_width)
        if self.rows == stride:
            self.work.outer(other, strides, place, width, self.count * stride, rows, width, result)
        else:
            turns = (self.count, stride * left_width, stride * width)
            self.work.outer(other, strides, place, width, self.rows, rows, width, result, turns)
