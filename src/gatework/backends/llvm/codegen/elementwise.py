"""The elementwise operations of a kernel: values of one block of units of one row, in registers."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from gatework.backends.llvm.codegen import mathematics
from gatework.backends.llvm.codegen.addressing import Addressing
from gatework.backends.llvm.codegen.arguments import ROW_ALIGNMENT
from gatework.backends.llvm.codegen.emitter import Emitter, Value
from gatework.backends.llvm.codegen.placement import NativePlacement
from gatework.graph.keys import ArrayKey
from gatework.graph.node import Node, Width
from gatework.graph.ops import OPS
from gatework.graph.schedule import Kernel


class ElementwiseCode:
    """The values of one block of units of one row."""

    def __init__(
        self,
        placement: NativePlacement,
        e: Emitter,
        addressing: Addressing,
        kernel: Kernel,
        stage: int,
        step: Value,
        unit: Value,
        mask: Value | None,
    ) -> None:
        self.placement, self.e, self.addressing = placement, e, addressing
        self.kernel, self.stage, self.step, self.unit, self.mask = kernel, stage, step, unit, mask
        self.positions = {a.node: position for position, a in enumerate(kernel.accumulations)}
        self.fixed: dict[int, Value] = {}
        self.values: dict[int, Value] = {}

    def prepare(self) -> None:
        """Reads and computes what is the same for every row: learned vectors, biases, and what follows from them."""
        placement = self.placement
        read = placement.read_by(self.kernel, self.stage)
        for index, node in enumerate(placement.graph.nodes):
            if index not in read:
                continue
            if node.op == "constant":
                self.fixed[index] = self.e.const(node.number("value"))
            elif node.op in ("vector", "bias"):
                address = self.addressing.pointer(self.addressing.leaf(node))
                if node.width == 1:
                    self.fixed[index] = self.e.splat(self.e.load(address))
                else:
                    self.fixed[index] = self.e.load_vector(self.e.at(address, self.unit), self.mask)
            elif OPS[node.op].sort == "elementwise" and placement.is_inlined(index, self.kernel, self.stage):
                args = [placement.storage_of(arg) for arg in node.args]
                if all(arg in self.fixed for arg in args):
                    self.fixed[index] = apply(self.e, node, [self.fixed[arg] for arg in args])

    def row(self, row: Value, sums: Value, group: Value) -> None:
        """Emits the loads, operations and stores of one row."""
        e, placement = self.e, self.placement
        self.values = dict(self.fixed)
        self.row_number, self.sums, self.group = row, sums, group
        for index in self.kernel.stores:
            value = self.value(index)
            node = placement.node(index)
            places = placement.arrays.get(index, [])
            for place in places:
                self.put(value, self.place(place, node.width, new=True), node.width)
            if node.width == 1 and placement.schedule.stage_of[index] is not None:
                first = e.b.extract_element(value, ir.Constant(ir.IntType(32), 0))
                e.store(first, self.scalar(index, row))
        for index in self.kernel.sums:
            self.share(index, row)

    def put(self, value: Value, address: Value, width: Width) -> None:
        if width == 1:
            self.e.store(self.e.b.extract_element(value, ir.Constant(ir.IntType(32), 0)), address)
        else:
            self.e.store_vector(value, address, self.mask)

    def place(self, key: ArrayKey, width: Width, *, new: bool = False) -> Value:
        """The address of the block in an array; of an array of width 1, of its number."""
        return self.addressing.row(key, width, self.step, self.row_number, self.unit, new=new)

    def read(self, address: Value, width: Width) -> Value:
        """The block at an address; a number of width 1 in every lane."""
        return self.e.splat(self.e.load(address)) if width == 1 else self.e.load_vector(address, self.mask)

    def share(self, index: int, row: Value) -> None:
        """This block's part of a reduction over the units."""
        e = self.e
        node = self.placement.node(index)
        largest = node.op == "max"
        neutral = e.const(float("-inf") if largest else 0.0)
        total: Value | None = None
        for arg in node.args:
            value = self.value(arg)
            if self.mask is not None:
                value = e.select(self.mask, value, neutral)
            if total is None:
                total = value
            else:
                total = e.intrinsic("maximum", total, value) if largest else e.b.fadd(total, value)
        assert total is not None
        part = across(e, total, largest)
        blocks = self.blocks(self.kernel.width)
        place = e.b.add(self.row_offset(row, blocks), e.b.sdiv(self.unit, e.i64(e.lanes)))
        key = ArrayKey("sum", str(index))
        self.placement.layout.scratch[key] = self.kernel.width
        e.store(part, e.at(self.addressing.own(key), place))

    def scalar(self, index: int, row: Value) -> Value:
        """The address of a row's own number."""
        return self.e.at(
            self.addressing.own(ArrayKey("scalar", str(index))), self.row_offset(row, self.e.i64(1))
        )

    def row_offset(self, row: Value, numbers: Value) -> Value:
        """Where a row's few numbers begin: no two rows, and so no two threads, share a pair of cache lines."""
        aligned = self.e.i64(ROW_ALIGNMENT // self.e.item)
        return self.e.b.mul(row, self.e.b.mul(self.e.ceil_div(numbers, aligned), aligned))

    def blocks(self, width: Width) -> Value:
        return self.e.ceil_div(self.addressing.width(width), self.e.i64(self.e.lanes))

    def reduced(self, index: int) -> Value:
        """A reduction from its parts, in their order."""
        e = self.e
        node = self.placement.node(index)
        width = next(
            (self.placement.node(arg).width for arg in node.args if self.placement.node(arg).width != 1), 1
        )
        blocks = self.blocks(width)
        base = e.at(
            self.addressing.own(ArrayKey("sum", str(index))), self.row_offset(self.row_number, blocks)
        )
        largest = node.op == "max"
        with e.loop(e.i64(1), blocks, 1, [e.load(base)]) as (block, turn):
            part = e.load(e.at(base, block))
            old = turn.values[0]
            turn.next = [e.intrinsic("maximum", old, part) if largest else e.b.fadd(old, part)]
        return e.splat(turn.values[0])

    def value(self, index: int) -> Value:
        index = self.placement.storage_of(index)
        if index not in self.values:
            self.values[index] = self._value(index)
        return self.values[index]

    def _value(self, index: int) -> Value:
        e, placement = self.e, self.placement
        node = placement.node(index)
        sort = OPS[node.op].sort
        if node.op == "constant":
            return e.const(node.number("value"))
        if node.op == "size":
            of = node["of"]
            count = self.addressing.width(of if isinstance(of, str) else int(of))
            return e.splat(e.b.sitofp(count, e.number))
        if sort == "leaf":
            return self.read(self.place(self.addressing.leaf(node), node.width), node.width)
        if index in self.positions:
            place = e.b.mul(self.group, e.i64(self.positions[index]))
            return e.load_vector(e.at(self.sums, place))
        if sort == "reduction":
            return self.reduced(index)
        if placement.is_inlined(index, self.kernel, self.stage):
            return apply(e, node, [self.value(arg) for arg in node.args])
        if node.width == 1 and placement.schedule.stage_of[index] is not None:
            return e.splat(e.load(self.scalar(index, self.row_number)))
        return self.read(self.place(placement.arrays[index][0], node.width, new=True), node.width)


def across(e: Emitter, value: Value, largest: bool = False) -> Value:
    """The sum or the largest of a register's lanes, by halves."""
    lanes = e.lanes
    undefined = ir.Constant(e.vector, ir.Undefined)
    while lanes > 1:
        lanes //= 2
        order = [lane + lanes if lane < lanes else lane for lane in range(e.lanes)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), e.lanes), order)
        other = e.b.shuffle_vector(value, undefined, mask)
        value = e.intrinsic("maximum", value, other) if largest else e.b.fadd(value, other)
    return e.b.extract_element(value, ir.Constant(ir.IntType(32), 0))


