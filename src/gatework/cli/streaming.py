"""One record as one line of JSON, written while its output is still being made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TextIO

__all__ = ["write_record"]


def write_record(file: TextIO, item: Any, parts: Iterable[str | dict[str, Any]]) -> None:
    """Write `{"input": …, "output": …, …}` and a line end; each piece of the output is written at once.

    Args:
        file: where its encoding lacks a character, JSON's own escape (`\\u…`) stands for it.
        item: the input.
        parts: pieces of the output's text, if the task has any before the end, and last the whole record.
    """
    begun = False
    for part in parts:
        if isinstance(part, str):
            if not begun:
                file.write(f'{{"input": {_json(file, item)}, "output": "')
                begun = True
            file.write(_json(file, part)[1:-1])
        elif begun:
            rest = {name: value for name, value in part.items() if name not in ("input", "output")}
            file.write('"' + (f", {_json(file, rest)[1:]}" if rest else "}") + "\n")
        else:
            file.write(_json(file, part) + "\n")
        file.flush()


def _json(file: TextIO, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(file.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text
