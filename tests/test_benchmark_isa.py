"""Benchmarks at an instruction set: ours and the peers' alike, or refused."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gatework.backends.llvm.codegen import isa as engine_isa
from gatework.backends.llvm.codegen import target

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def isa(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "isa", raising=False)
    return importlib.import_module("isa")


def test_every_peer_is_told(isa: ModuleType) -> None:
    assert {*isa.NAMES} == {*engine_isa.NAMES} - {"neon"}
    found = isa.environment("avx2", {"PATH": "/bin", "XLA_FLAGS": "--xla_a=1 --xla_cpu_max_isa=AVX512"})
    assert found == {
        "PATH": "/bin",
        "GATEWORK_ISA": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "XLA_FLAGS": "--xla_a=1 --xla_cpu_max_isa=AVX2",
    }
    assert isa.environment("avx2", found) == found


def test_a_program_starts_itself_anew_once(isa: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Any, Mapping[str, str]]] = []
    monkeypatch.setattr(target, "runnable", lambda: ("avx512", "avx2", "sse2"))
    monkeypatch.setattr(os, "execve", lambda program, arguments, with_: started.append((arguments, with_)))
    isa.start_at(None)
    assert started == []
    isa.start_at("avx2")
    ((arguments, environment),) = started
    assert arguments == [sys.executable, *sys.orig_argv[1:]]
    for name in environment:
        monkeypatch.setenv(name, environment[name])
    isa.start_at("avx2")
    assert len(started) == 1


def test_what_the_machine_cannot_run_is_refused(
    isa: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(target, "runnable", lambda: ("avx2", "sse2"))
    with pytest.raises(SystemExit) as end:
        isa.start_at("avx512")
    assert end.value.code == 2
    assert capsys.readouterr().err == "--isa avx512: this machine cannot run it. It can run avx2, sse2.\n"


@pytest.mark.skipif("sse2" not in target.runnable(), reason="sse2 is an instruction set of x86-64")
def test_ours_and_torch_take_it() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import isa; isa.start_at('sse2')\n"
        "import torch; from gatework.backends.llvm.codegen import target\n"
        "print(target.host().isa, torch.backends.cpu.get_cpu_capability(), isa.peers_settings()['ONEDNN_MAX_CPU_ISA'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["sse2", "DEFAULT", "SSE41"], done.stderr
