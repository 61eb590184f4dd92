"""A report as one file: the page's modules and styles, and the data, inside one HTML text."""

from __future__ import annotations

import base64
import html
import json
import re
from functools import cache
from importlib import resources

__all__ = ["page"]

_IMPORT = re.compile(r'from "\./([\w-]+\.js)"')


def page(title: str, data: str) -> str:
    """The HTML of a report, of its JSON; it asks for nothing else: its own rule forbids every request."""
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _file("report.css"),
        "MODULES": json.dumps({"imports": _modules()}),
        "DATA": data.replace("<", "\\u003c"),  # no text ends the script that holds it
    }
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], _file("report.html"))


@cache
def _modules() -> dict[str, str]:
    """The modules by the names that they import each other by, each as a data URL: what lies in one file has no other
    address."""
    folder = resources.files("gatework.inspect") / "page"
    return {
        f"gatework/{file.name}": "data:text/javascript;base64,"
        + base64.b64encode(_IMPORT.sub(r'from "gatework/\1"', file.read_text("utf-8")).encode()).decode()
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".js")
    }


def _file(name: str) -> str:
    return (resources.files("gatework.inspect") / "page" / name).read_text("utf-8")
