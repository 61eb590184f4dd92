"""Object files in this process: their functions are called without a linker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm

__all__ = ["addresses"]


def addresses(objects: Mapping[str, bytes]) -> Callable[[str], int]:
    """Where each function stands. The code is there as long as what is returned.

    Args:
        objects: the content of object files for this machine, by the names that their functions begin with.
    """
    llvm.initialize_native_target()
    # An engine each: in one for all of them, what the second one calls crashes.
    engines = {name: _loaded(content) for name, content in objects.items()}

    def address(function: str) -> int:
        name = max((name for name in engines if function.startswith(f"{name}_")), key=len)
        return int(engines[name].get_function_address(function))

    return address


def _loaded(content: bytes) -> Any:
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    return engine
