"""A network's machine code for a target, as an object file's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatework.backends.compiled.once import made_once
from gatework.errors import InputError
from gatework.export.cell import Cell
from gatework.export.maps import VectorMap
from gatework.export.native.functions import Functions
from gatework.export.native.map_functions import MapFunctions
from gatework.export.native.module import ObjectModule
from gatework.export.network import Part
from gatework.export.targets import ExportTarget
from gatework.graph.ops import OPS

_OF_THE_C_LIBRARY = ("sin", "cos")
_POWERS = 16  # the largest whole exponent that is written as products


@dataclass(frozen=True)
class Code:
    """An object file.

    Attributes:
        part: what it is of.
        functions: what it has, and what they take.
        exported: the names of the functions that others call.
        content: its bytes.
        code_bytes, data_bytes: of machine code, and of weights and constants beside it.
    """

    part: Part
    functions: Functions | MapFunctions
    exported: tuple[str, ...]
    content: bytes
    code_bytes: int
    data_bytes: int

    @property
    def memory_bytes(self) -> int:
        """Of a state and the scratch memory of a step, where the part attends to nothing."""
        return 4 * self.functions.memory


def compiled(part: Part, target: ExportTarget, *, int8: bool = False) -> Code:
    """A part as an object file.

    Args:
        int8: weight matrices are kept in 8 bits, with a scale for each row.

    Raises:
        InputError: an operation that the target's code cannot have.
    """
    import llvmlite.binding as llvm

    check_operations(part, target)
    module = ObjectModule(part.name, target, int8=int8)
    functions = MapFunctions(module, part) if isinstance(part, VectorMap) else Functions(module, part)
    functions.emit()
    exported = tuple(f.name for f in module.ir.functions if not f.is_declaration and f.linkage == "external")
    parsed = llvm.parse_assembly(_without_library_calls(str(module.ir)))
    parsed.verify()
    machine = _machine(target)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes = builder.getModulePassManager()
    passes.run(parsed, builder)
    content = bytes(machine.emit_object(parsed))
    code, data = _sizes(content)
    return Code(
        part, functions, exported, content, code, max(data, module.data)
    )  # an object for wasm32 names no sections


def check_operations(part: Part, target: ExportTarget) -> None:
    """Refuses what would call the C library, and shapes that have no code.

    Raises:
        InputError: an operation that the target's code cannot have.
    """
    if isinstance(part, VectorMap):
        _check_cells([part.cell], part.name, target)
        return
    name = part.graph.name
    _check_cells(part.cells, name, target)
    reads = () if part.head is None else part.head.graph.inputs
    if part.stack.bidirectional and any(spec.name != "output" for spec in reads):
        raise InputError(
            f"cell {name}",
            "its read-out reads more than its output in two directions, which has no code",
            "Export a layer of one direction.",
        )


def _check_cells(cells: Sequence[Cell], name: str, target: ExportTarget) -> None:
    for cell in cells:
        for node in cell.graph.nodes:
            lacking = node.op in _OF_THE_C_LIBRARY or not OPS[node.op].code
            if node.op == "pow":
                exponent = abs(node.number("exponent"))
                lacking = exponent != 0.5 and not (exponent.is_integer() and exponent <= _POWERS)
            if lacking:
                raise InputError(
                    f"cell {name}",
                    f"{target.name} has no code for the operation {node.op}, which would be the C library's",
                    "Write the cell without it, or export to ONNX.",
                )
            widths = {cell.graph.nodes[arg].width for arg in node.args}
            if OPS[node.op].sort == "reduction" and len(widths) > 1:
                raise InputError(
                    f"cell {name}",
                    f"{node.op} over values of different widths has no code",
                    "Export to ONNX.",
                )


def _without_library_calls(text: str) -> str:
    """Loops that copy stay loops: a call of memcpy would be a dependency."""
    lines = []
    for line in text.splitlines():
        if line.startswith("define "):
            line += " #0"
        lines.append(line)
    return "\n".join([*lines, 'attributes #0 = { nounwind "no-builtins" }', ""])


@made_once()
def _initialised() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def _machine(target: ExportTarget) -> Any:
    import llvmlite.binding as llvm

    _initialised()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.processor,
        features=target.features,
        opt=2,
        reloc="pic" if target.hosted else "static",
    )


def _sizes(content: bytes) -> tuple[int, int]:
    """Bytes of machine code, and of constants."""
    import llvmlite.binding as llvm

    code = data = 0
    for section in llvm.ObjectFileRef.from_data(content).sections():
        name = str(section.name() or "")
        if section.is_text():
            code += section.size()
        elif any(part in name for part in ("rodata", "rdata", "const", "literal")):
            data += section.size()
    return code, data
