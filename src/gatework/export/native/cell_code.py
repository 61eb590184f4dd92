"""One step of a cell for one row: straight loops over blocks of units, from the engine's schedule and mathematics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from llvmlite import ir

from gatework.backends.compiled.placement import Placement
from gatework.backends.llvm.codegen import elementwise
from gatework.backends.llvm.codegen.emitter import I32, Value
from gatework.export.cell import Cell, width_of
from gatework.export.native import attention
from gatework.export.native.layout import Count
from gatework.export.native.module import ObjectModule, Packed, StepEmitter
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Node, Width
from gatework.graph.ops import OPS
from gatework.graph.schedule import Accumulation, Kernel, schedule

_SUMS = 4  # that a loop over k has at least

Steps = Mapping[str, Value]
"""The width of a memory's alignment, `source_steps`, to the number of its steps."""


class StepCode:
    """A step of a cell, being written into a function.

    Args:
        leaves: addresses of the arrays that a step reads: inputs, static vectors, memories, their keys, states.
        outputs: addresses of those that it writes: new states, emitted values.
        steps: of each memory.
        scratch: the address of memory for values of the step.
    """

    def __init__(
        self,
        module: ObjectModule,
        e: StepEmitter,
        cell: Cell,
        leaves: Mapping[ArrayKey, Value],
        outputs: Mapping[ArrayKey, Value],
        steps: Steps,
        scratch: Value,
    ) -> None:
        self.module, self.e, self.cell = module, e, cell
        self.leaves: dict[ArrayKey, Value] = dict(leaves)
        self.outputs, self.steps, self.scratch = outputs, steps, scratch
        self.heads = {(block.slot, block.gate): block.heads for block in cell.graph.blocks}
        self.schedule = schedule(cell.graph)
        self.placement = Placement(self.schedule)
        self.numbers: dict[int, Value] = {}  # values of width 1, once they are known, in every lane
        self.places: dict[int, Value] = {}
        self._fixed = 0
        self._by_steps: list[str] = []

    def emit(self) -> Count:
        """Writes the whole step; what scratch memory it needs."""
        self._place()
        for number, stage in enumerate(self.schedule.stages):
            nowhere = Kernel(1, (), (), ())
            for index in stage.scalars:
                self.numbers[index] = self._block(nowhere, number).value(index)
            for index in stage.attended:
                attention.emit(self, index)
            for kernel in stage.kernels:
                self._kernel(kernel, number)
        self._give()
        return Count(self._fixed, tuple(self._by_steps))

    # -- where values stand

    def _place(self) -> None:
        nodes = self.cell.graph.nodes
        read = {
            arg for node in nodes if OPS[node.op].sort not in ("matmul", "attention") for arg in node.args
        }
        copied = [
            index
            for index, node in enumerate(nodes)
            if node.op in ("input", "static") and node.width != 1 and index in read
        ]
        stored = [index for index in sorted(self.placement.arrays) if nodes[index].width != 1]
        for index in sorted([*copied, *stored], key=lambda index: not self._known(index)):
            self.places[index] = self._room(nodes[index].width)
        for index in copied:  # whole blocks of lanes are read of it
            self.e.copy(self.leaves[nodes[index].key], self.places[index], self.units(nodes[index].width))
            self.leaves[nodes[index].key] = self.places[index]

    def _known(self, index: int) -> bool:
        return width_of(self.cell, self.cell.graph.nodes[index].width) is not None

    def _room(self, width: Width) -> Value:
        e, units = self.e, width_of(self.cell, width)
        place = e.at(self.scratch, e.i64(self._fixed))
        for other in self._by_steps:
            place = e.at(place, e.padded(self.steps[other]))
        if units is None:
            self._by_steps.append(str(width))
        else:
            self._fixed += -(-units // e.lanes) * e.lanes
        return place

    def units(self, width: Width) -> Value:
        """The units of a width."""
        units = width_of(self.cell, width)
        return self.steps[str(width)] if units is None else self.e.i64(units)

    def address(self, index: int) -> Value:
        """Where all units of a value stand."""
        index = self.placement.storage_of(index)
        node = self.cell.graph.nodes[index]
        if node.op == "vector":
            return self.module.padded_constant(self.cell.vectors[node.text("name")])
        if node.op == "bias":
            return self.module.padded_constant(self.cell.biases[node.text("slot"), node.text("gate")])
        if OPS[node.op].sort == "leaf":
            return self.leaves[node.key]
        return self.places[index]

    # -- code

    def _kernel(self, kernel: Kernel, stage: int) -> None:
        e, units = self.e, self.units(kernel.width)
        sums = [e.const(float("-inf") if self._node(index).op == "max" else 0.0) for index in kernel.sums]
        known = width_of(self.cell, kernel.width)
        if known is not None and known <= e.lanes:
            totals = self._one_block(kernel, stage, e.i64(0), units, sums)
        else:
            with e.loop(e.i64(0), e.ceil_div(units, e.i64(e.lanes)), 1, sums) as (block, turn):
                turn.next = self._one_block(kernel, stage, block, units, turn.values)
            totals = turn.values
        for index, total in zip(kernel.sums, totals, strict=True):
            self.numbers[index] = e.splat(elementwise.across(e, total, self._node(index).op == "max"))

    def _one_block(
        self, kernel: Kernel, stage: int, block: Value, units: Value, sums: list[Value]
    ) -> list[Value]:
        """A block of units: its products, what is stored of it, and its share of the sums."""
        e, known = self.e, width_of(self.cell, kernel.width)
        values = self._block(kernel, stage, block, _products(self, kernel, block))
        for index in kernel.stores:
            value = values.value(index)
            if self._node(index).width == 1:
                first = e.b.extract_element(value, ir.Constant(I32, 0))
                self.numbers[index] = e.splat(first)
            else:
                e.store_vector(value, e.at(self.places[index], values.unit))
        exists = None
        if kernel.sums and (known is None or known % e.lanes):
            exists = e.first_lanes(e.b.sub(units, values.unit))
        shares = []
        for index, total in zip(kernel.sums, sums, strict=True):
            largest = self._node(index).op == "max"
            for arg in self._node(index).args:
                value = values.value(arg)
                if exists is not None:
                    value = e.select(exists, value, e.const(float("-inf") if largest else 0.0))
                total = e.intrinsic("maximum", total, value) if largest else e.b.fadd(total, value)
            shares.append(total)
        return shares

    def _block(
        self,
        kernel: Kernel,
        stage: int,
        block: Value | None = None,
        products: dict[int, Value] | None = None,
    ) -> _Block:
        e = self.e
        return _Block(self, kernel, stage, e.b.mul(block or e.i64(0), e.i64(e.lanes)), dict(products or {}))

    def _node(self, index: int) -> Node:
        return self.cell.graph.nodes[index]

    def _give(self) -> None:
        """Copies what the step has computed to where others read it; what states were is read before it is gone."""
        e = self.e
        waiting: list[tuple[Value, Value, Width]] = []
        for key, index in self.cell.graph.outputs:
            source, node = self.placement.storage_of(index), self._node(index)
            if node.op == "state":  # one state's new value is what another one was
                e.copy(self.leaves[node.key], self.places[source], self.units(node.width))
            if node.width == 1:
                nowhere = Kernel(1, (), (), ())
                value = self._block(nowhere, len(self.schedule.stages)).value(index)
                waiting.append(
                    (e.b.extract_element(value, ir.Constant(I32, 0)), self.outputs[key], node.width)
                )
            else:
                place = self.places[source] if node.op == "state" else self.address(source)
                waiting.append((place, self.outputs[key], node.width))
        for source, to, width in waiting:
            if width == 1:
                e.store(source, to)
            else:
                e.copy(source, to, self.units(width))


class _Block:
    """The values of one block of units."""

    def __init__(
        self, step: StepCode, kernel: Kernel, stage: int, unit: Value, values: dict[int, Value]
    ) -> None:
        self.step, self.kernel, self.stage, self.unit, self.values = step, kernel, stage, unit, values

    def value(self, index: int) -> Value:
        index = self.step.placement.storage_of(index)
        if index not in self.values:
            self.values[index] = self._value(index)
        return self.values[index]

    def _value(self, index: int) -> Value:
        step, e = self.step, self.step.e
        node = step.cell.graph.nodes[index]
        if node.op == "constant":
            return e.const(node.number("value"))
        if node.op == "size":
            of = node["of"]
            count = step.units(of if isinstance(of, str) else int(of))
            return e.splat(e.b.sitofp(count, e.number))
        if index in step.numbers:
            return step.numbers[index]
        if OPS[node.op].sort == "leaf":
            if node.width == 1:
                return e.splat(e.load(step.address(index)))
        elif step.placement.is_inlined(index, self.kernel, self.stage) or index not in step.places:
            return elementwise.apply(e, node, [self.value(arg) for arg in node.args])
        return e.load_vector(e.at(step.address(index), self.unit))


def _products(step: StepCode, kernel: Kernel, block: Value) -> dict[int, Value]:
    """The sums of products of a kernel, for one block of units: those of the same operands share their loops."""
    groups: dict[tuple[int, ...], list[Accumulation]] = {}
    for accumulation in kernel.accumulations:
        operands = tuple(
            step.placement.storage_of(step.cell.graph.nodes[term].args[0]) for term in accumulation.terms
        )
        groups.setdefault(operands, []).append(accumulation)
    found: dict[int, Value] = {}
    for operands, accumulations in groups.items():
        totals = [step.e.const(0.0)] * len(accumulations)
        for place, operand in enumerate(operands):
            nodes = [step.cell.graph.nodes[accumulation.terms[place]] for accumulation in accumulations]
            blocks = [step.cell.weights[node.text("slot"), node.text("gate")] for node in nodes]
            heads = {step.heads[node.text("slot"), node.text("gate")] for node in nodes}
            packed = step.module.packed(blocks, heads.pop() if len(heads) == 1 else 1)
            begin = packed.first(step.e, block)
            totals = added_products(step.e, partial(_unit, step, operand, begin), packed, block, totals)
        found |= {accumulation.node: total for accumulation, total in zip(accumulations, totals, strict=True)}
    return found


def _unit(step: StepCode, operand: int, begin: Value, k: Value) -> Value:
    """Unit k of an operand, counted from one on, in every lane."""
    node = step.cell.graph.nodes[operand]
    if operand in step.numbers:
        return step.numbers[operand]
    if node.op == "constant":
        return step.e.const(node.number("value"))
    return step.e.splat(step.e.load(step.e.at(step.address(operand), step.e.b.add(begin, k))))


def added_products(
    e: StepEmitter, operand: Callable[[Value], Value], weights: Packed, block: Value, totals: list[Value]
) -> list[Value]:
    """Products of an operand with packed weight blocks, for one block of their rows, added to totals.

    Where few blocks share the loop, each has several sums, over every so many k: an addition waits for the one before.

    Args:
        operand: a number of it in every lane.
    """
    count, depth = len(totals), weights.columns
    whole = weights.scales is not None
    kind = ir.IntType(8) if whole else e.number
    first = e.b.mul(block, e.i64(depth * count * e.lanes))
    zeros = [e.const(0.0)] * count
    parts = min(max(1, _SUMS // count), depth)

    def added(k: Value, sums: list[Value]) -> list[Value]:
        value, made = operand(k), []
        place = e.b.add(first, e.b.mul(k, e.i64(count * e.lanes)))
        for which, total in enumerate(sums):
            address = e.b.gep(weights.numbers, [e.b.add(place, e.i64(which * e.lanes))], source_etype=kind)
            weight = e.b.load(address, typ=ir.VectorType(kind, e.lanes), align=1 if whole else e.item)
            made.append(e.fma(value, e.b.sitofp(weight, e.vector) if whole else weight, total))
        return made

    start = (zeros if whole else totals) + zeros * (parts - 1)
    last = depth - depth % parts
    with e.loop(e.i64(0), e.i64(last), parts, start) as (k, turn):
        turn.next = []
        for part in range(parts):
            turn.next += added(e.b.add(k, e.i64(part)), turn.values[part * count : (part + 1) * count])
    sums = turn.values[:count]
    for part in range(1, parts):
        others = turn.values[part * count : (part + 1) * count]
        sums = [e.b.fadd(total, other) for total, other in zip(sums, others, strict=True)]
    for k in range(last, depth):
        sums = added(e.i64(k), sums)
    if not whole:
        return sums
    scales = e.at(weights.scales, e.b.mul(block, e.i64(count * e.lanes)))
    return [
        e.fma(total, e.load_vector(e.at(scales, e.i64(which * e.lanes))), before)
        for which, (total, before) in enumerate(zip(sums, totals, strict=True))
    ]
