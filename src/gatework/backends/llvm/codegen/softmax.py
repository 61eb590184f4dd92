"""Tables of logits whose columns are distributions: their softmax, and their likeliest units, as commands of a list."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from gatework.backends.llvm.codegen import mathematics
from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.target import Target

_RUN = 64  # terms that are added up before they meet the total: one long sum would lose digits


def _arguments(pointers: str, last: str) -> list[tuple[str, ir.Type]]:
    """The table and its bias, three more arrays, the table's shape, a number, and the thread's share."""
    arrays = [(name, POINTER) for name in ("table", "bias", *pointers.split())]
    return [*arrays, *((name, I64) for name in ("units", "columns", last, "thread", "threads"))]


_SOFTMAX = _arguments("normaliser mean floor", "gradient")
_BEST = _arguments("allowed values places", "count")


def emit_softmax(module: ir.Module, target: Target, dtype: str) -> None:
    """`softmax(…)`: of table[unit, column] + bias[unit], a register of columns at a time; threads share these.

    `normaliser` becomes the logarithm of a column's sum of exponentials, and `mean` the mean of its logits. With
    `gradient` the table becomes each unit's probability less `floor`; without, it is left unfinished.
    """
    _emit(function(module, "softmax", _SOFTMAX, target, dtype), _softened)


def _emit(e: Emitter, columns_of: Callable[[Emitter, Value, Value | None], None]) -> None:
    """`columns_of(e, column, mask)` for each register of columns, which threads share."""
    e.function.linkage = "internal"
    columns, thread, threads = (e.function.args[place] for place in (6, 8, 9))
    first, last = e.share(e.ceil_div(columns, e.i64(e.lanes)), thread, threads)
    with e.loop(first, last) as (block, _):
        column = e.b.mul(block, e.i64(e.lanes))
        left = e.b.sub(columns, column)
        with e.b.if_else(e.b.icmp_signed(">=", left, e.i64(e.lanes))) as (full, partial):
            with full:
                columns_of(e, column, None)
            with partial:
                columns_of(e, column, e.tail_mask(left))
    e.b.ret_void()


def _softened(e: Emitter, column: Value, mask: Value | None) -> None:
    """A register of columns."""
    table, bias, normaliser, mean, floor, units, columns, gradient = e.function.args[:8]
    own = e.at(table, column)

    def logit(unit: Value, place: Value, carried: list[Value]) -> list[Value]:
        value = e.b.fadd(e.load_vector(place, mask), e.splat(e.load(e.at(bias, unit))))
        e.store_vector(value, place, mask)
        return [e.b.fadd(carried[0], value), e.intrinsic("maximum", carried[1], value)]

    sum_, top = _over(e, own, logit, [e.const(float("-inf"))])
    total = _powers(e, own, top, mask, keep=True)
    e.store_vector(e.b.fadd(top, mathematics.log(e, total)), e.at(normaliser, column), mask)
    count = e.splat(e.b.sitofp(units, e.number))
    e.store_vector(e.b.fdiv(sum_, count), e.at(mean, column), mask)
    less, share = e.splat(e.load(floor)), e.b.fdiv(e.const(1.0), total)
    with (
        e.when(e.b.icmp_signed("!=", gradient, e.i64(0))),
        e.loop(e.i64(0), units) as (unit, _),
    ):
        place = e.at(own, e.b.mul(unit, columns))
        value = e.b.fsub(e.b.fmul(e.load_vector(place, mask), share), less)
        e.store_vector(value, place, mask)


def _powers(e: Emitter, own: Value, top: Value, mask: Value | None, *, keep: bool) -> Value:
    """The sum of the exponentials of a register of columns, which take the logits' place if they are to be kept."""

    def power(unit: Value, place: Value, carried: list[Value]) -> list[Value]:
        value = mathematics.exp(e, e.b.fsub(e.load_vector(place, mask), top))
        if keep:
            e.store_vector(value, place, mask)
        return [e.b.fadd(carried[0], value)]

    return _over(e, own, power, [])[0]


