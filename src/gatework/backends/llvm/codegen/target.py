"""What the host's vector unit is like, as kernels need to know it.

Features are asked for one by one rather than by the CPU's name: virtual machines mask some of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from gatework.backends.compiled.once import made_once
from gatework.backends.llvm.codegen import isa

CACHE_LINE = 64
"""Bytes of a cache line, on every target."""


@dataclass(frozen=True)
class Target:
    """A vector unit.

    Attributes:
        triple: of LLVM.
        features: of LLVM, comma-separated.
        vector_bytes: width of a vector register.
        registers: how many of them there are.
        fma: whether a multiply-add is one instruction.
    """

    triple: str
    features: str
    vector_bytes: int
    registers: int
    fma: bool

    @property
    def name(self) -> str:
        """Short, for the symbols of what is compiled for it."""
        return f"v{self.vector_bytes}r{self.registers}" + ("f" if self.fma else "")

    @property
    def isa(self) -> str:
        """The name of its instruction set: what `GATEWORK_ISA` calls it."""
        return isa.runnable(self.triple, self.features)[0]

    def lanes(self, item_bytes: int) -> int:
        """Numbers of a size in one register."""
        return self.vector_bytes // item_bytes

    def tile_registers(self, rows: int, columns: int) -> int:
        """Registers that a tile of a product needs, of so many rows and column registers.

        They are its sums; one operand whole, numbers of the rows or column registers, whichever are fewer; one
        register through which the other passes; and where a multiply-add is two instructions, one for the product.
        """
        return rows * columns + min(rows, columns) + 1 + int(not self.fma)


def target_of(triple: str, features: str) -> Target:
    """The target of a feature string such as `+avx2,+fma`."""
    have = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if triple.startswith(("aarch64", "arm64")):
        return Target(triple, features, 16, 32, True)
    if "avx512f" in have and "avx512vl" in have:
        return Target(triple, features, 64, 32, True)
    if "avx2" in have or "avx" in have:
        return Target(triple, features, 32, 16, "fma" in have)
    return Target(triple, features, 16, 16, "fma" in have)


@made_once()
def host() -> Target:
    """The target of the machine that this runs on, at the instruction set that GATEWORK_ISA names or at its widest.

    Raises:
        InputError: GATEWORK_ISA names what the machine cannot run.
    """
    triple, features = _machine()
    name = os.environ.get(isa.VARIABLE)
    return target_of(triple, isa.limited(triple, features, name) if name else features)


def runnable() -> tuple[str, ...]:
    """The instruction sets that the machine can run, the widest first, whatever GATEWORK_ISA names."""
    return isa.runnable(*_machine())


def _machine() -> tuple[str, str]:
    """The triple and the features of the machine that this runs on."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_process_triple(), llvm.get_host_cpu_features().flatten()
