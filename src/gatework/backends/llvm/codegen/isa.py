"""Instruction sets by name: what a machine can run, and its features held down to one of them.

The engine takes the widest that the machine has, or the one that the environment variable `GATEWORK_ISA` names: to
measure on one machine what another one reaches, or to have the code of every machine of a cluster alike. It is read
once, when a process first uses the engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatework.errors import InputError

VARIABLE = "GATEWORK_ISA"

# Instruction sets of x86-64, the widest first, and the features without which the engine has no code for them.
_X86: Mapping[str, tuple[str, ...]] = {"avx512": ("avx512f", "avx512vl"), "avx2": ("avx2",), "sse2": ()}
NAMES = (*_X86, "neon")

_ABOVE_AVX2 = ("avx512", "avx10", "evex512", "amx", "apxf")
_PLAIN = ("64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2", "x87")  # what every x86-64 has


def runnable(triple: str, features: str) -> tuple[str, ...]:
    """The instruction sets that a machine can run, the widest first.

    Args:
        triple: of LLVM.
        features: of LLVM, comma-separated: `+avx2,-avx512f`.
    """
    if triple.startswith(("aarch64", "arm64")):
        return ("neon",)
    have = _present(features)
    return tuple(name for name, needed in _X86.items() if have.issuperset(needed))


def limited(triple: str, features: str, isa: str) -> str:
    """A machine's features without those above an instruction set.

    Raises:
        InputError: there is no such instruction set, or the machine cannot run it.
    """
    can = runnable(triple, features)
    if isa not in can:
        what = "this machine cannot run it" if isa in NAMES else "there is no such instruction set"
        raise InputError(VARIABLE, f"{isa!r}: {what}", f"It can run {', '.join(can)}.")
    above = {name for name in _present(features) if _is_above(name, isa)}
    kept = [feature for feature in features.split(",") if feature[1:] not in above]
    return ",".join([*kept, *(f"-{name}" for name in sorted(above))])  # last: LLVM reads them in order


def _present(features: str) -> set[str]:
    return {feature[1:] for feature in features.split(",") if feature.startswith("+")}


def _is_above(feature: str, isa: str) -> bool:
    if isa == "sse2":
        return feature not in _PLAIN
    return isa == "avx2" and feature.startswith(_ABOVE_AVX2)
