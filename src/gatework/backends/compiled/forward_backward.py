"""The command lists of a layer's passes: what is packed, run, multiplied and copied, chunk of steps by chunk.

Products of the input alone run over a chunk of steps at a time, so that what they hand to the loop is still in
the processor's cache when the loop reads it; in backward the gradients of a chunk are multiplied into those of
the weights while they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import cast

from gatework.backends.compiled.builder import CommandBuilder
from gatework.backends.compiled.commands import UNIT, Address, Outer
from gatework.backends.compiled.machine import ReadyList, ReadyRaggedList
from gatework.backends.compiled.once import made_once
from gatework.backends.compiled.programs import (
    KEPT,
    Kept,
    Shape,
    TimeArray,
    TimeArrays,
    TrainingPrograms,
    given_at_steps,
    kept,
    programs_of,
    training_programs_of,
)
from gatework.backends.compiled.spans import Chunk, Number
from gatework.graph import Graph
from gatework.graph.backward import Backward, carried
from gatework.graph.keys import ArrayKey, Kind
from gatework.graph.node import resolve
from gatework.graph.parameters import gate_rows, heads_of, parameter_shapes
from gatework.graph.variants import is_push

Where = Callable[[ArrayKey], Address | None]
"""Where the array of a key begins; None for an array of zeros that a call may leave out."""

ATTENDED_ROWS = ArrayKey("attended_rows", "")
HANDED_ON = ArrayKey("handed_on", "")


@made_once(maxsize=256)
def forward_work(shape: Shape, inputs_requiring_grad: frozenset[str] | None) -> ReadyList | ReadyRaggedList:
    """The forward pass; for training where `inputs_requiring_grad` is given.

    Bases, by their kinds: `input`, `static`, `memory` with `lengths` and `attended_rows`, `state` and `parameter` are
    read; `emit`, `final`, `history` (of the first state; in training of all) and `kept` are written.
    """
    work = CommandBuilder(shape.dtype)
    add_forward(work, shape, inputs_requiring_grad, Address)
    return _ready(work, shape)


def _ready(work: CommandBuilder, shape: Shape) -> ReadyList | ReadyRaggedList:
    """What was written for a shape, as its machine runs it."""
    machine, team = shape.machine, shape.sharing.team
    if shape.pieces is None:
        return machine.prepare_ragged(work.finish(), team=team, parts=shape.parts)
    return machine.prepare(work.finish(), team=team, parts=shape.parts)[0]


def add_forward(
    work: CommandBuilder,
    shape: Shape,
    inputs_requiring_grad: frozenset[str] | None,
    at: Where,
    layer: int | None = None,
) -> None:
    """The commands of a layer's forward pass.

    Args:
        at: where the arrays stand that `forward_work` names; None for a state that begins at zero.
        layer: whose parameters they read; None where there is but one.
    """
    graph, sizes, rows_all = shape.graph, shape.size_of, shape.rows
    if inputs_requiring_grad is None:
        programs = programs_of(graph)
        hoisted_part, loop, saved = programs.hoisted, programs.loop, Kept({}, {}, 0)
    else:
        training = training_programs_of(graph, inputs_requiring_grad)
        hoisted_part = None if training.hoisted is None else training.hoisted.forward
        loop, saved = training.loop.forward, _kept(shape, inputs_requiring_grad, at)
    bound = work.bind(loop, graph, sizes, rows_all, layer, once=shape.once)
    begun = shape.extent.begun
    waiting = rows_all - begun  # rows without a step end as they begin
    states, masks = {}, {}
    for state in graph.states:
        name, width = state.name, resolve(state.size, sizes)
        start = at(ArrayKey("state", name))
        if inputs_requiring_grad is not None or state is graph.states[0]:
            masks[name], states[name] = -1, TimeArray(_address(at, ArrayKey("history", name)), width)
            work.copy(start, states[name].place, width, rows_all)
        else:
            masks[name], states[name] = 1, TimeArray(work.scratch(2 * rows_all * width), width)
            work.copy(start and start.at(waiting * width), states[name].place, width, begun)
        work.copy(start, _address(at, ArrayKey("final", name)), width, waiting)
    inputs = _inputs(graph, sizes, at)
    emits = {
        key: TimeArray(_address(at, key), width)
        for key, width in given_at_steps(loop, sizes).items()
        if key not in saved.loop
    }
    loop_arrays = inputs | emits | saved.loop

    handed = {} if hoisted_part is None else given_at_steps(hoisted_part, sizes)
    handed = {key: width for key, width in handed.items() if key not in saved.hoisted}
    chunk_rows = shape.chunk_rows(shape.machine.forward_rows, sum(handed.values()))
    buffers = {key: TimeArray(work.scratch(chunk_rows * width), width) for key, width in handed.items()}
    hoisted = None
    if hoisted_part is not None:
        few = shape.sharing.multiplied_together(rows_all)
        hoisted = _HoistedProgram(work, shape, hoisted_part, chunk_rows, batched=few, layer=layer)
    work.barrier()
    for chunk in work.chunks(shape.pieces, chunk_rows, shape.sharing.units_up_to):
        made = _moved(saved.hoisted, chunk.shift) | _moved(buffers, chunk.shift - chunk.group)
        if hoisted is not None:
            hoisted.run(inputs | saved.hoisted, buffers, chunk)
            if hoisted.batched or chunk.by_units:
                work.barrier()
        arrays = _arrays(shape, _moved(loop_arrays, chunk.shift) | _hoisted(made), rows_all - chunk.rows)
        olds = {
            name: places.at(chunk.moved if masks[name] == 1 else rows_all - chunk.rows + chunk.shift)
            for name, places in states.items()
        }
        arrays |= {ArrayKey("state", name): old.place for name, old in olds.items()}
        work.run(
            bound, arrays, masks, steps=(chunk.first, chunk.last), rows=chunk.rows, by_units=chunk.by_units
        )
        if chunk.ended or (hoisted is not None and hoisted.batched):
            work.barrier()
        for name, old in olds.items():
            turned = chunk.turned_rows if masks[name] == 1 else chunk.history_rows
            final = _address(at, ArrayKey("final", name)).at((rows_all - chunk.rows) * old.width)
            work.copy(old.at(turned).place, final, old.width, chunk.ended)


def _address(at: Where, key: ArrayKey) -> Address:
    place = at(key)
    if place is None:
        raise ValueError(f"the pass needs {key}")
    return place


def _kept(shape: Shape, inputs_requiring_grad: frozenset[str], at: Where) -> Kept:
    """What training keeps, where the array of it stands."""
    saved = kept(shape, inputs_requiring_grad)
    if not saved.size:
        return saved
    base = _address(at, KEPT)

    def based(time_arrays: TimeArrays) -> TimeArrays:
        return {key: TimeArray(base.at(place.offset), width) for key, (place, width) in time_arrays.items()}

    return Kept(based(saved.loop), based(saved.hoisted), saved.size)


def _hoisted(time_arrays: TimeArrays) -> TimeArrays:
    """What the hoisted program makes for the loop: what each of them saves has numbers of its own."""
    return {key: array for key, array in time_arrays.items() if key.kind == "hoisted"}


def _inputs(graph: Graph, sizes: Mapping[str, int], at: Where) -> TimeArrays:
    """The inputs of a call that are read."""
    specs = [spec for spec in graph.inputs_of_kind("input") if not is_push(spec.name)]
    return {spec.key: TimeArray(_address(at, spec.key), resolve(spec.size, sizes)) for spec in specs}


def _moved(time_arrays: TimeArrays, rows: Number) -> TimeArrays:
    return {key: array.at(rows) for key, array in time_arrays.items()}


def _static_widths(shape: Shape) -> dict[str, int]:
    return {spec.name: resolve(spec.size, shape.size_of) for spec in shape.graph.inputs_of_kind("static")}


def _arrays(shape: Shape, time_arrays: TimeArrays, first_row: Number) -> dict[ArrayKey, Address]:
    """Where arrays over time, static inputs and memories stand, from a row on."""
    statics = {ArrayKey("static", name): width for name, width in _static_widths(shape).items()}
    arrays = {key: Address(key, first_row * width) for key, width in statics.items()}
    arrays[ATTENDED_ROWS] = Address(ATTENDED_ROWS, first_row)
    for name in shape.memories:
        arrays |= {key: Address(key) for key in (ArrayKey("memory", name), ArrayKey("lengths", name))}
    return arrays | {key: array.place for key, array in time_arrays.items()}


class _HoistedProgram:
    """What leaves the loop: over the rows of all steps of a group of chunks in one batch, or step by step.

    Args:
        batched: the rows of all steps of a group together; not where the program reads static inputs.
    """

    def __init__(
        self,
        work: CommandBuilder,
        shape: Shape,
        program: Graph,
        chunk_rows: int,
        *,
        batched: bool,
        layer: int | None = None,
    ) -> None:
        static = any(node.op == "static" for node in program.nodes)
        self.batched = batched and not static
        self.work, self.shape = work, shape
        rows = chunk_rows if self.batched else shape.rows
        self.bound = work.bind(program, shape.graph, shape.size_of, rows, layer, once=shape.once)

    def run(self, time_arrays: TimeArrays, buffers: TimeArrays, chunk: Chunk) -> None:
        """Runs the program for one chunk, or for its group.

        Args:
            time_arrays: of all steps. buffers: of those of the group.
        """
        shape = self.shape
        if self.batched:
            arrays = _arrays(shape, _moved(time_arrays, chunk.group) | buffers, 0)
            self.work.run(self.bound, arrays, {}, steps=(0, 1), rows=chunk.group_rows)
        else:  # addressed as if every earlier step had the chunk's rows
            own = _moved(time_arrays, chunk.shift) | _moved(buffers, chunk.shift - chunk.group)
            arrays = _arrays(shape, own, shape.rows - chunk.rows)
            self.work.run(self.bound, arrays, {}, steps=(chunk.first, chunk.last), rows=chunk.rows)


@made_once(maxsize=256)
def backward_work(shape: Shape, inputs_requiring_grad: frozenset[str]) -> ReadyList | ReadyRaggedList:
    """The backward pass.

    Bases, by their kinds: those of forward, `output_gradient`, `emit_gradient` and `final_gradient` are read;
    `input_gradient` (by the loop), `hoisted_input_gradient` (by the hoisted program; the caller adds the two),
    `static_gradient`, `memory_gradient`, `state_gradient` and `parameter_gradient` are written.
    """
    work = CommandBuilder(shape.dtype)
    add_backward(work, shape, inputs_requiring_grad, Address)
    return _ready(work, shape)


def add_backward(
    work: CommandBuilder,
    shape: Shape,
    inputs_requiring_grad: frozenset[str],
    at: Where,
    layer: int | None = None,
    handed_on: HandedOn | None = None,
) -> None:
    """The commands of a layer's backward pass.

    Args:
        at: where the arrays stand that `backward_work` names; None for a gradient of a final state that is zero.
        layer: whose parameters they read; None where there is but one.
        handed_on: of a layer without memories, takes the gradients of parameters, which are not summed then.
    """
    graph, sizes, rows_all = shape.graph, shape.size_of, shape.rows
    scratch = work.scratch if handed_on is None else handed_on.scratch
    programs = training_programs_of(graph, inputs_requiring_grad)
    training, hoisted_part = programs.loop, programs.hoisted
    saved = _kept(shape, inputs_requiring_grad, at)

    inputs = _inputs(graph, sizes, at)
    histories = {state.name: _address(at, ArrayKey("history", state.name)) for state in graph.states}
    loop_arrays = inputs | saved.loop | _hoisted(saved.hoisted)
    states = {state.name: resolve(state.size, sizes) for state in graph.states}
    output = graph.states[0].name
    of_output = ArrayKey("output_gradient", output)
    loop_arrays[of_output] = TimeArray(_address(at, of_output), states[output])
    for key, width in given_at_steps(graph, sizes).items():
        loop_arrays[key.gradient] = TimeArray(_address(at, key.gradient), width)
    for name, width in states.items():
        loop_arrays[ArrayKey("new", name)] = TimeArray(histories[name], width).at(rows_all)

    made = given_at_steps(training.loop, sizes)
    hoisted_made = {} if hoisted_part is None else given_at_steps(hoisted_part.loop, sizes)
    handed = [width for key, width in (*made.items(), *hoisted_made.items()) if key.kind != "input_gradient"]
    # Where chunks differ in rows, the states before the steps of a group do not stand one after the other.
    olds_read = [weight.operand for weight in training.weights if weight.operand.kind == "old"]
    copied = {key: states[key.name] for key in olds_read if shape.pieces is None}
    chunk_rows = shape.chunk_rows(shape.machine.backward_rows, sum(handed) + sum(copied.values()))
    copies = {key: TimeArray(scratch(chunk_rows * width), width) for key, width in copied.items()}

    def places(widths: Mapping[ArrayKey, int], kind: Kind) -> tuple[TimeArrays, TimeArrays]:
        """TimeArrays that a program writes: gradients of inputs, and what only a group of chunks needs."""
        whole, rest = {}, {}
        for key, width in widths.items():
            if key.kind == "input_gradient":
                whole[key] = TimeArray(_address(at, key._replace(kind=kind)), width)
            else:
                rest[key] = TimeArray(scratch(chunk_rows * width), width)
        return whole, rest

    whole, buffers = places(made, "input_gradient")
    loop_arrays |= whole
    hoisted_whole, hoisted_buffers = places(hoisted_made, "hoisted_input_gradient")
    flows = []  # gradients of what the hoisted program gives to the loop: the loop gives them to its backward program
    for key, width in {} if hoisted_part is None else given_at_steps(hoisted_part.forward, sizes).items():
        if key.kind == "hoisted":
            flows.append(key.gradient)
            if key.gradient not in made:  # the step does not depend on it
                buffers[key.gradient] = TimeArray(scratch(chunk_rows * width), width)
                work.copy(None, buffers[key.gradient].place, width, chunk_rows)

    bound = work.bind(training.loop, graph, sizes, rows_all, layer, once=shape.once)
    hoisted = None
    if hoisted_part is not None and hoisted_made:
        hoisted = _HoistedProgram(work, shape, hoisted_part.loop, chunk_rows, batched=True, layer=layer)
    for name, (length, *columns) in {} if handed_on else parameter_shapes(graph, sizes).items():
        work.copy(None, _address(at, _of_parameter(name)), columns[0] if columns else 1, length)
    for name in _static_gradients(programs):
        key = ArrayKey("static_gradient", name)
        work.copy(None, _address(at, key), _static_widths(shape)[name], rows_all)

    gathered: dict[ArrayKey, Address] = {}  # gradients that the loop sums itself, a row at a time
    for name in dict.fromkeys([*training.keys, *(part.name for part in training.memories)]):
        key = ArrayKey("memory_gradient", name)
        work.copy(None, _address(at, key), prod(shape.memories[name]), rows_all)
        if name in training.keys:
            gathered[key] = _address(at, key)
    energies = {name: parameter_shapes(graph, sizes)[name][0] for name in training.energies}
    for name, width in energies.items():
        gathered[ArrayKey("vector_gradient", name)] = place = work.scratch(rows_all * width)
        work.copy(None, place, width, rows_all)

    flowing = {name: TimeArray(work.scratch(2 * rows_all * width), width) for name, width in states.items()}
    masks = {carried(name): 1 for name in flowing}
    steps_all = shape.extent.steps
    work.barrier()
    for chunk in work.chunks(shape.pieces, chunk_rows, shape.sharing.units_up_to, backward=True):
        if chunk.ended:  # the gradient of the rows that end here is that of their final state
            for name, state in flowing.items():
                final = at(ArrayKey("final_gradient", name))
                source = final and final.at((rows_all - chunk.rows) * state.width)
                work.copy(source, state.at(chunk.moved + chunk.turned_rows).place, state.width, chunk.ended)
            work.barrier()
        olds = {
            ArrayKey("old", name): TimeArray(histories[name], width).at(rows_all - chunk.rows)
            for name, width in states.items()
        }
        loop_places = _moved(loop_arrays | olds, chunk.shift) | _moved(buffers, chunk.shift - chunk.group)
        arrays = _arrays(shape, loop_places, rows_all - chunk.rows)
        arrays |= {ArrayKey("state", carried(name)): s.at(chunk.moved).place for name, s in flowing.items()}
        arrays |= gathered
        work.run(
            bound, arrays, masks, steps=(steps_all - chunk.last, steps_all - chunk.first),
            rows=chunk.rows, begin=steps_all - 1, direction=-1, by_units=chunk.by_units,
        )  # fmt: skip
        work.barrier()
        for key, copy in copies.items():
            old, to = loop_places[key].at(chunk.before), copy.at(chunk.before + chunk.shift - chunk.group)
            work.copy(old.place, to.place, copy.width, chunk.all_rows)
        if copies:
            work.barrier()
        sums = _Sums(work if handed_on is None else handed_on, shape, chunk, at)
        sums.add(training, loop_places, _moved(loop_arrays | olds, chunk.group) | buffers | copies)
        if hoisted_part is not None:
            hoisted_arrays = inputs | saved.hoisted | hoisted_whole
            of_group = {key: buffers[key] for key in flows} | hoisted_buffers
            if hoisted is not None:
                hoisted.run(hoisted_arrays, of_group, chunk)
                if hoisted_buffers:
                    work.barrier()
            own = _moved(hoisted_arrays, chunk.shift) | _moved(of_group, chunk.shift - chunk.group)
            sums.add(hoisted_part, own, _moved(hoisted_arrays, chunk.group) | of_group)
        work.barrier()
    for name, width in energies.items():
        place, result = gathered[ArrayKey("vector_gradient", name)], _address(at, _of_parameter(name))
        work.outer(Address(UNIT), (0, 0), place, (width, 1), rows_all, 1, width, result)
    begun = shape.extent.begun
    for name, state in flowing.items():
        to = TimeArray(_address(at, ArrayKey("state_gradient", name)), state.width)
        source = state.at(shape.extent.turned_rows).place
        work.copy(source, to.at(rows_all - begun).place, state.width, begun)
        work.copy(at(ArrayKey("final_gradient", name)), to.place, state.width, rows_all - begun)


class HandedOn:
    """What a backward pass hands on in place of its parameters' gradients: the arrays that they are products of.

    Attributes:
        numbers: of the one array, `HANDED_ON`, in which those stand that the pass makes.
        products: what is still to be multiplied and summed.
    """

    def __init__(self) -> None:
        self.numbers = 0
        self.products: list[Outer] = []

    def scratch(self, numbers: int) -> Address:
        """A part of the array, in place of memory that only the pass needs."""
        self.numbers += numbers
        return Address(HANDED_ON, self.numbers - numbers)

    def outer(
        self, left: Address, left_strides: tuple[int, int], right: Address, right_strides: tuple[Number, int],
        depth: Number, rows: int, columns: Number, result: Address,
    ) -> None:  # fmt: skip
        """See `Outer`."""
        self.products.append(
            Outer(left, left_strides, right, right_strides, depth, rows, columns, result, columns, False)
        )


def _of_parameter(name: str) -> ArrayKey:
    return ArrayKey("parameter_gradient", name)


def _static_gradients(programs: TrainingPrograms) -> list[str]:
    parts = (programs.loop, programs.hoisted)
    return list(dict.fromkeys(name for part in parts if part is not None for name, _ in part.statics))


class _Sums:
    """Gradients of static inputs and memories, sums over the rows of a chunk, and of parameters, over those of its
    group: from arrays over time."""

    def __init__(self, work: CommandBuilder | HandedOn, shape: Shape, chunk: Chunk, at: Where) -> None:
        self.work, self.shape, self.chunk, self.at = work, shape, chunk, at

    def add(self, program: Backward, time_arrays: TimeArrays, of_group: TimeArrays) -> None:
        """What a backward program's arrays over time give.

        Args:
            time_arrays: addressed as if every earlier step had the chunk's rows.
            of_group: from the group's first row on.
        """
        graph, sizes = self.shape.graph, self.shape.size_of
        for weight in program.weights:
            first, last = gate_rows(graph, weight.slot, sizes)[weight.gate]
            right = of_group[weight.operand]
            result = _address(self.at, _of_parameter(f"weight_{weight.slot}")).at(first * right.width)
            heads = heads_of(graph).get(weight.slot, 1)
            if heads > 1 and isinstance(self.work, CommandBuilder):
                self.blocks(of_group[weight.gradient], right, heads, result)
            else:
                self.products(of_group[weight.gradient], right, last - first, result)
        for slot, gate, flow in program.biases:
            first, _ = gate_rows(graph, slot, sizes)[gate]
            self.products(None, of_group[flow], 1, _address(self.at, _of_parameter(f"bias_{slot}")).at(first))
        for name, flow in program.vectors:
            self.products(None, of_group[flow], 1, _address(self.at, _of_parameter(name)))
        for name, flow in program.statics:
            chunk = self.chunk
            place, width = time_arrays[flow].at(chunk.before)
            result = _address(self.at, ArrayKey("static_gradient", name))
            result = result.at((self.shape.rows - chunk.rows) * width)
            columns = chunk.rows * width
            self.work.outer(
                Address(UNIT), (0, 0), place, (columns, 1), chunk.last - chunk.first, 1, columns, result
            )

        for part in program.memories:
            self.rows_of_memory(part.name, time_arrays[part.weights], time_arrays[part.weighed])

    def rows_of_memory(self, name: str, weights: TimeArray, weighed: TimeArray) -> None:
        """Adds, for each row, the outer products of the weights of its memory's steps and what they weigh."""
        chunk, waiting = self.chunk, self.shape.rows - self.chunk.rows
        steps, width = self.shape.memories[name]
        result = _address(self.at, ArrayKey("memory_gradient", name))
        left, right = (array.at(chunk.before).place for array in (weights, weighed))
        cast(CommandBuilder, self.work).outer_of_rows(  # nothing is handed on of a layer with memories
            left, chunk.rows * steps, right, chunk.rows * width, chunk.last - chunk.first,
            (chunk.rows, steps, width), result.at(waiting * steps * width),
        )  # fmt: skip

    def blocks(self, left: TimeArray, right: TimeArray, heads: int, result: Address) -> None:
        """The same of a square weight with heads: of its blocks on the diagonal alone; the rest stays zero."""
        work = cast(CommandBuilder, self.work)
        width = right.width
        size = width // heads
        for begin in range(0, width, size):
            left_place, right_place = left.place.at(begin), right.place.at(begin)
            work.outer(
                left_place, (1, width), right_place, (width, 1), self.chunk.group_rows, size, size,
                result.at(begin * width + begin), width,
            )  # fmt: skip

    def products(self, left: TimeArray | None, right: TimeArray, rows: int, result: Address) -> None:
        """Adds the outer products of two arrays' rows; where there is no left one, the sums of the right one's."""
        place, width = right
        other, strides = Address(UNIT), (0, 0)
        if left is not None:
            other, strides = left.place, (1, left.width)
        self.work.outer(other, strides, place, (width, 1), self.chunk.group_rows, rows, width, result)
