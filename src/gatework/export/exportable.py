"""What a task says of its export; how its parts are written and run is the exporters' affair."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from gatework.errors import GateworkError
from gatework.export import targets
from gatework.export.cell import Array
from gatework.export.driver import c_parts, onnx_parts
from gatework.export.files import Content, Exported, ExportOptions
from gatework.export.layer import check_options, part_files
from gatework.export.native.about import about
from gatework.export.native.code import compiled
from gatework.export.native.loading import addresses
from gatework.export.network import Part
from gatework.export.onnx.checking import session
from gatework.export.tables import packed_tables

__all__ = ["Exportable", "export_task"]

_PACKAGE = "gatework.export.driver"
_TOLERANCE = (
    1e-5  # of a number that a whole network gives, beside 1 or the number itself where that is larger
)
Parts = c_parts.Parts | onnx_parts.Parts


@dataclass(frozen=True)
class Exportable:
    """What of a task is exported.

    Attributes:
        parts: networks and maps, whose names differ.
        files: what stands beside them in every form, such as tokenizers.
        facts: what the programs must know that join the parts, as JSON.
        programs: the names of the modules that run the parts in Python, and of those that they import; none where the
            one part is all.
        scripts: files of one form alone, by its name.
        readme: how the whole is run, by form: it stands before what the README says of each part.
        error: of the parts, joined, beside the task's own network on drawn inputs: the largest.
        tables: rows that the programs look up, by name; they are written as `tables.bin`.
    """

    parts: Sequence[Part]
    files: Mapping[str, bytes]
    facts: Mapping[str, Any] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    scripts: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    readme: Mapping[str, str] = field(default_factory=dict)
    error: Callable[[Parts], float] | None = None
    tables: Mapping[str, Array] = field(default_factory=dict)


def export_task(given: Exportable, out: Path, to: str, options: ExportOptions) -> Exported:
    """Writes a task's parts, and what runs them, into a new folder.

    Each part is run beside its layers first, as `export_layer` says, and then all of them, joined as the programs join
    them, beside the task's own network: on ONNX Runtime, or, of the forms with machine code, as this machine's code of
    the same parts with weights of float32.

    Raises:
        InputError: as `export_layer`.
        GateworkError: a part, or the joined parts, give other numbers than the network.
    """
    check_options(to, options, out)
    own = given.scripts.get(to, {})
    content = part_files(given.parts, to, options, examples="main.c" not in own)
    further = {**given.files, **own}
    if given.error is not None and not (to == "onnx" and options.int8):  # whose parts are compared one by one
        error = given.error(_of_onnx(content) if to == "onnx" else _of_code(given.parts, content, options))
        if not error <= _TOLERANCE:
            raise GateworkError(
                f"What is exported gives numbers that differ from the network's by {error:.1e}, more than "
                f"{_TOLERANCE:.0e}; nothing is written."
            )
        options.say(f"together, the parts' numbers are within {error:.1e} of the network's")
    if given.readme.get(to):
        further["README.md"] = f"{given.readme[to]}\n".encode() + content.files["README.md"]
    if given.facts:
        facts = {**given.facts, **content.facts}
        if given.tables:
            further["tables.bin"], facts["tables"] = packed_tables(given.tables, int8=options.int8)
        further["model.json"] = (json.dumps(facts, ensure_ascii=False) + "\n").encode()
    if to in ("c", "onnx") and given.programs:
        modules = (*given.programs, f"{_PACKAGE}.{to}_parts")
        further |= {f"{_file(module)}.py": _program(module, modules) for module in modules}
    return content.written(out, further)


def _file(module: str) -> str:
    return module.rpartition(".")[2]


def _program(module: str, beside: Sequence[str]) -> bytes:
    """A module as it stands in the folder of an export, beside those that it imports."""
    package, _, file = module.rpartition(".")
    text = files(package).joinpath(f"{file}.py").read_text("utf-8")
    for other in beside:
        text = text.replace(f"from {other} import", f"from {_file(other)} import")
    return text.encode()


def _of_onnx(content: Content) -> onnx_parts.Parts:
    """The parts as ONNX Runtime runs what is to be written."""

    def of(file: str) -> Any | None:
        return session(content.files[file]) if file in content.files else None

    return onnx_parts.Parts(of, content.facts["parts"])


def _of_code(parts: Sequence[Part], content: Content, options: ExportOptions) -> c_parts.Parts:
    """The parts as code of this machine: what is to be written, where it is that."""
    facts = content.facts
    objects = {part.name: content.files.get(f"{part.name}.o", b"") for part in parts}
    if options.target != targets.NATIVE or options.int8 or not all(objects.values()):
        target = targets.find(targets.NATIVE)
        codes = [compiled(part, target) for part in parts]
        facts = {"parts": [about(code) for code in codes], "lanes": target.lanes}
        objects = {code.part.name: code.content for code in codes}
    return c_parts.Parts(addresses(objects), facts["parts"], facts["lanes"])
