"""Machine code of programs: compiled once, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from gatework.backends import threads
from gatework.backends.compiled.once import made_once
from gatework.backends.llvm.codegen.arguments import Layout
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.storage import Storage
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


@made_once(maxsize=512)
def native(graph: Graph, dtype: torch.dtype, target: Target, storage: Storage = "full") -> Native:
    """The machine code of an expanded step graph, from the cache on disk or compiled now.

    Args:
        storage: how its weight matrices are kept.
    """
    name = _DTYPES[dtype]
    driver(dtype, target)
    if storage != "full":
        _link_products(dtype, target, storage)
    key = (
        graph.nodes,
        graph.inputs,
        graph.states,
        graph.blocks,
        graph.vectors,
        graph.outputs,
        name,
        storage,
    )
    layout, code = _cached(repr(key), target, lambda: _compile_program(graph, target, name, storage))
    engine = _load(code, target)
    return Native(engine.get_function_address("run"), Layout.from_json(layout), engine, target)


@dataclass(frozen=True)
class Driver:
    """What walks through command lists, in memory.

    Attributes:
        task: address of what each thread of a team calls, `task` or `microtask`.
        alone: address of `alone(data)` for one thread.
    """

    task: int
    alone: int
    target: Target
    engine: object


@made_once()
def driver(dtype: torch.dtype, target: Target) -> Driver:
    """The driver, from the cache on disk or compiled now; its tiles get the names that programs are linked with."""
    import llvmlite.binding as llvm

    from gatework.backends.llvm.codegen import driver, unpacked

    number = _DTYPES[dtype]
    for name, address in threads.symbols().items():
        llvm.add_symbol(name, address)
    _, code = _cached(f"driver {number}", target, lambda: _compile_driver(target, number))
    engine = _load(code, target)
    _link_product(engine, number, target, "full")
    llvm.add_symbol(driver.BARRIER, engine.get_function_address(driver.BARRIER))
    llvm.add_symbol(unpacked.linked_name(number, target), engine.get_function_address(unpacked.FUNCTION))
    task, alone = engine.get_function_address(threads.entry()), engine.get_function_address("alone")
    return Driver(task, alone, target, engine)


@made_once()
def _link_products(dtype: torch.dtype, target: Target, storage: Storage) -> Any:
    """The products with weights in a storage, from the cache on disk or compiled now; gives what keeps them alive."""
    number = _DTYPES[dtype]
    _, code = _cached(
        f"products {number} {storage}", target, lambda: _compile_products(target, number, storage)
    )
    engine = _load(code, target)
    _link_product(engine, number, target, storage)
    return engine


def _link_product(engine: Any, number: str, target: Target, storage: Storage) -> None:
    """Gives a product the name that programs are linked with."""
    import llvmlite.binding as llvm

    from gatework.backends.llvm.codegen import matmul

    address = engine.get_function_address(matmul.PRODUCT)
    llvm.add_symbol(matmul.linked_name(number, target, storage), address)


def _compile_products(target: Target, dtype: str, storage: Storage) -> tuple[str, bytes]:
    from llvmlite import ir

    from gatework.backends.llvm.codegen import matmul

    module = ir.Module("products")
    module.triple = target.triple
    matmul.emit_products(module, target, dtype, storage)
    return "", _object(str(module), target)


def _compile_driver(target: Target, dtype: str) -> tuple[str, bytes]:
    from llvmlite import ir

    from gatework.backends.llvm.codegen import driver

    module = ir.Module("driver")
    module.triple = target.triple
    driver.emit_driver(module, target, dtype)
    return "", _object(str(module), target)


def _compile_program(graph: Graph, target: Target, dtype: str, storage: Storage) -> tuple[str, bytes]:
    from llvmlite import ir

    from gatework.backends.llvm.codegen.lower import Program
    from gatework.graph.schedule import schedule

    module = ir.Module("program")
    module.triple = target.triple
    program = Program(module, schedule(graph), target, dtype, storage)
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


def cache_folders() -> list[Path]:
    """Where compiled programs are kept, the best place first; none where nothing can be kept.

    $GATEWORK_CACHE alone where it is set; else gatework/kernels in the user's cache folder, then a folder of the
    user's own among temporary files: a container may have no home, or one that cannot be written.
    """
    given = os.environ.get("GATEWORK_CACHE")
    if given:
        return [folder for folder in (Path(given),) if _made(folder)]
    folders = []
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folders.append(Path(base) / "gatework" / "kernels")
    except RuntimeError:
        pass  # no $HOME, and the user has no entry among the system's
    folders = [folder for folder in folders if _made(folder)]
    try:
        temporary = Path(tempfile.gettempdir()) / f"gatework-kernels-{_user()}"
    except FileNotFoundError:
        return folders  # no folder for temporary files can be written either
    return [*folders, temporary] if _made(temporary) and _private(temporary) else folders


def _user() -> str:
    """The user's number, where the system has such."""
    return str(os.getuid()) if hasattr(os, "getuid") else "own"


