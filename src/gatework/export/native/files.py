"""The files of networks in C."""

from __future__ import annotations

from collections.abc import Sequence

from gatework.errors import InputError
from gatework.export import targets
from gatework.export.files import Content, ExportOptions
from gatework.export.native.code import Code, compiled
from gatework.export.native.texts import Texts
from gatework.export.network import Network


def c_files(networks: Sequence[Network], options: ExportOptions) -> Content:
    """An object file, a header and an example for each network, and a README.

    Raises:
        InputError: an unknown target, an operation that it has no code for, a model too large for it.
    """
    target = targets.find(options.target)
    codes = [compiled(network, target, int8=options.int8) for network in networks]
    check_sizes(codes, target.name, options)
    files: dict[str, bytes] = {}
    readmes = []
    for code in codes:
        texts, name = (
            Texts(code, target, int8=options.int8, alone=len(codes) == 1),
            code.functions.network.name,
        )
        files |= {
            f"{name}.o": code.content,
            f"{name}.h": texts.header.encode(),
            texts.main: texts.example.encode(),
        }
        readmes.append(texts.readme)
    files["README.md"] = "\n".join(readmes).encode()
    totals = [
        sum(getattr(code, part) for code in codes) for part in ("code_bytes", "data_bytes", "memory_bytes")
    ]
    return Content(files, *totals)


def check_sizes(codes: Sequence[Code], target: str, options: ExportOptions) -> None:
    """Says the sizes, and refuses what the target has no room for.

    Raises:
        InputError: more bytes are needed than it has.
    """
    for code in codes:
        options.say(
            f"{code.functions.network.name} for {target}: code {code.code_bytes:,} bytes, weights "
            f"{code.data_bytes:,} bytes, states and scratch memory {code.memory_bytes:,} bytes"
        )
    name = " and ".join(code.functions.network.name for code in codes)
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
