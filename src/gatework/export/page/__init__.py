"""A model as one HTML file, which runs in a browser without a server."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import Any

from gatework.export.files import Content, ExportOptions
from gatework.export.network import Network, Part
from gatework.export.wasm.files import es_module, wasm_module
from gatework.export.wasm.link import section_sizes
from gatework.layers import Recurrent

__all__ = ["Page", "drawn_values", "page_files"]

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
        data: what stands in the page as text, by the id of its element; `<` is written as JSON writes it.
        title: of the page.
        about: what happens in it, after the model's size.
        text: what is read first.
        weights: numbers that are learned beside those of the parts.
        more: bytes that stand in the page as base64, by the id of their element.
    """

    parts: Sequence[Part]
    template: tuple[str, str]
    scripts: Sequence[tuple[str, str]]
    facts: Mapping[str, Any]
    data: Mapping[str, str]
    title: str
    about: str
    text: str = ""
    weights: int = 0
    more: Mapping[str, bytes] = field(default_factory=dict)


def drawn_values(layers: Recurrent) -> tuple[str, ...]:
    """The gates and states of layers that a page may draw."""
    graph = layers.cell.graph
    names = [name for name, _ in graph.gates] + [state.name for state in graph.states]
    return tuple(name for name in dict.fromkeys(names) if name != "output")


def page_files(page: Page, options: ExportOptions) -> Content:
    """The page: `index.html`.

    Raises:
        InputError: an operation that has no code.
        MissingExtraError: no linker.
    """
    module, codes = wasm_module(page.parts, options)
    joined = [
        _IMPORT.sub("", files(package).joinpath(file).read_text("utf-8")) for package, file in page.scripts
    ]
    script = [es_module(codes, ""), f"const PAGE = {json.dumps(dict(page.facts))};", *joined]
    packed = {name: base64.b64encode(content).decode() for name, content in page.more.items()}
    data = {
        **{name: text.replace("<", "\\u003c") for name, text in page.data.items()},
        **packed,
        "module": base64.b64encode(module).decode(),
    }
    layers = next(part for part in page.parts if isinstance(part, Network))
    weights = page.weights + sum(part.parameters for part in page.parts)
    about = (
        f"{weights:,} weights, {layers.stack.num_layers} layer(s) of "
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
