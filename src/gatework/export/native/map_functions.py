"""Functions of vectors that keep no state: linear maps and activations, one call each."""

from __future__ import annotations

from llvmlite import ir

from gatework.backends.llvm.codegen.emitter import POINTER
from gatework.export.cell import Cell
from gatework.export.maps import VectorMap
from gatework.export.native.cell_code import StepCode
from gatework.export.native.layout import Count
from gatework.export.native.module import ObjectModule
from gatework.graph.keys import ArrayKey


def map_function(
    module: ObjectModule, name: str, cell: Cell, *, public: bool = False
) -> tuple[ir.Function, Count]:
    """A cell without states as a function: it takes what it reads, what it gives, and scratch memory.

    Returns:
        The function, and the numbers of scratch memory that it needs.
    """
    reads = [spec.name for spec in cell.graph.inputs]
    gives = list(cell.graph.emits())
    outs = gives if gives == ["output"] else [f"{each}_out" for each in gives]
    e = module.function(name, [(each, POINTER) for each in (*reads, *outs, "scratch")], public=public)
    *given, scratch = e.function.args
    leaves = {ArrayKey("input", each): value for each, value in zip(reads, given, strict=False)}
    outputs = {ArrayKey("emit", each): value for each, value in zip(gives, given[len(reads) :], strict=True)}
    needed = StepCode(module, e, cell, leaves, outputs, {}, scratch).emit()
    e.b.ret_void()
    return e.function, needed


class MapFunctions:
    """The one function of a map of vectors.

    Attributes:
        scratch: numbers that a call needs beside its arguments.
    """

    def __init__(self, module: ObjectModule, part: VectorMap) -> None:
        self.module, self.part = module, part
        self.scratch = Count(0)

    def emit(self) -> None:
        _, self.scratch = map_function(self.module, "map", self.part.cell, public=True)

    @property
    def memory(self) -> int:
        """Numbers of scratch memory."""
        return self.scratch.fixed
