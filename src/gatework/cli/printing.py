"""Tables for the terminal."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gatework.tasks.base import Task
    from gatework.tasks.sweeping import SweptTrial
    from gatework.training.overview import RunSummary

__all__ = ["cells", "configuration", "figures", "note", "options", "options_of", "runs", "sweep"]

INDENT = " " * 6
_WIDE = 1000
_MOST_SHOWN = 30  # labels


def figures(values: Mapping[str, Any], *, title: str) -> None:
    """The figures of `evaluate`: a row each, the model beside the baselines."""
    baselines = values["baselines"] | ({"references": values["references"]} if "references" in values else {})
    intervals = values.get("intervals", {})
    table = Table()
    table.add_column("")
    for name in ("model", *(["95 % of resamples"] if intervals else []), *baselines):
        table.add_column(name, justify="right")
    for figure, value in values["model"].items():
        between = [" to ".join(map(_number, intervals.get(figure, ())))] if intervals else []
        cells = (_number(baseline.get(figure)) for baseline in baselines.values())
        table.add_row(figure.replace("_", " "), _number(value), *between, *cells)
    console = _console()
    # Runs of earlier versions say less.
    facts = [f"{values['examples']:,} {values.get('unit', 'examples')}", values.get("search", "")]
    console.print(
        f"{title} ({', '.join(filter(None, facts))}):", markup=False, highlight=False, soft_wrap=True
    )
    console.print(table)
    if values.get("below_baseline"):
        what = f"The model is below its strongest baseline, {values['strongest']}, in {values['headline']}"
        numbers = (_number(values[whose][values["headline"]]) for whose in ("model", "baseline"))
        console.print(f"{what}: {' against '.join(numbers)}.", markup=False, highlight=False, soft_wrap=True)
    if "labels" in values:
        _print_labels(console, values["labels"])
    if "confusion" in values and len(values["confusion"]["labels"]) <= _MOST_SHOWN:
        _print_confusion(console, values["confusion"])
    unknown = {part: share for part, share in values.get("unknown", {}).items() if share > 0}
    if unknown:
        shares = ", ".join(f"{share:.1%} of the {part}" for part, share in unknown.items())
        console.print(f"not in the vocabulary: {shares}", markup=False, highlight=False, soft_wrap=True)
    for name, signature in values.get("signatures", {}).items():
        console.print(f"{name}: {signature}", markup=False, highlight=False, soft_wrap=True)


def _print_labels(console: Console, labels: Mapping[str, Mapping[str, float]]) -> None:
    """The figures of each label; of very many the most frequent ones."""
    shown = sorted(labels, key=lambda name: -labels[name]["support"])[:_MOST_SHOWN]
    table = Table(box=box.SIMPLE)
    columns = ["label", "precision", "recall", "f1", "support"]
    for column in columns:
        table.add_column(column, justify="left" if column == "label" else "right")
    for name in (name for name in labels if name in shown):
        row = labels[name]
        table.add_row(
            escape(name), *(_number(row[column]) for column in columns[1:-1]), f"{row['support']:,}"
        )
    console.print(table, highlight=False)
    if len(labels) > len(shown):
        print(f"{len(labels):,} labels in all; all of their figures: --json")


def _print_confusion(console: Console, confusion: Mapping[str, Any]) -> None:
    """How many examples of each row's label were given each column's."""
    table = Table(
        box=box.SIMPLE, title="examples of the row's label that were given the column's", title_justify="left"
    )
    table.add_column("")
    for name in confusion["labels"]:
        table.add_column(escape(name), justify="right")
    for name, row in zip(confusion["labels"], confusion["table"], strict=True):
        table.add_row(escape(name), *(f"{count:,}" for count in row))
    console.print(table, highlight=False)


def options(task: type[Task]) -> None:
    """The options of a task that `--set` takes, its own first, and the settings of its predictions."""
    sections = {
        f"Options of {task.name}, --set NAME=VALUE, with their defaults:": task.Options,
        "Settings of its predictions, gatework predict RUN --set NAME=VALUE:": task.Settings,
    }
    for title, model in sections.items():
        options_of(model, title)


def options_of(model: type[BaseModel], title: str) -> None:
    """The options of one model, below a title."""
    from gatework.tasks.options import describe_options

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


def cells(docs: Mapping[str, str]) -> None:
    """Names of cells, each with the first paragraph of its description, whole."""
    column = max(map(len, docs)) + 2
    width = _console().width
    for name, doc in docs.items():
        text = " ".join(doc.partition("\n\n")[0].split())
        start = f"{name:<{column}}"
        print(textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * column) or name)


def runs(found: Sequence[RunSummary]) -> None:
    """The runs of `gatework runs`: a row each."""
    from gatework.training.files import size
    from gatework.training.overview import differing_options

    above = commonpath([Path(run.path).parent for run in found])
    names = {run.path: os.path.relpath(run.path, above) for run in found}
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("run", "task", "state", "steps", "best validation", "changed", "size"):
        right = column in ("steps", "size")
        whole = column not in ("run", "best validation")
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=whole)
    for run in found:
        best = "\n".join(f"{name} {_number(value)}" for name, value in run.best.items())
        row = (names[run.path], run.task, run.state, f"{run.steps:,}", best, f"{run.changed:%Y-%m-%d}")
        table.add_row(*map(escape, row), size(run.size))
    console = _console()
    console.print(table, highlight=False)
    for title, lines in (
        ("In training, or not readable:", {run.path: run.problem for run in found}),
        (
            "Options that differ:",
            {path: _settings(options) for path, options in differing_options(found).items()},
        ),
    ):
        if any(lines.values()):
            said = (f"  {names[path]}: {line}" for path, line in lines.items() if line)
            console.print("\n".join((title, *said)), markup=False, highlight=False, soft_wrap=True)


def sweep(trials: Sequence[SweptTrial], figure: str, *, title: str) -> None:
    """The trials of a sweep, the best first: a row each."""
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("trial", "state", figure.replace("_", " "), "steps", "searched options"):
        table.add_column(column, justify="left" if column in ("state", "searched options") else "right")
    for trial in trials:
        options = {name: f"{x:.4g}" if isinstance(x, float) else x for name, x in trial.options.items()}
        row = (str(trial.trial), trial.state, _number(trial.value), f"{trial.steps:,}", _settings(options))
        table.add_row(*map(escape, row))
    console = _console()
    console.print(f"{title}:", markup=False, highlight=False, soft_wrap=True)
    console.print(table, highlight=False)
    best = next((trial for trial in trials if trial.value is not None), None)
    if best is not None:
        console.print(f"The best is the run {best.path}.", markup=False, highlight=False, soft_wrap=True)


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def note(message: str) -> None:
    """A message beside the output."""
    print(message, file=sys.stderr)


def _console() -> Console:
    """The standard output; where it is no terminal no table is cut to the width of one."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4f}"