def emit_best(module: ir.Module, target: Target, dtype: str) -> None:
    """`best(…)`: the likeliest units of table[unit, column] + bias[unit], a register of columns at a time.

    values[rank, column] become log-probabilities, falling, and places[rank, column] their units, as numbers. A unit
    whose `allowed` is minus infinity has its part of the sum, and is not among them; of equals the first stands first.
    """
    _emit(function(module, "best", _BEST, target, dtype), _ranked)


def _ranked(e: Emitter, column: Value, mask: Value | None) -> None:
    """The likeliest units of a register of columns."""
    table, bias, allowed, values, places, _, columns, count = e.function.args[:8]
    own, lowest = e.at(table, column), e.const(float("-inf"))

    def rank(array: Value, number: Value) -> Value:
        return e.at(array, e.b.add(e.b.mul(number, columns), column))

    with e.loop(e.i64(0), count) as (number, _):
        e.store_vector(lowest, rank(values, number), mask)
        e.store_vector(e.const(0.0), rank(places, number), mask)
    last = rank(values, e.b.sub(count, e.i64(1)))

    def logit(unit: Value, place: Value, carried: list[Value]) -> list[Value]:
        value = e.b.fadd(e.load_vector(place, mask), e.splat(e.load(e.at(bias, unit))))
        e.store_vector(value, place, mask)
        mine = e.b.fadd(value, e.splat(e.load(e.at(allowed, unit))))
        better = e.b.fcmp_ordered(">", mine, e.load_vector(last, mask))
        better = better if mask is None else e.b.and_(better, mask)
        number = e.splat(e.b.sitofp(unit, e.number))
        with (
            e.when(_any(e, better)),
            e.loop(e.i64(0), count, 1, [mine, number]) as (at, turn),
        ):
            held, holder = e.load_vector(rank(values, at), mask), e.load_vector(rank(places, at), mask)
            above = e.b.fcmp_ordered(">", turn.values[0], held)
            e.store_vector(e.select(above, turn.values[0], held), rank(values, at), mask)
            e.store_vector(e.select(above, turn.values[1], holder), rank(places, at), mask)
            turn.next = [e.select(above, held, turn.values[0]), e.select(above, holder, turn.values[1])]
        return [carried[0], e.intrinsic("maximum", carried[1], value)]

    _, top = _over(e, own, logit, [lowest])
    normaliser = e.b.fadd(top, mathematics.log(e, _powers(e, own, top, mask, keep=False)))
    with e.loop(e.i64(0), count) as (number, _):
        place = rank(values, number)
        e.store_vector(e.b.fsub(e.load_vector(place, mask), normaliser), place, mask)


def _any(e: Emitter, mask: Value) -> Value:
    """Whether one of a mask's lanes is true."""
    bits = ir.IntType(e.lanes)
    return e.b.icmp_unsigned("!=", e.b.bitcast(mask, bits), ir.Constant(bits, 0))


def _over(
    e: Emitter,
    own: Value,
    body: Callable[[Value, Value, list[Value]], list[Value]],
    carried: list[Value],
) -> list[Value]:
    """`body(unit, place, [sum, …])` for every unit: the sum, a run of terms at a time, and what else is carried."""
    units, columns = e.function.args[5:7]
    with e.loop(e.i64(0), units, _RUN, [e.const(0.0), *carried]) as (begin, outer):
        end = e.smaller(units, e.b.add(begin, e.i64(_RUN)))
        with e.loop(begin, end, 1, [e.const(0.0), *outer.values[1:]]) as (unit, inner):
            inner.next = body(unit, e.at(own, e.b.mul(unit, columns)), inner.values)
        outer.next = [e.b.fadd(outer.values[0], inner.values[0]), *inner.values[1:]]
    return list(outer.values)
