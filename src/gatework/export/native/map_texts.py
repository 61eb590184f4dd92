"""The header and the README of a map of vectors."""

from __future__ import annotations

from gatework.export.native.code import Code
from gatework.export.native.map_functions import MapFunctions
from gatework.export.native.texts import described_file
from gatework.export.targets import ExportTarget

__all__ = ["map_header", "map_readme"]


def map_header(functions: MapFunctions, target: ExportTarget) -> str:
    """The header of its one function."""
    part, upper = functions.part, functions.part.name.upper()
    reads, gives = part.reads, part.gives
    outs = {"output": gives["output"]} if list(gives) == ["output"] else {}
    outs = outs or {f"{name}_out": size for name, size in gives.items()}
    arguments = [f"const float *{name} /* {size} */" for name, size in reads.items()]
    arguments += [f"float *{name} /* {size} */" for name, size in outs.items()]
    lines = [
        f"/* {part.name}, exported by Gatework for {target.name}. */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"#define {upper}_SCRATCH {functions.scratch.fixed}  /* numbers of float */",
        *(f"#define {upper}_{name.upper()} {size}" for name, size in (*reads.items(), *gives.items())),
        "",
        "/* Reads vectors and writes others; it keeps nothing between calls. The arrays do not overlap. */",
        f"void {part.name}_map(\n    " + ",\n    ".join([*arguments, "float *scratch"]) + ");",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def map_readme(functions: MapFunctions, code: Code, *, int8: bool) -> str:
    """What the part is, and its files."""
    part = functions.part
    return f"""# {part.name}

A map of vectors without states: {", ".join(part.reads)} in, {", ".join(part.gives)} out.

| file | what it is |
|---|---|
{described_file(code, int8=int8)}
| `{part.name}.h` | the function, and the memory that it needs: {code.memory_bytes:,} bytes |
"""
