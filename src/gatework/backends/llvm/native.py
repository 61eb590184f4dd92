"""Machine code of programs: compiled once, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gatework.backends.llvm import threads
from gatework.backends.llvm.layout import Layout
from gatework.backends.llvm.target import Target
from gatework.graph.node import Graph

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


@dataclass(frozen=True)
class Native:
    """A program in memory.

    Attributes:
        run: address of `run(pointers, numbers, …)`, see `driver.RUN_ARGUMENTS`.
        layout: of the argument arrays.
        engine: keeps the machine code alive.
    """

    run: int
    layout: Layout
    engine: object
    target: Target


@lru_cache(maxsize=512)
def native(graph: Graph, dtype: torch.dtype, target: Target) -> Native:
    """The machine code of an expanded step graph, from the cache on disk or compiled now."""
    name = _DTYPES[dtype]
    driver(dtype, target)
    key = (graph.nodes, graph.inputs, graph.states, graph.blocks, graph.vectors, graph.outputs, name)
    layout, code = _cached(repr(key), target, lambda: _compile_program(graph, target, name))
    engine = _load(code, target)
    return Native(engine.get_function_address("run"), Layout.from_json(layout), engine, target)


@dataclass(frozen=True)
class Driver:
    """What walks through work lists, in memory.

    Attributes:
        task: address of `task(data)` for each thread of a team.
        alone: address of `alone(data)` for one thread.
    """

    task: int
    alone: int
    target: Target
    engine: object


@cache
def driver(dtype: torch.dtype, target: Target) -> Driver:
    """The driver, from the cache on disk or compiled now; its tiles get the names that programs are linked with."""
    import llvmlite.binding as llvm

    from gatework.backends.llvm import driver, product

    number = _DTYPES[dtype]
    for name, address in threads.symbols().items():
        llvm.add_symbol(name, address)
    _, code = _cached(f"driver {number}", target, lambda: _compile_driver(target, number))
    engine = _load(code, target)
    for columns in product.COLUMNS:
        name = product.block_name(columns, False)
        llvm.add_symbol(product.linked_name(columns, number, target), engine.get_function_address(name))
    llvm.add_symbol(driver.BARRIER, engine.get_function_address(driver.BARRIER))
    task, alone = engine.get_function_address("task"), engine.get_function_address("alone")
    return Driver(task, alone, target, engine)


def _compile_driver(target: Target, dtype: str) -> tuple[str, bytes]:
    from llvmlite import ir

    from gatework.backends.llvm import driver

    module = ir.Module("driver")
    module.triple = target.triple
    driver.emit_driver(module, target, dtype)
    return "", _object(str(module), target)


def _compile_program(graph: Graph, target: Target, dtype: str) -> tuple[str, bytes]:
    from llvmlite import ir

    from gatework.backends.llvm.lower import Program
    from gatework.graph.schedule import schedule

    module = ir.Module("program")
    module.triple = target.triple
    program = Program(module, schedule(graph), target, dtype)
    program.emit("run")
    return program.layout.to_json(), _object(str(module), target)


def _machine(target: Target) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(target.triple).create_target_machine(features=target.features, opt=2)


def _object(text: str, target: Target) -> bytes:
    import llvmlite.binding as llvm

    parsed = llvm.parse_assembly(text)
    parsed.verify()
    return bytes(_machine(target).emit_object(parsed))


def _load(code: bytes, target: Target) -> Any:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


# The cache: one file a program, a line of JSON and then the object code. The name says all that the code depends
# on, this package's own sources among it.


def cache_folder() -> Path:
    """Where compiled programs are kept: $GATEWORK_CACHE, or gatework/kernels in the user's cache folder."""
    given = os.environ.get("GATEWORK_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gatework" / "kernels"


@cache
def _version() -> str:
    digest = hashlib.sha256(version("llvmlite").encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    digest.update((Path(__file__).parents[2] / "graph" / "schedule.py").read_bytes())
    return digest.hexdigest()


def _digest(layout: str, code: bytes) -> str:
    return hashlib.sha256(layout.encode() + b"\n" + code).hexdigest()


def _cached(key: str, target: Target, compile_now: Callable[[], tuple[str, bytes]]) -> tuple[str, bytes]:
    """Layout and code for a key; a file that is damaged or cannot be read is compiled anew."""
    name = hashlib.sha256("\n".join([key, target.triple, target.features, _version()]).encode()).hexdigest()
    path = cache_folder() / name
    try:
        head, _, code = path.read_bytes().partition(b"\n")
        fields = json.loads(head)
        if _digest(fields["layout"], code) == fields["sha256"]:
            return fields["layout"], code
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent or damaged: it is made again
    layout, code = compile_now()
    head = json.dumps({"sha256": _digest(layout, code), "layout": layout}).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(head + b"\n" + code)
        os.replace(file.name, path)
    except OSError:
        pass  # a read-only home: compiled again next time
    return layout, code
