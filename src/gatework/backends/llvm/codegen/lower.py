"""From a scheduled step to one native function for the whole sequence.

The function is `run(pointers, scalars, first_step, last_step, first_row, last_row, part, parts, scratch_offset,
barrier)`: for every step, every stage, what its rows do with their memories, then every kernel: products first, then
the elementwise operations on their results, unit block by unit block. `Layout` says what stands where in the two
argument arrays; the caller fills them.

Different rows never meet, so that threads may share the rows among themselves as they like. Or they share the
units: each takes its `part` of the unit blocks of all rows, and they meet at a barrier after every stage.
"""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen import attention_code, elementwise, packing, rounding
from gatework.backends.llvm.codegen.addressing import Addressing
from gatework.backends.llvm.codegen.arguments import (
    MOST_COLUMNS,
    Layout,
    MatmulGroup,
    ScalarKey,
    given_weight,
)
from gatework.backends.llvm.codegen.attention_code import AttentionCode
from gatework.backends.llvm.codegen.driver import BARRIER, BARRIER_TYPE, RUN_ARGUMENTS
from gatework.backends.llvm.codegen.elementwise import ElementwiseCode
from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value, function
from gatework.backends.llvm.codegen.matmul import block_type, linked_name
from gatework.backends.llvm.codegen.placement import NativePlacement
from gatework.backends.llvm.codegen.storing import stored_depth
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.storage import Storage
from gatework.graph.keys import ArrayKey
from gatework.graph.schedule import Kernel, Schedule

