"""What a step does with the steps of a memory: scores, their softmax, and the context that they read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from llvmlite import ir

from gatework.backends.llvm.codegen import elementwise, mathematics
from gatework.backends.llvm.codegen.emitter import Value
from gatework.export.cell import Cell
from gatework.export.native.module import ObjectModule, StepEmitter
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Node, Width, resolve
from gatework.graph.ops import OPS

Body = Callable[[Value, Value | None, list[Value]], list[Value]]


class Step(Protocol):
    """What these operations ask of the step that they stand in: `cell_code.StepCode`."""

    module: ObjectModule
    e: StepEmitter
    cell: Cell
    leaves: dict[ArrayKey, Value]
    places: dict[int, Value]

    def address(self, index: int) -> Value: ...
    def units(self, width: Width) -> Value: ...


def emit(step: Step, index: int) -> None:
    """Computes a value and stores it in its place."""
    node = step.cell.graph.nodes[index]
    CODE[OPS[node.op].code](step, node, step.places[index])


def _over(e: StepEmitter, units: int, carried: list[Value], body: Body) -> list[Value]:
    """Calls `body` on each block of so many units; of the last one with a mask, where it is not whole."""
    whole = units - units % e.lanes
    with e.loop(e.i64(0), e.i64(whole), e.lanes, carried) as (at, turn):
        turn.next = body(at, None, turn.values)
    if whole == units:
        return turn.values
    bits = [ir.Constant(ir.IntType(1), int(lane < units - whole)) for lane in range(e.lanes)]
    return body(e.i64(whole), ir.Constant(e.mask, bits), turn.values)


def _memory(step: Step, node: Node) -> tuple[Value, int]:
    """The address of the memory or the keys that are an operation's second argument, and their width."""
    leaf = step.cell.graph.nodes[node.args[1]]
    return step.leaves[leaf.key], resolve(leaf.width, step.cell.sizes)


def _dot_score(step: Step, node: Node, to: Value) -> None:
    e, query = step.e, step.address(node.args[0])
    (memory, units), steps = _memory(step, node), step.units(node.width)
    with e.loop(e.i64(0), steps) as (s, _):
        row = e.at(memory, e.b.mul(s, e.i64(units)))

        def body(at: Value, mask: Value | None, old: list[Value], row: Value = row) -> list[Value]:
            return [e.fma(e.load_vector(e.at(query, at), mask), e.load_vector(e.at(row, at), mask), old[0])]

        e.store(elementwise.across(e, _over(e, units, [e.const(0.0)], body)[0]), e.at(to, s))


def _hidden_score(step: Step, node: Node, to: Value) -> None:
    """energy . tanh(query + key), of the location score + the convolution of the alignment before."""
    e, query, energy = step.e, step.address(node.args[0]), step.address(node.args[2])
    (keys, units), steps = _memory(step, node), step.units(node.width)
    located = node.op == "location_score"
    with e.loop(e.i64(0), steps) as (s, _):
        row = e.at(keys, e.b.mul(s, e.i64(units)))

        def body(
            at: Value, mask: Value | None, old: list[Value], row: Value = row, s: Value = s
        ) -> list[Value]:
            hidden = e.b.fadd(e.load_vector(e.at(query, at), mask), e.load_vector(e.at(row, at), mask))
            if located:
                hidden = _convolved(step, node, s, steps, units, at, mask, hidden)
            weight = e.load_vector(e.at(energy, at), mask)
            return [e.fma(weight, mathematics.tanh(e, hidden), old[0])]

        e.store(elementwise.across(e, _over(e, units, [e.const(0.0)], body)[0]), e.at(to, s))


def _convolved(
    step: Step,
    node: Node,
    s: Value,
    steps: Value,
    units: int,
    at: Value,
    mask: Value | None,
    hidden: Value,
) -> Value:
    """hidden + the sum over k of alignment[s + k - K // 2] kernel[k], over the steps that there are."""
    e, before = step.e, step.address(node.args[3])
    array = step.cell.kernels[step.cell.graph.nodes[node.args[4]].text("name")]
    kernel, count = step.module.constant(array), array.shape[0]
    start = e.b.sub(s, e.i64(count // 2))
    first = e.b.select(e.b.icmp_signed("<", start, e.i64(0)), e.b.neg(start), e.i64(0))
    last = e.smaller(e.i64(count), e.b.sub(steps, start))
    with e.loop(first, last, 1, [hidden]) as (k, turn):
        weight = e.splat(e.load(e.at(before, e.b.add(start, k))))
        told = e.load_vector(e.at(e.at(kernel, e.b.mul(k, e.i64(units))), at), mask)
        turn.next = [e.fma(weight, told, turn.values[0])]
    return turn.values[0]


def _softmax(step: Step, node: Node, to: Value) -> None:
    e, scores, steps = step.e, step.address(node.args[0]), step.units(node.width)

    def existing(at: Value, value: Value, otherwise: float) -> Value:
        return e.select(e.first_lanes(e.b.sub(steps, at)), value, e.const(otherwise))

    with e.loop(e.i64(0), steps, e.lanes, [e.const(-math.inf)]) as (at, turn):
        score = existing(at, e.load_vector(e.at(scores, at)), -math.inf)
        turn.next = [e.intrinsic("maximum", turn.values[0], score)]
    largest = e.splat(elementwise.across(e, turn.values[0], True))
    with e.loop(e.i64(0), steps, e.lanes, [e.const(0.0)]) as (at, turn):
        score = existing(at, e.load_vector(e.at(scores, at)), -math.inf)
        power = mathematics.exp(e, e.b.fsub(score, largest))
        e.store_vector(power, e.at(to, at))
        turn.next = [e.b.fadd(turn.values[0], power)]
    total = e.splat(elementwise.across(e, turn.values[0]))
    with e.loop(e.i64(0), steps, e.lanes) as (at, _):
        e.store_vector(e.b.fdiv(e.load_vector(e.at(to, at)), total), e.at(to, at))


def _context(step: Step, node: Node, to: Value) -> None:
    e, weights = step.e, step.address(node.args[0])
    (memory, units), steps = _memory(step, node), step.units(step.cell.graph.nodes[node.args[0]].width)

    def body(at: Value, mask: Value | None, _: list[Value]) -> list[Value]:
        with e.loop(e.i64(0), steps, 1, [e.const(0.0)]) as (s, turn):
            weight = e.splat(e.load(e.at(weights, s)))
            values = e.load_vector(e.at(e.at(memory, e.b.mul(s, e.i64(units))), at), mask)
            turn.next = [e.fma(weight, values, turn.values[0])]
        e.store_vector(turn.values[0], e.at(to, at))
        return []

    _over(e, units, [], body)


CODE: dict[str, Callable[[Step, Node, Value], None]] = {
    "dot_score": _dot_score,
    "additive_score": _hidden_score,
    "location_score": _hidden_score,
    "masked_softmax": _softmax,
    "attention_context": _context,
}
"""Operations on memories by the name of their code (`Op.code`)."""
