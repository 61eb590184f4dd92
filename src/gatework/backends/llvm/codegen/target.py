"""What the host's vector unit is like, as kernels need to know it.

Features are asked for one by one rather than by the CPU's name: virtual machines mask some of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatework.backends.llvm.runtime.once import made_once


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

    def lanes(self, item_bytes: int) -> int:
        """Numbers of a size in one register."""
        return self.vector_bytes // item_bytes

    @property
    def accumulators(self) -> int:
        """Registers that a tile of a product may hold; the rest is for its operands."""
        return 24 if self.registers >= 32 else 12


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
    """The target of the machine that this runs on."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return target_of(llvm.get_process_triple(), llvm.get_host_cpu_features().flatten())
