"""A model as one HTML file, which runs in a browser without a server."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from string import Template
from typing import Any

from gatework.export.cell import Array
from gatework.export.files import Content, ExportOptions, Weights
from gatework.export.network import Network, Part
from gatework.export.tables import packed_tables
from gatework.export.wasm.files import es_module, wasm_module
from gatework.export.wasm.link import section_sizes
from gatework.layers import Recurrent

__all__ = ["Page", "drawn_values", "page_files"]

LARGEST = 5_000_000
"""Bytes of a page whose weights are kept as float32 where nobody asks for it."""
_IMPORT = re.compile(r"^import .*;\n", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """What stands in a page.

    Attributes:
        parts: what it runs.
        template: names of a package and of an HTML file in it, with `$title`, `$about`, `$text`, `$data`, `$script`.
        scripts: the same of ES modules, in an order in which each finds what it imports in those before it; they are
            joined as one.
        facts: `PAGE` in the scripts, as JSON.
        data: JSON that stands in the page, by the id of its element.
        title: of the page.
        about: what happens in it, after the model's size.
        text: what is read first.
        tables: rows that the scripts look up, by name.
    """

    parts: Sequence[Part]
    template: tuple[str, str]
    scripts: Sequence[tuple[str, str]]
    facts: Mapping[str, Any]
    data: Mapping[str, str]
    title: str
    about: str
    text: str = ""
    tables: Mapping[str, Array] = field(default_factory=dict)


def drawn_values(layers: Recurrent) -> tuple[str, ...]:
    """The gates and states of layers that a page may draw."""
    graph = layers.cell.graph
    names = [name for name, _ in graph.gates] + [state.name for state in graph.states]
    return tuple(name for name in dict.fromkeys(names) if name != "output")


def page_files(page: Page, options: ExportOptions, weights: Weights | None) -> Content:
    """The page: `index.html`.

    Args:
        weights: how weights are kept; None: as float32, or in 8 bits where the page would have more than `LARGEST`
            bytes.

    Raises:
        InputError: an operation that has no code.
        GateworkError: the module gives other numbers than the layers.
        MissingExtraError: no linker.
    """
    made = _page(page, replace(options, weights=weights or "float32"))
    if weights is None and len(made.files["index.html"]) > LARGEST:
        options.say(
            f"which is more than {LARGEST:,} bytes: weights are kept in 8 bits (weights=float32 keeps them whole)"
        )
        made = _page(page, replace(options, weights="int8"))
    return made


def _page(page: Page, options: ExportOptions) -> Content:
    module, codes = wasm_module(page.parts, options)
    joined = [
        _IMPORT.sub("", files(package).joinpath(file).read_text("utf-8"))
        for package, file in ((__name__, "unpacked.mjs"), *page.scripts)
    ]
    facts, packed = dict(page.facts), {"module": module}
    if page.tables:
        packed["tables"], facts["tables"] = packed_tables(page.tables, int8=options.int8)
    script = [es_module(codes, ""), f"const PAGE = {json.dumps(facts)};", *joined]
    packed |= {name: text.encode() for name, text in page.data.items()}
    data = {name: base64.b64encode(zlib.compress(each, 9)).decode() for name, each in packed.items()}
    layers = next(part for part in page.parts if isinstance(part, Network))
    weights = sum(each.size for each in page.tables.values()) + sum(part.parameters for part in page.parts)
    about = (
        f"{weights:,} weights{' in 8 bits' if options.int8 else ''}, {layers.stack.num_layers} layer(s) of "
        f"{layers.graph.name}, run by this page alone. {page.about}"
    )
    package, template = page.template
    written = Template(files(package).joinpath(template).read_text("utf-8")).substitute(
        title=html.escape(page.title),
        about=html.escape(about),
        text=html.escape(page.text),
        data="\n".join(
            f'<script type="text/plain" id="{name}">{text}</script>' for name, text in data.items()
        ),
        script="\n".join(script),
    )
    sizes = section_sizes(module)
    options.say(f"index.html: {len(written.encode()):,} bytes")
    memory = max(code.memory_bytes for code in codes)
    return Content({"index.html": written.encode()}, sizes["code"], sizes["data"], memory)
