"""The inner loops of matrix products: one tile of rows by a few registers of columns.

A tile is `rows` x (`columns` registers): every accumulator stays in a register while the operands pass by, one
broadcast number of the left one against the registers of the right one. Sizes are run-time arguments; a tile's
shape is compiled in. Each element of the result sums its products in rising order of k, in one accumulator,
whatever the tile's shape: the bits depend on nothing else.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.rounding import ROW_SCALES, product_registers, products_of_pairs
from gatework.backends.llvm.codegen.target import CACHE_LINE, Target
from gatework.backends.storage import Storage

COLUMNS = (1, 2, 3, 4)
_MOST_ROWS = 12
_MOST_SUMS = 24  # more of them than hide the latency of a multiply-add: the rest is for what is read ahead
_ROWS_OF_AN_ADDRESS = 3  # an address, and one or two strides from it, is what x86 adds as it reads

ARGUMENTS = [
    ("left", POINTER),  # left[row * left_row + k * left_k]
    ("left_row", I64),
    ("left_k", I64),
    ("right", POINTER),  # right[k * right_k + column register * lanes]
    ("right_k", I64),
    ("count", I64),  # of k
    ("result", POINTER),  # result[row * result_row + column register * lanes]
    ("result_row", I64),
    ("accumulate", I64),  # 1: add to what the result holds, 0: begin at zero
    ("ahead", I64),  # bytes from a k of `right` to what is read next, and is fetched meanwhile; 0: nothing is
]


def most_rows(target: Target, columns: int, storage: Storage = "full") -> int:
    """Rows of the highest tile of so many column registers: all that it holds fits the target's registers."""

    def needed(rows: int) -> int:
        further = product_registers(target, rows * columns) if storage == "int8" else 0
        return target.tile_registers(rows, columns) + further

    fitting = (rows for rows in range(1, _MOST_ROWS + 1) if rows * columns <= _MOST_SUMS)
    return max(rows for rows in fitting if needed(rows) <= target.registers)


def arguments(storage: Storage) -> list[tuple[str, Any]]:
    """What a tile takes for a right operand in a storage."""
    further = {"full": [], "bf16": ["scales"], "int8": ["scales", "row_scales"]}[
        storage
    ]  # of columns, of rows
    return [*ARGUMENTS, *((name, POINTER) for name in further)]


