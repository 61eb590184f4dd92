"""The engine's machine code for AArch64, run by qemu-user: what `make qemu` installs.

`Machine` links the engine's objects with a small C program and calls their functions in it. A function works on this
process's own arrays: pages around every address that it is given are copied into the emulated process, at addresses of
their own, and what it has changed is copied back. In `emulated()` it is the machine that the engine compiles for, so
that layers run there as they run here.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch

from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.llvm.codegen.driver import DATA_FIELDS
from gatework.backends.llvm.codegen.target import Target, target_of
from gatework.backends.llvm.runtime import native

ARM = target_of("aarch64-unknown-linux-gnu", "+neon")
TOOLS = {"qemu": ("qemu-aarch64", "qemu-aarch64-static"), "gcc": ("aarch64-linux-gnu-gcc",)}
TOOLS |= {name: (f"aarch64-linux-gnu-{name}",) for name in ("objcopy", "nm")}

_PAGE = 4096
_BEFORE, _AFTER = 1 << 16, 1 << 20  # bytes around an address that are copied
_NEAR = 1 << 24  # bytes up to which mappings keep their distance
_WINDOWS, _ENTRIES = 1 << 36, 1 << 25  # addresses in the emulated process
_MAIN = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
int omp_get_thread_num(void) { return 0; }
int omp_get_num_threads(void) { return 1; }
static void check(int holds, const char *what) { if (!holds) { perror(what); exit(3); } }
int main(int count, char **arguments) {
    uint64_t head[6], (*regions)[2];  /* function, four arguments, number of regions */
    FILE *file = fopen(arguments[1], "rb");
    check(file && fread(head, 8, 6, file) == 6, "head");
    regions = calloc(head[5], 16);
    check(fread(regions, 16, head[5], file) == head[5], "regions");
    for (uint64_t i = 0; i < head[5]; i++) {
        void *at = (void *)regions[i][0];
        int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        check(mmap(at, regions[i][1], PROT_READ | PROT_WRITE, how, -1, 0) == at, "mmap");
        check(fread(at, 1, regions[i][1], file) == regions[i][1], "region");
    }
    ((void (*)(uint64_t, uint64_t, uint64_t, uint64_t))head[0])(head[1], head[2], head[3], head[4]);
    check((file = fopen(arguments[2], "wb")) != NULL, "result");
    for (uint64_t i = 0; i < head[5]; i++)
        check(fwrite((void *)regions[i][0], 1, regions[i][1], file) == regions[i][1], "result");
    return fclose(file);
}
"""


def tool(name: str) -> str:
    """The path of a tool; the test is skipped where it is not installed."""
    for candidate in TOOLS[name]:
        path = shutil.which(candidate)
        if path is not None:
            return path
    pytest.skip(
        f"{TOOLS[name][0]} is not installed: `make qemu` installs what runs the engine's code for AArch64"
    )


@dataclass(frozen=True)
class Cluster:
    """Mappings of this process that stand near each other, and where they are in the emulated one."""

    first: int
    last: int
    window: int

    def moved(self, address: int) -> int:
        return address - self.first + self.window