_DEPTH = 192  # of the part of a block's weights that is packed at a time, where they are read once
_SUMS = 6144  # bytes of products of the widest tile that stand in the scratch memory at a time

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
        *,
        once: bool = False,
    ) -> None:
        """
        Args:
            once: weights are read where they stand, as `BoundProgram` says.
        """
        self.module, self.schedule, self.target, self.dtype = module, schedule, target, dtype
        self.storage, self.once = storage, once
        self.placement = NativePlacement(schedule)
        self._heads = {(block.slot, block.gate): block.heads for block in schedule.graph.blocks}

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
        scratch = self._scratch(e)
        self.block_weights = e.room(e.vector, _DEPTH * MOST_COLUMNS) if self.once else None
        meet = ir.Function(self.module, BARRIER_TYPE, BARRIER)
        shared = e.b.icmp_signed(">", parts, e.i64(1))
        with e.loop(first_step, last_step) as (step, _):
            for stage_number, stage in enumerate(self.schedule.stages):
                if stage.scalars:
                    narrow = self.emit_scalars(f"{name}_scalars_{stage_number}", stage.scalars, stage_number)
                    e.b.call(narrow, [pointers, scalars, scratch_offset, step, first, rows])
                if stage.attended:  # threads that share units share the rows here
                    attended = self.emit_attended(f"{name}_attended_{stage_number}", stage.attended)
                    begin, end = e.share(rows, part, parts)
                    own_rows = [e.b.add(first, begin), e.b.sub(end, begin)]
                    e.b.call(attended, [pointers, scalars, scratch_offset, step, *own_rows])
                    with e.when(shared):
                        e.b.call(meet, [barrier, parts])
                for kernel_number, kernel in enumerate(stage.kernels):
                    label = f"{name}_{stage_number}_{kernel_number}"
                    self.emit_kernel(
                        e, addressing, label, kernel, stage_number, step, first, rows, (part, parts), scratch
                    )
                with e.when(shared):
                    e.b.call(meet, [barrier, parts])
        e.b.ret_void()

    def _scratch(self, e: Emitter) -> Value:
        most = 1
        for stage in self.schedule.stages:
            for kernel in stage.kernels:
                most = max(most, len(kernel.accumulations) * MOST_COLUMNS)
        return e.room(e.vector, self.panel * most)

    def emit_kernel(
        self,
        e: Emitter,
        addressing: Addressing,
        label: str,
        kernel: Kernel,
        stage: int,
        step: Value,
        first: Value,
        rows: Value,
        share: tuple[Value, Value],
        scratch: Value,
    ) -> None:
        whole = self.emit_units(f"{label}_whole", kernel, stage, tail=False)
        tail = self.emit_units(f"{label}_tail", kernel, stage, tail=True)
        units = addressing.width(kernel.width)
        places = [addressing.pointers, addressing.scalars, addressing.scratch_offset]

        def elementwise(
            first: Value, rows: Value, unit: Value, sums: Value, sums_row: Value, group: Value
        ) -> None:
            args = [*places, step, first, rows, unit, sums, sums_row, group]
            fits = e.b.icmp_signed("<=", e.b.add(unit, e.i64(e.lanes)), units)
            with e.b.if_else(fits) as (then, otherwise):
                with then:
                    e.b.call(whole, args)
                with otherwise:
                    e.b.call(tail, args)

        nothing = ir.Constant(POINTER, None)
        if not kernel.accumulations:
            begin, end = e.share(e.ceil_div(units, e.i64(e.lanes)), *share)
            with e.loop(e.i64(0), rows, 8) as (offset, _):
                count = e.smaller(e.i64(8), e.b.sub(rows, offset))
                with e.loop(begin, end) as (block, _):
                    unit = e.b.mul(block, e.i64(e.lanes))
                    elementwise(e.b.add(first, offset), count, unit, nothing, e.i64(0), e.i64(0))
            return
        groups = self.placement.groups(label, kernel)
        unit_blocks = addressing.scalar(ScalarKey("unit_blocks", label))  # of one product
        step_units = e.b.mul(unit_blocks, e.i64(e.lanes))
        columns = e.b.mul(unit_blocks, e.i64(len(kernel.accumulations)))
        sums_row = e.b.mul(columns, e.i64(e.lanes))
        begin, end = e.share(e.ceil_div(units, step_units), *share)
        if self.storage == "int8":
            self._round_operands(e, addressing, label, groups, step, first, rows)
        with e.loop(begin, end) as (block, _), e.loop(e.i64(0), rows, self.panel) as (offset, _):
            first_row = e.b.add(first, offset)
            count = e.smaller(e.i64(self.panel), e.b.sub(rows, offset))
            for group in groups:
                self.emit_products(
                    e, addressing, label, group, block, step, first_row, count, unit_blocks, scratch, sums_row
                )
            with e.loop(e.i64(0), unit_blocks) as (inner, _):
                unit = e.b.add(e.b.mul(block, step_units), e.b.mul(inner, e.i64(e.lanes)))
                with e.when(e.b.icmp_signed("<", unit, units)):
                    sums = e.at(scratch, e.b.mul(inner, e.i64(e.lanes)))
                    elementwise(first_row, count, unit, sums, sums_row, step_units)

    def emit_products(
        self,
        e: Emitter,
        addressing: Addressing,
        label: str,
        group: MatmulGroup,
        block: Value,
        step: Value,
        first: Value,
        rows: Value,
        unit_blocks: Value,
        scratch: Value,
        sums_row: Value,
    ) -> None:
        size = group.size
        columns = e.b.mul(unit_blocks, e.i64(size * e.lanes))
        start = e.b.mul(unit_blocks, e.i64(group.first * e.lanes))
        for place, (operand, packed) in enumerate(zip(group.operands, group.packed, strict=True)):
            left, depth = addressing.matrix(operand, step, first)
            begin, end = self._multiplied(e, addressing, group, place, block, unit_blocks, depth)
            to = e.at(scratch, start)
            if self.once:
                with e.loop(begin, end, _DEPTH) as (k, _):
                    count = e.smaller(e.i64(_DEPTH), e.b.sub(end, k))
                    self._pack_block(
                        e, addressing, packed, group, place, block, unit_blocks, (k, count, depth)
                    )
                    later = e.b.zext(e.b.icmp_signed(">", k, begin), I64) if not place else e.i64(1)
                    right = self.block_weights
                    args = [rows, e.at(left, k), depth, e.i64(1), right, columns, count, to, sums_row, later]
                    self._multiply(e, size, unit_blocks, args)
                continue
            numbers = e.b.mul(block, e.b.mul(stored_depth(e, depth, self.storage), columns))
            numbers = e.b.add(numbers, e.b.mul(begin, columns))
            kind = e.stored_number(self.storage)
            right = e.b.gep(addressing.pointer(packed), [numbers], source_etype=kind)
            further, count, right_k = [], e.b.sub(end, begin), columns
            if self.storage != "full":
                scales = addressing.pointer(packed._replace(kind="scale"))
                further.append(e.at(scales, e.b.mul(block, columns)))
            if self.storage == "int8":
                count, right_k = e.ceil_div(count, e.i64(2)), e.b.mul(columns, e.i64(2))  # pairs of k
                left, row_scales = self._rounded(e, addressing, label, operand, first)
                left = e.at(left, e.b.sdiv(begin, e.i64(2)))
                further.append(row_scales)
            else:
                left = e.at(left, begin)
            args = [rows, left, depth, e.i64(1), right, right_k, count, to, sums_row, e.i64(int(place > 0))]
            args += further
            self._multiply(e, size, unit_blocks, args)

    def _multiplied(
        self,
        e: Emitter,
        addressing: Addressing,
        group: MatmulGroup,
        place: int,
        block: Value,
        unit_blocks: Value,
        depth: Value,
    ) -> tuple[Value, Value]:
        """The first k of an operand that a block of units is multiplied with, and one past the last: all of them, or
        those of the heads that the block has units of, outside of which its weights are zero.

        Args:
            place: of the operand in the group.
        """
        heads = {self._heads.get((factor.slot, factor.gate), 1) for factor in group.factors[place]}
        if heads == {1} or len(heads) > 1:
            return e.i64(0), depth
        size = e.b.sdiv(depth, e.i64(heads.pop()))
        step_units = e.b.mul(unit_blocks, e.i64(e.lanes))
        unit = e.b.mul(block, step_units)
        last = e.b.sub(e.smaller(e.b.add(unit, step_units), addressing.width(group.width)), e.i64(1))
        first, after = e.b.sdiv(unit, size), e.b.add(e.b.sdiv(last, size), e.i64(1))
        begin = e.b.mul(first, size)
        if self.storage == "int8":  # whose k stand in pairs
            begin = e.b.and_(begin, e.i64(-2))
        return begin, e.b.mul(after, size)

    def _round_operands(
        self,
        e: Emitter,
        addressing: Addressing,
        label: str,
        groups: list[MatmulGroup],
        step: Value,
        first: Value,
        rows: Value,
    ) -> None:
        """What a kernel multiplies weights of 8 bits with, rounded: threads that share units write the same."""
        known = self.module.globals.get("round_rows")
        function = known if known is not None else rounding.emit_rounding(self.module, self.target)
        for operand in dict.fromkeys(operand for group in groups for operand in group.operands):
            left, depth = addressing.matrix(operand, step, first)
            e.b.call(function, [left, depth, rows, *self._rounded(e, addressing, label, operand, first)])

    def _rounded(
        self, e: Emitter, addressing: Addressing, label: str, operand: int, row: Value
    ) -> tuple[Value, Value]:
        """Where a rounded operand stands from a row on, and the scales of its rows."""
        key = ArrayKey("scratch", f"{label}.{operand}", "rounded")
        width = self.placement.layout.scratch[key] = self.placement.node(operand).width
        numbers = e.b.mul(row, addressing.width(width))
        scales = addressing.own(ArrayKey("scalar", f"{label}.{operand}", "rounded"))
        return e.at(addressing.own(key), numbers), e.at(scales, e.b.mul(row, e.i64(rounding.ROW_SCALES)))

    def _multiply(self, e: Emitter, size: int, unit_blocks: Value, arguments: list[Value]) -> None:
        """The product of so many unit blocks of `size` accumulations."""
        done = e.function.append_basic_block("multiplied")
        switch = e.b.switch(unit_blocks, done)
        for blocks in range(1, MOST_COLUMNS // size + 1):
            case = e.function.append_basic_block(f"blocks_{blocks}")
            switch.add_case(e.i64(blocks), case)
            e.b.position_at_end(case)
            name = linked_name(blocks * size, self.dtype, self.target, self.storage)
            e.b.call(self._linked(name, block_type(self.storage)), arguments)
            e.b.branch(done)
        e.b.position_at_end(done)

    def _linked(self, name: str, kind: ir.FunctionType) -> ir.Function:
        known = self.module.globals.get(name)
        return known if known is not None else ir.Function(self.module, kind, name)

    def _pack_block(
        self,
        e: Emitter,
        addressing: Addressing,
        packed: ArrayKey,
        group: MatmulGroup,
        place: int,
        block: Value,
        unit_blocks: Value,
        part: tuple[Value, Value, Value],
    ) -> None:
        """A part of a block's weights, as its tiles read them.

        Args:
            place: which of the group's operands they are multiplied with.
            part: the first k, how many of them, and how many there are.
        """
        k, count, depth = part
        factors, units = group.factors[place], addressing.width(group.width)
        step_units = e.b.mul(unit_blocks, e.i64(e.lanes))
        unit = e.b.mul(block, step_units)
        columns = e.b.mul(step_units, e.i64(len(factors)))
        pack = self._linked(packing.linked_name(self.dtype, self.target), packing.TYPE)
        for position, factor in enumerate(factors):
            unit_stride, k_stride = (e.i64(1), units) if factor.transposed else (depth, e.i64(1))
            begin = e.b.add(e.b.mul(unit, unit_stride), e.b.mul(k, k_stride))
            source = e.at(addressing.pointer(given_weight(packed, position)), begin)
            to = e.at(self.block_weights, e.b.mul(step_units, e.i64(position)))
            sizes = [unit_stride, k_stride, e.b.sub(units, unit), count, to, columns, step_units]
            e.b.call(pack, [source, *sizes, e.i64(0), unit_blocks, e.i64(1), e.i64(0)])

    def emit_units(self, name: str, kernel: Kernel, stage: int, *, tail: bool) -> ir.Function:
        """The elementwise operations of a kernel, on one block of units of some rows."""
        e = function(self.module, name, KERNEL_ARGUMENTS, self.target, self.dtype)
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


SUPPORTED = frozenset((*elementwise.CODE, *attention_code.CODE, "leaf", "reduction", "matmul", "after_loop"))
"""The codes of operations (`Op.code`) that this target has. `refusal` asks it, so that nothing else is lowered: leaves
and reductions are read and summed by `ElementwiseCode`, products by `product.py`, gradients after the loop by
`forward_backward.py`."""
