"""The native side of a command list: every thread of a team walks through the same commands.

A command is a row of whole numbers (`command_layout.py`). Addresses are written as places in a table of addresses, so
that a list can be kept and used again with other tensors. Each command says how the threads
share it: `RUN` and `COPY` by rows, or `RUN` by units; `PACK` by unit blocks; `OUTER` by the rows or the columns
of its result, `OUTER_OF_ROWS` by rows of the batch; `SOFTMAX` and `BEST` by columns. Where one thread reads what
another wrote, the list has a `BARRIER`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir

from gatework.backends.llvm.codegen import command_layout as layout
from gatework.backends.llvm.codegen.emitter import I64, POINTER, VOID, Emitter, Value, function
from gatework.backends.llvm.codegen.matmul import emit_products
from gatework.backends.llvm.codegen.outer import emit_outer
from gatework.backends.llvm.codegen.packing import emit_packing
from gatework.backends.llvm.codegen.softmax import emit_best, emit_softmax
from gatework.backends.llvm.codegen.storing import emit_storing
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.llvm.codegen.unpacked import emit_unpacked
from gatework.backends.storage import STORAGES

BARRIER = "gatework_barrier"
BARRIER_TYPE = ir.FunctionType(VOID, [POINTER, I64])
BARRIER_BYTES = 128
_SPINS = 2000  # between two offers of the processor to others

_OUTER_SIZES = "right_k", "right_n", "panel", "depth", "rows", "columns"

RUN_ARGUMENTS = [
    ("pointers", POINTER),
    ("scalars", POINTER),
    ("first_step", I64),
    ("last_step", I64),
    ("first_row", I64),
    ("last_row", I64),
    ("part", I64),  # of the unit blocks
    ("parts", I64),
    ("scratch_offset", I64),  # bytes by which this thread's rows of scratch memory stand further on
    ("barrier", POINTER),
]
RUN_TYPE = ir.FunctionType(VOID, [kind for _, kind in RUN_ARGUMENTS])

# What `task` is handed: {commands, count, addresses, numbers, barrier}, 8 bytes each.
DATA_FIELDS = 5

_MXCSR_FLUSH, _FPCR_FLUSH = 1 << 15, 1 << 24  # the bits by which results that are subnormal are zero

# Bytes between one thread's rows of an array and the next one's, where each keeps to its own: a page, so that what a
# core fetches ahead of its last row is not what another core is writing.
SCRATCH_STRIDE = 4096


def emit_driver(module: ir.Module, target: Target, dtype: str) -> None:
    """`task(data)` for a team of GNU's OpenMP threads, `microtask(…, data)` for one of LLVM's, `alone(data)` for one
    thread, and all that they call."""
    emit_products(module, target, dtype)
    _emit_barrier(module, target, dtype)
    _emit_copy(module, target, dtype)
    emit_packing(module, target, dtype)
    if dtype == "float32":
        for storage in STORAGES[1:]:
            emit_storing(module, target, storage)
    emit_unpacked(module, target, dtype)
    emit_outer(module, target, dtype)
    emit_softmax(module, target, dtype)
    emit_best(module, target, dtype)
    walk = _emit_walk(module, target, dtype)
    own = [("number", POINTER), ("number_in_team", POINTER)]  # what LLVM's library gives each thread first
    for name, given in (("alone", []), ("task", []), ("microtask", own)):
        e = function(module, name, [*given, ("data", POINTER)], target, dtype)
        i32 = ir.IntType(32)
        thread, threads = e.i64(0), e.i64(1)
        if name != "alone":
            thread = e.b.sext(e.b.call(e.declare("omp_get_thread_num", i32, []), []), I64)
            threads = e.b.sext(e.b.call(e.declare("omp_get_num_threads", i32, []), []), I64)
        with _subnormals_as_zeros(e, target):
            e.b.call(walk, [e.function.args[-1], thread, threads])
        e.b.ret_void()


@contextmanager
def _subnormals_as_zeros(e: Emitter, target: Target) -> Iterator[None]:
    """What a thread computes inside is zero where it would be subnormal; then it goes on as it was.

    A gradient that vanishes over many steps becomes subnormal, and many processors take a hundred times as long for
    such a number. Subnormal inputs are read as what they are.
    """
    if target.triple.startswith(("x86", "i686")):
        before, inside = (e.room(ir.IntType(32), 1) for _ in range(2))
        store, load = (e.declare(f"llvm.x86.sse.{name}mxcsr", VOID, [POINTER]) for name in ("st", "ld"))
        e.b.call(store, [before])
        i32 = ir.IntType(32)
        e.b.store(e.b.or_(e.b.load(before, typ=i32), ir.Constant(i32, _MXCSR_FLUSH)), inside)
        e.b.call(load, [inside])
        yield
        e.b.call(load, [before])
    elif target.triple.startswith(("aarch64", "arm64")):
        control = e.b.call(e.declare("llvm.aarch64.get.fpcr", I64, []), [])
        write = e.declare("llvm.aarch64.set.fpcr", VOID, [I64])
        e.b.call(write, [e.b.or_(control, e.i64(_FPCR_FLUSH))])
        yield
        e.b.call(write, [control])
    else:
        yield


def _emit_walk(module: ir.Module, target: Target, dtype: str) -> ir.Function:
    """`walk(data, thread, threads)`: the commands one after another, this thread's share of each."""
    e = function(module, "walk", [("data", POINTER), ("thread", I64), ("threads", I64)], target, dtype)
    e.function.linkage = "internal"
    data, thread, threads = e.function.args
    commands, count, addresses, numbers, barrier = (
        e.b.load(e.b.gep(data, [e.i64(i)], source_etype=I64), typ=kind)
        for i, kind in enumerate((POINTER, I64, POINTER, POINTER, POINTER))
    )
    functions = module.globals
    stored = STORAGES if dtype == "float32" else STORAGES[:1]
    with e.loop(e.i64(0), count) as (index, _):
        command = e.b.gep(commands, [e.b.mul(index, e.i64(layout.ROW))], source_etype=I64)

        def number(place: int) -> Value:
            return e.b.load(e.b.gep(command, [e.i64(place)], source_etype=I64), typ=I64)

        def entry(place: Value) -> Value:
            return e.b.load(e.b.gep(addresses, [place], source_etype=I64), typ=POINTER)

        done = e.function.append_basic_block("done")
        switch = e.b.switch(number(0), done)

        def case(kind: int) -> tuple[Callable[[str], Value], Callable[[str], Value]]:
            """Begins the code of a kind of command: its fields by name, as numbers and as addresses."""
            block = e.function.append_basic_block(f"command_{kind}")
            switch.add_case(e.i64(kind), block)
            e.b.position_at_end(block)
            field = lambda name: number(layout.place(kind, name))  # noqa: E731
            return field, lambda name: entry(field(name))

        field, _ = case(layout.RUN)
        program = e.b.inttoptr(field("program"), RUN_TYPE.as_pointer())
        table = e.b.gep(addresses, [field("table")], source_etype=I64)
        sizes = e.b.gep(numbers, [field("scalars")], source_etype=I64)
        rows = field("rows")
        by_units = e.b.icmp_signed("!=", field("by_units"), e.i64(0))
        first, last = e.share(rows, thread, threads)
        first, last = e.select(by_units, e.i64(0), first), e.select(by_units, rows, last)
        part, parts = e.select(by_units, thread, e.i64(0)), e.select(by_units, threads, e.i64(1))
        scratch_offset = e.select(by_units, e.i64(0), e.b.mul(thread, e.i64(SCRATCH_STRIDE)))
        steps = field("first_step"), field("last_step")
        e.b.call(program, [table, sizes, *steps, first, last, part, parts, scratch_offset, barrier])
        e.b.branch(done)

        field, address = case(layout.COPY)
        first, last = e.share(field("rows"), thread, threads)
        zero = e.b.icmp_signed("<", field("source"), e.i64(0))
        source = entry(e.select(zero, e.i64(0), field("source")))
        source = e.select(zero, ir.Constant(POINTER, None), source)
        e.b.call(functions["copy"], [source, address("to"), field("size"), first, last])
        e.b.branch(done)

        field, address = case(layout.PACK)
        first, last = e.share(field("blocks"), thread, threads)
        arguments = [address("source"), *map(field, ("unit_stride", "k_stride", "units", "depth"))]
        arguments += [address("packed"), field("columns"), field("size"), first, last]
        for code, storage in enumerate(stored):
            with e.when(e.b.icmp_signed("==", field("storage"), e.i64(code))):
                if storage == "full":
                    several = field("gates"), field("gate_stride")
                    e.b.call(functions["pack"], [*arguments, *several])
                else:
                    e.b.call(functions[f"pack_{storage}"], [*arguments, address("scales")])
        e.b.branch(done)

        field, address = case(layout.OUTER)
        arguments = [address("left"), field("left_m"), field("left_k"), address("right")]
        arguments += [*map(field, _OUTER_SIZES), address("result"), field("result_row"), field("accumulate")]
        e.b.call(functions["outer"], [*arguments, thread, threads])
        e.b.branch(done)

        field, address = case(layout.OUTER_OF_ROWS)
        rows, columns = field("rows"), field("columns")
        first, last = e.share(field("count"), thread, threads)
        with e.loop(first, last) as (row, _):
            left, right = (
                e.at(address("left"), e.b.mul(row, rows)),
                e.at(address("right"), e.b.mul(row, columns)),
            )
            result = e.at(address("result"), e.b.mul(row, e.b.mul(rows, columns)))
            arguments = [left, field("left_m"), field("left_k"), right, *map(field, _OUTER_SIZES), result]
            e.b.call(functions["outer"], [*arguments, field("columns"), e.i64(1), e.i64(0), e.i64(1)])
        e.b.branch(done)

        for kind, name in ((layout.SOFTMAX, "softmax"), (layout.BEST, "best")):
            field, address = case(kind)
            names = layout.FIELDS[kind]
            e.b.call(functions[name], [*map(address, names[:5]), *map(field, names[5:]), thread, threads])
            e.b.branch(done)

        case(layout.BARRIER)
        with e.when(e.b.icmp_signed(">", threads, e.i64(1))):
            e.b.call(functions[BARRIER], [barrier, threads])
        e.b.branch(done)
        e.b.position_at_end(done)
    e.b.ret_void()
    return e.function


