"""From a scheduled step to one native function for the whole sequence.

The function is `run(pointers, scalars, first_step, last_step, first_row, last_row, part, parts, scratch_offset,
barrier)`: for every step, every stage, what its rows do with their memories, then every kernel: products first, then
the elementwise operations on their results, unit block by unit block. `Layout` says what stands where in the two
argument arrays; the caller fills them. Each of these is a function of its own: LLVM's time for one grows faster than
its length.

Different rows never meet, so that threads may share the rows among themselves as they like. Or they share the
units: each takes its `part` of the unit blocks of all rows, and they meet at a barrier after every stage.
"""

from __future__ import annotations

from collections.abc import Iterator

from llvmlite import ir

from gatework.backends.llvm.codegen import attention_code, elementwise
from gatework.backends.llvm.codegen.addressing import Addressing
from gatework.backends.llvm.codegen.arguments import MOST_COLUMNS, Layout, ScalarKey
from gatework.backends.llvm.codegen.attention_code import AttentionCode
from gatework.backends.llvm.codegen.driver import BARRIER, BARRIER_TYPE, RUN_ARGUMENTS
from gatework.backends.llvm.codegen.elementwise import ElementwiseCode
from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.placement import NativePlacement
from gatework.backends.llvm.codegen.product_code import ProductCode
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.storage import Storage
from gatework.graph.schedule import Kernel, Schedule

_SUMS = 6144  # bytes of products of the widest tile that stand in the scratch memory at a time
_PANELS_ONCE = 4  # times as many, where each panel of rows brings its block's weights into order anew

STEP_ARGUMENTS = [
    ("pointers", POINTER),
    ("scalars", POINTER),
    ("scratch_offset", I64),
    ("step", I64),
    ("first_row", I64),
    ("rows", I64),
]
KERNEL_ARGUMENTS = [
    *STEP_ARGUMENTS,
    ("begin", I64),  # the first of the unit blocks, of all that a product computes together
    ("end", I64),  # one past the last of them
]
UNITS_ARGUMENTS = [
    *STEP_ARGUMENTS,
    ("unit", I64),  # the block's first unit
    ("sums", POINTER),  # products, sums[row * sums_row + accumulation * sums_group]
    ("sums_row", I64),
    ("sums_group", I64),
]


