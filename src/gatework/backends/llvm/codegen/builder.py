"""llvmlite's builder, which writes no count and no address twice.

LLVM is asked for machine code alone, without the passes that would find them, and takes as long as there are
instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

Value = Any


class Builder(ir.IRBuilder):
    """Writes into one function.

    A sum, difference, product, quotient or address of the same operands is computed once, where the first computation
    of it is sure to have run: in the block at hand, or in one around it. x + 0 and x * 1 are x.
    """

    def __init__(self, entry: ir.Block) -> None:
        super().__init__(entry)
        self._entry = entry
        self._values: dict[tuple[Any, ...], Value] = {}
        self._around: dict[ir.Block, ir.Block] = {}

    def append_basic_block(self, name: str = "") -> ir.Block:
        """A new block, which runs only after the one at hand has."""
        made = super().append_basic_block(name)
        self._around[made] = self.block
        return made

    def add(self, lhs: Value, rhs: Value, name: str = "", flags: Any = ()) -> Value:
        """lhs + rhs"""
        if _is(rhs, 0):
            return lhs
        return rhs if _is(lhs, 0) else self._once("add", super().add, lhs, rhs)

    def sub(self, lhs: Value, rhs: Value, name: str = "", flags: Any = ()) -> Value:
        """lhs - rhs"""
        return lhs if _is(rhs, 0) else self._once("sub", super().sub, lhs, rhs)

    def mul(self, lhs: Value, rhs: Value, name: str = "", flags: Any = ()) -> Value:
        """lhs * rhs"""
        if _is(rhs, 1) or _is(lhs, 0):
            return lhs
        return rhs if _is(lhs, 1) or _is(rhs, 0) else self._once("mul", super().mul, lhs, rhs)

    def sdiv(self, lhs: Value, rhs: Value, name: str = "", flags: Any = ()) -> Value:
        """lhs / rhs, towards zero."""
        return lhs if _is(rhs, 1) else self._once("sdiv", super().sdiv, lhs, rhs)

    def and_(self, lhs: Value, rhs: Value, name: str = "", flags: Any = ()) -> Value:
        """The bits of both."""
        return self._once("and", super().and_, lhs, rhs)

    def gep(
        self,
        ptr: Value,
        indices: list[Value],
        inbounds: bool = False,
        name: str = "",
        source_etype: Any = None,
    ) -> Value:
        """The address of a number so many of its type further on."""
        if len(indices) == 1 and _is(indices[0], 0):
            return ptr

        def write(base: Value, *further: Value) -> Value:
            return ir.IRBuilder.gep(self, base, list(further), inbounds, name, source_etype)

        return self._once(f"gep {source_etype}", write, ptr, *indices)

    def _once(self, name: str, write: Callable[..., Value], *operands: Value) -> Value:
        """What `write` makes of operands, or made of them where that has run before."""
        block: ir.Block | None = self.block
        while block is not None:
            known = self._values.get((block, name, *operands))
            if known is not None:
                return known
            block = self._around.get(block, None if block is self._entry else self._entry)
        made = self._values[self.block, name, *operands] = write(*operands)
        return made


def _is(value: Value, number: int) -> bool:
    """Whether it is a whole number that is known."""
    return isinstance(value, ir.Constant) and isinstance(value.type, ir.IntType) and value.constant == number