def apply(e: Emitter, node: Node, args: list[Value]) -> Value:
    """One elementwise operation on registers."""
    return CODE[OPS[node.op].code](e, node, *args)


def _comparison(symbol: str) -> Code:
    return lambda e, node, a, b: e.select(e.b.fcmp_ordered(symbol, a, b), e.const(1.0), e.const(0.0))


def _function(write: Callable[..., Value]) -> Code:
    return lambda e, node, x: write(e, x)


def _intrinsic(name: str) -> Code:
    return lambda e, node, *args: e.intrinsic(name, *args)


def _relu(e: Emitter, node: Node, x: Value) -> Value:
    zero = e.const(0.0)
    return e.select(e.b.fcmp_ordered("<=", x, zero), zero, x)


def _where(e: Emitter, node: Node, condition: Value, yes: Value, no: Value) -> Value:
    return e.select(e.b.fcmp_unordered("!=", condition, e.const(0.0)), yes, no)


def _clip(e: Emitter, node: Node, x: Value) -> Value:
    return _clipped(e, x, node.number("low"), node.number("high"))


def _hard_sigmoid(e: Emitter, node: Node, x: Value) -> Value:
    line = e.b.fadd(e.b.fmul(x, e.const(node.number("slope"))), e.const(0.5))
    return _clipped(e, line, 0.0, 1.0)


def _clipped(e: Emitter, x: Value, low: float, high: float) -> Value:
    above = e.select(e.b.fcmp_ordered(">", x, e.const(high)), e.const(high), x)
    return e.select(e.b.fcmp_ordered("<", x, e.const(low)), e.const(low), above)


def _power(e: Emitter, node: Node, x: Value) -> Value:
    exponent = node.number("exponent")
    if abs(exponent) == 0.5:  # a square root, as in torch: NaN where the C library's pow(-inf, 0.5) is inf
        root = e.intrinsic("sqrt", x)
        return root if exponent > 0 else e.b.fdiv(e.const(1.0), root)
    if exponent.is_integer() and 0 <= abs(exponent) <= 16:
        result = e.const(1.0)
        for _ in range(int(abs(exponent))):
            result = e.b.fmul(result, x)
        return result if exponent >= 0 else e.b.fdiv(e.const(1.0), result)
    return mathematics.by_lanes("pow")(e, x, e.const(exponent))


Code = Callable[..., Value]
CODE: dict[str, Code] = {
    "copy": lambda e, node, x: x,
    "add": lambda e, node, a, b: e.b.fadd(a, b),
    "sub": lambda e, node, a, b: e.b.fsub(a, b),
    "mul": lambda e, node, a, b: e.b.fmul(a, b),
    "div": lambda e, node, a, b: e.b.fdiv(a, b),
    "neg": lambda e, node, x: e.b.fneg(x),
    "pow": _power,
    "less": _comparison("<"),
    "less_equal": _comparison("<="),
    "equal": _comparison("=="),
    "where": _where,
    "maximum": _intrinsic("maximum"),
    "minimum": _intrinsic("minimum"),
    "relu": _relu,
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "abs": _intrinsic("fabs"),
    "sqrt": _intrinsic("sqrt"),
    "sigmoid": _function(mathematics.sigmoid),
    "tanh": _function(mathematics.tanh),
    "softplus": _function(mathematics.softplus),
    "exp": _function(mathematics.exp),
    "expm1": _function(mathematics.expm1),
    "log": _function(mathematics.log),
    "sin": _function(mathematics.sin),
    "cos": _function(mathematics.cos),
}
"""Elementwise operations by the name of their code (`Op.code`): from the operation's node and its arguments' values."""
