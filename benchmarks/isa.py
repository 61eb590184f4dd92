"""One instruction set for ours and for the peers, so that a machine of a wider one measures both.

Libraries read it from the environment when they are loaded: a program that is to run at an instruction set starts
itself anew with these variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from gatework.backends.llvm.codegen import target
from gatework.backends.llvm.codegen.isa import VARIABLE

# The peers' own names. Theirs of the least one are a little wider than plain SSE2, of which they have no code.
_PEERS: Mapping[str, Mapping[str, str]] = {
    "avx512": {
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX512",
    },
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "sse2": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    },
}
NAMES = tuple(_PEERS)
HAS_NONE = {"onnx": "ONNX Runtime has no such setting: it takes the widest that the machine has"}


def environment(isa: str, now: Mapping[str, str]) -> dict[str, str]:
    """The variables of a program that runs at an instruction set.

    Args:
        now: the variables of this one; flags of XLA are kept beside ours.
    """
    own = {VARIABLE: isa, **_PEERS[isa]}
    flags = [flag for flag in now.get("XLA_FLAGS", "").split() if not flag.startswith("--xla_cpu_max_isa=")]
    return {**now, **own, "XLA_FLAGS": " ".join([*flags, own["XLA_FLAGS"]])}


def start_at(isa: str | None) -> None:
    """Starts this program anew where its environment is not that of an instruction set.

    Args:
        isa: None for the widest, or what the environment says.

    Raises:
        SystemExit: with code 2, the machine cannot run it.
    """
    can = target.runnable()
    if isa is not None and isa not in can:
        print(f"--isa {isa}: this machine cannot run it. It can run {', '.join(can)}.", file=sys.stderr)
        raise SystemExit(2)
    if isa is not None:
        wanted = environment(isa, os.environ)
        if any(os.environ.get(name) != value for name, value in wanted.items()):
            sys.stdout.flush()
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def peers_settings() -> dict[str, str]:
    """What the environment says to the peers, by variable; and of which peer nothing can be said."""
    names = sorted({name for own in _PEERS.values() for name in own})
    return {name: os.environ[name] for name in names if name in os.environ} | HAS_NONE