def emit_tile(
    module: ir.Module, target: Target, dtype: str, rows: int, columns: int, storage: Storage = "full"
) -> ir.Function:
    """One tile.

    Whole numbers, in pairs of k of both operands, are summed without their scales, by which the sum is multiplied.
    """
    whole = storage == "int8"
    e = function(module, tile_name(rows, columns), arguments(storage), target, dtype)
    left, left_row, left_k, right, right_k, count, result, result_row, *rest = e.function.args
    accumulate, ahead, *scales_given = rest
    number, pairs = e.stored_number(storage), ir.VectorType(ir.IntType(16), 2 * e.lanes)
    e.function.linkage = "internal"
    stride = e.b.mul(left_row, e.i64(e.item))

    def broadcast(row: int, bases: list[Value]) -> Value:
        base, strides = bases[row // _ROWS_OF_AN_ADDRESS], row % _ROWS_OF_AN_ADDRESS
        place = e.b.gep(base, [stride], source_etype=ir.IntType(8 * strides)) if strides else base
        if not whole:
            return e.splat(e.load(place))
        pair = e.b.load(place, typ=e.integer, align=2)
        return e.b.bitcast(e.splat_int(pair, e.integers), pairs)

    def register(column: int, base: Value) -> Value:
        place = e.b.gep(base, [e.i64(column * e.lanes * (1 + whole))], source_etype=number)
        if not whole:
            return e.load_stored(place, storage)
        return e.b.sext(e.b.load(place, typ=ir.VectorType(number, 2 * e.lanes), align=1), pairs)

    def added(one: Value, other: Value, total: Value) -> Value:
        return e.b.add(total, products_of_pairs(e, one, other)) if whole else e.fma(one, other, total)

    def step(bases: list[Value], base: Value, totals: list[Value]) -> list[Value]:
        """Holds the operand of which there is less and passes the other by."""
        new: dict[tuple[int, int], Value] = {}
        if rows < columns:
            numbers = [broadcast(row, bases) for row in range(rows)]
            for column in range(columns):
                passing = register(column, base)
                for row, number in enumerate(numbers):
                    new[row, column] = added(number, passing, totals[row * columns + column])
        else:
            registers = [register(column, base) for column in range(columns)]
            for row in range(rows):
                passing = broadcast(row, bases)
                for column, value in enumerate(registers):
                    new[row, column] = added(passing, value, totals[row * columns + column])
        return [new[place] for place in sorted(new)]

    addresses = [
        e.at(result, e.b.add(e.b.mul(result_row, e.i64(row)), e.i64(column * e.lanes)))
        for row in range(rows)
        for column in range(columns)
    ]
    bases = [e.at(left, e.b.mul(left_row, e.i64(row))) for row in range(0, rows, _ROWS_OF_AN_ADDRESS)]
    before = _before(e, addresses, accumulate)
    totals = [e.bits(0)] * len(before) if whole else before
    # One k a turn: the turn's multiply-adds fill the unit by themselves, and given several LLVM moves their loads
    # together until the accumulators no longer fit the registers.
    with e.loop(e.i64(0), count, 1, [right, *bases, *totals]) as (_, turn):
        now, places, sums = turn.values[0], turn.values[1 : 1 + len(bases)], turn.values[1 + len(bases) :]
        if storage == "full":
            e.fetch(e.b.gep(now, [ahead], source_etype=ir.IntType(8)), far=True)
        after = e.b.gep(now, [right_k], source_etype=number)
        turn.next = [after, *(e.at(place, left_k) for place in places)]
        turn.next += step(places, now, sums)
    if whole:
        of_columns, of_rows = scales_given
        scales = [e.load_vector(e.at(of_columns, e.i64(c * e.lanes))) for c in range(columns)]
        row_scales = [e.splat(e.load(e.at(of_rows, e.i64(row * ROW_SCALES)))) for row in range(rows)]
        for i, total in enumerate(sums):
            scaled = e.b.fmul(e.b.sitofp(total, e.vector), row_scales[i // columns])
            sums[i] = e.fma(scaled, scales[i % columns], before[i])
    for address, value in zip(addresses, sums, strict=True):
        e.store_vector(value, address)
    e.b.ret_void()
    return e.function


def _before(e: Emitter, addresses: list[Value], accumulate: Value) -> list[Value]:
    """What stands at some addresses, if the sums are added to it; else zeros."""
    entry = e.b.block
    resume, begin = e.function.append_basic_block("resume"), e.function.append_basic_block("begin")
    e.b.cbranch(e.b.icmp_signed("!=", accumulate, e.i64(0)), resume, begin)
    e.b.position_at_end(resume)
    held = [e.load_vector(address) for address in addresses]
    e.b.branch(begin)
    e.b.position_at_end(begin)
    found = []
    for value in held:
        phi = e.b.phi(e.vector)
        phi.add_incoming(e.const(0.0), entry)
        phi.add_incoming(value, resume)
        found.append(phi)
    return found


def tile_name(rows: int, columns: int) -> str:
    return f"tile_{rows}x{columns}"


def emit_block(
    module: ir.Module, target: Target, dtype: str, columns: int, storage: Storage = "full"
) -> None:
    """`block_C`: rows cut into tiles of nearly equal height, each by the tile made for it.

    16 rows are 6, 5, 5 rather than 6, 6, 4: the lowest tile is the one that wastes most. Meanwhile the caches are
    filled with what comes next: with a line of each k `ahead` by every tile, where there are tiles enough for all of
    them, and with the part of the result that the next tile adds to.
    """
    most = most_rows(target, columns, storage)
    tiles = [emit_tile(module, target, dtype, rows, columns, storage) for rows in range(1, most + 1)]
    e = function(module, block_name(columns), [("rows", I64), *arguments(storage)], target, dtype)
    rows, left, left_row, *rest = e.function.args
    result, result_row, accumulate, ahead = rest[4:8]
    lines = e.i64(max(1, columns * target.vector_bytes // CACHE_LINE))  # of one k
    parts = e.ceil_div(rows, e.i64(most))
    with e.when(e.b.icmp_signed(">", rows, e.i64(0))):
        height = e.b.sdiv(rows, parts)
        higher = e.b.srem(rows, parts)
        fetches = e.b.and_(e.b.icmp_signed("!=", ahead, e.i64(0)), e.b.icmp_signed(">=", parts, lines))
        with e.loop(e.i64(0), parts) as (part, _):
            extra = e.b.zext(e.b.icmp_signed("<", part, higher), I64)
            part_rows = e.b.add(height, extra)
            first = e.b.add(e.b.mul(part, height), e.smaller(part, higher))
            args = [e.at(left, e.b.mul(first, left_row)), left_row, *rest]
            args[6] = e.at(result, e.b.mul(first, result_row))
            own_line = e.b.and_(fetches, e.b.icmp_signed("<", part, lines))
            args[9] = e.select(own_line, e.b.add(ahead, e.b.mul(part, e.i64(CACHE_LINE))), e.i64(0))
            another = e.b.icmp_signed("<", e.b.add(part, e.i64(1)), parts)
            with e.when(e.b.and_(another, e.b.icmp_signed("!=", accumulate, e.i64(0)))):
                _fetch(e, e.at(args[6], e.b.mul(part_rows, result_row)), result_row, most, columns)
            if storage == "int8":
                args[-1] = e.at(args[-1], e.b.mul(first, e.i64(ROW_SCALES)))
            done = e.function.append_basic_block("done")
            switch = e.b.switch(part_rows, done)
            for tile_rows, tile in enumerate(tiles, start=1):
                case = e.function.append_basic_block(f"rows_{tile_rows}")
                switch.add_case(e.i64(tile_rows), case)
                e.b.position_at_end(case)
                e.b.call(tile, args)
                e.b.branch(done)
            e.b.position_at_end(done)
    e.b.ret_void()


def _fetch(e: Emitter, result: Value, result_row: Value, rows: int, columns: int) -> None:
    """Brings a tile's part of the result near."""
    for row in range(rows):
        begin = e.at(result, e.b.mul(result_row, e.i64(row)))
        for column in range(0, columns * e.lanes, max(e.lanes, CACHE_LINE // e.item)):
            e.fetch(e.at(begin, e.i64(column)))


def block_name(columns: int) -> str:
    return f"block_{columns}"


PRODUCT = "product"
"""The function that takes what a block takes, and then how many column registers it has."""


def linked_name(dtype: str, target: Target, storage: Storage = "full") -> str:
    """The name by which programs call the product: several dtypes and targets live in one process."""
    return f"{PRODUCT}_{dtype}_{storage}_{target.name}"


def _product_arguments(storage: Storage) -> list[tuple[str, Any]]:
    return [("rows", I64), *arguments(storage), ("columns", I64)]


def product_type(storage: Storage) -> ir.FunctionType:
    """Of the product's function."""
    return ir.FunctionType(ir.VoidType(), [kind for _, kind in _product_arguments(storage)])


def emit_products(module: ir.Module, target: Target, dtype: str, storage: Storage = "full") -> None:
    """Every block, and the product that chooses among them."""
    for columns in COLUMNS:
        emit_block(module, target, dtype, columns, storage)
    e = function(module, PRODUCT, _product_arguments(storage), target, dtype)
    *rest, columns_given = e.function.args
    done = e.function.append_basic_block("done")
    switch = e.b.switch(columns_given, done)
    for columns in COLUMNS:
        case = e.function.append_basic_block(f"columns_{columns}")
        switch.add_case(e.i64(columns), case)
        e.b.position_at_end(case)
        e.b.call(module.globals[block_name(columns)], rest, tail=True)
        e.b.ret_void()
    e.b.position_at_end(done)
    e.b.ret_void()
