"""A network's functions: start, step, sequence, and the keys of what it attends to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import POINTER, Value
from gatework.export.cell import Cell
from gatework.export.maps import linear_map
from gatework.export.native.cell_code import StepCode
from gatework.export.native.embedding import looked_up
from gatework.export.native.layout import Count, StatePlace, interface
from gatework.export.native.map_functions import map_function
from gatework.export.native.module import ObjectModule, StepEmitter
from gatework.export.network import Network
from gatework.graph.keys import ArrayKey
from gatework.graph.node import resolve

Argument = tuple[str, ir.Type]


class Functions:
    """The functions of a network, being written into a module.

    Attributes:
        takes: what they take.
        scratch: numbers that a step needs beside its arguments.
        sequence_width: numbers that a sequence needs beside them for each of its steps.
    """

    def __init__(self, module: ObjectModule, network: Network) -> None:
        self.module, self.network = module, network
        self.takes = interface(network, module.target.lanes)
        self.scratch = Count(0)
        self.sequence_width = 0
        self._cells: list[ir.Function] = []
        self._head: ir.Function | None = None
        self._own = 0  # numbers of scratch memory that stand before a cell's

    @property
    def memory(self) -> int:
        """Numbers of a state and of a step's scratch memory, where the network attends to nothing."""
        return self.takes.state.fixed + self.scratch.fixed

    def emit(self) -> None:
        stack = self.network.stack
        widest = max(cell.sizes["input_size"] for cell in self.network.cells)
        self._own = 2 * self.takes.padded(max(widest, stack.output_size * stack.directions))
        needed = Count(0)
        for number, cell in enumerate(self.network.cells):
            function, scratch = self._cell(number, cell)
            self._cells.append(function)
            needed = needed.most(scratch)
        if self.network.head is not None:
            self._head, scratch = map_function(self.module, "head", self.network.head)
            needed = needed.most(scratch)
        self.scratch = Count(self._own + needed.fixed, needed.by_steps)
        self._start()
        for memory, size in self.takes.memories:
            self._attend(memory, size)
        if stack.bidirectional:
            self._both_ways()
        else:
            self._sequence(self._step())

    # -- arguments

    @property
    def _read(self) -> list[Argument]:
        """What a step reads beside its first input."""
        takes = self.takes
        arguments: list[Argument] = [(name, POINTER) for name, _ in (*takes.inputs, *takes.statics)]
        for name, _ in takes.memories:
            arguments += [
                (name, POINTER),
                (f"{name}_keys", POINTER),
                (f"{name}_steps", self.module.size_type),
            ]
        return arguments

    @property
    def _emitted(self) -> list[Argument]:
        """What it writes beside its output."""
        return [(f"{name}_out", POINTER) for name, _, _ in self.takes.emits]

    def _steps(self, arguments: Mapping[str, Value]) -> dict[str, Value]:
        return {f"{name}_steps": arguments[f"{name}_steps"] for name, _ in self.takes.memories}

    def _state(self, e: StepEmitter, place: StatePlace, state: Value, steps: Mapping[str, Value]) -> Value:
        address = e.at(state, e.i64(place.offset))
        for width in place.after:
            address = e.at(address, e.padded(steps[width]))
        return address

    # -- one layer

    def _cell(self, number: int, cell: Cell) -> tuple[ir.Function, Count]:
        arguments = [
            ("x", POINTER),
            *self._read,
            ("state", POINTER),
            *(self._emitted if cell.graph.emits() else []),
            ("scratch", POINTER),
        ]
        e = self.module.function(f"cell_{number}", arguments)
        given = dict(zip((name for name, _ in arguments), e.function.args, strict=True))
        steps = self._steps(given)
        leaves = {ArrayKey("input", self.network.graph.inputs[0].name): given["x"]}
        for kind, specs in (("input", self.takes.inputs), ("static", self.takes.statics)):
            leaves |= {ArrayKey(kind, name): given[name] for name, _ in specs}  # type: ignore[arg-type]
        leaves |= {ArrayKey("memory", name): given[name] for name, _ in self.takes.memories}
        for name, (memory, projection) in cell.keys.items():
            place = given[memory]
            if projection is not None:
                before = e.i64(self._keys_before(number, name, memory))
                place = e.at(given[f"{memory}_keys"], e.b.mul(before, given[f"{memory}_steps"]))
            leaves[ArrayKey("memory", name)] = place
        outputs = {}
        for state in self.takes.states:
            if state.cell == number:
                address = self._state(e, state, given["state"], steps)
                leaves[ArrayKey("state", state.name)] = outputs[ArrayKey("state", state.name)] = address
        outputs |= {ArrayKey("emit", name): given[f"{name}_out"] for name in cell.graph.emits()}
        scratch = StepCode(self.module, e, cell, leaves, outputs, steps, given["scratch"]).emit()
        e.b.ret_void()
        return e.function, scratch

    def _keys_before(self, number: int, name: str, memory: str) -> int:
        """Numbers of a memory's keys, for each of its steps, that stand before those of a name in a cell."""
        before = 0
        for position, cell in enumerate(self.network.cells[: number + 1]):
            for key, (of, projection) in cell.keys.items():
                if (position, key) == (number, name):
                    return before
                if of == memory and projection is not None:
                    before += projection.shape[0]
        raise KeyError(name)

    # -- functions

    def _start(self) -> None:
        arguments: list[Argument] = [("state", POINTER)]
        widths = dict.fromkeys(self.takes.state.by_steps)
        arguments += [(width, self.module.size_type) for width in widths]
        e = self.module.function("start", arguments, public=True)
        steps = dict(zip(widths, e.function.args[1:], strict=True))
        for place in self.takes.states:
            units = steps[place.width] if place.units is None else e.i64(place.units)
            address = self._state(e, place, e.function.args[0], steps)
            with e.loop(e.i64(0), e.padded(units)) as (k, _):
                e.store(e.scalar(place.init), e.at(address, k))
        e.b.ret_void()

    def _attend(self, memory: str, size: int) -> None:
        """The keys of every step of a memory, each projection's after the other."""
        if not self.takes.keys_width(memory):
            return
        arguments = [(memory, POINTER), (f"{memory}_steps", self.module.size_type), ("keys", POINTER)]
        e = self.module.function(f"attend_{memory}", arguments, public=True)
        source, steps, keys = e.function.args
        for number, cell in enumerate(self.network.cells):
            for name, (of, projection) in cell.keys.items():
                if of != memory or projection is None:
                    continue
                product, scratch = map_function(
                    self.module, f"keys_{number}_{name}", linear_map("keys", "x", projection)
                )
                room = e.room(e.vector, scratch.fixed // e.lanes)
                before = e.i64(self._keys_before(number, name, memory))
                own = e.at(keys, e.b.mul(before, steps))
                with e.loop(e.i64(0), steps) as (s, _):
                    row = e.at(own, e.b.mul(s, e.i64(projection.shape[0])))
                    e.b.call(product, [e.at(source, e.b.mul(s, e.i64(size))), row, room])
        e.b.ret_void()

    def _headed(self, e: StepEmitter, values: Mapping[str, Value], output: Value, scratch: Value) -> None:
        """Calls the head on what the layers have read and given."""
        head = self.network.head
        if head is not None and self._head is not None:
            reads = [values[spec.name] for spec in head.graph.inputs]
            e.b.call(self._head, [*reads, output, scratch])

    def _looked_up(self, e: StepEmitter, token: Value, room: Value) -> Value:
        """The address of a token's numbers."""
        assert self.network.table is not None
        return looked_up(self.module, e, self.network.table, self.network.head, token, room)

    def _step(self) -> ir.Function:
        takes, stack = self.takes, self.network.stack
        first: Argument = (
            ("token", self.module.size_type) if self.network.table is not None else ("x", POINTER)
        )
        rest: list[Argument] = [("state", POINTER), ("output", POINTER), *self._emitted, ("scratch", POINTER)]
        arguments = [first, *self._read, *rest]
        e = self.module.function("step", arguments, public=True)
        given = dict(zip((name for name, _ in arguments), e.function.args, strict=True))
        steps, scratch = self._steps(given), given["scratch"]
        widest = takes.padded(max(cell.sizes["input_size"] for cell in self.network.cells))
        sums = e.at(scratch, e.i64(widest))
        own = e.at(scratch, e.i64(self._own))
        value = given["x"] if self.network.table is None else self._looked_up(e, given["token"], scratch)
        read_first = value
        read = [given[name] for name, _ in self._read]
        for number, cell in enumerate(self.network.cells):
            emits = [given[name] for name, _ in self._emitted] if cell.graph.emits() else []
            e.b.call(self._cells[number], [value, *read, given["state"], *emits, own])
            below, value = value, self._output(e, number, given["state"], steps)
            if stack.residual and number:
                units = self._units(number)
                with e.loop(e.i64(0), e.i64(units)) as (k, _):
                    total = e.b.fadd(e.load(e.at(value, k)), e.load(e.at(below, k)))
                    e.store(total, e.at(sums, k))
                value = sums
        if self.network.head is None:
            e.copy(value, given["output"], e.i64(takes.network.output_size))
        emitted = {name: given[f"{name}_out"] for name, _, _ in takes.emits}
        self._headed(e, {"x": read_first, "output": value, **emitted}, given["output"], own)
        e.b.ret_void()
        return e.function

    def _units(self, number: int) -> int:
        """Units of a cell's output."""
        size = self.network.graph.states[0].size
        return resolve(size, self.network.cells[number].sizes)

    def _output(self, e: StepEmitter, number: int, state: Value, steps: Mapping[str, Value]) -> Value:
        """Where a cell's output stands: it is its first state."""
        name = self.network.graph.states[0].name
        place = next(each for each in self.takes.states if each[:2] == (number, name))
        return self._state(e, place, state, steps)

    @property
    def _sequence_arguments(self) -> list[Argument]:
        first = "tokens" if self.network.table is not None else "x"
        lead: list[Argument] = [(first, POINTER), ("steps", self.module.size_type)]
        return [
            *lead,
            *self._read,
            ("state", POINTER),
            ("output", POINTER),
            *self._emitted,
            ("scratch", POINTER),
        ]

    def _at_step(self, e: StepEmitter, given: Mapping[str, Value], t: Value) -> list[Value]:
        """What a step reads beside its first input, at a step of a sequence."""
        sizes = dict(self.takes.inputs)
        return [
            e.at(given[name], e.b.mul(t, e.i64(sizes[name]))) if name in sizes else given[name]
            for name, _ in self._read
        ]

    def _emits_at(
        self, e: StepEmitter, given: Mapping[str, Value], t: Value, direction: int = 0
    ) -> list[Value]:
        """Where a step writes what it emits; the directions' units stand side by side."""
        places = []
        for name, units, width in self.takes.emits:
            count = given[width] if units is None else e.i64(units)
            before = 0 if units is None else direction * units // self.network.stack.directions
            places.append(e.at(given[f"{name}_out"], e.b.add(e.b.mul(t, count), e.i64(before))))
        return places

    def _sequence(self, step: ir.Function) -> None:
        arguments = self._sequence_arguments
        e = self.module.function("sequence", arguments, public=True)
        given = dict(zip((name for name, _ in arguments), e.function.args, strict=True))
        with e.loop(e.i64(0), given["steps"]) as (t, _):
            first: Any
            if self.network.table is not None:
                first = e.b.load(
                    e.b.gep(given["tokens"], [t], source_etype=e.index), typ=e.index, align=e.index.width // 8
                )
            else:
                first = e.at(given["x"], e.b.mul(t, e.i64(self.network.stack.input_size)))
            output = e.at(given["output"], e.b.mul(t, e.i64(self.network.output_size)))
            emits = self._emits_at(e, given, t)
            e.b.call(
                step, [first, *self._at_step(e, given, t), given["state"], output, *emits, given["scratch"]]
            )
        e.b.ret_void()

    def _both_ways(self) -> None:
        """Layer by layer, each in both directions."""
        stack = self.network.stack
        arguments = self._sequence_arguments
        e = self.module.function("sequence", arguments, public=True)
        given = dict(zip((name for name, _ in arguments), e.function.args, strict=True))
        count, steps = given["steps"], self._steps(given)
        own = e.at(given["scratch"], e.i64(self._own))
        rows = e.at(given["scratch"], e.i64(self.scratch.fixed))
        for width in self.scratch.by_steps:
            rows = e.at(rows, e.padded(steps[width]))
        widths = [self._units(number) * 2 for number in range(0, len(self.network.cells), 2)]
        widest = max([*widths, stack.input_size])
        self.sequence_width = 2 * widest
        turns = [rows, e.at(rows, e.b.mul(count, e.i64(widest)))]
        value, size = given.get("x"), stack.input_size
        if self.network.table is not None:
            value = turns[1]
            with e.loop(e.i64(0), count) as (t, _):
                token = e.b.load(
                    e.b.gep(given["tokens"], [t], source_etype=e.index), typ=e.index, align=e.index.width // 8
                )
                row = self._looked_up(e, token, given["scratch"])
                e.copy(row, e.at(value, e.b.mul(t, e.i64(size))), e.i64(size))
        for layer, made in enumerate(widths):
            to = turns[layer % 2]
            for direction in range(2):
                number, units = 2 * layer + direction, made // 2
                with e.loop(e.i64(0), count) as (turn, _):
                    t = e.b.sub(e.b.sub(count, e.i64(1)), turn) if direction else turn
                    x = e.at(value, e.b.mul(t, e.i64(size)))
                    emits = (
                        self._emits_at(e, given, t, direction)
                        if self.network.cells[number].graph.emits()
                        else []
                    )
                    e.b.call(
                        self._cells[number], [x, *self._at_step(e, given, t), given["state"], *emits, own]
                    )
                    place = e.at(to, e.b.add(e.b.mul(t, e.i64(made)), e.i64(direction * units)))
                    e.copy(self._output(e, number, given["state"], steps), place, e.i64(units))
            if stack.residual and layer:
                with e.loop(e.i64(0), e.b.mul(count, e.i64(made))) as (k, _):
                    total = e.b.fadd(e.load(e.at(to, k)), e.load(e.at(value, k)))
                    e.store(total, e.at(to, k))
            value, size = to, made
        if self.network.head is None:
            e.copy(value, given["output"], e.b.mul(count, e.i64(size)))
        else:
            with e.loop(e.i64(0), count) as (t, _):
                output = e.at(given["output"], e.b.mul(t, e.i64(self.network.output_size)))
                self._headed(e, {"output": e.at(value, e.b.mul(t, e.i64(size)))}, output, own)
        e.b.ret_void()
