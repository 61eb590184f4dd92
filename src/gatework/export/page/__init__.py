"""A language model as one HTML file, which runs in a browser without a server."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from gatework.export.files import Content, ExportOptions
from gatework.export.network import Network
from gatework.export.wasm.files import es_module, wasm_module
from gatework.export.wasm.link import section_sizes

__all__ = ["Page", "page_files"]


@dataclass(frozen=True)
class Page:
    """What stands in a page.

    Attributes:
        network: the step of a language model: a token in, logits out, and the gates that are drawn.
        tokenizer: its file, of the `tokenizers` library.
        kind: `character`, `word` or `bpe`.
        lowercase: whether all text is taken in lower case.
        start: the token that stands before every text.
        unknown: the token that is never drawn; None where there is none.
        text: what is read first.
    """

    network: Network
    tokenizer: str
    kind: str
    lowercase: bool
    start: int
    unknown: int | None
    title: str
    text: str = ""


def page_files(page: Page, options: ExportOptions) -> Content:
    """The page: `index.html`.

    Raises:
        InputError: an operation that has no code.
        MissingExtraError: no linker.
    """
    module, codes = wasm_module([page.network], options)
    folder = files("gatework.export.page")
    facts = {
        "kind": page.kind,
        "lowercase": page.lowercase,
        "start": page.start,
        "unknown": page.unknown,
        "gates": list(page.network.emitted),
    }
    script = [
        es_module(codes, ""),
        folder.joinpath("tokenizer.mjs").read_text("utf-8"),
        f"const PAGE = {json.dumps(facts)};",
        folder.joinpath("page.mjs").read_text("utf-8"),
    ]
    stack = page.network.stack
    about = (
        f"{page.network.parameters:,} weights, {stack.num_layers} layer(s) of {page.network.graph.name}, "
        "run by this page alone. What you type is read token by token; each column is the gate at one of them."
    )
    written = Template(folder.joinpath("page.html").read_text("utf-8")).substitute(
        title=html.escape(page.title),
        about=html.escape(about),
        text=html.escape(page.text),
        tokenizer=json.dumps(json.loads(page.tokenizer), ensure_ascii=True).replace("<", "\\u003c"),
        module=base64.b64encode(module).decode(),
        script="\n".join(script),
    )
    sizes = section_sizes(module)
    options.say(f"index.html: {len(written.encode()):,} bytes")
    return Content({"index.html": written.encode()}, sizes["code"], sizes["data"], codes[0].memory_bytes)
