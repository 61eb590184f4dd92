"""Tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from gatework.tasks.base import Task

__all__ = ["figures", "note", "options"]


def figures(values: Mapping[str, Any], *, title: str) -> None:
    """The figures of `evaluate`: a row each, the model beside the baselines."""
    baselines = values["baselines"]
    table = Table()
    table.add_column("")
    for name in ("model", *baselines):
        table.add_column(name, justify="right")
    for figure, value in values["model"].items():
        cells = (_number(baseline.get(figure)) for baseline in baselines.values())
        table.add_row(figure.replace("_", " "), _number(value), *cells)
    console = Console()
    console.print(f"{title} ({values['examples']:,} examples):", markup=False, highlight=False, soft_wrap=True)
    console.print(table)


def options(task: type[Task]) -> None:
    """The options of a task that `--set` takes, and the settings of its predictions."""
    from gatework.tasks.options import describe_options

    console = Console()
    sections = {
        f"Options of {task.name} (--set NAME=VALUE)": task.Options,
        f"Settings of predict with {task.name} (gatework predict RUN --set NAME=VALUE)": task.Settings,
    }
    for title, model in sections.items():
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("name", "default", "kind", "what it is"):
            table.add_column(heading, no_wrap=heading in ("name", "default"))
        for option in describe_options(model):
            table.add_row(option.name, option.default, option.kind, option.description)
        console.print()
        console.print(table)


def note(message: str) -> None:
    """A message beside the output."""
    print(message, file=sys.stderr)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4f}"
