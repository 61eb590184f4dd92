"""Products of whole matrices, block by block: `outer`, and what it packs so that a block stays in the caches.

A block of k is as deep as lets a panel of the right operand, of a tile's columns, stay in the first cache; with the
widest registers, whose panels are too wide for it, half as deep again, so that the result is read and written less
often. A block of rows is as high as lets the left operand's stay in the second cache. Both are copied together as they
are first read: in their own arrays their rows may stand a power of two apart, and would evict each other.
"""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.matmul import COLUMNS, PRODUCT
from gatework.backends.llvm.codegen.target import Target

_FEW = 8  # rows that read a panel too seldom to copy it
_WIDEST = COLUMNS[-1]


def _block_depth(target: Target) -> int:
    """k of a block at most."""
    return 288 if target.vector_bytes == 64 else 192


def block_rows(item: int) -> int:
    """Rows of a block at most, of numbers of so many bytes: a thread may have little stack."""
    return 576 // item


def emit_outer(module: ir.Module, target: Target, dtype: str) -> None:
    """`outer(…)`: result[m, n] is, or with `accumulate` grows by, the sum over k of
    left[m, k] right[k, n], in that order.

    The left operand is read at [m * left_m + k * left_k], the right one at [p * panel + k * right_k + n * right_n] in
    the p-th panel of as many columns as the widest tile has; a row of the result begins `result_row` numbers after the
    one before. Threads share the rows of the result; or the panels where rows are few, or where each panel is copied
    number by number (right_n is not 1).
    """
    args = [
        ("left", POINTER), ("left_m", I64), ("left_k", I64), ("right", POINTER), ("right_k", I64),
        ("right_n", I64), ("panel", I64), ("depth", I64), ("rows", I64), ("columns", I64), ("result", POINTER),
        ("result_row", I64), ("accumulate", I64), ("thread", I64), ("threads", I64),
    ]  # fmt: skip
    e = function(module, "outer", args, target, dtype)
    e.function.linkage = "internal"
    left, left_m, left_k, right, right_k, right_n, panel, depth, rows, columns, result = e.function.args[:11]
    own_row, accumulate, thread, threads = e.function.args[11:]
    most, most_deep = block_rows(e.item), _block_depth(target)
    own_left = e.room(e.number, most * most_deep)
    own_right = e.room(e.vector, most_deep * _WIDEST)
    own_result = e.room(e.vector, most * _WIDEST)
    wide = e.i64(_WIDEST * e.lanes)
    turned_right = e.b.icmp_signed("!=", right_n, e.i64(1))
    enough = e.b.icmp_signed(">=", columns, e.b.mul(threads, wide))
    by_rows = e.b.icmp_signed(">=", rows, e.b.mul(threads, e.i64(4)))
    by_rows = e.b.and_(by_rows, e.b.not_(e.b.and_(turned_right, enough)))
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
    with e.loop(e.i64(0), blocks) as (block, _), e.loop(e.i64(0), depth, most_deep) as (k, _):
        begin, end = e.share(own_rows, block, blocks)
        row, count = e.b.add(first_row, begin), e.b.sub(end, begin)
        block_depth = e.smaller(e.i64(most_deep), e.b.sub(depth, k))
        block_left = e.at(left, e.b.add(e.b.mul(row, left_m), e.b.mul(k, left_k)))
        turned = e.b.and_(strided, e.b.icmp_signed(">=", count, e.i64(_FEW)))
        with e.when(turned):
            _turn(e, block_left, left_k, block_depth, count, own_left)
        block_left = e.select(turned, own_left, block_left)
        row_stride = e.select(turned, e.i64(most_deep), left_m)
        k_stride = e.select(turned, e.i64(1), left_k)
        later = e.b.or_(accumulate, e.b.zext(e.b.icmp_signed(">", k, e.i64(0)), I64))
        with e.loop(first, last, _WIDEST * e.lanes) as (column, _):
            left_over = e.smaller(wide, e.b.sub(last, column))
            start = e.b.add(e.b.mul(k, right_k), e.b.mul(e.b.sdiv(column, wide), panel))
            block_right = e.at(right, start)
            partial = e.b.icmp_signed("!=", e.b.srem(left_over, lanes := e.i64(e.lanes)), e.i64(0))
            copied = e.b.or_(partial, e.b.icmp_signed(">=", count, e.i64(_FEW)))
            copied = e.b.or_(turned_right, e.b.and_(copied, e.b.not_(padded)))
            with e.when(copied):
                _copy_panel(e, block_right, (right_k, right_n), block_depth, left_over, own_right)
            block_right = e.select(copied, own_right, block_right)
            right_stride = e.select(copied, wide, right_k)
            to = e.at(result, e.b.add(e.b.mul(row, own_row), column))
            with e.when(partial):
                _move(e, to, own_row, own_result, wide, count, left_over)
            place, result_row = e.select(partial, own_result, to), e.select(partial, wide, own_row)
            arguments = [count, block_left, row_stride, k_stride, block_right, right_stride, block_depth]
            arguments += [place, result_row, later, e.i64(0)]  # nothing is fetched ahead
            arguments.append(e.ceil_div(left_over, lanes))
            e.b.call(e.module.globals[PRODUCT], arguments)
            with e.when(partial):
                _move(e, own_result, wide, to, own_row, count, left_over)
    e.b.ret_void()


def _turn(e: Emitter, left: Value, left_k: Value, depth: Value, rows: Value, to: Value) -> None:
    """A block of the left operand whose rows stand side by side, as to[row * a block's depth + k]."""
    size, blocks = e.i64(_block_depth(e.target)), e.ceil_div(depth, e.i64(e.lanes))
    arguments = [left, left_k, e.i64(1), depth, rows, to, size, size, e.i64(0), blocks]
    arguments += [e.i64(1), e.i64(0)]  # one gate
    e.b.call(e.module.globals["pack"], arguments)


def _copy_panel(
    e: Emitter, right: Value, strides: tuple[Value, Value], depth: Value, columns: Value, to: Value
) -> None:
    """A panel of the right operand, as to[k * a whole panel's columns + column], with zeros after the last column.

    Args:
        strides: of k and of the columns.
    """
    wide = e.i64(_WIDEST * e.lanes)
    right_k, right_n = strides
    straight = e.b.icmp_signed("==", right_n, e.i64(1))
    with e.b.if_else(e.b.and_(straight, e.b.icmp_signed("==", columns, wide))) as (whole, rest):
        with whole, e.loop(e.i64(0), depth) as (k, _):
            source, place = e.at(right, e.b.mul(k, right_k)), e.at(to, e.b.mul(k, wide))
            for register in range(_WIDEST):
                offset = e.i64(register * e.lanes)
                e.store_vector(e.load_vector(e.at(source, offset)), e.at(place, offset))
        with rest:
            registers = e.ceil_div(columns, e.i64(e.lanes))
            arguments = [right, right_n, right_k, columns, depth, to, wide, wide, e.i64(0), registers]
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
