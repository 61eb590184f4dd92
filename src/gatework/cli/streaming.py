"""One record as one line of JSON, written while its output still comes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TextIO

__all__ = ["write_record"]


def write_record(file: TextIO, item: Any, parts: Iterable[str | dict[str, Any]]) -> None:
    """Write `{"input": …, "output": …, …}` and a line end; pieces of the output are written as they come.

    Args:
        item: the input.
        parts: pieces of the output's text, if the task has any before the end, and last the whole record.
    """
    begun = False
    for part in parts:
        if isinstance(part, str):
            if not begun:
                file.write(f'{{"input": {_json(item)}, "output": "')
                begun = True
            file.write(_json(part)[1:-1])
        elif begun:
            rest = {name: value for name, value in part.items() if name not in ("input", "output")}
            file.write('"' + (f", {_json(rest)[1:]}" if rest else "}") + "\n")
        else:
            file.write(_json(part) + "\n")
        file.flush()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
