"""The numbers of a token, of a table of embeddings."""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import Value
from gatework.export.cell import Array, Cell
from gatework.export.native.module import ObjectModule, StepEmitter
from gatework.export.rounding import rounded_rows

__all__ = ["looked_up"]

_BYTE = ir.IntType(8)


def looked_up(
    module: ObjectModule, e: StepEmitter, table: Array, head: Cell | None, token: Value, room: Value
) -> Value:
    """The address of a token's row.

    A table that is the weight of the head too, times a number, is kept once: as the head reads it.

    Args:
        table: (V, I). room: for I numbers.
    """
    size = table.shape[1]
    tied = _tied(table, head, int8=module.int8)
    if tied is None and not module.int8:
        return e.at(module.constant(table), e.b.mul(token, e.i64(size)))
    factor, stride = e.scalar(1.0), e.i64(1)
    if tied is None:
        whole, own_scales = rounded_rows(table)
        numbers, scales = module.constant(whole), module.constant(own_scales)
        begin = e.b.mul(token, e.i64(size))
    else:
        weight, times = tied
        packed = module.packed([weight])  # [block of lanes][column][lane]
        numbers, columns = packed.numbers, packed.columns
        scales = numbers if packed.scales is None else packed.scales
        stride = e.i64(e.lanes)
        block, lane = e.b.sdiv(token, stride), e.b.srem(token, stride)
        begin = e.b.add(e.b.mul(block, e.i64(columns * e.lanes)), lane)
        factor = e.scalar(times)
    if module.int8:
        factor = e.b.fmul(factor, e.load(e.at(scales, token)))
    with e.loop(e.i64(0), e.i64(size)) as (k, _):
        place = e.b.add(begin, e.b.mul(k, stride))
        if module.int8:
            byte = e.b.load(e.b.gep(numbers, [place], source_etype=_BYTE), typ=_BYTE, align=1)
            number = e.b.sitofp(byte, e.number)
        else:
            number = e.load(e.at(numbers, place))
        e.store(e.b.fmul(number, factor), e.at(room, k))
    return room


def _tied(table: Array, head: Cell | None, *, int8: bool) -> tuple[Array, float] | None:
    """The weight of a head that gives a table's numbers if it is multiplied by a number, and that number."""
    for weight in () if head is None else head.weights.values():
        if weight.shape != table.shape or not weight.any():
            continue
        largest = np.abs(weight).argmax()
        about = np.float32(table.flat[largest] / weight.flat[largest])
        for factor in (
            about,
            np.nextafter(about, np.float32(np.inf)),
            np.nextafter(about, -np.float32(np.inf)),
        ):
            if not np.array_equal(weight * factor, table):
                continue
            if int8 and not np.array_equal(rounded_rows(weight)[0], rounded_rows(table)[0]):
                continue  # a number that stands half way
            return weight, float(factor)
    return None
