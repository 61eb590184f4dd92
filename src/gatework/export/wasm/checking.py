"""A module run by Node beside the layers that it was made of, before it is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gatework.errors import GateworkError
from gatework.export.checking import Gave, Given, check_parts
from gatework.export.files import ExportOptions
from gatework.export.native.checking import check_codes
from gatework.export.native.code import Code
from gatework.export.targets import WASM

__all__ = ["check_module", "node"]

_OLDEST = 18  # major version of Node


@cache
def node() -> str | None:
    """The program of Node; None where it is not installed or older than WebAssembly's vectors, which the code has."""
    found = shutil.which("node")
    if found is None:
        return None
    known = subprocess.run([found, "-p", "process.versions.node"], capture_output=True, text=True)
    version = known.stdout.split(".")[0]
    return found if known.returncode == 0 and version.isdigit() and int(version) >= _OLDEST else None


def check_module(module: bytes, es_module: str, codes: Sequence[Code], options: ExportOptions) -> None:
    """Runs a module by the ES module around it in Node; where there is no Node, the same code made for this machine.

    Args:
        es_module: whose module is in the file `model.wasm`.

    Raises:
        GateworkError: its numbers are not those of the layers.
    """
    program = node()
    if program is None:
        check_codes(codes, WASM, options)
        return
    with tempfile.TemporaryDirectory(prefix="gatework-node-") as name:
        folder = Path(name)
        (folder / "model.wasm").write_bytes(module)
        (folder / "model.mjs").write_text(es_module, "utf-8")
        (folder / "check.mjs").write_bytes(files("gatework.export.wasm").joinpath("check.mjs").read_bytes())

        def run(calls: Sequence[Given]) -> list[Gave]:
            given = json.dumps([_plain(asdict(call)) for call in calls])
            done = subprocess.run(
                [program, str(folder / "check.mjs")], input=given, capture_output=True, text=True
            )
            if done.returncode:
                raise GateworkError(f"Node could not run the module: {done.stderr.strip()}")
            return [_gave(call, answer) for call, answer in zip(calls, json.loads(done.stdout), strict=True)]

        error = check_parts([code.part for code in codes], run, "the module in Node", int8=options.int8)
    names = " and ".join(code.part.name for code in codes)
    options.say(f"{names}: the module in Node gives numbers within {error:.1e} of the layer's")


def _plain(value: Any) -> Any:
    """Arrays as lists."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _gave(given: Given, answer: Mapping[str, Any]) -> Gave:
    """An answer, in which a number that is not finite is null."""
    rows = len(next(iter(given.inputs.values()))) if given.x is None else len(given.x)
    values, states = (
        {name: np.array(value, np.float32) for name, value in answer[kind].items()}
        for kind in ("values", "states")
    )
    return Gave({name: value.reshape(rows, -1) for name, value in values.items()}, states)
