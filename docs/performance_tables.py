"""Committed results of the benchmarks as tables in Markdown, each with the files that its figures are read from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@cache
def read(name: str) -> dict[str, Any]:
    """A result, by its file's name without the ending."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def ratio(value: float) -> str:
    """A ratio: below 1 in bold, since there the peer is quicker."""
    text = f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"
    return f"**{text}**" if value < 0.995 else text


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def machine(found: dict[str, Any]) -> str:
    """The machine of a result in a few words, with the code that was measured."""
    family = f" (family {found['family']}, model {found['model']})" if found.get("family") else ""
    isa = f", {found['isa'].upper().replace('AVX512', 'AVX-512')}" if found.get("isa") else ""
    threads = f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    return f"{found['cpu']}{family}{isa}, {threads}, torch {found['torch']}, commit {found['commit'][:8]}"


def machines(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The machines of a result: one, or one for each of its parts."""
    if "machine" in result:
        return [result["machine"]]
    parts = result["results"] if "results" in result else (result.get("tasks") or result).values()
    return [part["machine"] for part in parts]


def sources(*names: str) -> str:
    """Where a table's figures are: file, machine, commit and command, a line each."""
    lines = []
    for name in names:
        for found in {machine(found): found for found in machines(read(name))}.values():
            known = found["command"].startswith("python")
            command = f"`{found['command']}`" if known else "its commands stand in the file"
            lines.append(f"- `{name}.json`: {machine(found)}; {command}")
    return "\n".join(lines)
