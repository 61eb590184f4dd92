"""The products of a kernel: which weights are multiplied with which operands, and where their sums are written."""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen import rounding, unpacked
from gatework.backends.llvm.codegen.addressing import Addressing
from gatework.backends.llvm.codegen.arguments import MOST_COLUMNS, ONCE, MatmulGroup, ScalarKey, given_weight
from gatework.backends.llvm.codegen.emitter import POINTER, Emitter, Value
from gatework.backends.llvm.codegen.matmul import linked_name, product_type
from gatework.backends.llvm.codegen.placement import NativePlacement
from gatework.backends.llvm.codegen.storing import stored_depth
from gatework.backends.storage import Storage
from gatework.graph.keys import ArrayKey
from gatework.graph.schedule import Kernel


class ProductCode:
    """The products of a kernel for blocks of its units, in the function that goes through them.

    Full weights are multiplied in the tiles' order or, where that would not repay its being made (`BoundProgram.once`),
    from where they stand: which of the two is known when the program runs, so that one program does for both.
    """

    def __init__(
        self,
        placement: NativePlacement,
        e: Emitter,
        addressing: Addressing,
        label: str,
        kernel: Kernel,
        storage: Storage,
    ) -> None:
        self.placement, self.e, self.addressing = placement, e, addressing
        self.label, self.kernel, self.storage = label, kernel, storage
        self.groups = placement.groups(label, kernel)
        self.heads = {(block.slot, block.gate): block.heads for block in placement.graph.blocks}
        self.unit_blocks = addressing.scalar(ScalarKey("unit_blocks", label))  # of one product
        self.units = e.b.mul(self.unit_blocks, e.i64(e.lanes))
        self.sums_row = e.b.mul(self.units, e.i64(len(kernel.accumulations)))
        if storage == "full":
            self.once = e.b.icmp_signed("!=", addressing.scalar(ONCE), e.i64(0))
            self.sources = e.room(POINTER, MOST_COLUMNS)

    def prepare(self, step: Value, first: Value, rows: Value) -> None:
        """What all of the kernel's blocks multiply weights of 8 bits with, rounded: threads that share units write the
        same."""
        if self.storage != "int8":
            return
        e = self.e
        known = e.module.globals.get("round_rows")
        function = known if known is not None else rounding.emit_rounding(e.module, e.target)
        for operand in dict.fromkeys(operand for group in self.groups for operand in group.operands):
            left, depth = self.addressing.matrix(operand, step, first)
            e.b.call(function, [left, depth, rows, *self._rounded(operand, first)])

    def block(self, block: Value, step: Value, first: Value, rows: Value, sums: Value) -> None:
        """All products of a block of units and some rows, as sums[row * sums_row + accumulation * units]."""
        e = self.e
        for group in self.groups:
            to = e.at(sums, e.b.mul(self.unit_blocks, e.i64(group.first * e.lanes)))
            for place, operand in enumerate(group.operands):
                left, depth = self.addressing.matrix(operand, step, first)
                bounds = self._bounds(group, place, block, depth)
                result = [to, self.sums_row, e.i64(int(place > 0))]
                if self.storage != "full":
                    self._multiply_packed(group, place, block, first, [rows, left, depth], bounds, result)
                    continue
                with e.b.if_else(self.once) as (given, packed):
                    with given:
                        self._multiply_given(group, place, block, [rows, left, depth], bounds, result)
                    with packed:
                        self._multiply_packed(group, place, block, first, [rows, left, depth], bounds, result)

    def _bounds(self, group: MatmulGroup, place: int, block: Value, depth: Value) -> tuple[Value, Value]:
        """The first k of an operand that a block of units is multiplied with, and one past the last: all of them, or
        those of the heads that the block has units of, outside of which its weights are zero.

        Args:
            place: of the operand in the group.
        """
        e = self.e
        heads = {self.heads.get((factor.slot, factor.gate), 1) for factor in group.factors[place]}
        if heads == {1} or len(heads) > 1:
            return e.i64(0), depth
        size, unit = e.b.sdiv(depth, e.i64(heads.pop())), e.b.mul(block, self.units)
        end = e.smaller(e.b.add(unit, self.units), self.addressing.width(group.width))
        after = e.b.add(e.b.sdiv(e.b.sub(end, e.i64(1)), size), e.i64(1))
        begin = e.b.mul(e.b.sdiv(unit, size), size)
        if self.storage == "int8":  # whose k stand in pairs
            begin = e.b.and_(begin, e.i64(-2))
        return begin, e.b.mul(after, size)

    def _multiply_packed(
        self,
        group: MatmulGroup,
        place: int,
        block: Value,
        first: Value,
        left: list[Value],
        bounds: tuple[Value, Value],
        result: list[Value],
    ) -> None:
        """With weights in the tiles' order.

        Args:
            place: which of the group's operands it is.
            left: how many rows of it, their address and their width.
            bounds: of k.
            result: what `matmul.ARGUMENTS` says of it.
        """
        e, packed = self.e, group.packed[place]
        rows, operand, depth = left
        begin, end = bounds
        columns = e.b.mul(self.unit_blocks, e.i64(group.size * e.lanes))
        numbers = e.b.mul(block, e.b.mul(stored_depth(e, depth, self.storage), columns))
        numbers = e.b.add(numbers, e.b.mul(begin, columns))
        right = e.b.gep(
            self.addressing.pointer(packed), [numbers], source_etype=e.stored_number(self.storage)
        )
        further, count, right_k = [], e.b.sub(end, begin), columns
        ahead = e.b.mul(e.b.mul(depth, columns), e.i64(e.item))  # the next block of units
        if self.storage != "full":
            scales = self.addressing.pointer(packed._replace(kind="scale"))
            further.append(e.at(scales, e.b.mul(block, columns)))
        if self.storage == "int8":
            count, right_k = e.ceil_div(count, e.i64(2)), e.b.mul(columns, e.i64(2))  # pairs of k
            operand, row_scales = self._rounded(group.operands[place], first)
            operand = e.at(operand, e.b.sdiv(begin, e.i64(2)))
            further.append(row_scales)
        else:
            operand = e.at(operand, begin)
        args = [rows, operand, depth, e.i64(1), right, right_k, count, *result, ahead, *further]
        name = linked_name(e.dtype, e.target, self.storage)
        self._call(name, product_type(self.storage), [*args, e.b.mul(self.unit_blocks, e.i64(group.size))])

    def _multiply_given(
        self,
        group: MatmulGroup,
        place: int,
        block: Value,
        left: list[Value],
        bounds: tuple[Value, Value],
        result: list[Value],
    ) -> None:
        """With weights where they stand."""
        e, addressing = self.e, self.addressing
        depth, units = left[2], addressing.width(group.width)
        unit = e.b.mul(block, self.units)
        for position, factor in enumerate(group.factors[place]):
            unit_stride, k_stride = (e.i64(1), units) if factor.transposed else (depth, e.i64(1))
            weight = addressing.pointer(given_weight(group.packed[place], position))
            source = e.at(weight, e.b.mul(unit, unit_stride))
            e.b.store(source, e.b.gep(self.sources, [e.i64(position)], source_etype=POINTER))
        strides = [unit_stride, k_stride, e.b.sub(units, unit)]
        args = [*left, *bounds, self.sources, e.i64(group.size), *strides, self.unit_blocks, *result]
        self._call(unpacked.linked_name(e.dtype, e.target), unpacked.TYPE, args)

    def _rounded(self, operand: int, row: Value) -> tuple[Value, Value]:
        """Where a rounded operand stands from a row on, and the scales of its rows."""
        e, addressing = self.e, self.addressing
        key = ArrayKey("scratch", f"{self.label}.{operand}", "rounded")
        width = self.placement.layout.scratch[key] = self.placement.node(operand).width
        numbers = e.b.mul(row, addressing.width(width))
        scales = addressing.own(ArrayKey("scalar", f"{self.label}.{operand}", "rounded"))
        return e.at(addressing.own(key), numbers), e.at(scales, e.b.mul(row, e.i64(rounding.ROW_SCALES)))

    def _call(self, name: str, kind: ir.FunctionType, arguments: list[Value]) -> None:
        """Calls a function of the driver's or the products' module."""
        known = self.e.module.globals.get(name)
        self.e.b.call(known if known is not None else ir.Function(self.e.module, kind, name), arguments)
