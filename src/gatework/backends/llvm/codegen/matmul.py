"""The inner loops of matrix products: one tile of rows by a few registers of columns.

A tile is `rows` x (`columns` registers): every accumulator stays in a register while the operands pass by, one
broadcast number of the left one against the registers of the right one. Sizes are run-time arguments; a tile's
shape is compiled in. Each element of the result sums its products in rising order of k, in one accumulator,
whatever the tile's shape: the bits depend on nothing else.
"""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import I64, POINTER, Value, function
from gatework.backends.llvm.codegen.target import Target

COLUMNS = (1, 2, 3, 4)
_MOST_ROWS = 12

ARGUMENTS = [
    ("left", POINTER),  # left[row * left_row + k * left_k]
    ("left_row", I64),
    ("left_k", I64),
    ("right", POINTER),  # right[k * right_k + column register * right_register]
    ("right_k", I64),
    ("right_register", I64),
    ("count", I64),  # of k
    ("result", POINTER),  # result[row * result_row + column register * lanes]
    ("result_row", I64),
    ("accumulate", I64),  # 1: add to what the result holds, 0: begin at zero
    ("tail", I64),  # numbers of the last column register that exist, where it is a tail; else the lanes
]


def most_rows(target: Target, columns: int) -> int:
    """Rows of the highest tile of so many column registers."""
    return min(_MOST_ROWS, target.accumulators // columns)


def emit_tile(
    module: ir.Module, target: Target, dtype: str, rows: int, columns: int, *, tail: bool
) -> ir.Function:
    """One tile. With `tail` the right operand's last register is read under a mask, and so is the result's."""
    e = function(module, tile_name(rows, columns, tail), ARGUMENTS, target, dtype)
    left, left_row, left_k, right, right_k, right_register, count, result, result_row, accumulate, last = (
        e.function.args
    )
    e.function.linkage = "internal"
    mask = e.tail_mask(last) if tail else None

    def masked(column: int) -> Value | None:
        return mask if column == columns - 1 else None

    offsets = [e.b.mul(left_row, e.i64(row)) for row in range(rows)]
    places = [e.b.mul(right_register, e.i64(column)) for column in range(columns)]

    def step(k: Value, totals: list[Value]) -> list[Value]:
        row_base = e.at(left, e.b.mul(k, left_k))
        column_base = e.at(right, e.b.mul(k, right_k))
        registers = [e.load_vector(e.at(column_base, place), masked(c)) for c, place in enumerate(places)]
        new = []
        for row in range(rows):
            number = e.splat(e.load(e.at(row_base, offsets[row])))
            for column in range(columns):
                new.append(e.fma(number, registers[column], totals[row * columns + column]))
        return new

    addresses = [
        e.at(result, e.b.add(e.b.mul(result_row, e.i64(row)), e.i64(column * e.lanes)))
        for row in range(rows)
        for column in range(columns)
    ]
    entry = e.b.block
    resume = e.function.append_basic_block("resume")
    begin = e.function.append_basic_block("begin")
    e.b.cbranch(e.b.icmp_signed("!=", accumulate, e.i64(0)), resume, begin)
    e.b.position_at_end(resume)
    held = [e.load_vector(address, masked(i % columns)) for i, address in enumerate(addresses)]
    e.b.branch(begin)
    e.b.position_at_end(begin)
    totals = []
    for value in held:
        phi = e.b.phi(e.vector)
        phi.add_incoming(e.const(0.0), entry)
        phi.add_incoming(value, resume)
        totals.append(phi)
    # One k a turn: the turn's multiply-adds fill the unit by themselves, and given several LLVM moves their loads
    # together until the accumulators no longer fit the registers.
    with e.loop(e.i64(0), count, 1, totals) as (k, turn):
        turn.next = step(k, turn.values)
    for i, (address, value) in enumerate(zip(addresses, turn.values, strict=True)):
        e.store_vector(value, address, masked(i % columns))
    e.b.ret_void()
    return e.function


def tile_name(rows: int, columns: int, tail: bool) -> str:
    return f"tile_{rows}x{columns}" + ("_tail" if tail else "")


def emit_block(module: ir.Module, target: Target, dtype: str, columns: int, *, tail: bool) -> None:
    """`block_C`: rows cut into tiles of nearly equal height, each by the tile made for it.

    16 rows are 6, 5, 5 rather than 6, 6, 4: the lowest tile is the one that wastes most.
    """
    most = most_rows(target, columns)
    tiles = [emit_tile(module, target, dtype, rows, columns, tail=tail) for rows in range(1, most + 1)]
    e = function(module, block_name(columns, tail), [("rows", I64), *ARGUMENTS], target, dtype)
    rows, left, left_row, *rest = e.function.args
    result, result_row = rest[5], rest[6]
    parts = e.ceil_div(rows, e.i64(most))
    with e.when(e.b.icmp_signed(">", rows, e.i64(0))):
        height = e.b.sdiv(rows, parts)
        higher = e.b.srem(rows, parts)
        with e.loop(e.i64(0), parts) as (part, _):
            extra = e.b.zext(e.b.icmp_signed("<", part, higher), I64)
            part_rows = e.b.add(height, extra)
            first = e.b.add(e.b.mul(part, height), e.smaller(part, higher))
            args = [e.at(left, e.b.mul(first, left_row)), left_row, *rest]
            args[7] = e.at(result, e.b.mul(first, result_row))
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


def block_name(columns: int, tail: bool) -> str:
    return f"block_{columns}" + ("_tail" if tail else "")


def linked_name(columns: int, dtype: str, target: Target) -> str:
    """The name by which programs call a block: several dtypes and targets live in one process."""
    return f"{block_name(columns, False)}_{dtype}_{target.name}"


BLOCK_TYPE = ir.FunctionType(ir.VoidType(), [I64, *(kind for _, kind in ARGUMENTS)])


def emit_products(module: ir.Module, target: Target, dtype: str) -> None:
    """Every block that lowered programs call."""
    for columns in COLUMNS:
        emit_block(module, target, dtype, columns, tail=False)
    emit_block(module, target, dtype, 1, tail=True)