def _made(folder: Path) -> bool:
    """Makes a folder where there is none; whether it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return True


def _private(folder: Path) -> bool:
    """Whether a folder is the user's, and nobody else may write to it: what is read from it is run."""
    state = folder.lstat()
    own = not hasattr(os, "getuid") or state.st_uid == os.getuid()
    return stat.S_ISDIR(state.st_mode) and own and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def sources() -> list[Path]:
    """Every file that machine code may depend on: whole packages, and storages."""
    packages = "gatework.graph", "gatework.backends.compiled", "gatework.backends.llvm"
    found = map(find_spec, (*packages, "gatework.backends.storage"))
    files = (Path(spec.origin) for spec in found if spec and spec.origin)
    return sorted(path for file in files for path in _sources_of(file))


def _sources_of(file: Path) -> list[Path]:
    """A module's file; of a package all files in its folder."""
    return list(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]


@made_once()
def _version() -> str:
    digest = hashlib.sha256(version("llvmlite").encode())
    for path in sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(layout: str, code: bytes) -> str:
    return hashlib.sha256(layout.encode() + b"\n" + code).hexdigest()


def _cached(key: str, target: Target, compile_now: Callable[[], tuple[str, bytes]]) -> tuple[str, bytes]:
    """Layout and code for a key; a file that is damaged or cannot be read is compiled from_scratch."""
    name = hashlib.sha256("\n".join([key, target.triple, target.features, _version()]).encode()).hexdigest()
    folders = cache_folders()
    for folder in folders:
        kept = _read(folder / name)
        if kept is not None:
            return kept
    layout, code = compile_now()
    for folder in folders:
        if _write(folder / name, layout, code):
            break  # where no folder can be written it is compiled again next time
    return layout, code


def _read(path: Path) -> tuple[str, bytes] | None:
    """Layout and code from a file; None where it is absent or damaged."""
    try:
        head, _, code = path.read_bytes().partition(b"\n")
        fields = json.loads(head)
        whole = _digest(fields["layout"], code) == fields["sha256"]
        return (fields["layout"], code) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


_STALE = 3600
"""Seconds after which an unfinished file is nobody's any more: writing one takes milliseconds."""


@made_once()
def _tidy(folder: Path) -> None:
    """Removes what killed processes have left unfinished; such names begin unlike a program's, which is a hash."""
    for left in folder.glob(f"{tempfile.gettempprefix()}*"):
        with suppress(OSError):  # another process removed it first
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def _write(path: Path, layout: str, code: bytes) -> bool:
    """Writes a program's file; whether it could."""
    head = json.dumps({"sha256": _digest(layout, code), "layout": layout}).encode()
    return write_whole(path, head + b"\n" + code)


def write_whole(path: Path, content: bytes) -> bool:
    """Writes a file whole, or not at all; whether it could."""
    _tidy(path.parent)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            part = Path(file.name)
            try:
                file.write(content)
                file.close()
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except OSError:
        return False
    return True
