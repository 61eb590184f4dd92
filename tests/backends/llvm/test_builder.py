"""What is written twice is computed once, and only where its first computation is sure to have run."""

from __future__ import annotations

from collections.abc import Callable

import llvmlite.binding as llvm
from llvmlite import ir

from gatework.backends.llvm.codegen import target
from gatework.backends.llvm.codegen.emitter import I64, Emitter, Value, function


def written(write: Callable[[Emitter, Value, Value], None]) -> str:
    """A function of an address and a whole number, as LLVM accepts it."""
    module = ir.Module("builder")
    host = target.host()
    e = function(module, "f", [("to", ir.PointerType()), ("n", I64)], host, "float32")
    write(e, *e.function.args)
    e.b.ret_void()
    llvm.parse_assembly(str(module)).verify()
    return str(module)


def test_one_block_computes_a_product_and_an_address_once() -> None:
    def write(e: Emitter, to: Value, n: Value) -> None:
        for number in (1.0, 2.0):
            e.store(e.scalar(number), e.at(to, e.b.mul(n, e.i64(3))))

    text = written(write)
    assert text.count(" mul ") == 1
    assert text.count("getelementptr") == 1
    assert text.count("store") == 2


def test_a_block_uses_what_the_blocks_around_it_know_and_nothing_of_its_neighbours() -> None:
    def write(e: Emitter, to: Value, n: Value) -> None:
        tripled = e.b.mul(n, e.i64(3))
        with e.loop(e.i64(0), tripled) as (i, _):
            assert e.b.mul(n, e.i64(3)) is tripled
            inside = e.b.mul(i, e.i64(5))
            with e.when(e.b.icmp_signed(">", i, n)):
                assert e.b.mul(i, e.i64(5)) is inside
                hidden = e.b.mul(i, e.i64(7))
            assert e.b.mul(i, e.i64(7)) is not hidden
        with e.loop(e.i64(0), n) as (_, _):
            first = e.b.mul(n, e.i64(9))
        with e.loop(e.i64(0), n) as (_, _):
            assert e.b.mul(n, e.i64(9)) is not first

    written(write)


def test_neutral_operands_leave_no_instruction_and_the_two_zeros_differ() -> None:
    def write(e: Emitter, to: Value, n: Value) -> None:
        assert e.b.mul(e.b.add(n, e.i64(0)), e.i64(1)) is n
        assert e.at(to, e.i64(0)) is to
        assert e.const(0.0) is e.const(0.0)
        assert str(e.const(0.0)) != str(e.const(-0.0))

    written(write)
