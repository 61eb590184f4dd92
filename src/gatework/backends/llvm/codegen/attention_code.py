"""What a row does with the steps of its memory: scores, their softmax, what is read by them, and the gradients.

A row's memory is (S, M), one row of the batch after the other, of which `lengths` exist; `attended_rows` says which row
reads which, so that hypotheses of a search share one. Every sum runs over the steps
that exist, in their order, so that padding changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from gatework.backends.llvm.codegen import mathematics
from gatework.backends.llvm.codegen.addressing import Addressing
from gatework.backends.llvm.codegen.elementwise import across
from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.placement import NativePlacement
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Node, Width
from gatework.graph.ops import OPS

_TOGETHER = 4  # steps of a memory, or registers of what is read, that are summed side by side

Body = Callable[[Value, Value | None, list[Value]], list[Value]]


class AttentionCode:
    """The operations of a stage on memories, for one row of the batch at a step."""

    def __init__(
        self, placement: NativePlacement, e: Emitter, addressing: Addressing, step: Value, row: Value
    ) -> None:
        self.placement, self.e, self.addressing, self.step, self.row = placement, e, addressing, step, row
        self.own = e.b.fptosi(e.load(e.at(addressing.pointer(ArrayKey("attended_rows", "")), row)), I64)

    def emit(self, index: int) -> None:
        """Computes a node's value, and stores it in all its places."""
        node = self.placement.node(index)
        places = self.placement.arrays[index]
        to = self.addressing.row(places[0], node.width, self.step, self.row, new=True)
        CODE[OPS[node.op].code](self, node, to)
        for place in places[1:]:
            other = self.addressing.row(place, node.width, self.step, self.row, new=True)
            over(self.e, self.addressing.width(node.width), [], self.copied(to, other))

    def operand(self, node: Node, place: int) -> Value:
        """The address of an argument's units."""
        index = self.placement.storage_of(node.args[place])
        leaf = self.placement.node(index)
        if leaf.op == "vector":
            return self.addressing.pointer(self.addressing.leaf(leaf))
        return self.addressing.matrix(index, self.step, self.row)[0]

    def memory(self, node: Node, place: int, steps: Width) -> tuple[Value, Value, Value]:
        """The address of a row's memory, the number of its steps that exist, and its width."""
        e, leaf = self.e, self.placement.node(node.args[place])
        width = self.addressing.width(leaf.width)
        lengths = self.addressing.pointer(ArrayKey("lengths", leaf.text("name")))
        length = e.b.fptosi(e.load(e.at(lengths, self.own)), I64)
        return self.steps_of(leaf.key, steps, width), length, width

    def steps_of(self, array: ArrayKey, steps: Width, width: Value) -> Value:
        """The address of the first step of a row in an array that has a memory's shape."""
        numbers = self.e.b.mul(self.addressing.width(steps), width)
        return self.e.at(self.addressing.pointer(array), self.e.b.mul(self.own, numbers))

    def copied(self, source: Value, to: Value) -> Body:
        e = self.e

        def body(at: Value, mask: Value | None, _: list[Value]) -> list[Value]:
            e.store_vector(e.load_vector(e.at(source, at), mask), e.at(to, at), mask)
            return []

        return body

    def total(self, width: Value, term: Callable[[Value, Value | None], Value]) -> Value:
        """A sum over units, in every lane. Terms are 0 outside their mask."""
        e = self.e
        (parts,) = over(e, width, [e.const(0.0)], lambda at, mask, old: [e.b.fadd(old[0], term(at, mask))])
        return e.splat(across(e, parts))

    def existing(self, length: Value, at: Value, mask: Value | None) -> Value:
        """Which lanes of a register over the steps exist."""
        e = self.e
        exists = e.tail_mask(e.b.sub(length, at))
        return exists if mask is None else e.b.and_(exists, mask)

    # The operations

    def _dot_score(self, node: Node, to: Value) -> None:
        memory, length, width = self.memory(node, 1, node.width)
        arguments = [self.operand(node, 0), memory, length, width, to]
        self.e.b.call(_of_module(self.e, "dot_score", _dot_score), arguments)

    def _additive_score(self, node: Node, to: Value) -> None:
        e, query, energy = self.e, self.operand(node, 0), self.operand(node, 2)
        keys, length, width = self.memory(node, 1, node.width)
        with e.loop(e.i64(0), length) as (step, _):
            key = e.at(keys, e.b.mul(step, width))

            def body(at: Value, mask: Value | None, totals: list[Value]) -> list[Value]:
                own, other, weight = (e.load_vector(e.at(each, at), mask) for each in (query, key, energy))
                return [e.fma(weight, mathematics.tanh(e, e.b.fadd(own, other)), totals[0])]

            e.store(across(e, over(e, width, [e.const(0.0)], body)[0]), e.at(to, step))

    def _location_score(self, node: Node, to: Value) -> None:
        e, query, energy = self.e, self.operand(node, 0), self.operand(node, 2)
        keys, length, width = self.memory(node, 1, node.width)
        told = self.convolution(node, 3, 4)
        with e.loop(e.i64(0), length) as (step, _):
            key = e.at(keys, e.b.mul(step, width))

            def body(at: Value, mask: Value | None, totals: list[Value]) -> list[Value]:
                own, other, weight = (e.load_vector(e.at(each, at), mask) for each in (query, key, energy))
                (hidden,) = told.added(step, [at], [e.b.fadd(own, other)], mask)
                return [e.fma(weight, mathematics.tanh(e, hidden), totals[0])]

            e.store(across(e, over(e, width, [e.const(0.0)], body)[0]), e.at(to, step))

    def _masked_softmax(self, node: Node, to: Value) -> None:
        e, scores, lowest = self.e, self.operand(node, 0), self.e.const(float("-inf"))
        _, length, _ = self.memory(node, 1, node.width)

        def largest(at: Value, mask: Value | None, old: list[Value]) -> list[Value]:
            value = e.load_vector(e.at(scores, at), mask)
            value = value if mask is None else e.select(mask, value, lowest)
            return [e.intrinsic("maximum", old[0], value)]

        top = e.splat(across(e, over(e, length, [lowest], largest)[0], largest=True))

        def weight(at: Value, mask: Value | None) -> Value:
            value = mathematics.exp(e, e.b.fsub(e.load_vector(e.at(scores, at), mask), top))
            value = value if mask is None else e.select(mask, value, e.const(0.0))
            e.store_vector(value, e.at(to, at), mask)
            return value

        total = self.total(length, weight)

        def share(at: Value, mask: Value | None, _: list[Value]) -> list[Value]:
            exists = self.existing(length, at, mask)
            value = e.b.fdiv(e.load_vector(e.at(to, at), exists), total)
            e.store_vector(e.select(exists, value, e.const(0.0)), e.at(to, at), mask)
            return []

        over(e, self.addressing.width(node.width), [], share)

    def _attention_context(self, node: Node, to: Value) -> None:
        memory, length, width = self.memory(node, 1, self.placement.node(node.args[0]).width)
        arguments = [self.operand(node, 0), memory, length, width, to]
        self.e.b.call(_of_module(self.e, "attention_context", _attention_context), arguments)

    def _masked_softmax_gradient(self, node: Node, to: Value) -> None:
        e, weights, gradient = self.e, self.operand(node, 0), self.operand(node, 1)
        _, length, _ = self.memory(node, 2, node.width)

        def both(at: Value, mask: Value | None) -> tuple[Value, Value]:
            return e.load_vector(e.at(weights, at), mask), e.load_vector(e.at(gradient, at), mask)

        mean = self.total(length, lambda at, mask: e.b.fmul(*both(at, mask)))

        def body(at: Value, mask: Value | None, _: list[Value]) -> list[Value]:
            exists = self.existing(length, at, mask)
            weight, flow = both(at, exists)
            value = e.b.fmul(weight, e.b.fsub(flow, mean))
            e.store_vector(e.select(exists, value, e.const(0.0)), e.at(to, at), mask)
            return []

        over(e, self.addressing.width(node.width), [], body)

    def _score_gradient(self, node: Node, to: Value) -> None:
        """Of an additive score, and of one by location, whose kernel's gradient is summed too."""
        e, flows, query, energy = self.e, self.operand(node, 0), self.operand(node, 1), self.operand(node, 3)
        steps = self.placement.node(node.args[0]).width
        keys, length, width = self.memory(node, 2, steps)
        names = [self.placement.node(node.args[place]).text("name") for place in (2, 3)]
        of_keys = self.steps_of(ArrayKey("memory_gradient", names[0]), steps, width)
        told = of_kernel = None
        if len(node.args) > 4:
            told, name = self.convolution(node, 4, 5), self.placement.node(node.args[5]).text("name")
            of_kernel = self.steps_of(ArrayKey("memory_gradient", name), self.steps_of_memory(node, 5), width)
        of_energy = e.at(
            self.addressing.pointer(ArrayKey("vector_gradient", names[1])), e.b.mul(self.own, width)
        )

        def columns(places: list[Value], mask: Value | None) -> None:
            owns = [e.load_vector(e.at(query, at), mask) for at in places]
            weights = [e.load_vector(e.at(energy, at), mask) for at in places]
            gathered = [e.load_vector(e.at(of_energy, at), mask) for at in places]
            nothing = [e.const(0.0)] * len(places)
            with e.loop(e.i64(0), length, 1, [*nothing, *gathered]) as (step, turn):
                flow, row = e.splat(e.load(e.at(flows, step))), e.b.mul(step, width)
                of_query, of_weight = list(turn.values[: len(places)]), list(turn.values[len(places) :])
                inside = [
                    e.b.fadd(own, e.load_vector(e.at(keys, e.b.add(row, at)), mask))
                    for own, at in zip(owns, places, strict=True)
                ]
                inside = inside if told is None else told.added(step, places, inside, mask)
                for number, at in enumerate(places):
                    place = e.b.add(row, at)
                    hidden = mathematics.tanh(e, inside[number])
                    slope = e.fma(e.b.fneg(hidden), hidden, e.const(1.0))
                    inner = e.b.fmul(e.b.fmul(flow, weights[number]), slope)
                    before = e.load_vector(e.at(of_keys, place), mask)
                    e.store_vector(e.b.fadd(before, inner), e.at(of_keys, place), mask)
                    of_query[number] = e.b.fadd(of_query[number], inner)
                    of_weight[number] = e.fma(flow, hidden, of_weight[number])
                    if told is not None and of_kernel is not None:
                        told.gather(step, at, inner, mask, of_kernel)
                turn.next = [*of_query, *of_weight]
            for number, at in enumerate(places):
                e.store_vector(turn.values[number], e.at(to, at), mask)
                e.store_vector(turn.values[len(places) + number], e.at(of_energy, at), mask)

        by_columns(e, width, columns)

    def _location_gradient(self, node: Node, to: Value) -> None:
        e, flows, query, energy = self.e, self.operand(node, 0), self.operand(node, 1), self.operand(node, 3)
        keys, length, width = self.memory(node, 2, node.width)
        told = self.convolution(node, 4, 5)
        over(e, self.addressing.width(node.width), [], lambda at, mask, _: self.nothing(e.at(to, at), mask))
        with e.loop(e.i64(0), length) as (step, _):
            flow, row = e.splat(e.load(e.at(flows, step))), e.b.mul(step, width)

            def columns(places: list[Value], mask: Value | None) -> None:
                sums = [
                    e.b.fadd(
                        e.load_vector(e.at(query, at), mask),
                        e.load_vector(e.at(keys, e.b.add(row, at)), mask),
                    )
                    for at in places
                ]
                inner = []
                for at, value in zip(places, told.added(step, places, sums, mask), strict=True):
                    hidden = mathematics.tanh(e, value)
                    slope = e.fma(e.b.fneg(hidden), hidden, e.const(1.0))
                    inner.append(e.b.fmul(e.b.fmul(flow, e.load_vector(e.at(energy, at), mask)), slope))
                told.scatter(step, places, inner, mask, to)

            by_columns(e, width, columns)

    def nothing(self, to: Value, mask: Value | None) -> list[Value]:
        self.e.store_vector(self.e.const(0.0), to, mask)
        return []

    def convolution(self, node: Node, alignment: int, kernel: int) -> Convolution:
        """Of an alignment with a kernel, by their places among a node's arguments."""
        before, steps = self.placement.node(node.args[alignment]), self.steps_of_memory(node, kernel)
        own = self.operand(node, alignment), self.addressing.width(before.width)
        return Convolution(self.e, *own, *self.memory(node, kernel, steps))

    def steps_of_memory(self, node: Node, place: int) -> Width:
        """The width that counts the steps of the memory that an argument is."""
        return f"{self.placement.node(node.args[place])['name']}_steps"


