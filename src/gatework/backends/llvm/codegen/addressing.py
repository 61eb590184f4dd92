"""Addresses of arrays, as one function of a program computes them from its arguments."""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.arguments import BEGIN, DIRECTION, ROWS, ScalarKey
from gatework.backends.llvm.codegen.emitter import I64, POINTER, Emitter, Value
from gatework.backends.llvm.codegen.placement import NativePlacement
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Node, Width
from gatework.graph.ops import OPS

_WITHOUT_STEPS = (
    "static",
    "vector",
    "bias",
    "scratch",
)  # all other arrays have one row of each step, or are states


class Addressing:
    """The argument arrays as one function sees them: each entry is read once, where it is first needed."""

    def __init__(
        self, placement: NativePlacement, e: Emitter, pointers: Value, scalars: Value, scratch_offset: Value
    ) -> None:
        self.placement = placement
        self.e = e
        self.pointers = pointers
        self.scalars = scalars
        self.scratch_offset = scratch_offset
        self._read: dict[ArrayKey | ScalarKey, Value] = {}

    def _at_entry(self, key: ArrayKey | ScalarKey, base: Value, index: int, kind: ir.Type) -> Value:
        if key not in self._read:
            before = self.e.b.block
            entry = self.e.function.entry_basic_block
            builder = ir.IRBuilder(entry)
            if entry.is_terminated:
                builder.position_before(entry.terminator)
            else:
                builder.position_at_end(entry)
            address = builder.gep(base, [ir.Constant(I64, index)], source_etype=kind)
            self._read[key] = builder.load(address, typ=kind)
            if before is not entry:
                self.e.b.position_at_end(before)
            else:
                self.e.b.position_at_end(entry)
        return self._read[key]

    def pointer(self, key: ArrayKey) -> Value:
        return self._at_entry(key, self.pointers, self.placement.layout.pointer(key), POINTER)

    def own(self, key: ArrayKey) -> Value:
        """The address of scratch memory, where this thread's rows of it are."""
        return self.e.b.gep(self.pointer(key), [self.scratch_offset], source_etype=ir.IntType(8))

    def scalar(self, key: ScalarKey) -> Value:
        return self._at_entry(key, self.scalars, self.placement.layout.scalar(key), I64)

    def width(self, width: Width) -> Value:
        return self.e.i64(width) if isinstance(width, int) else self.scalar(ScalarKey("size", width))

    def time(self, step: Value) -> Value:
        """The position of a step in arrays over time."""
        return self.e.b.add(self.scalar(BEGIN), self.e.b.mul(step, self.scalar(DIRECTION)))

    def row(
        self,
        key: ArrayKey,
        width: Width,
        step: Value,
        row: Value,
        unit: Value | None = None,
        *,
        new: bool = False,
    ) -> Value:
        """The address of a row of an array, at a step, from a unit on; `new` for what a state becomes."""
        e = self.e
        base = self.own(key) if key.kind == "scratch" else self.pointer(key)
        if key.kind == "state":
            turn = e.b.add(step, e.i64(1)) if new else step
            turn = e.b.and_(turn, self.scalar(ScalarKey("mask", key.name)))
            row = e.b.add(e.b.mul(turn, self.scalar(ROWS)), row)
        elif key.kind not in _WITHOUT_STEPS:
            row = e.b.add(e.b.mul(self.time(step), self.scalar(ROWS)), row)
        begin = e.b.mul(row, self.width(width))  # arrays of one width have one index of a row and unit
        return e.at(base, begin if unit is None or width == 1 else e.b.add(begin, unit))

    def leaf(self, node: Node) -> ArrayKey:
        """The array that a leaf is read from."""
        match node.op:
            case "vector":
                return ArrayKey("vector", node.text("name"))
            case "bias":
                return ArrayKey("bias", node.text("gate"), node.text("slot"))
            case _:
                return node.key

    def matrix(self, index: int, step: Value, row: Value) -> tuple[Value, Value]:
        """The rows of an operand from `row` on, and its width."""
        node = self.placement.node(index)
        width = self.width(node.width)
        if OPS[node.op].sort == "leaf":
            return self.row(self.leaf(node), node.width, step, row), width
        place = self.placement.arrays[index][0]
        return self.row(place, node.width, step, row, new=True), width