def _emit_barrier(module: ir.Module, target: Target, dtype: str) -> None:
    """`gatework_barrier(state, threads)`: nobody leaves before all have come.

    The state is a count and, on a cache line of its own, a generation. Those who wait spin, and offer the processor
    now and then, in case the one they wait for has none.
    """
    args = [("state", POINTER), ("threads", I64)]
    e = function(module, BARRIER, args, target, dtype)
    state, threads = e.function.args
    generation = e.b.gep(state, [e.i64(BARRIER_BYTES // 16)], source_etype=I64)
    mine = e.b.load_atomic(generation, "acquire", 8, typ=I64)
    before = e.b.atomic_rmw("add", state, e.i64(1), "acq_rel")
    is_last = e.b.icmp_signed("==", before, e.b.sub(threads, e.i64(1)))
    last, wait, spin, leave = (e.function.append_basic_block(n) for n in ("last", "wait", "spin", "leave"))
    e.b.cbranch(is_last, last, wait)
    e.b.position_at_end(last)
    e.b.atomic_rmw("xchg", state, e.i64(0), "monotonic")
    e.b.atomic_rmw("xchg", generation, e.b.add(mine, e.i64(1)), "release")
    e.b.branch(leave)
    e.b.position_at_end(wait)
    spins = e.b.phi(I64)
    spins.add_incoming(e.i64(1), e.entry)
    now = e.b.load_atomic(generation, "acquire", 8, typ=I64)
    e.b.cbranch(e.b.icmp_signed("!=", now, mine), leave, spin)
    e.b.position_at_end(spin)
    if target.triple.startswith(("x86", "i686")):
        e.b.call(e.declare("llvm.x86.sse2.pause", VOID, []), [])
    with e.when(e.b.icmp_signed("==", e.b.urem(spins, e.i64(_SPINS)), e.i64(0))):
        e.b.call(e.declare("sched_yield", ir.IntType(32), []), [])
    spins.add_incoming(e.b.add(spins, e.i64(1)), e.b.block)
    e.b.branch(wait)
    e.b.position_at_end(leave)
    e.b.ret_void()


def _emit_copy(module: ir.Module, target: Target, dtype: str) -> None:
    """`copy(source, to, numbers, first, last)`: these rows of so many numbers; zeros where there is no source."""
    args = [("source", POINTER), ("to", POINTER), ("numbers", I64), ("first", I64), ("last", I64)]
    e = function(module, "copy", args, target, dtype)
    e.function.linkage = "internal"
    source, to, numbers, first, last = e.function.args
    begin = e.b.mul(first, numbers)
    size = e.b.mul(e.b.sub(e.b.mul(last, numbers), begin), e.i64(e.item))
    i1, i8 = ir.IntType(1), ir.IntType(8)
    absent = e.b.icmp_unsigned("==", e.b.ptrtoint(source, I64), e.i64(0))
    with e.b.if_else(absent) as (then, otherwise):
        with then:
            clear = e.declare("llvm.memset.p0.i64", VOID, [POINTER, i8, I64, i1])
            e.b.call(clear, [e.at(to, begin), ir.Constant(i8, 0), size, ir.Constant(i1, 0)])
        with otherwise:
            move = e.declare("llvm.memcpy.p0.p0.i64", VOID, [POINTER, POINTER, I64, i1])
            e.b.call(move, [e.at(to, begin), e.at(source, begin), size, ir.Constant(i1, 0)])
    e.b.ret_void()
