"""Writing LLVM IR: a thin layer over llvmlite's builder with loops, vectors and masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from llvmlite import ir

from gatework.backends.llvm.codegen.builder import Builder
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.storage import Storage

I1, I32, I64, POINTER, VOID = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.PointerType(), ir.VoidType()
Value = Any


class Emitter:
    """A function under construction, for one target and one dtype.

    Attributes:
        index: the type of whole numbers that count and index.
        number: the scalar type, `float` or `double`.
        vector: the type of one register of numbers.
        lanes: numbers in it.
    """

    index = I64

    def __init__(self, module: ir.Module, target: Target, dtype: str, function: ir.Function) -> None:
        self.module = module
        self.target = target
        self.dtype = dtype
        self.number = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.item = 4 if dtype == "float32" else 8
        self.integer = ir.IntType(8 * self.item)
        self.lanes = target.lanes(self.item)
        self.vector = ir.VectorType(self.number, self.lanes)
        self.integers = ir.VectorType(self.integer, self.lanes)
        self.mask = ir.VectorType(I1, self.lanes)
        self.function = function
        self.entry = function.append_basic_block("entry")
        self.b = Builder(self.entry)

    # -- constants

    def i64(self, value: int) -> Value:
        """A whole number that counts or indexes."""
        return ir.Constant(self.index, value)

    def const(self, value: float) -> Value:
        """A number in every lane."""
        return _in_every_lane(self.number, self.lanes, float(value).hex())

    def bits(self, value: int) -> Value:
        """An integer in every lane."""
        return _in_every_lane(self.integer, self.lanes, value)

    def scalar(self, value: float) -> Value:
        return ir.Constant(self.number, value)

    # -- memory

    def at(self, base: Value, index: Value) -> Value:
        """The address of a number."""
        return self.b.gep(base, [index], source_etype=self.number)

    def stored_number(self, storage: Storage) -> Any:
        """The type of a weight in a storage."""
        return {"full": self.number, "bf16": ir.IntType(16), "int8": ir.IntType(8)}[storage]

    def load_stored(self, address: Value, storage: Storage) -> Value:
        """A register of weights in a storage of floating point, of float32 numbers."""
        if storage == "full":
            return self.load_vector(address)
        kind = self.stored_number(storage)
        loaded = self.b.load(address, typ=ir.VectorType(kind, self.lanes), align=1)
        shift = ir.Constant(self.integers, [16] * self.lanes)  # a bfloat16 is the upper half of a float32
        return self.b.bitcast(self.b.shl(self.b.zext(loaded, self.integers), shift), self.vector)

    def room(self, kind: Any, count: int) -> Value:
        """The address of memory on the stack for so many values of a type."""
        made = self.b.alloca(ir.ArrayType(kind, count))
        made.type = POINTER  # of any type, as all addresses here
        return made

    def fetch(self, address: Value, *, far: bool = False) -> None:
        """Brings the cache line of an address near while other work goes on; where nothing stands, nothing happens.

        Args:
            far: into the second cache rather than the first.
        """
        function = self.declare("llvm.prefetch.p0", VOID, [POINTER, I32, I32, I32])
        read, data = 0, 1
        locality = 2 if far else 3
        self.b.call(function, [address, *(ir.Constant(I32, number) for number in (read, locality, data))])

    def load(self, address: Value) -> Value:
        return self.b.load(address, typ=self.number, align=self.item)

    def store(self, value: Value, address: Value) -> None:
        self.b.store(value, address, align=self.item)

    def load_vector(self, address: Value, mask: Value | None = None) -> Value:
        """Neighbouring numbers; with a mask those outside it are 0 and their memory is not touched."""
        if mask is None:
            return self.b.load(address, typ=self.vector, align=self.item)
        name = f"llvm.masked.load.v{self.lanes}f{8 * self.item}.p0"
        function = self.declare(name, self.vector, [POINTER, I32, self.mask, self.vector])
        return self.b.call(function, [address, ir.Constant(I32, self.item), mask, self.const(0.0)])

    def store_vector(self, value: Value, address: Value, mask: Value | None = None) -> None:
        if mask is None:
            self.b.store(value, address, align=self.item)
            return
        name = f"llvm.masked.store.v{self.lanes}f{8 * self.item}.p0"
        function = self.declare(name, VOID, [self.vector, POINTER, I32, self.mask])
        self.b.call(function, [value, address, ir.Constant(I32, self.item), mask])

    def tail_mask(self, count: Value) -> Value:
        """True in the first `count` lanes."""
        order = _lane_numbers(self.lanes)
        return self.b.icmp_signed("<", order, self.splat_int(count, order.type))

    def splat(self, value: Value) -> Value:
        """A scalar in every lane."""
        empty = ir.Constant(self.vector, ir.Undefined)
        first = self.b.insert_element(empty, value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(first, empty, zeros)

    def splat_int(self, value: Value, kind: ir.VectorType) -> Value:
        empty = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(empty, value, ir.Constant(I32, 0))
        return self.b.shuffle_vector(
            first, empty, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
        )

    # -- arithmetic

    def declare(self, name: str, returns: Any, args: list[Any]) -> ir.Function:
        known = self.module.globals.get(name)
        return known if known is not None else ir.Function(self.module, ir.FunctionType(returns, args), name)

    def intrinsic(self, name: str, *args: Value) -> Value:
        """An intrinsic over values of one type, such as `fabs` or `maximum`."""
        kind = args[0].type
        suffix = f"f{8 * self.item}" if kind == self.number else f"v{self.lanes}f{8 * self.item}"
        function = self.declare(f"llvm.{name}.{suffix}", kind, [kind] * len(args))
        return self.b.call(function, list(args))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once where the target can."""
        if self.target.fma:
            return self.intrinsic("fma", a, b, c)
        return self.b.fadd(self.b.fmul(a, b), c)

    def polynomial(self, x: Value, coefficients: list[float]) -> Value:
        """Horner's scheme; coefficients by rising power."""
        total = self.like(x, coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.fma(total, x, self.like(x, coefficient))
        return total

    def like(self, value: Value, number: float) -> Value:
        return self.scalar(number) if value.type == self.number else self.const(number)

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        return self.b.select(condition, yes, no)

    # -- control

    @contextmanager
    def loop(
        self, start: Value, stop: Value, step: int = 1, carried: list[Value] | None = None
    ) -> Iterator[Any]:
        """`for i in range(start, stop, step)`: yields (i, loop); `loop.values` are carried from turn to turn."""
        before = self.b.block
        head, body, after = (self.b.append_basic_block(name) for name in ("head", "body", "after"))
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(self.index)
        index.add_incoming(start, before)
        state = _Loop([self.b.phi(value.type) for value in carried or []])
        for phi, value in zip(state.values, carried or [], strict=True):
            phi.add_incoming(value, before)
        self.b.cbranch(self.b.icmp_signed("<", index, stop), body, after)
        self.b.position_at_end(body)
        yield index, state
        end = self.b.block
        index.add_incoming(self.b.add(index, self.i64(step)), end)
        for phi, value in zip(state.values, state.next, strict=True):
            phi.add_incoming(value, end)
        self.b.branch(head)
        self.b.position_at_end(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        with self.b.if_then(condition):
            yield

    def smaller(self, a: Value, b: Value) -> Value:
        return self.b.select(self.b.icmp_signed("<", a, b), a, b)

    def share(self, count: Value, part: Value, parts: Value) -> tuple[Value, Value]:
        """The first and one past the last of `count` things that fall to one of equal parts."""
        first = self.b.sdiv(self.b.mul(count, part), parts)
        return first, self.b.sdiv(self.b.mul(count, self.b.add(part, self.i64(1))), parts)

    def ceil_div(self, a: Value, b: Value) -> Value:
        return self.b.sdiv(self.b.sub(self.b.add(a, b), self.i64(1)), b)


@lru_cache(maxsize=4096)
def _in_every_lane(kind: Any, lanes: int, value: int | str) -> Value:
    """A vector of equal numbers, whose text is written once in a process: an integer, or a float in hexadecimal, which
    tells -0 from 0."""
    number = ir.Constant(kind, float.fromhex(value) if isinstance(value, str) else value)
    return ir.Constant(ir.VectorType(kind, lanes), [number] * lanes)


@lru_cache
def _lane_numbers(lanes: int) -> Value:
    """0, 1, 2, …"""
    return ir.Constant(ir.VectorType(I64, lanes), [ir.Constant(I64, lane) for lane in range(lanes)])


class _Loop:
    """Values that a loop carries: `values` of this turn, `next` for the one after."""

    def __init__(self, values: list[Value]) -> None:
        self.values = values
        self.next: list[Value] = list(values)


def function(
    module: ir.Module,
    name: str,
    args: list[tuple[str, Any]],
    target: Target,
    dtype: str,
    *,
    inline: bool = False,
) -> Emitter:
    """A new function without a result."""
    made = ir.Function(module, ir.FunctionType(VOID, [kind for _, kind in args]), name)
    for arg, (label, _) in zip(made.args, args, strict=True):
        arg.name = label
    if inline:
        made.attributes.add("alwaysinline")
        made.linkage = "internal"
    return Emitter(module, target, dtype, made)