class Program:
    """A scheduled step being lowered into a module."""

    def __init__(
        self,
        module: ir.Module,
        schedule: Schedule,
        target: Target,
        dtype: str,
        storage: Storage = "full",
    ) -> None:
        self.module, self.schedule, self.target, self.dtype = module, schedule, target, dtype
        self.storage = storage
        self.placement = NativePlacement(schedule)

    @property
    def layout(self) -> Layout:
        return self.placement.layout

    @property
    def panel(self) -> int:
        """Rows whose products come before their elementwise operations: they read a block's weights together."""
        return _SUMS // (MOST_COLUMNS * self.target.vector_bytes)

    def emit(self, name: str) -> None:
        """The whole program, as a function of this name."""
        e = function(self.module, name, RUN_ARGUMENTS, self.target, self.dtype)
        pointers, scalars, first_step, last_step, first, last, part, parts, scratch_offset, barrier = (
            e.function.args
        )
        addressing = Addressing(self.placement, e, pointers, scalars, scratch_offset)
        rows = e.b.sub(last, first)
        meet = ir.Function(self.module, BARRIER_TYPE, BARRIER)
        shared = e.b.icmp_signed(">", parts, e.i64(1))
        places = [pointers, scalars, scratch_offset]
        begin, end = e.share(rows, part, parts)
        own_rows = [e.b.add(first, begin), e.b.sub(end, begin)]
        blocks = {
            label: e.share(e.ceil_div(addressing.width(kernel.width), units), part, parts)
            for label, kernel in self._kernels(name)
            for units in [self._step_units(e, addressing, label, kernel)]
        }
        with e.loop(first_step, last_step) as (step, _):
            for stage_number, stage in enumerate(self.schedule.stages):
                if stage.scalars:
                    narrow = self.emit_scalars(f"{name}_scalars_{stage_number}", stage.scalars, stage_number)
                    e.b.call(narrow, [*places, step, first, rows])
                if stage.attended:  # threads that share units share the rows here
                    attended = self.emit_attended(f"{name}_attended_{stage_number}", stage.attended)
                    e.b.call(attended, [*places, step, *own_rows])
                    with e.when(shared):
                        e.b.call(meet, [barrier, parts])
                for kernel_number, kernel in enumerate(stage.kernels):
                    label = _label(name, stage_number, kernel_number)
                    written = self.emit_kernel(label, kernel, stage_number)
                    e.b.call(written, [*places, step, first, rows, *blocks[label]])
                with e.when(shared):
                    e.b.call(meet, [barrier, parts])
        e.b.ret_void()

    def _kernels(self, name: str) -> Iterator[tuple[str, Kernel]]:
        """Every kernel of the program of a name, by its label."""
        for stage_number, stage in enumerate(self.schedule.stages):
            for kernel_number, kernel in enumerate(stage.kernels):
                yield _label(name, stage_number, kernel_number), kernel

    def _step_units(self, e: Emitter, addressing: Addressing, label: str, kernel: Kernel) -> Value:
        """The units that a kernel computes together: of whole registers."""
        if not kernel.accumulations:
            return e.i64(e.lanes)
        return e.b.mul(addressing.scalar(ScalarKey("unit_blocks", label)), e.i64(e.lanes))

    def emit_kernel(self, label: str, kernel: Kernel, stage: int) -> ir.Function:
        """The products of a kernel and the elementwise operations on them, on some unit blocks of some rows."""
        whole = self.emit_units(f"{label}_whole", kernel, stage, tail=False)
        tail = self.emit_units(f"{label}_tail", kernel, stage, tail=True)
        e = function(self.module, label, KERNEL_ARGUMENTS, self.target, self.dtype)
        e.function.linkage = "internal"
        pointers, scalars, scratch_offset, step, first, rows, begin, end = e.function.args
        addressing = Addressing(self.placement, e, pointers, scalars, scratch_offset)
        units, step_units = addressing.width(kernel.width), self._step_units(e, addressing, label, kernel)

        def elementwise(
            first: Value, rows: Value, unit: Value, sums: Value, sums_row: Value, group: Value
        ) -> None:
            args = [pointers, scalars, scratch_offset, step, first, rows, unit, sums, sums_row, group]
            fits = e.b.icmp_signed("<=", e.b.add(unit, e.i64(e.lanes)), units)
            with e.b.if_else(fits) as (then, otherwise):
                with then:
                    e.b.call(whole, args)
                with otherwise:
                    e.b.call(tail, args)

        if not kernel.accumulations:
            nothing = ir.Constant(POINTER, None)
            with e.loop(e.i64(0), rows, 8) as (offset, _):
                count = e.smaller(e.i64(8), e.b.sub(rows, offset))
                with e.loop(begin, end) as (block, _):
                    unit = e.b.mul(block, step_units)
                    elementwise(e.b.add(first, offset), count, unit, nothing, e.i64(0), e.i64(0))
            e.b.ret_void()
            return e.function
        products = ProductCode(self.placement, e, addressing, label, kernel, self.storage)
        most, panel = self.panel, e.i64(self.panel)
        if self.storage == "full":
            most *= _PANELS_ONCE
            panel = e.select(products.once, e.i64(most), panel)
        sums = e.room(e.vector, most * len(kernel.accumulations) * MOST_COLUMNS)
        products.prepare(step, first, rows)
        panels = e.ceil_div(rows, panel)
        with e.loop(begin, end) as (block, _), e.loop(e.i64(0), panels) as (number, _):
            offset = e.b.mul(number, panel)
            first_row = e.b.add(first, offset)
            count = e.smaller(panel, e.b.sub(rows, offset))
            products.block(block, step, first_row, count, sums)
            with e.loop(e.i64(0), products.unit_blocks) as (inner, _):
                within = e.b.mul(inner, e.i64(e.lanes))
                unit = e.b.add(e.b.mul(block, step_units), within)
                with e.when(e.b.icmp_signed("<", unit, units)):
                    elementwise(first_row, count, unit, e.at(sums, within), products.sums_row, products.units)
        e.b.ret_void()
        return e.function

    def emit_units(self, name: str, kernel: Kernel, stage: int, *, tail: bool) -> ir.Function:
        """The elementwise operations of a kernel, on one block of units of some rows."""
        e = function(self.module, name, UNITS_ARGUMENTS, self.target, self.dtype)
        e.function.linkage = "internal"
        pointers, scalars, scratch_offset, step, first, rows, unit, sums, sums_row, group = e.function.args
        addressing = Addressing(self.placement, e, pointers, scalars, scratch_offset)
        left = e.b.sub(addressing.width(kernel.width), unit)
        mask = e.tail_mask(left) if tail else None
        code = ElementwiseCode(self.placement, e, addressing, kernel, stage, step, unit, mask)
        code.prepare()
        with e.loop(e.i64(0), rows) as (row, _):
            base = e.at(sums, e.b.mul(row, sums_row)) if kernel.accumulations else sums
            code.row(e.b.add(first, row), base, group)
        e.b.ret_void()
        return e.function

    def emit_scalars(self, name: str, nodes: tuple[int, ...], stage: int) -> ir.Function:
        """Values of width 1, a row at a time."""
        e = function(self.module, name, STEP_ARGUMENTS, self.target, self.dtype)
        e.function.linkage = "internal"
        pointers, scalars, scratch_offset, step, first, rows = e.function.args
        addressing = Addressing(self.placement, e, pointers, scalars, scratch_offset)
        code = ElementwiseCode(
            self.placement, e, addressing, Kernel(1, (), nodes, ()), stage, step, e.i64(0), None
        )
        code.prepare()
        with e.loop(e.i64(0), rows) as (row, _):
            code.row(e.b.add(first, row), ir.Constant(POINTER, None), e.i64(0))
        e.b.ret_void()
        return e.function

    def emit_attended(self, name: str, nodes: tuple[int, ...]) -> ir.Function:
        """Operations on memories, a row at a time."""
        e = function(self.module, name, STEP_ARGUMENTS, self.target, self.dtype)
        e.function.linkage = "internal"
        pointers, scalars, scratch_offset, step, first, rows = e.function.args
        addressing = Addressing(self.placement, e, pointers, scalars, scratch_offset)
        with e.loop(e.i64(0), rows) as (row, _):
            code = AttentionCode(self.placement, e, addressing, step, e.b.add(first, row))
            for index in nodes:
                code.emit(index)
        e.b.ret_void()
        return e.function


def _label(program: str, stage: int, kernel: int) -> str:
    """The name of a kernel by its place."""
    return f"{program}_{stage}_{kernel}"


SUPPORTED = frozenset((*elementwise.CODE, *attention_code.CODE, "leaf", "reduction", "matmul", "after_loop"))
"""The codes of operations (`Op.code`) that this target has. `refusal` asks it, so that nothing else is lowered: leaves
and reductions are read and summed by `ElementwiseCode`, products are `ProductCode`'s, gradients after the loop by
`forward_backward.py`."""
