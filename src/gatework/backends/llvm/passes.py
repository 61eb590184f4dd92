"""The work lists of a layer's passes: what is packed, run, multiplied and copied, chunk of steps by chunk.

Products of the input alone run over a chunk of steps at a time, so that what they hand to the loop is still in
the processor's cache when the loop reads it; in backward the gradients of a chunk are multiplied into those of
the weights while they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from gatework.backends.llvm.native import native
from gatework.backends.llvm.once import made_once
from gatework.backends.llvm.plan import Chunk, Kept, Plan, Shape, Stream, Streams, emitted, kept, plan
from gatework.backends.llvm.worklist import ONE, Place, Work, WorkList
from gatework.graph import Graph
from gatework.graph.backward import GRADIENT, Backward
from gatework.graph.hoist import PREFIX
from gatework.graph.layout import gate_rows, parameter_shapes
from gatework.graph.node import resolve

_FORWARD_ROWS = 192  # of a chunk: enough for the weights to be read from memory seldom
_BACKWARD_ROWS = 384
_FEW_ROWS = 6  # a thread's, below which rows of several steps are multiplied together


@made_once(maxsize=256)
def forward_work(shape: Shape, wanted: frozenset[str] | None) -> Work:
    """The forward pass; for training where `wanted` is given.

    Bases: `input:NAME`, `static:NAME`, `memory:NAME` with `lengths:NAME` and `attended_rows`, `state:NAME` and
    parameters are read; `emit:NAME`, `final:NAME`, `history:NAME` (of the first state; in training of all) and `kept`
    are written.
    """
    work = WorkList(shape.dtype, shape.target, shape.team, shape.parts)
    add_forward(work, shape, wanted, Place)
    return work.finish()


def add_forward(
    work: WorkList,
    shape: Shape,
    wanted: frozenset[str] | None,
    at: Callable[[str], Place | None],
    prefix: str = "",
) -> None:
    """The commands of a layer's forward pass.

    Args:
        at: where the arrays stand that `forward_work` names; None for a state that begins at zero.
        prefix: of the bases of parameters.
    """
    graph, sizes, rows_all = shape.graph, shape.size_of, shape.rows
    programs = plan(graph, wanted)
    outer, loop = programs.outer, programs.loop
    saved = Kept({}, {}, 0)
    if wanted is not None:
        outer = None if programs.outer_training is None else programs.outer_training.forward
        loop = programs.loop_training.forward
        saved = _kept(shape, wanted, at)
    bound = work.bind(native(loop, shape.dtype, shape.target), graph, sizes, rows_all, prefix)
    begun = shape.pieces[0][2]
    waiting = rows_all - begun  # rows without a step end as they begin
    states, masks = {}, {}
    for state in graph.states:
        name, width = state.name, resolve(state.size, sizes)
        given = at(f"state:{name}")
        if wanted is not None or state is graph.states[0]:
            masks[name], states[name] = -1, Stream(_there(at, f"history:{name}"), width)
            work.copy(given, states[name].place, width, rows_all)
        else:
            masks[name], states[name] = 1, Stream(work.scratch(2 * rows_all * width), width)
            work.copy(given and given.at(waiting * width), states[name].place, width, begun)
        work.copy(given, _there(at, f"final:{name}"), width, waiting)
    inputs = _given(graph, sizes, at)
    emits = {
        name: Stream(_there(at, f"emit:{name}"), width)
        for name, width in emitted(loop, sizes).items()
        if name not in saved.loop
    }
    loop_streams = inputs | emits | saved.loop

    handed = {} if outer is None else emitted(outer, sizes)
    handed = {name: width for name, width in handed.items() if name not in saved.outer}
    chunk_rows = shape.chunk_rows(_FORWARD_ROWS, sum(handed.values()))
    buffers = {name: Stream(work.scratch(chunk_rows * width), width) for name, width in handed.items()}
    outside = None
    if outer is not None:
        few = rows_all <= shape.units_up_to or rows_all < shape.team * _FEW_ROWS
        outside = _Outer(work, shape, outer, chunk_rows, together=few, prefix=prefix)
    work.barrier()
    moved = 0  # rows by which what goes on from step to step has moved in its two places
    for chunk in shape.chunks(chunk_rows):
        by_units = chunk.rows <= shape.units_up_to
        made = _moved(saved.outer, chunk.shift) | _moved(buffers, -chunk.first * chunk.rows)
        if outside is not None:
            outside.run(_moved(inputs, chunk.shift) | made, chunk)
            if outside.together or by_units:
                work.barrier()
        arrays = _arrays(shape, _moved(loop_streams, chunk.shift) | _hoisted(made), rows_all - chunk.rows)
        olds = {
            name: places.at(moved if masks[name] == 1 else rows_all - chunk.rows + chunk.shift)
            for name, places in states.items()
        }
        arrays |= {f"state:{name}": old.place for name, old in olds.items()}
        work.run(bound, arrays, masks, steps=(chunk.first, chunk.last), rows=chunk.rows, by_units=by_units)
        ended = chunk.rows - chunk.after
        if ended or (outside is not None and outside.together):
            work.barrier()
        for name, old in olds.items():
            turn = chunk.last & masks[name]
            final = _there(at, f"final:{name}").at((rows_all - chunk.rows) * old.width)
            work.copy(old.at(turn * chunk.rows).place, final, old.width, ended)
        moved += ((chunk.last & 1) + 1) * ended


def _there(at: Callable[[str], Place | None], name: str) -> Place:
    place = at(name)
    if place is None:
        raise ValueError(f"the pass needs {name}")
    return place


def _kept(shape: Shape, wanted: frozenset[str], at: Callable[[str], Place | None]) -> Kept:
    """What training keeps, where the array of it stands."""
    saved = kept(shape, wanted)
    if not saved.numbers:
        return saved
    base = _there(at, "kept")

    def based(streams: Streams) -> Streams:
        return {name: Stream(base.at(place.offset), width) for name, (place, width) in streams.items()}

    return Kept(based(saved.loop), based(saved.outer), saved.numbers)


def _hoisted(streams: Streams) -> Streams:
    """What the outer program makes for the loop: the names of what each of them saves are its own."""
    return {name: stream for name, stream in streams.items() if name.startswith(PREFIX)}


def _given(graph: Graph, sizes: Mapping[str, int], at: Callable[[str], Place | None]) -> Streams:
    """The inputs of a call."""
    specs = graph.inputs_of_kind("input")
    return {spec.name: Stream(_there(at, f"input:{spec.name}"), resolve(spec.size, sizes)) for spec in specs}


def _moved(streams: Streams, rows: int) -> Streams:
    return {name: stream.at(rows) for name, stream in streams.items()}


def _static_widths(shape: Shape) -> dict[str, int]:
    return {spec.name: resolve(spec.size, shape.size_of) for spec in shape.graph.inputs_of_kind("static")}


def _arrays(shape: Shape, streams: Streams, first_row: int) -> dict[str, Place]:
    """Streams, static inputs and memories, from a row on, by the names of layouts."""
    of_rows = {f"static:{name}": width for name, width in _static_widths(shape).items()}
    arrays = {name: Place(name, first_row * numbers) for name, numbers in of_rows.items()}
    arrays["attended_rows"] = Place("attended_rows", first_row)
    for name in shape.memories:
        arrays |= {key: Place(key) for key in (f"memory:{name}", f"lengths:{name}")}
    return arrays | {f"stream:{name}": stream.place for name, stream in streams.items()}


class _Outer:
    """An outer program: over the rows of all steps of a chunk together, or step by step.

    Args:
        together: wished; not where the program reads static inputs.
    """

    def __init__(
        self,
        work: WorkList,
        shape: Shape,
        program: Graph,
        chunk_rows: int,
        *,
        together: bool,
        prefix: str = "",
    ) -> None:
        static = any(node.op == "static" for node in program.nodes)
        self.together = together and not static
        self.work, self.shape = work, shape
        rows = chunk_rows if self.together else shape.rows
        code = native(program, shape.dtype, shape.target)
        self.bound = work.bind(code, shape.graph, shape.size_of, rows, prefix)

    def run(self, streams: Streams, chunk: Chunk) -> None:
        """The chunk's steps of it; streams as if step 0 were where it would be with the chunk's rows."""
        shape = self.shape
        if self.together:
            arrays = _arrays(shape, _moved(streams, chunk.first * chunk.rows), 0)
            self.work.run(self.bound, arrays, {}, steps=(0, 1), rows=chunk.count)
        else:
            arrays = _arrays(shape, streams, shape.rows - chunk.rows)
            self.work.run(self.bound, arrays, {}, steps=(chunk.first, chunk.last), rows=chunk.rows)


@made_once(maxsize=256)
def backward_work(shape: Shape, wanted: frozenset[str]) -> Work:
    """The backward pass.

    Bases: those of forward, `gradient:output`, `gradient:emit:NAME` and `gradient:final:NAME` are read;
    `gradient:input:NAME` (by the loop), `gradient:outer:NAME` (by the outer program; the caller adds them),
    `gradient:static:NAME`, `gradient:memory:NAME`, `gradient:state:NAME` and `gradient:PARAMETER` are written.
    """
    work = WorkList(shape.dtype, shape.target, shape.team, shape.parts)
    add_backward(work, shape, wanted, Place)
    return work.finish()


def add_backward(
    work: WorkList, shape: Shape, wanted: frozenset[str], at: Callable[[str], Place | None], prefix: str = ""
) -> None:
    """The commands of a layer's backward pass.

    Args:
        at: where the arrays stand that `backward_work` names; None for a gradient of a final state that is zero.
        prefix: of the bases of parameters.
    """
    graph, sizes, rows_all = shape.graph, shape.size_of, shape.rows
    programs = plan(graph, wanted)
    training, outer = programs.loop_training, programs.outer_training
    saved = _kept(shape, wanted, at)

    inputs = _given(graph, sizes, at)
    histories = {state.name: _there(at, f"history:{state.name}") for state in graph.states}
    loop_streams = inputs | saved.loop | _hoisted(saved.outer)
    states = {state.name: resolve(state.size, sizes) for state in graph.states}
    output_width = states[graph.states[0].name]
    loop_streams[f"{GRADIENT}output"] = Stream(_there(at, "gradient:output"), output_width)
    for name, width in emitted(graph, sizes).items():
        loop_streams[name] = Stream(_there(at, f"emit:{name}"), width)
        loop_streams[f"{GRADIENT}emit_{name}"] = Stream(_there(at, f"gradient:emit:{name}"), width)
    for name, width in states.items():
        loop_streams[f"new_{name}"] = Stream(histories[name], width).at(rows_all)

    made = emitted(training.loop, sizes)
    outer_made = {} if outer is None else emitted(outer.loop, sizes)
    of_inputs = {f"{GRADIENT}{name}": name for name in inputs}
    handed = [width for name, width in (*made.items(), *outer_made.items()) if name not in of_inputs]
    chunk_rows = shape.chunk_rows(_BACKWARD_ROWS, sum(handed))

    def places(widths: Mapping[str, int], maker: str) -> tuple[Streams, Streams]:
        """Streams that a program writes: gradients of inputs, and what only the chunk needs."""
        whole = {
            n: Stream(_there(at, f"gradient:{maker}:{of_inputs[n]}"), w)
            for n, w in widths.items()
            if n in of_inputs
        }
        rest = {n: Stream(work.scratch(chunk_rows * w), w) for n, w in widths.items() if n not in of_inputs}
        return whole, rest

    whole, buffers = places(made, "input")
    loop_streams |= whole
    outer_whole, outer_buffers = places(outer_made, "outer")
    flows: dict[str, str] = {}  # what the outer program reads, by the loop's names
    for name, width in {} if outer is None else emitted(outer.forward, sizes).items():
        if name.startswith(PREFIX):
            flows[f"{GRADIENT}emit_{name}"] = flow = f"{GRADIENT}{name}"
            if flow not in made:  # the step does not depend on it
                buffers[flow] = Stream(work.scratch(chunk_rows * width), width)
                work.copy(None, buffers[flow].place, width, chunk_rows)

    bound = work.bind(native(training.loop, shape.dtype, shape.target), graph, sizes, rows_all, prefix)
    outside = None
    if outer is not None and outer_made:
        outside = _Outer(work, shape, outer.loop, chunk_rows, together=True, prefix=prefix)
    for name, (length, *columns) in parameter_shapes(graph, sizes).items():
        work.copy(None, _there(at, f"gradient:{name}"), columns[0] if columns else 1, length)
    for name in _static_gradients(programs):
        work.copy(None, _there(at, f"gradient:static:{name}"), _static_widths(shape)[name], rows_all)

    gathered: dict[
        str, tuple[Place, int]
    ] = {}  # what the loop sums itself: arrays of all rows, and a row's numbers
    for name in dict.fromkeys([*training.keys, *(part.name for part in training.memories)]):
        memory = _there(at, f"gradient:memory:{name}"), prod(shape.memories[name])
        work.copy(None, *memory, rows_all)
        if name in training.keys:
            gathered[name] = memory
    for name in training.energies:
        width = parameter_shapes(graph, sizes)[name][0]
        gathered[name] = work.scratch(rows_all * width), width
        work.copy(None, *gathered[name], rows_all)

    carried = {name: Stream(work.scratch(2 * rows_all * width), width) for name, width in states.items()}
    masks = {f"{GRADIENT}{name}": 1 for name in carried}
    chunks = list(shape.chunks(chunk_rows))
    moved = sum(((shape.steps - chunk.last & 1) + 1) * (chunk.rows - chunk.after) for chunk in chunks)
    work.barrier()
    for chunk in reversed(chunks):
        begun = chunk.rows - chunk.after  # rows that end here: their gradient is that of the final state
        if begun:
            turn = shape.steps - chunk.last & 1
            moved -= (turn + 1) * begun
            for name, state in carried.items():
                final = at(f"gradient:final:{name}")
                source = final and final.at((rows_all - chunk.rows) * state.width)
                work.copy(source, state.at(moved + turn * chunk.rows).place, state.width, begun)
            work.barrier()
        olds = {
            f"old_{name}": Stream(histories[name], width).at(rows_all - chunk.rows)
            for name, width in states.items()
        }
        here = _moved(loop_streams | olds, chunk.shift) | _moved(buffers, -chunk.first * chunk.rows)
        arrays = _arrays(shape, here, rows_all - chunk.rows)
        arrays |= {f"state:{GRADIENT}{name}": state.at(moved).place for name, state in carried.items()}
        arrays |= {f"gathered:{name}": place for name, (place, _) in gathered.items()}
        work.run(
            bound, arrays, masks, steps=(shape.steps - chunk.last, shape.steps - chunk.first),
            rows=chunk.rows, begin=shape.steps - 1, direction=-1,
            by_units=chunk.rows <= shape.units_up_to,
        )  # fmt: skip
        work.barrier()
        sums = _Sums(work, shape, chunk, at)
        sums.add(training, here)
        if outer is not None:
            there = _moved(inputs | saved.outer | outer_whole, chunk.shift)
            there |= {name: here[flow] for name, flow in flows.items()}
            there |= _moved(outer_buffers, -chunk.first * chunk.rows)
            if outside is not None:
                outside.run(there, chunk)
                if outer_buffers:
                    work.barrier()
            sums.add(outer, there)
        work.barrier()
    for name in training.energies:
        place, width = gathered[name]
        work.outer(Place(ONE), (0, 0), place, width, rows_all, 1, width, _there(at, f"gradient:{name}"))
    waiting = rows_all - shape.pieces[0][2]
    for name, state in carried.items():
        to = Stream(_there(at, f"gradient:state:{name}"), state.width)
        turn = (shape.steps & 1) * (rows_all - waiting)
        work.copy(state.at(moved + turn).place, to.at(waiting).place, state.width, rows_all - waiting)
        work.copy(at(f"gradient:final:{name}"), to.place, state.width, waiting)


def _static_gradients(programs: Plan) -> list[str]:
    parts = (programs.loop_training, programs.outer_training)
    return list(dict.fromkeys(name for part in parts if part is not None for name, _ in part.statics))


class _Sums:
    """Gradients of parameters, static inputs and memories: sums over the rows of a chunk, from its streams."""

    def __init__(self, work: WorkList, shape: Shape, chunk: Chunk, at: Callable[[str], Place | None]) -> None:
        self.work, self.shape, self.chunk, self.at = work, shape, chunk, at

    def add(self, program: Backward, streams: Streams) -> None:
        """What a backward program's streams give."""
        graph, sizes = self.shape.graph, self.shape.size_of
        for weight in program.weights:
            first, last = gate_rows(graph, weight.slot, sizes)[weight.gate]
            right = streams[weight.operand]
            result = _there(self.at, f"gradient:weight_{weight.slot}").at(first * right.width)
            self.products(streams[weight.gradient], right, last - first, result)
        for slot, gate, name in program.biases:
            first, _ = gate_rows(graph, slot, sizes)[gate]
            self.products(None, streams[name], 1, _there(self.at, f"gradient:bias_{slot}").at(first))
        for name, stream in program.vectors:
            self.products(None, streams[stream], 1, _there(self.at, f"gradient:{name}"))
        for name, stream in program.statics:
            chunk = self.chunk
            place, width = streams[stream].at(chunk.first * chunk.rows)
            result = _there(self.at, f"gradient:static:{name}")
            result = result.at((self.shape.rows - chunk.rows) * width)
            columns = chunk.rows * width
            self.work.outer(Place(ONE), (0, 0), place, columns, chunk.last - chunk.first, 1, columns, result)

        for part in program.memories:
            self.rows_of_memory(part.name, streams[part.weights], streams[part.weighed])

    def rows_of_memory(self, name: str, weights: Stream, weighed: Stream) -> None:
        """Adds, for each row, the outer products of the weights of its memory's steps and what they weigh."""
        chunk, waiting = self.chunk, self.shape.rows - self.chunk.rows
        steps, width = self.shape.memories[name]
        result = _there(self.at, f"gradient:memory:{name}")
        left, right = (stream.at(chunk.first * chunk.rows).place for stream in (weights, weighed))
        self.work.outer_of_rows(
            left, chunk.rows * steps, right, chunk.rows * width, chunk.last - chunk.first,
            (chunk.rows, steps, width), result.at(waiting * steps * width),
        )  # fmt: skip

    def products(self, left: Stream | None, right: Stream, rows: int, result: Place) -> None:
        """Adds the outer products of two streams' rows; where there is no left one, the sums of the right one's."""
        first = self.chunk.first * self.chunk.rows
        place, width = right.at(first)
        other, strides = Place(ONE), (0, 0)
        if left is not None:
            other, strides = left.at(first).place, (1, left.width)
        self.work.outer(other, strides, place, width, self.chunk.count, rows, width, result)
