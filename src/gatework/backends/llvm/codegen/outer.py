"""Products of whole matrices, block by block: `outer`, and what it packs so that a block stays in the caches.

A block of k is as deep as lets a panel of the right operand, of a tile's columns, stay in the first cache; a block of
rows as high as lets the left one's stay in the second. Both are copied together as they are first read: in their own
arrays their rows may stand a power of two apart, and would evict each other.
"""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.matmul import COLUMNS, PRODUCT
from gatework.backends.llvm.codegen.target import Target

_DEPTH = 192  # of a block
_ROWS = 144  # of a block in float32, at most; half of them in float64: a thread may have little stack
_FEW = 8  # rows that read a panel too seldom to copy it
_WIDEST = COLUMNS[-1]


def emit_outer(module: ir.Module, target: Target, dtype: str) -> None:
    """`outer(…)`: result[m, n] is, or with `accumulate` grows by, the sum over k of
    left[m, k] right[k, n], in that order.

    The left operand is read at [m * left_m + k * left_k], the right one at [p * panel + k * right_k + n] in the p-th
    panel of as many columns as the widest tile has; a row of the result begins `result_row` numbers after the one
    before. Threads share the rows of the result, or the panels where rows are few.
    """
    args = [
        ("left", POINTER), ("left_m", I64), ("left_k", I64), ("right", POINTER), ("right_k", I64),
        ("panel", I64), ("depth", I64), ("rows", I64), ("columns", I64), ("result", POINTER), ("result_row", I64),
        ("accumulate", I64), ("thread", I64), ("threads", I64),
    ]  # fmt: skip
    e = function(module, "outer", args, target, dtype)
    e.function.linkage = "internal"
    left, left_m, left_k, right, right_k, panel, depth, rows, columns, result = e.function.args[:10]
    own_row, accumulate, thread, threads = e.function.args[10:]
    most = _ROWS * 4 // e.item
    own_left = e.room(e.number, most * _DEPTH)
    own_right = e.room(e.vector, _DEPTH * _WIDEST)
    own_result = e.room(e.vector, most * _WIDEST)
    wide = e.i64(_WIDEST * e.lanes)
    by_rows = e.b.icmp_signed(">=", rows, e.b.mul(threads, e.i64(4)))
    first_row, last_row = e.share(rows, thread, threads)
    first_row, last_row = e.select(by_rows, first_row, e.i64(0)), e.select(by_rows, last_row, rows)
    first, last = e.share(e.ceil_div(columns, wide), thread, threads)
    first = e.select(by_rows, e.i64(0), e.b.mul(first, wide))
    last = e.select(by_rows, columns, e.smaller(columns, e.b.mul(last, wide)))
    padded = e.b.icmp_signed("!=", panel, wide)  # panels that were packed before end in zeros
    strided = e.b.icmp_signed("!=", left_k, e.i64(1))
    strided = e.b.and_(strided, e.b.icmp_signed("==", left_m, e.i64(1)))
    own_rows = e.b.sub(last_row, first_row)
    blocks = e.ceil_div(own_rows, e.i64(most))
    with e.loop(e.i64(0), blocks) as (block, _), e.loop(e.i64(0), depth, _DEPTH) as (k, _):
        begin, end = e.share(own_rows, block, blocks)
        row, count = e.b.add(first_row, begin), e.b.sub(end, begin)
        block_depth = e.smaller(e.i64(_DEPTH), e.b.sub(depth, k))
        block_left = e.at(left, e.b.add(e.b.mul(row, left_m), e.b.mul(k, left_k)))
        turned = e.b.and_(strided, e.b.icmp_signed(">=", count, e.i64(_FEW)))
        with e.when(turned):
            _turn(e, block_left, left_k, block_depth, count, own_left)
        block_left = e.select(turned, own_left, block_left)
        row_stride = e.select(turned, e.i64(_DEPTH), left_m)
        k_stride = e.select(turned, e.i64(1), left_k)
        later = e.b.or_(accumulate, e.b.zext(e.b.icmp_signed(">", k, e.i64(0)), I64))
        with e.loop(first, last, _WIDEST * e.lanes) as (column, _):
            left_over = e.smaller(wide, e.b.sub(last, column))
            start = e.b.add(e.b.mul(k, right_k), e.b.mul(e.b.sdiv(column, wide), panel))
            block_right = e.at(right, start)
            partial = e.b.icmp_signed("!=", e.b.srem(left_over, lanes := e.i64(e.lanes)), e.i64(0))
            copied = e.b.or_(partial, e.b.icmp_signed(">=", count, e.i64(_FEW)))
            copied = e.b.and_(copied, e.b.not_(padded))
            with e.when(copied):
                _copy_panel(e, block_right, right_k, block_depth, left_over, own_right)
            block_right = e.select(copied, own_right, block_right)
            right_stride = e.select(copied, wide, right_k)
            to = e.at(result, e.b.add(e.b.mul(row, own_row), column))
            with e.when(partial):
                _move(e, to, own_row, own_result, wide, count, left_over)
            place, result_row = e.select(partial, own_result, to), e.select(partial, wide, own_row)
            arguments = [count, block_left, row_stride, k_stride, block_right, right_stride, block_depth]
            arguments += [place, result_row, later, e.ceil_div(left_over, lanes)]
            e.b.call(e.module.globals[PRODUCT], arguments)
            with e.when(partial):
                _move(e, own_result, wide, to, own_row, count, left_over)
    e.b.ret_void()


def _turn(e: Emitter, left: Value, left_k: Value, depth: Value, rows: Value, to: Value) -> None:
    """A block of the left operand whose rows stand side by side, as to[row * _DEPTH + k]."""
    size, blocks = e.i64(_DEPTH), e.ceil_div(depth, e.i64(e.lanes))
    arguments = [left, left_k, e.i64(1), depth, rows, to, size, size, e.i64(0), blocks]
    arguments += [e.i64(1), e.i64(0)]  # one gate
    e.b.call(e.module.globals["pack"], arguments)


def _copy_panel(e: Emitter, right: Value, right_k: Value, depth: Value, columns: Value, to: Value) -> None:
    """A panel of the right operand, as to[k * a whole panel's columns + column], with zeros after the last column."""
    wide = e.i64(_WIDEST * e.lanes)
    with e.b.if_else(e.b.icmp_signed("==", columns, wide)) as (whole, rest):
        with whole, e.loop(e.i64(0), depth) as (k, _):
            source, place = e.at(right, e.b.mul(k, right_k)), e.at(to, e.b.mul(k, wide))
            for register in range(_WIDEST):
                offset = e.i64(register * e.lanes)
                e.store_vector(e.load_vector(e.at(source, offset)), e.at(place, offset))
        with rest:
            registers = e.ceil_div(columns, e.i64(e.lanes))
            arguments = [right, e.i64(1), right_k, columns, depth, to, wide, wide, e.i64(0), registers]
            arguments += [e.i64(1), e.i64(0)]
            e.b.call(e.module.globals["pack"], arguments)


def _move(
    e: Emitter, source: Value, source_row: Value, to: Value, to_row: Value, rows: Value, columns: Value
) -> None:
    """Some columns of a block of the result."""
    with e.loop(e.i64(0), rows) as (row, _):
        begin, end = e.at(source, e.b.mul(row, source_row)), e.at(to, e.b.mul(row, to_row))
        with e.loop(e.i64(0), columns, e.lanes) as (column, _):
            mask = e.tail_mask(e.b.sub(columns, column))
            e.store_vector(e.load_vector(e.at(begin, column), mask), e.at(end, column), mask)
