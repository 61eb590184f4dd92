"""Tables for the terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from gatework.tasks.base import Task

__all__ = ["configuration", "figures", "note", "options"]

INDENT = " " * 6


def figures(values: Mapping[str, Any], *, title: str) -> None:
    """The figures of `evaluate`: a row each, the model beside the baselines."""
    baselines = values["baselines"] | ({"references": values["references"]} if "references" in values else {})
    table = Table()
    table.add_column("")
    for name in ("model", *baselines):
        table.add_column(name, justify="right")
    for figure, value in values["model"].items():
        cells = (_number(baseline.get(figure)) for baseline in baselines.values())
        table.add_row(figure.replace("_", " "), _number(value), *cells)
    console = Console()
    console.print(
        f"{title} ({values['examples']:,} examples):", markup=False, highlight=False, soft_wrap=True
    )
    console.print(table)
    unknown = {part: share for part, share in values.get("unknown", {}).items() if share > 0}
    if unknown:
        shares = ", ".join(f"{share:.1%} of the {part}" for part, share in unknown.items())
        console.print(f"not in the vocabulary: {shares}", markup=False, highlight=False, soft_wrap=True)
    for name, signature in values.get("signatures", {}).items():
        console.print(f"{name}: {signature}", markup=False, highlight=False, soft_wrap=True)


def options(task: type[Task]) -> None:
    """The options of a task that `--set` takes, its own first, and the settings of its predictions."""
    from gatework.tasks.options import describe_options

    sections = {
        f"Options of {task.name}, --set NAME=VALUE, with their defaults:": task.Options,
        "Settings of its predictions, gatework predict RUN --set NAME=VALUE:": task.Settings,
    }
    for title, model in sections.items():
        print(f"\n{title}\n")
        for option in describe_options(model):
            print(f"  {option.name}={option.default}  ({option.kind})")
            print(textwrap.fill(option.description, 100, initial_indent=INDENT, subsequent_indent=INDENT))


def configuration(task: type[Task]) -> None:
    """A file for `--config` with every option of a task, its default and its description, all as comments."""
    from gatework.tasks.options import describe_options

    print(f"# Options of gatework train {task.name}, with their defaults. Take away a # to set one:")
    print(f"#   gatework train {task.name} DATA… --out RUN --config THIS.yaml")
    for option in describe_options(task.Options):
        text = f"{option.description} ({option.kind})"
        print(f"\n{textwrap.fill(text, 100, initial_indent='# ', subsequent_indent='# ')}")
        print(f"#{option.name}: {option.yaml}")


def note(message: str) -> None:
    """A message beside the output."""
    print(message, file=sys.stderr)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4f}"
