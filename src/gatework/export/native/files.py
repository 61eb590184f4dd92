"""The files of networks in C."""

from __future__ import annotations

from collections.abc import Sequence

from gatework.errors import InputError
from gatework.export import targets
from gatework.export.files import Content, ExportOptions
from gatework.export.native.about import about
from gatework.export.native.checking import check_codes
from gatework.export.native.code import Code, compiled
from gatework.export.native.map_functions import MapFunctions
from gatework.export.native.map_texts import map_header, map_readme
from gatework.export.native.texts import Texts
from gatework.export.network import Part


def c_files(parts: Sequence[Part], options: ExportOptions, *, examples: bool = True) -> Content:
    """An object file and a header for each part, and a README.

    Args:
        examples: each network has one.

    Raises:
        InputError: an unknown target, an operation that it has no code for, a model too large for it.
        GateworkError: the code gives other numbers than the layer.
    """
    target = targets.find(options.target)
    codes = [compiled(part, target, int8=options.int8) for part in parts]
    check_sizes(codes, target.name, options)
    check_codes(codes, target, options)
    files: dict[str, bytes] = {}
    readmes = []
    for code in codes:
        name, functions = code.part.name, code.functions
        files[f"{name}.o"] = code.content
        if isinstance(functions, MapFunctions):
            files[f"{name}.h"] = map_header(functions, target).encode()
            readmes.append(map_readme(functions, code, int8=options.int8))
            continue
        main = "main.c" if len(codes) == 1 else f"{name}_main.c"
        texts = Texts(functions, code, target, int8=options.int8, main=main if examples else "")
        files[f"{name}.h"] = texts.header.encode()
        if texts.main:
            files[texts.main] = texts.example.encode()
        readmes.append(texts.readme)
    files["README.md"] = "\n".join(readmes).encode()
    sums = ("code_bytes", "data_bytes", "memory_bytes")
    totals = {name: sum(getattr(code, name) for code in codes) for name in sums}
    facts = {"lanes": target.lanes, "parts": [about(code) for code in codes]}
    return Content(files, **totals, facts=facts)


def check_sizes(codes: Sequence[Code], target: str, options: ExportOptions) -> None:
    """Says the sizes, and refuses what the target has no room for.

    Raises:
        InputError: more bytes are needed than it has.
    """
    for code in codes:
        options.say(
            f"{code.part.name} for {target}: code {code.code_bytes:,} bytes, weights "
            f"{code.data_bytes:,} bytes, states and scratch memory {code.memory_bytes:,} bytes"
        )
    name = " and ".join(code.part.name for code in codes)
    for label, needed, given in (
        ("flash", sum(code.code_bytes + code.data_bytes for code in codes), options.flash),
        ("ram", sum(code.memory_bytes for code in codes), options.ram),
    ):
        if given is not None and needed > given:
            raise InputError(
                f"{label}={given:,}",
                f"{name} needs {needed:,} bytes of it on {target}",
                'Keep its weights in weights="int8", or export a smaller model.',
            )