# Products with a memory are functions of their own: beside what else a stage does, their addresses would not all stay
# in registers.

_PRODUCT = [("own", POINTER), ("memory", POINTER), ("length", I64), ("width", I64), ("to", POINTER)]


def _of_module(e: Emitter, name: str, write: Callable[[Emitter], None]) -> ir.Function:
    """A product of a row with the steps of its memory, written once for a module."""
    if name not in e.module.globals:
        of_product = function(e.module, name, _PRODUCT, e.target, e.dtype)
        of_product.function.linkage = "internal"
        write(of_product)
        of_product.b.ret_void()
    return e.module.globals[name]


def _dot_score(e: Emitter) -> None:
    """to[s] is the sum over u of own[u] memory[s, u]."""
    query, memory, length, width, to = e.function.args
    with e.loop(e.i64(0), length, _TOGETHER) as (first, _):
        last = e.b.sub(length, e.i64(1))
        steps = [e.smaller(e.b.add(first, e.i64(i)), last) for i in range(_TOGETHER)]
        rows = [e.at(memory, e.b.mul(step, width)) for step in steps]

        def body(at: Value, mask: Value | None, totals: list[Value]) -> list[Value]:
            own = e.load_vector(e.at(query, at), mask)
            return [
                e.fma(own, e.load_vector(e.at(row, at), mask), total)
                for row, total in zip(rows, totals, strict=True)
            ]

        for step, total in zip(steps, over(e, width, [e.const(0.0)] * _TOGETHER, body), strict=True):
            e.store(across(e, total), e.at(to, step))