class Machine:
    """An emulated processor with the engine's objects."""

    def __init__(self) -> None:
        self._kept = tempfile.TemporaryDirectory(prefix="gatework-aarch64-")  # until this process ends
        self._folder = Path(self._kept.name)
        self._objects: list[Path] = []
        self._entries: list[str] = []  # symbols that have a place in the table at _ENTRIES
        self._aliases: dict[str, str] = {}
        self._linked: tuple[int, int, int] | None = None
        self.calls = 0
        self.failure: BaseException | None = None
        (self._folder / "main.c").write_text(_MAIN)

    def add(self, code: bytes) -> str:
        """An object; what its own symbols begin with in the executable."""
        prefix = f"o{len(self._objects)}_"
        path, names = self._folder / f"{prefix}.o", self._folder / "names"
        path.write_bytes(code)
        listed = _output(tool("nm"), "--defined-only", "--extern-only", "--format=posix", path)
        own = [line.split()[0] for line in listed.splitlines()]
        names.write_text("".join(f"{name} {prefix}{name}\n" for name in own))
        _output(tool("objcopy"), f"--redefine-syms={names}", path)
        self._objects.append(path)
        return prefix

    def address(self, symbol: str) -> int:
        """Where the executable has a function, whenever it is linked."""
        if symbol not in self._entries:
            self._entries.append(symbol)
        return _ENTRIES + 16 * self._entries.index(symbol)

    def alias(self, name: str, address: int) -> None:
        """Another name for a function, by which other objects call it; addresses of this process's own are ignored."""
        number, rest = divmod(address - _ENTRIES, 16)
        if rest == 0 and 0 <= number < len(self._entries):
            self._aliases[name] = self._entries[number]

    def _link(self) -> Path:
        program, now = self._folder / "program", (len(self._objects), len(self._entries), len(self._aliases))
        if self._linked != now:
            table = ['.section .entries, "ax"']
            for symbol in self._entries:
                table.append(f"ldr x16, . + 8\nbr x16\n.quad {symbol}")
            (self._folder / "entries.s").write_text("\n".join(table) + "\n")
            aliases = [f"-Wl,--defsym={name}={symbol}" for name, symbol in self._aliases.items()]
            place = f"-Wl,--section-start=.entries={_ENTRIES:#x}"
            sources = [self._folder / "main.c", self._folder / "entries.s"]
            _output(
                tool("gcc"), "-static", "-O1", place, *aliases, *sources, *self._objects, "-lm", "-o", program
            )
            self._linked = now
        return program

    def call(self, symbol: str, *arguments: int, pointers: int = 0) -> None:
        """Calls a function on this process's memory.

        Args:
            arguments: addresses and other numbers, at most four.
            pointers: whole numbers at the first argument that are addresses too, or lead to tables of them.
        """
        clusters = _clusters()
        moved: dict[
            int, int
        ] = {}  # places of addresses in this process, and what stands there in the emulated one
        reached = [argument for argument in arguments if _cluster(clusters, argument)]
        for place in range(arguments[0], arguments[0] + 8 * pointers, 8):
            table = ctypes.c_int64.from_address(place).value
            cluster = _cluster(clusters, table)
            if cluster is None:
                continue
            moved[place] = cluster.moved(table)
            reached.append(table)
            for entry in range(table, table + _AFTER, 8):  # of a table of addresses, up to what is none
                address = ctypes.c_int64.from_address(entry).value
                cluster = _cluster(clusters, address)
                if cluster is None:
                    break
                moved[entry] = cluster.moved(address)
                reached.append(address)
        self._run(symbol, arguments, clusters, reached, moved)

    def _run(
        self,
        symbol: str,
        arguments: tuple[int, ...],
        clusters: list[Cluster],
        reached: list[int],
        moved: dict[int, int],
    ) -> None:
        regions = _regions(reached)
        images = [bytearray(ctypes.string_at(first, last - first)) for first, last in regions]
        for place, value in moved.items():
            for (first, last), image in zip(regions, images, strict=True):
                if first <= place < last:
                    image[place - first : place - first + 8] = value.to_bytes(8, "little", signed=True)
        numbers = [self.address(symbol)]
        for argument in (*arguments, *[0] * (4 - len(arguments))):
            cluster = _cluster(clusters, argument)
            numbers.append(argument if cluster is None else cluster.moved(argument))
        numbers.append(len(regions))
        for first, last in regions:
            cluster = _cluster(clusters, first)
            assert cluster is not None
            numbers += [cluster.moved(first), last - first]
        given, made = self._folder / "given", self._folder / "made"
        given.write_bytes(np.array(numbers, np.int64).tobytes() + b"".join(images))
        _output(tool("qemu"), self._link(), given, made)
        self.calls += 1
        after = np.fromfile(made, np.uint8)
        assert len(after) == sum(map(len, images))
        for (first, _), image in zip(regions, images, strict=True):
            before, own, after = np.frombuffer(image, np.uint8), after[: len(image)], after[len(image) :]
            changed = np.flatnonzero(before != own)
            memory = np.ctypeslib.as_array((ctypes.c_uint8 * len(image)).from_address(first))
            memory[changed] = own[changed]


