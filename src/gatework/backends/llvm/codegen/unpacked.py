"""Products with weights that are read where they stand, for steps that run once."""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import I64, POINTER, VOID, function
from gatework.backends.llvm.codegen.matmul import COLUMNS, PRODUCT
from gatework.backends.llvm.codegen.target import Target

_DEPTH = 192  # of the part of a block's weights that is brought into the tiles' order at a time

FUNCTION = "product_unpacked"
ARGUMENTS = [
    ("rows", I64), ("left", POINTER), ("depth", I64),  # left[row * depth + k]
    ("begin", I64), ("end", I64),  # the first k, and one past the last
    ("sources", POINTER), ("gates", I64),  # addresses of so many weight blocks, of which the block's units are read:
    ("unit_stride", I64), ("k_stride", I64),  # sources[gate][unit * unit_stride + k * k_stride]
    ("units", I64),  # that exist from the block's first on
    ("unit_blocks", I64),  # registers of units of each gate
    ("result", POINTER), ("result_row", I64), ("accumulate", I64),  # as a tile's
]  # fmt: skip
TYPE = ir.FunctionType(VOID, [kind for _, kind in ARGUMENTS])


def linked_name(dtype: str, target: Target) -> str:
    """The name by which programs call it."""
    return f"{FUNCTION}_{dtype}_{target.name}"


def emit_unpacked(module: ir.Module, target: Target, dtype: str) -> None:
    """`product_unpacked(…)`: a block of columns, a part of whose weights is packed and multiplied while the cache has
    it."""
    e = function(module, FUNCTION, ARGUMENTS, target, dtype)
    rows, left, depth, begin, end, sources, gates, *strides = e.function.args[:9]
    units, unit_blocks, result, result_row, accumulate = e.function.args[9:]
    weights = e.room(e.vector, _DEPTH * COLUMNS[-1])
    size = e.b.mul(unit_blocks, e.i64(e.lanes))
    columns, registers = e.b.mul(size, gates), e.b.mul(unit_blocks, gates)
    with e.loop(begin, end, _DEPTH) as (k, _):
        count = e.smaller(e.i64(_DEPTH), e.b.sub(end, k))
        with e.loop(e.i64(0), gates) as (gate, _):
            source = e.b.load(e.b.gep(sources, [gate], source_etype=POINTER), typ=POINTER)
            part = e.at(source, e.b.mul(k, strides[1]))
            one_gate = [e.i64(0), unit_blocks, e.i64(1), e.i64(0)]
            arguments = [part, *strides, units, count, e.at(weights, e.b.mul(gate, size)), columns, size]
            e.b.call(module.globals["pack"], [*arguments, *one_gate])
        later = e.b.or_(accumulate, e.b.zext(e.b.icmp_signed(">", k, begin), I64))
        arguments = [rows, e.at(left, k), depth, e.i64(1), weights, columns, count, result, result_row, later]
        arguments.append(e.i64(0))  # nothing is fetched ahead
        e.b.call(module.globals[PRODUCT], [*arguments, registers])
    e.b.ret_void()
