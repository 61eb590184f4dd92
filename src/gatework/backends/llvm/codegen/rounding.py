"""Rounding of what weights in 8 bits are multiplied with: 16 bits a number, so that products are summed in integers."""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.arguments import ROW_ALIGNMENT
from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.storage import LARGEST, LARGEST_INPUT

I16 = ir.IntType(16)
ROW_SCALES = ROW_ALIGNMENT // 4  # numbers from a row's scale to the next one's
_TO_WHOLE = 1.5 * 2.0**23  # added to a small float32 and taken away again, it leaves the nearest whole number
_MOST = 2**31 - 1  # of a sum


def emit_rounding(module: ir.Module, target: Target) -> ir.Function:
    """`round_rows(source, depth, rows, to, scales)`: rows of float32 in whole multiples of a scale of each row.

    Row r of (rows, depth) is read at source[r * depth], and written at the same address of `to`, as pairs of 16 bits;
    an odd one has a zero beside it. No sum of products with weights of 8 bits is too large for 32 bits. Where a number
    is infinite or NaN, so is the scale.
    """
    args = [("source", POINTER), ("depth", I64), ("rows", I64), ("to", POINTER), ("scales", POINTER)]
    e = function(module, "round_rows", args, target, "float32")
    e.function.linkage = "internal"
    source, depth, rows, to, scales = e.function.args
    whole = e.b.sub(depth, e.b.srem(depth, e.i64(e.lanes)))
    most = e.b.fdiv(e.scalar(_MOST / LARGEST), e.b.sitofp(e.b.add(depth, e.i64(1)), e.number))
    most = e.intrinsic("minnum", e.intrinsic("floor", most), e.scalar(float(LARGEST_INPUT)))
    with e.loop(e.i64(0), rows) as (row, _):
        begin = e.b.mul(row, depth)
        largest = _largest(e, e.at(source, begin), whole, depth)
        factor = e.b.fdiv(most, largest)
        e.store(e.b.fdiv(largest, most), e.at(scales, e.b.mul(row, e.i64(ROW_SCALES))))
        pairs = e.at(to, begin)
        for first, last, step, load in (
            (e.i64(0), whole, e.lanes, e.load_vector),
            (whole, depth, 1, e.load),
        ):
            with e.loop(first, last, step) as (k, _):
                value = _rounded(e, load(e.at(source, e.b.add(begin, k))), factor)
                e.b.store(value, e.b.gep(pairs, [k], source_etype=I16), align=2)
        with e.when(e.b.icmp_signed("!=", e.b.srem(depth, e.i64(2)), e.i64(0))):
            e.b.store(ir.Constant(I16, 0), e.b.gep(pairs, [depth], source_etype=I16), align=2)
    e.b.ret_void()
    return e.function


def _largest(e: Emitter, row: Value, whole: Value, depth: Value) -> Value:
    """The largest magnitude of a row; NaN where there is one."""
    with e.loop(e.i64(0), whole, e.lanes, [e.const(0.0)]) as (k, turn):
        magnitude = e.intrinsic("fabs", e.load_vector(e.at(row, k)))
        turn.next = [e.intrinsic("maximum", turn.values[0], magnitude)]
    found = turn.values[0]
    lanes = [e.b.extract_element(found, ir.Constant(ir.IntType(32), lane)) for lane in range(e.lanes)]
    largest = lanes[0]
    for lane in lanes[1:]:
        largest = e.intrinsic("maximum", largest, lane)
    with e.loop(whole, depth, 1, [largest]) as (k, turn):
        turn.next = [e.intrinsic("maximum", turn.values[0], e.intrinsic("fabs", e.load(e.at(row, k))))]
    return turn.values[0]


def _rounded(e: Emitter, value: Value, factor: Value) -> Value:
    """The nearest whole multiple in 16 bits, halves to the even neighbour."""
    vector = value.type == e.vector
    big = e.like(value, _TO_WHOLE)
    scaled = e.b.fmul(value, e.splat(factor) if vector else factor)
    nearest = e.b.fsub(e.b.fadd(scaled, big), big)
    kind = ir.VectorType(I16, e.lanes) if vector else I16
    name = f"llvm.fptosi.sat.v{e.lanes}i16.v{e.lanes}f32" if vector else "llvm.fptosi.sat.i16.f32"
    return e.b.call(e.declare(name, kind, [value.type]), [nearest])


def products_of_pairs(e: Emitter, left: Value, right: Value) -> Value:
    """Of each pair of 16 bits the sum of the two products, in 32 bits; both operands are registers of pairs."""
    instruction = _instruction(e.target)
    if instruction is not None:
        return e.b.call(e.declare(instruction, e.integers, [left.type, right.type]), [left, right])
    wide = ir.VectorType(e.integer, 2 * e.lanes)
    products = e.b.mul(e.b.sext(left, wide), e.b.sext(right, wide))
    order = ir.VectorType(ir.IntType(32), e.lanes)
    even, odd = (
        e.b.shuffle_vector(products, products, ir.Constant(order, list(range(first, 2 * e.lanes, 2))))
        for first in (0, 1)
    )
    return e.b.add(even, odd)


def product_registers(target: Target, sums: int) -> int:
    """Registers in which products of pairs stand until they are added to so many sums.

    Where they are several instructions, LLVM begins those of all sums before it ends any.
    """
    return 1 if _instruction(target) else 2 * sums


def _instruction(target: Target) -> str | None:
    """x86's for the products of pairs; None where the target has none for whole registers."""
    have = {*target.features.split(",")}
    if target.triple.startswith(("x86", "i686")):
        for size, feature, name in (
            (64, "+avx512bw", "avx512.pmaddw.d.512"),
            (32, "+avx2", "avx2.pmadd.wd"),
            (16, "", "sse2.pmadd.wd"),
        ):
            if target.vector_bytes == size and (not feature or feature in have):
                return f"llvm.x86.{name}"
    return None