def _output(*command: str | Path) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{command[0]} ended with {result.returncode}: {result.stderr[-2000:]}"
    return result.stdout


def _mappings() -> list[tuple[int, int]]:
    """First address and end of what this process may write to, in rising order; neighbours are joined."""
    found: list[tuple[int, int]] = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        first, last = (int(address, 16) for address in span.split("-"))
        if not rights.startswith("rw"):
            continue
        if found and found[-1][1] == first:
            first = found.pop()[0]
        found.append((first, last))
    return found


def _clusters() -> list[Cluster]:
    joined: list[tuple[int, int]] = []
    for first, last in _mappings():
        if joined and first - joined[-1][1] < 2 * _NEAR:
            first = joined.pop()[0]
        joined.append((first, last))
    clusters, window = [], _WINDOWS
    for first, last in joined:
        clusters.append(Cluster(first, last, window + _NEAR))
        window += -(-(last - first + 2 * _NEAR) // _PAGE) * _PAGE
    return clusters


def _cluster(clusters: list[Cluster], address: int) -> Cluster | None:
    """Where an address belongs: an array's may stand before the array, where only later parts are read."""
    return next((c for c in clusters if c.first - _BEFORE <= address < c.last + _BEFORE), None)


def _regions(reached: list[int]) -> list[tuple[int, int]]:
    """Whole pages of this process around some addresses, in rising order."""
    mappings, joined = _mappings(), []
    wanted = sorted({(address // _PAGE) * _PAGE for address in reached})
    for low, high in ((page - _BEFORE, page + _AFTER) for page in wanted):
        for first, last in mappings:
            first, last = max(first, low), min(last, high)
            if first < last:
                joined.append((first, last))
    regions: list[tuple[int, int]] = []
    for first, last in sorted(joined):
        if regions and first <= regions[-1][1]:
            regions[-1] = (regions[-1][0], max(last, regions[-1][1]))
        else:
            regions.append((first, last))
    return regions


@cache
def machine() -> Machine:
    """The one of this process: what the engine has prepared for AArch64 holds its addresses."""
    for name in TOOLS:
        tool(name)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return Machine()


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_callbacks: list[object] = []


class _Engine:
    """In place of LLVM's: addresses of functions, those of drivers being of this process, which calls the machine."""

    def __init__(self, code: bytes, target: Target) -> None:
        assert target == ARM, target
        self._prefix = machine().add(code)

    def get_function_address(self, name: str) -> int:
        symbol, on = self._prefix + name, machine()
        if name != "alone":
            return on.address(symbol)

        def alone(data: int) -> None:
            try:
                on.call(symbol, data, pointers=DATA_FIELDS)
            except BaseException as error:  # a callback cannot raise
                on.failure = error

        _callbacks.append(_CALLBACK(alone))
        return ctypes.cast(_callbacks[-1], ctypes.c_void_p).value or 0  # type: ignore[arg-type]


@contextmanager
def emulated() -> Iterator[Machine]:
    """The engine compiles for AArch64, and calls of one thread are emulated."""
    on, threads = machine(), torch.get_num_threads()
    torch.set_num_threads(1)
    calls, on.failure = on.calls, None
    try:
        with (
            mock.patch.object(engine_target, "host", return_value=ARM),
            mock.patch.object(native, "_load", _Engine),
            mock.patch.object(llvm, "add_symbol", on.alias),
        ):
            yield on
    except BaseException as error:
        if on.failure is not None:
            raise on.failure from error
        raise
    finally:
        torch.set_num_threads(threads)
    if on.failure is not None:
        raise on.failure
    assert on.calls > calls, "nothing was emulated"
