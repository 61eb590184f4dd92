"""The page of a task on words: a text typed, its tags or labels, and the gates of every step."""

from __future__ import annotations

import json
from typing import Literal

from gatework.export.exportable import Exportable
from gatework.export.network import Network
from gatework.export.page import Page

__all__ = ["words_page"]

_PROGRAMS = "gatework.tasks.programs"


def words_page(given: Exportable, kind: Literal["tags", "labels"], title: str, text: str) -> Page:
    """A page of what a tagger or a classifier exports.

    Args:
        given: its first part are the layers, with what they emit.
        text: what is read first.
    """
    layers = given.parts[0]
    if not isinstance(layers, Network):
        raise TypeError("the first part of a task on words are its layers")
    own = "tag" if kind == "tags" else "classify"
    names = ("tables.mjs", "words.mjs", f"{own}.mjs", f"{own}_page.mjs", "words_page.mjs")
    scripts = [(_PROGRAMS, file) for file in names]
    data = {"facts": json.dumps(dict(given.facts))}
    if kind == "labels":
        scripts.insert(0, ("gatework.export.page", "tokenizer.mjs"))
    if "tokenizer.json" in given.files:
        data["tokenizer"] = given.files["tokenizer.json"].decode()
    return Page(
        given.parts,
        (_PROGRAMS, "words.html"),
        scripts,
        {"kind": kind, "gates": [*layers.emitted, "output"], "directions": layers.stack.directions},
        data,
        title,
        "What you type is read at each key; each column is the gate at one token.",
        text,
        given.tables,
    )
