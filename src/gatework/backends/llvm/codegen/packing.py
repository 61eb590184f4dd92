"""Packing of weights: blocks of a matrix in the order in which tiles read them."""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.target import CACHE_LINE, Target

ARGUMENTS = [
    ("source", POINTER), ("unit_stride", I64), ("k_stride", I64), ("units", I64), ("depth", I64),
    ("packed", POINTER), ("columns", I64), ("size", I64), ("first", I64), ("last", I64),
    ("gates", I64), ("gate_stride", I64),
]  # fmt: skip


def emit_packing(module: ir.Module, target: Target, dtype: str) -> None:
    """`pack(…)`: the weight blocks of some gates, as tiles read them.

    Unit blocks first to last of packed[block group][k][gate][size], each padded with zeros to a whole register; a row
    of it, all gates, has so many `columns`. The source is read at [gate * gate_stride + unit * unit_stride + k *
    k_stride], unit_stride or k_stride being 1. What is written together stands in one row, and a line of the source
    is read at once: the lines that a block reads may all fall on the same places of the cache.
    """
    e = function(module, "pack", ARGUMENTS, target, dtype)
    source, unit_stride, k_stride, units, depth, packed, columns, size, first, last, gates, gate_stride = (
        e.function.args
    )
    lanes = e.i64(e.lanes)

    def place(block: Value) -> Value:
        unit = e.b.mul(block, lanes)
        group = e.b.mul(e.b.sdiv(unit, size), e.b.mul(depth, columns))
        return e.at(packed, e.b.add(group, e.b.srem(unit, size)))

    with e.b.if_else(e.b.icmp_signed("==", k_stride, e.i64(1))) as (turned, straight):
        with turned, e.loop(first, last) as (block, _):
            unit = e.b.mul(block, lanes)
            begin = e.at(source, e.b.mul(unit, unit_stride))
            strides = unit_stride, gate_stride, columns, size
            _turn_blocks(e, begin, place(block), strides, gates, depth, e.b.sub(units, unit))
        with straight:
            strides = k_stride, gate_stride, columns, size
            together = e.b.sdiv(size, lanes)  # blocks side by side in a row
            whole = e.smaller(e.b.sdiv(units, lanes), last)
            with e.loop(e.b.sdiv(first, together), e.ceil_div(whole, together)) as (group, _):
                begin = e.b.mul(group, together)
                end = e.smaller(e.b.add(begin, together), whole)
                begin = e.select(e.b.icmp_signed("<", begin, first), first, begin)
                _copy_blocks(
                    e,
                    e.at(source, e.b.mul(begin, lanes)),
                    place(begin),
                    strides,
                    gates,
                    depth,
                    e.b.sub(end, begin),
                )
            rest = e.select(e.b.icmp_signed("<", whole, first), first, whole)
            with e.loop(rest, last) as (block, _):
                unit = e.b.mul(block, lanes)
                mask = e.tail_mask(e.b.sub(units, unit))
                _copy_blocks(e, e.at(source, unit), place(block), strides, gates, depth, e.i64(1), mask)
    e.b.ret_void()


