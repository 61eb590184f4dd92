"""The engine's products, read as assembly: nothing in their inner loops stands on the stack, on any target.

Compiled for every target, whatever this machine is: what LLVM cannot keep in registers it stores and reads again in
every turn, and no test of the results sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

import gatework as gw
from gatework.backends.compiled.programs import training_programs_of
from gatework.backends.llvm.codegen import matmul
from gatework.backends.llvm.codegen.driver import emit_driver
from gatework.backends.llvm.codegen.lower import Program
from gatework.backends.llvm.codegen.target import Target, target_of
from gatework.backends.storage import STORAGES, Storage
from gatework.graph import Graph
from gatework.graph.schedule import schedule

_X86 = "x86_64-unknown-linux-gnu"
TARGETS = {
    "avx512": target_of(_X86, "+avx,+avx2,+fma,+avx512f,+avx512vl,+avx512dq,+avx512bw,+avx512cd"),
    "avx2": target_of(_X86, "+avx,+avx2,+fma"),
    "sse2": target_of(_X86, "+sse2"),
    "neon": target_of("aarch64-unknown-linux-gnu", "+neon"),
}

_LABEL = re.compile(r"(\.?[\w.$]+):")
_JUMP = re.compile(r"\s+(?:j[a-z]+|b|b\.\w+|cbn?z|tbn?z)\s(?:.*\s)?(\.L\w+)\s*$")
_STACK = re.compile(r"\(%rsp|\[sp\b")
_FRAME = re.compile(r"\(%rbp|\[x29\b")
_FRAME_IS_MADE = re.compile(r"\s+(?:movq\s+%rsp, %rbp|(?:mov|add)\s+x29, sp)")
_PRODUCT = re.compile(r"\s+(?:v?fn?m(?:add|sub|ul|la|ls)\w*|v?mulp\w+|v?pmaddwd|smull2?)\s")


class Loop(NamedTuple):
    """A loop without another in it.

    Attributes:
        function: that it stands in.
        lines: its instructions.
        framed: whether the function addresses its stack by the frame's register too.
    """

    function: str
    lines: tuple[str, ...]
    framed: bool

    @property
    def multiplies(self) -> bool:
        """Whether vectors are multiplied in it."""
        return any(map(_PRODUCT.match, self.lines))

    @property
    def on_stack(self) -> list[str]:
        """Instructions that read or write the stack."""
        return [line for line in self.lines if _STACK.search(line) or (self.framed and _FRAME.search(line))]


def loops(text: str) -> Iterator[Loop]:
    """The loops of an assembly that are a label and what runs up to the first jump, where it goes back to the label."""
    function, label, lines, framed = "", None, [], False
    for line in text.splitlines():
        if found := _LABEL.match(line):
            label, lines = found[1], []
            if not label.startswith("."):
                function, framed = label, False
        elif found := _JUMP.match(line):
            if found[1] == label:
                yield Loop(function, tuple(lines), framed)
            label = None
        else:
            lines.append(line)
            framed = framed or _FRAME_IS_MADE.match(line) is not None


def assembly(module: ir.Module, on: Target) -> str:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(on.triple).create_target_machine(features=on.features, opt=2)
    parsed = llvm.parse_assembly(str(module))
    return str(machine.emit_assembly(parsed))


def of_driver(on: Target, dtype: str) -> str:
    module = ir.Module("driver")
    module.triple = on.triple
    emit_driver(module, on, dtype)
    return assembly(module, on)


def of_products(on: Target, storage: Storage) -> str:
    module = ir.Module("products")
    module.triple = on.triple
    matmul.emit_products(module, on, "float32", storage)
    return assembly(module, on)


def of_program(graph: Graph, on: Target, dtype: str) -> str:
    module = ir.Module("program")
    module.triple = on.triple
    Program(module, schedule(graph), on, dtype).emit("run")
    return assembly(module, on)


def programs(cell: str) -> list[Graph]:
    """What a layer of a cell runs in training, forward and backward."""
    graph = gw.cells.get(cell).graph
    training = training_programs_of(graph, frozenset(spec.name for spec in graph.inputs))
    return [training.loop.forward, training.loop.loop]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TARGETS)
def test_no_tile_keeps_anything_on_the_stack(name: str, dtype: str) -> None:
    on = TARGETS[name]
    check_tiles(of_driver(on, dtype), on)


@pytest.mark.parametrize("storage", STORAGES[1:])
@pytest.mark.parametrize("name", TARGETS)
def test_no_tile_with_weights_in_fewer_bits_keeps_anything_on_the_stack(name: str, storage: Storage) -> None:
    check_tiles(of_products(TARGETS[name], storage), TARGETS[name], storage)


def check_tiles(text: str, on: Target, storage: Storage = "full") -> None:
    tiles = {loop.function: loop for loop in loops(text) if loop.function.startswith("tile_")}
    expected = {
        matmul.tile_name(rows, columns)
        for columns in matmul.COLUMNS
        for rows in range(1, matmul.most_rows(on, columns, storage) + 1)
    }
    assert set(tiles) == expected
    for tile, loop in tiles.items():
        assert loop.multiplies
        assert loop.on_stack == [], tile


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("cell", ["bahdanau_lstm", "luong_lstm"])
def test_no_product_of_a_memory_keeps_anything_on_the_stack(cell: str, name: str) -> None:
    """Beside the tiles only memories are multiplied; what runs around the products is elementwise, and may."""
    found = set()
    for graph in programs(cell):
        for loop in loops(of_program(graph, TARGETS[name], "float32")):
            if loop.function in ("dot_score", "attention_context") and loop.multiplies:
                found.add(loop.function)
                assert loop.on_stack == [], loop.lines
    assert found == {"dot_score", "attention_context"}


@pytest.mark.parametrize("name", ["avx2", "neon"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "layer_norm_lstm", "slstm"])
def test_a_lowered_step_leaves_its_products_to_the_tiles(cell: str, name: str) -> None:
    """No loop of it carries a sum of products from turn to turn: all of them are elementwise, a row a turn."""
    for graph in programs(cell):
        text = of_program(graph, TARGETS[name], "float32")
        own = {loop.function for loop in loops(text) if loop.multiplies}
        assert all(each.endswith(("_whole", "_tail")) or "_scalars_" in each for each in own)


def test_every_tile_fits_its_targets_registers_and_one_more_row_does_not() -> None:
    for on in TARGETS.values():
        for columns in matmul.COLUMNS:
            most = matmul.most_rows(on, columns)
            assert on.tile_registers(most, columns) <= on.registers
            assert (most + 1) * columns > 12 or on.tile_registers(most + 1, columns) > on.registers


SPILLED = """
tile_1x1:
	pushq	%rbp
	movq	%rsp, %rbp
.LBB0_1:
	vmovups	32(%rsp), %ymm1
	vfmadd231ps	(%rax), %ymm1, %ymm0
	{}
	decq	%rcx
	jne	.LBB0_1
	retq
"""


@pytest.mark.parametrize(("line", "count"), [("nop", 1), ("vmovups	%ymm0, -8(%rbp)", 2)])
def test_what_stands_on_the_stack_is_found(line: str, count: int) -> None:
    (loop,) = loops(SPILLED.format(line))
    assert loop.multiplies
    assert len(loop.on_stack) == count
