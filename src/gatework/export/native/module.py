"""The module that a network's functions and numbers are written into, for one target."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import POINTER, VOID, Emitter, Value
from gatework.export.rounding import rounded_rows
from gatework.export.targets import ExportTarget

_ALIGNMENT = 64  # of arrays of weights


class Packed(NamedTuple):
    """Weight blocks as a product of all of them reads them.

    Attributes:
        numbers: their address: [block of lanes][column][which][lane].
        scales: the address of a scale for each row, [block of lanes][which][lane]; None where numbers are float32.
        columns: of each block that are kept for a block of lanes.
        head: units of a head, of blocks that are zero outside of the squares on their diagonal; None of others.
        reads: columns of each block.
    """

    numbers: Value
    scales: Value | None
    columns: int
    head: int | None
    reads: int

    def first(self, e: StepEmitter, block: Value) -> Value:
        """The first column that is kept for a block of lanes."""
        if self.head is None:
            return e.i64(0)
        begin = e.b.mul(e.b.sdiv(e.b.mul(block, e.i64(e.lanes)), e.i64(self.head)), e.i64(self.head))
        return e.smaller(begin, e.i64(self.reads - self.columns))


class StepEmitter(Emitter):
    """A function for one target, whose whole numbers have the width of its addresses."""

    def __init__(self, module: ir.Module, target: ExportTarget, function: ir.Function) -> None:
        self.index = ir.IntType(target.word)
        super().__init__(module, target.vector, "float32", function)
        self.lanes = target.lanes
        self.vector = ir.VectorType(self.number, self.lanes)
        self.integers = ir.VectorType(self.integer, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)

    def copy(self, source: Value, to: Value, count: Value) -> None:
        """Copies so many numbers, one by one."""
        with self.loop(self.i64(0), count) as (k, _):
            self.store(self.load(self.at(source, k)), self.at(to, k))

    def first_lanes(self, count: Value) -> Value:
        """True in the first `count` lanes."""
        wide = ir.VectorType(self.index, self.lanes)
        order = ir.Constant(wide, [ir.Constant(self.index, lane) for lane in range(self.lanes)])
        return self.b.icmp_signed("<", order, self.splat_int(count, wide))

    def padded(self, count: Value) -> Value:
        """A number of units, with those that fill the last block of lanes."""
        return self.b.mul(self.ceil_div(count, self.i64(self.lanes)), self.i64(self.lanes))


class ObjectModule:
    """A module under construction.

    Attributes:
        int8: whether weight matrices are kept in 8 bits, with a scale for each row.
        data: bytes of numbers written so far.
    """

    def __init__(self, name: str, target: ExportTarget, *, int8: bool) -> None:
        self.name, self.target, self.int8 = name, target, int8
        self.ir = ir.Module(name)
        self.ir.triple = target.triple
        self.data = 0
        self._kept: dict[bytes, ir.GlobalVariable] = {}

    @property
    def size_type(self) -> ir.IntType:
        """C's size_t."""
        return ir.IntType(self.target.word)

    def function(
        self, name: str, arguments: list[tuple[str, ir.Type]], *, public: bool = False
    ) -> StepEmitter:
        """A new function without a result, named after the network."""
        made = ir.Function(
            self.ir, ir.FunctionType(VOID, [kind for _, kind in arguments]), f"{self.name}_{name}"
        )
        for argument, (label, kind) in zip(made.args, arguments, strict=True):
            argument.name = label
            if kind == POINTER and label in ("scratch", "output"):
                argument.add_attribute("noalias")
        made.linkage = "external" if public else "internal"
        return StepEmitter(self.ir, self.target, made)

    def constant(self, array: np.ndarray) -> Value:
        """The address of numbers that never change; equal ones are kept once."""
        content = np.ascontiguousarray(array).tobytes()
        key = array.dtype.str.encode() + content
        if key not in self._kept:
            kind = ir.ArrayType(ir.IntType(8), len(content))
            kept = ir.GlobalVariable(self.ir, kind, f"{self.name}_numbers_{len(self._kept)}")
            kept.linkage, kept.global_constant, kept.align = "internal", True, _ALIGNMENT
            kept.initializer = ir.Constant(kind, bytearray(content))
            kept.type = POINTER  # of any type, as all addresses here
            self._kept[key] = kept
            self.data += len(content)
        return self._kept[key]

    def padded_constant(self, vector: np.ndarray) -> Value:
        """The address of a vector, with zeros up to a whole block of lanes."""
        missing = -len(vector) % self.target.lanes
        return self.constant(np.pad(vector.astype(np.float32), (0, missing)))

    def packed(self, blocks: list[np.ndarray], heads: int = 1) -> Packed:
        """Weight blocks of equal shapes, (rows, columns), for one product of all of them.

        Args:
            heads: squares on the diagonals of the blocks, outside of which they are zero; 1 of blocks that are whole.
        """
        lanes = self.target.lanes
        missing = -blocks[0].shape[0] % lanes
        stacked = np.stack([np.pad(block, ((0, missing), (0, 0))) for block in blocks])  # (n, rows, columns)
        scales = None
        if self.int8:
            stacked, largest = rounded_rows(stacked)
            by_block = largest.reshape(len(blocks), -1, lanes).transpose(1, 0, 2)
            scales = self.constant(by_block)
        count, rows, columns = stacked.shape
        by_lane = stacked.reshape(count, rows // lanes, lanes, columns).transpose(1, 3, 0, 2)
        if heads == 1:
            return Packed(self.constant(by_lane), scales, columns, None, columns)
        head, begins = columns // heads, np.arange(0, rows, lanes)
        ends = (np.minimum(begins + lanes, columns) - 1) // head * head + head
        begins = begins // head * head
        kept = int((ends - begins).max())  # of every block of lanes alike
        begins = np.minimum(begins, columns - kept)
        own = np.stack([block[first : first + kept] for block, first in zip(by_lane, begins, strict=True)])
        return Packed(self.constant(own), scales, kept, head, columns)