def _turn_blocks(
    e: Emitter,
    source: Value,
    to: Value,
    strides: tuple[Value, Value, Value, Value],
    gates: Value,
    depth: Value,
    existing: Value,
) -> None:
    """A block of units, of which so many exist, whose rows hold the numbers of k side by side; of every gate."""
    unit_stride, gate_stride, columns, size = strides
    together = max(e.lanes, CACHE_LINE // e.item)
    all_units = e.b.icmp_signed(">=", existing, e.i64(e.lanes))
    whole = e.select(all_units, e.b.sub(depth, e.b.srem(depth, e.i64(together))), e.i64(0))

    def at(k: Value, gate: Value) -> tuple[Value, Value]:
        begin = e.at(source, e.b.add(e.b.mul(gate, gate_stride), k))
        return begin, e.at(to, e.b.add(e.b.mul(k, columns), e.b.mul(gate, size)))

    with e.loop(e.i64(0), whole, together) as (k, _), e.loop(e.i64(0), gates) as (gate, _):
        begin, place = at(k, gate)
        for part in range(0, together, e.lanes):
            target = e.at(place, e.b.mul(columns, e.i64(part)))
            _turn_block(e, e.at(begin, e.i64(part)), unit_stride, target, columns)
    with e.loop(whole, depth, e.lanes) as (k, _), e.loop(e.i64(0), gates) as (gate, _):
        begin, place = at(k, gate)
        _turn_block(e, begin, unit_stride, place, columns, (existing, e.b.sub(depth, k)))


def _copy_blocks(
    e: Emitter,
    source: Value,
    to: Value,
    strides: tuple[Value, Value, Value, Value],
    gates: Value,
    depth: Value,
    blocks: Value,
    mask: Value | None = None,
) -> None:
    """Some blocks of units that stand side by side, of every gate."""
    k_stride, gate_stride, columns, size = strides
    with e.loop(e.i64(0), depth) as (k, _), e.loop(e.i64(0), gates) as (gate, _):
        begin = e.at(source, e.b.add(e.b.mul(k, k_stride), e.b.mul(gate, gate_stride)))
        place = e.at(to, e.b.add(e.b.mul(k, columns), e.b.mul(gate, size)))
        with e.loop(e.i64(0), e.b.mul(blocks, e.i64(e.lanes)), e.lanes) as (unit, _):
            e.store_vector(e.load_vector(e.at(begin, unit), mask), e.at(place, unit))


def _turn_block(
    e: Emitter,
    source: Value,
    stride: Value,
    to: Value,
    columns: Value,
    inside: tuple[Value, Value] | None = None,
) -> None:
    """As many rows of `source` as a register has lanes, as columns of `to`.

    Args:
        stride, columns: numbers from a row to the next, of `source` and of `to`.
        inside: rows of `source` and of `to` that exist, where not all do.
    """
    mask = None if inside is None else e.tail_mask(inside[1])
    nothing = ir.Constant(e.mask, [0] * e.lanes)
    rows = []
    for lane in range(e.lanes):
        if inside is not None:
            exists = e.select(e.b.icmp_signed("<", e.i64(lane), inside[0]), mask, nothing)
            rows.append(e.load_vector(e.at(source, e.b.mul(stride, e.i64(lane))), exists))
        else:
            rows.append(e.load_vector(e.at(source, e.b.mul(stride, e.i64(lane)))))
    for lane, row in enumerate(_transposed(e, rows)):
        place = e.at(to, e.b.mul(columns, e.i64(lane)))
        if inside is None:
            e.store_vector(row, place)
            continue
        with e.when(e.b.icmp_signed("<", e.i64(lane), inside[1])):
            e.store_vector(row, place)


def _transposed(e: Emitter, rows: list[Value]) -> list[Value]:
    """As many registers as each has lanes, turned from rows to columns.

    Ever smaller blocks change places, down to 128 bits, which x86 does as it reads. Inside of these, neighbouring rows
    are woven together, then pairs of them: each of it is one instruction there.
    """
    inner = 16 // e.item
    rows, distance = list(rows), e.lanes // 2
    while distance >= inner:
        for low in (row for row in range(e.lanes) if not row & distance):
            lanes = [k if not k & distance else e.lanes + k - distance for k in range(e.lanes)]
            rows[low], rows[low + distance] = _both(e, rows[low], rows[low + distance], lanes, distance)
        distance //= 2
    for first in range(0, e.lanes, inner):
        own = rows[first : first + inner]
        for together in (1, 2)[: inner // 2]:  # numbers that stay side by side
            # of each 128 bits the lower half of one row and of the other, woven together; then the upper halves
            half = [k % inner // (2 * together) * together + k % together for k in range(e.lanes)]
            of = [k % (2 * together) // together for k in range(e.lanes)]
            lanes = [k // inner * inner + half[k] + e.lanes * of[k] for k in range(e.lanes)]
            pairs = [
                _both(e, own[low], own[low + together], lanes, inner // 2)
                for low in range(inner)
                if not low & together
            ]
            own = [value for pair in pairs for value in pair]
        rows[first : first + inner] = own
    return rows


def _both(e: Emitter, one: Value, other: Value, lanes: list[int], further: int) -> tuple[Value, Value]:
    """The register of these lanes of two, and that of those so many further on."""
    kind = ir.VectorType(ir.IntType(32), e.lanes)
    return (
        e.b.shuffle_vector(one, other, ir.Constant(kind, lanes)),
        e.b.shuffle_vector(one, other, ir.Constant(kind, [lane + further for lane in lanes])),
    )
