"""The instruction set of the engine's code: named, held down to, refused."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gatework.backends.llvm.codegen import isa
from gatework.backends.llvm.codegen import target as engine_target
from gatework.errors import InputError

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
AVX512 = "+64bit,+avx,+avx2,+avx512bw,+avx512f,+avx512vl,+cmov,+fma,+sse,+sse2,+sse3,-sse4a,+vaes,+amx-tile"


def test_a_machine_can_run_its_own_instruction_set_and_those_below() -> None:
    assert isa.runnable(X86, AVX512) == ("avx512", "avx2", "sse2")
    assert isa.runnable(X86, AVX512.replace("+avx512vl", "-avx512vl")) == (
        "avx2",
        "sse2",
    )  # masked by a hypervisor
    assert isa.runnable(X86, "+sse2") == ("sse2",)
    assert isa.runnable(ARM, "+neon") == ("neon",)


@pytest.mark.parametrize(
    ("name", "width", "registers"), [("avx512", 64, 32), ("avx2", 32, 16), ("sse2", 16, 16)]
)
def test_a_wider_machine_is_held_down_to_it(name: str, width: int, registers: int) -> None:
    target = engine_target.target_of(X86, isa.limited(X86, AVX512, name))
    assert (target.isa, target.vector_bytes, target.registers) == (name, width, registers)
    assert target.fma is (name != "sse2")
    with_feature = {feature[1:] for feature in target.features.split(",") if feature.startswith("+")}
    assert ("amx-tile" in with_feature) is (name == "avx512")
    assert ("vaes" in with_feature) is (name != "sse2")
    assert "sse2" in with_feature


def test_what_is_masked_stays_masked() -> None:
    limited = isa.limited(X86, "+avx,+avx2,-fma,+sse2", "avx2")
    assert not engine_target.target_of(X86, limited).fma


@pytest.mark.parametrize(
    ("triple", "features", "name", "message"),
    [
        (X86, "+avx,+avx2,+sse2", "avx512", "'avx512': this machine cannot run it. It can run avx2, sse2"),
        (X86, "+avx512f,+avx2", "avx512", "It can run avx2, sse2"),  # without avx512vl
        (X86, "+avx2", "avx1024", "there is no such instruction set. It can run avx2, sse2"),
        (X86, "+avx2", "neon", "cannot run it"),
        (ARM, "+neon", "avx2", "It can run neon"),
    ],
)
def test_what_a_machine_cannot_run_is_refused_with_what_it_can(
    triple: str, features: str, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        isa.limited(triple, features, name)


def run_at(name: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GATEWORK_ISA": name}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


@pytest.mark.skipif("sse2" not in engine_target.runnable(), reason="sse2 is an instruction set of x86-64")
def test_a_process_computes_at_the_instruction_set_that_its_environment_names() -> None:
    done = run_at(
        "sse2",
        "import torch, gatework as gw\n"
        "from gatework.backends.llvm.codegen import target\n"
        "torch.manual_seed(0)\n"
        "layer, x = gw.LSTM(5, 9), torch.randn(7, 3, 5)\n"
        "with gw.backend('llvm'): ours = layer(x)[0]\n"
        "with gw.backend('eager'): torch.testing.assert_close(ours, layer(x)[0])\n"
        "print(target.host().isa, target.host().vector_bytes, gw.explain(layer))",
    )
    assert done.stdout.startswith("sse2 16 "), done.stderr
    assert "the cost table of avx2, near sse2" in done.stdout


def test_a_process_is_told_that_its_machine_cannot_run_it() -> None:
    code = "import torch, gatework as gw; gw.LSTM(2, 3)(torch.zeros(4, 1, 2))"
    done = run_at("altivec", code)
    assert done.returncode == 1
    can = ", ".join(engine_target.runnable())
    assert done.stderr.rstrip().endswith(
        f"InputError: GATEWORK_ISA: 'altivec': there is no such instruction set. It can run {can}."
    )
