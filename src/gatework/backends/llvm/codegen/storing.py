"""Packing of weights into fewer bits, as `gatework.backends.storage` rounds them."""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.storage import LARGEST, Storage

_TO_WHOLE = 1.5 * 2.0**23  # added to a small float32 and taken away again, it leaves the nearest whole number


def emit_storing(module: ir.Module, target: Target, storage: Storage) -> None:
    """`pack_STORAGE(…)`: a weight block, as tiles read it, and a scale for each of its units.

    Unit blocks first to last of packed[block group][k][columns], for int8 [k / 2][columns][k mod 2], and of
    scales[block group][columns], padded with zeros to a whole register. The source is read at [unit * unit_stride + k *
    k_stride].
    """
    args = [
        ("source", POINTER), ("unit_stride", I64), ("k_stride", I64), ("units", I64), ("depth", I64),
        ("packed", POINTER), ("columns", I64), ("size", I64), ("first", I64), ("last", I64), ("scales", POINTER),
    ]  # fmt: skip
    e = function(module, f"pack_{storage}", args, target, "float32")
    e.function.linkage = "internal"
    source, unit_stride, k_stride, units, depth, packed, columns, size, first, last, scales = e.function.args
    kind = e.stored_number(storage)
    lanes, pairs = e.i64(e.lanes), e.i64(2 if storage == "int8" else 1)
    with e.loop(e.b.mul(first, lanes), e.b.mul(last, lanes)) as (unit, _):
        group, inside = e.b.sdiv(unit, size), e.b.srem(unit, size)
        numbers = e.b.add(
            e.b.mul(group, e.b.mul(stored_depth(e, depth, storage), columns)), e.b.mul(inside, pairs)
        )
        to = e.b.gep(packed, [numbers], source_etype=kind)
        exists = e.b.icmp_signed("<", unit, units)
        row = e.at(source, e.b.mul(e.select(exists, unit, e.i64(0)), unit_stride))
        nothing = ir.Constant(e.number, 0.0)

        def weight(k: Value, row: Value = row, exists: Value = exists) -> Value:
            return e.select(exists, e.load(e.at(row, e.b.mul(k, k_stride))), nothing)

        scale = ir.Constant(e.number, 1.0)
        if storage == "int8":
            with e.loop(e.i64(0), depth, 1, [nothing]) as (k, turn):
                turn.next = [e.intrinsic("maxnum", turn.values[0], e.intrinsic("fabs", weight(k)))]
            scale = e.b.fdiv(turn.values[0], ir.Constant(e.number, float(LARGEST)))
        e.store(scale, e.at(scales, e.b.add(e.b.mul(group, columns), inside)))
        empty = e.b.fcmp_ordered("==", scale, nothing)

        def place(k: Value, to: Value = to) -> Value:
            row = e.b.mul(e.b.sdiv(k, pairs), e.b.mul(columns, pairs))
            return e.b.gep(to, [e.b.add(row, e.b.srem(k, pairs))], source_etype=kind)

        with e.loop(e.i64(0), depth) as (k, _):
            e.b.store(_rounded(e, weight(k), scale, empty, storage), place(k), align=1)
        with e.loop(depth, stored_depth(e, depth, storage)) as (k, _):
            e.b.store(ir.Constant(kind, 0), place(k), align=1)
    e.b.ret_void()


def stored_depth(e: Emitter, depth: Value, storage: Storage) -> Value:
    """How many k a block is stored with: weights of 8 bits stand in pairs of k."""
    return e.b.add(depth, e.b.srem(depth, e.i64(2))) if storage == "int8" else depth


def _rounded(e: Emitter, weight: Value, scale: Value, empty: Value, storage: Storage) -> Value:
    """A weight as it is stored: in bfloat16 or in whole multiples of its scale, halves to the even neighbour."""
    if storage == "int8":
        big = ir.Constant(e.number, _TO_WHOLE)
        whole = e.b.fsub(e.b.fadd(e.b.fdiv(weight, scale), big), big)
        return e.b.fptosi(e.select(empty, ir.Constant(e.number, 0.0), whole), ir.IntType(8))
    i32 = ir.IntType(32)
    bits = e.b.bitcast(weight, i32)
    odd = e.b.and_(e.b.lshr(bits, ir.Constant(i32, 16)), ir.Constant(i32, 1))
    bits = e.b.add(bits, e.b.add(odd, ir.Constant(i32, 0x7FFF)))
    return e.b.trunc(e.b.lshr(bits, ir.Constant(i32, 16)), ir.IntType(16))
