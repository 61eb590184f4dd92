"""Linking of objects into one WebAssembly module."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from gatework.errors import GateworkError, MissingExtraError

_SECTIONS = {10: "code", 11: "data"}


def linker() -> list[str]:
    """The command of a linker: wasm-ld where it is installed, or that of the package ziglang.

    Raises:
        MissingExtraError: there is neither.
    """
    found = shutil.which("wasm-ld")
    if found is not None:
        return [found]
    try:
        import ziglang
    except ImportError as error:
        raise MissingExtraError("ziglang", "link") from error
    return [sys.executable, "-m", ziglang.__name__, "wasm-ld"]


def linked(objects: Mapping[str, bytes], exports: Sequence[str]) -> bytes:
    """One module of objects, which needs nothing from outside.

    Args:
        objects: by name.
        exports: the functions that can be called.

    Raises:
        MissingExtraError: there is no linker.
        GateworkError: the linker failed; the message is its own.
    """
    command = [
        *linker(),
        "--no-entry",
        "--strip-all",
        "--export=__heap_base",
        "--stack-first",
        "-z",
        "stack-size=65536",
    ]
    command += [f"--export={name}" for name in exports]
    with tempfile.TemporaryDirectory(prefix="gatework-link-") as folder:
        paths = []
        for name, content in objects.items():
            paths.append(Path(folder) / f"{name}.o")
            paths[-1].write_bytes(content)
        made = Path(folder) / "module.wasm"
        done = subprocess.run([*command, *map(str, paths), "-o", str(made)], capture_output=True, text=True)
        if done.returncode:
            raise GateworkError(f"{command[0]} could not link {', '.join(objects)}: {done.stderr.strip()}")
        return made.read_bytes()


def section_sizes(module: bytes) -> dict[str, int]:
    """Bytes of a module's machine code and data."""
    sizes = dict.fromkeys(_SECTIONS.values(), 0)
    at = 8  # after the magic number and the version
    while at < len(module):
        kind, (size, at) = module[at], _whole_number(module, at + 1)
        if kind in _SECTIONS:
            sizes[_SECTIONS[kind]] += size
        at += size
    return sizes


def _whole_number(module: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        value |= (module[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not module[at - 1] & 0x80:
            return value, at
