"""LLVM's OpenMP library in place of GNU's, as torch brings it on macOS and Windows, tried on Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = "lib/llvm-*/lib", "lib/*-linux-gnu"
FOUND = [path for folder in FOLDERS for path in Path("/usr").glob(f"{folder}/libomp*.so*")]

SCRIPT = """
import ctypes, sys, torch
from gatework.backends import teams, threads
library = threads.Library(ctypes.CDLL(sys.argv[1]), gnu=sys.argv[2] == "gnu")
threads.openmp = lambda: library
sizes = []
def counted(entry, data, size, own=library.parallel):
    sizes.append(size)
    own(entry, data, size)
library.parallel = counted
import gatework as gw
teams.WORTH_A_TEAM = dict.fromkeys(teams.WORTH_A_TEAM, 0)
torch.set_num_threads(2)
torch.manual_seed(0)
for rows in (1, 40):
    layer, x = gw.LSTM(20, 300), torch.randn(9, rows, 20, requires_grad=True)
    found = []
    for backend in ("llvm", "eager"):
        with gw.backend(backend):
            output, _ = layer(x)
            found.append((output, *torch.autograd.grad(output.pow(2).sum(), [x, *layer.parameters()])))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
print(library.entry, set(sizes))
"""


@pytest.mark.skipif(not FOUND, reason="LLVM's OpenMP library was not found: Debian's package is libomp5")
@pytest.mark.parametrize(("interface", "entry"), [("gnu", "task"), ("llvm", "microtask")])
def test_a_team_of_llvms_library_gives_the_references_numbers(
    interface: str, entry: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(FOUND[0]), interface]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"GATEWORK_CACHE": str(tmp_path)}
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [entry, "{2}"]
