"""The machines that a model is compiled for, by name."""

from __future__ import annotations

from dataclasses import dataclass

from gatework.backends.llvm.codegen import target as engine
from gatework.backends.llvm.codegen.target import Target
from gatework.errors import InputError, nearest

NATIVE = "native"
"""The machine that exports, with all that its processor has."""


@dataclass(frozen=True)
class ExportTarget:
    """A machine that an object file is for.

    Attributes:
        name: as it is asked for; of LLVM's triples, without the vendor.
        triple: of LLVM.
        processor: of LLVM; empty for the plainest of its kind.
        features: of LLVM, comma-separated.
        lanes: numbers of float32 that are computed side by side: two vector registers, or four plain ones.
        word: bits of an address.
        fma: whether a multiply-add is one instruction.
        hosted: it runs programs of an operating system, so that code may stand anywhere in memory.
        tested: how the tests run what is made for it; empty where it is compiled and read only.
        linked: the command that makes the example, without the files.
    """

    name: str
    triple: str
    processor: str = ""
    features: str = ""
    lanes: int = 8
    word: int = 64
    fma: bool = False
    hosted: bool = True
    tested: str = ""
    linked: str = "cc -O2"

    @property
    def vector(self) -> Target:
        """As the engine's code generator sees it."""
        return Target(self.triple, self.features, 4 * self.lanes, 16, self.fma)


_CORTEX_M = {"lanes": 4, "word": 32, "fma": True, "hosted": False}
_BARE = "arm-none-eabi-gcc -O2 -mthumb -mcpu={} -mfloat-abi=hard --specs=nosys.specs"

TARGETS: dict[str, ExportTarget] = {
    target.name: target
    for target in (
        ExportTarget("x86_64-linux-gnu", "x86_64-unknown-linux-gnu", tested="run", linked="gcc -O2"),
        ExportTarget(
            "aarch64-linux-gnu",
            "aarch64-unknown-linux-gnu",
            features="+neon",
            fma=True,
            tested="run by qemu-aarch64",
            linked="aarch64-linux-gnu-gcc -O2",
        ),
        ExportTarget(
            "armv7-linux-gnueabihf",
            "armv7-unknown-linux-gnueabihf",
            features="+vfp4,+neon",
            word=32,
            fma=True,
            tested="run by qemu-arm",
            linked="arm-linux-gnueabihf-gcc -O2",
        ),
        ExportTarget(
            "thumbv7em-none-eabihf",
            "thumbv7em-none-unknown-eabihf",
            "cortex-m4",
            tested="run by qemu-arm in a Linux program",
            linked=_BARE.format("cortex-m4"),
            **_CORTEX_M,  # type: ignore[arg-type]
        ),
        ExportTarget(
            "thumbv8m.main-none-eabihf",
            "thumbv8m.main-none-unknown-eabihf",
            "cortex-m33",
            linked=_BARE.format("cortex-m33"),
            **_CORTEX_M,  # type: ignore[arg-type]
        ),
        ExportTarget(
            "riscv64-linux-gnu",
            "riscv64-unknown-linux-gnu",
            features="+m,+a,+f,+d,+c",
            lanes=4,
            fma=True,
            linked="riscv64-linux-gnu-gcc -O2",
        ),
        ExportTarget("x86_64-windows-msvc", "x86_64-pc-windows-msvc", linked="clang -O2"),
        ExportTarget("x86_64-apple-macos", "x86_64-apple-macosx11.0.0", linked="clang -O2"),
        ExportTarget("aarch64-apple-macos", "arm64-apple-macosx11.0.0", fma=True, linked="clang -O2"),
    )
}
WASM = ExportTarget(
    "wasm32", "wasm32-unknown-unknown", features="+simd128", word=32, hosted=False, tested="run by Node"
)


def find(name: str) -> ExportTarget:
    """The target of a name.

    Raises:
        InputError: there is none; the message has the nearest right one.
    """
    if name == NATIVE:
        return _native()
    if name not in TARGETS:
        raise InputError(f"target {name!r}", "there is no such target", nearest(name, [NATIVE, *TARGETS]))
    return TARGETS[name]


def _native() -> ExportTarget:
    host = engine.host()
    lanes = max(host.lanes(4), 8)
    word = 64 if host.triple.startswith(("x86_64", "aarch64", "arm64")) else 32
    return ExportTarget(
        NATIVE, host.triple, "", host.features, lanes, word, host.fma, tested="run", linked="cc -O2"
    )