def _attention_context(e: Emitter) -> None:
    """to[u] is the sum over s of own[s] memory[s, u]."""
    weights, memory, length, width, to = e.function.args

    def columns(places: list[Value], mask: Value | None) -> None:
        with e.loop(e.i64(0), length, 1, [e.const(0.0)] * len(places)) as (step, turn):
            weight, row = e.splat(e.load(e.at(weights, step))), e.at(memory, e.b.mul(step, width))
            turn.next = [
                e.fma(weight, e.load_vector(e.at(row, place), mask), total)
                for place, total in zip(places, turn.values, strict=True)
            ]
        for place, total in zip(places, turn.values, strict=True):
            e.store_vector(total, e.at(to, place), mask)

    by_columns(e, width, columns)


def over(e: Emitter, width: Value, carried: list[Value], body: Body) -> list[Value]:
    """`body(at, mask, carried)` for the registers of so many numbers; the last one has a mask if it is not full."""
    whole = e.b.sub(width, e.b.srem(width, e.i64(e.lanes)))
    for start, stop, partial in ((e.i64(0), whole, False), (whole, width, True)):
        with e.loop(start, stop, e.lanes, carried) as (at, turn):
            mask = e.tail_mask(e.b.sub(width, at)) if partial else None
            turn.next = body(at, mask, turn.values)
        carried = turn.values
    return carried


def by_columns(e: Emitter, width: Value, columns: Callable[[list[Value], Value | None], None]) -> None:
    """`columns(places, mask)` for several registers of a row side by side, then for one at a time."""
    several = e.lanes * _TOGETHER
    whole = e.b.sub(width, e.b.srem(width, e.i64(several)))
    with e.loop(e.i64(0), whole, several) as (at, _):
        columns([e.b.add(at, e.i64(i * e.lanes)) for i in range(_TOGETHER)], None)

    def single(at: Value, mask: Value | None, _: list[Value]) -> list[Value]:
        columns([e.b.add(whole, at)], mask)
        return []

    over(e, e.b.sub(width, whole), [], single)


@dataclass(frozen=True)
class Convolution:
    """What an alignment says to each step of the memory: the sum over k of alignment[step + k - K // 2] kernel[k].

    Attributes:
        alignment, steps: (S,) and S.
        kernel, count, width: (K, A), K and A.
    """

    e: Emitter
    alignment: Value
    steps: Value
    kernel: Value
    count: Value
    width: Value

    def bounds(self, step: Value) -> tuple[Value, Value, Value]:
        """The first k and the one past the last that meet a step of the memory, and that of k = 0."""
        e, half = self.e, self.e.b.lshr(self.count, self.e.i64(1))
        first = e.b.sub(step, half)
        begin = e.b.select(e.b.icmp_signed("<", first, e.i64(0)), e.b.neg(first), e.i64(0))
        return begin, e.smaller(self.count, e.b.sub(self.steps, first)), first

    def added(self, step: Value, places: list[Value], values: list[Value], mask: Value | None) -> list[Value]:
        """Registers of units with what the step is told."""
        e = self.e
        begin, end, first = self.bounds(step)
        with e.loop(begin, end, 1, values) as (k, turn):
            weight, row = e.splat(e.load(e.at(self.alignment, e.b.add(first, k)))), e.b.mul(k, self.width)
            turn.next = [
                e.fma(weight, e.load_vector(e.at(self.kernel, e.b.add(row, at)), mask), value)
                for at, value in zip(places, turn.values, strict=True)
            ]
        return turn.values

    def gather(self, step: Value, at: Value, flow: Value, mask: Value | None, to: Value) -> None:
        """Adds a register of what flows to a step to the kernel's gradient, (K, A)."""
        e = self.e
        begin, end, first = self.bounds(step)
        with e.loop(begin, end, 1) as (k, _):
            weight = e.splat(e.load(e.at(self.alignment, e.b.add(first, k))))
            place = e.at(to, e.b.add(e.b.mul(k, self.width), at))
            e.store_vector(e.fma(weight, flow, e.load_vector(place, mask)), place, mask)

    def scatter(
        self, step: Value, places: list[Value], flows: list[Value], mask: Value | None, to: Value
    ) -> None:
        """Adds what registers of what flows to a step tell of the alignment, (S,)."""
        e = self.e
        begin, end, first = self.bounds(step)
        with e.loop(begin, end, 1) as (k, _):
            row, total = e.b.mul(k, self.width), e.const(0.0)
            for at, flow in zip(places, flows, strict=True):
                total = e.fma(flow, e.load_vector(e.at(self.kernel, e.b.add(row, at)), mask), total)
            place = e.at(to, e.b.add(first, k))
            e.store(e.b.fadd(e.load(place), across(e, total)), place)


CODE: dict[str, Callable[[AttentionCode, Node, Value], None]] = {
    "dot_score": AttentionCode._dot_score,
    "additive_score": AttentionCode._additive_score,
    "location_score": AttentionCode._location_score,
    "masked_softmax": AttentionCode._masked_softmax,
    "attention_context": AttentionCode._attention_context,
    "masked_softmax_gradient": AttentionCode._masked_softmax_gradient,
    "additive_score_gradient": AttentionCode._score_gradient,
    "location_score_gradient": AttentionCode._score_gradient,
    "location_gradient": AttentionCode._location_gradient,
}
"""Operations on memories by the name of their code (`Op.code`): each stores its value at an address."""
