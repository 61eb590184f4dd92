"""The course of trainings as a picture: losses, figures of validations and learning rates over the steps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatework.errors import MissingExtraError

__all__ = ["draw_history"]

_PANEL = (8.0, 2.4)  # inches
_LOSS_PANEL = 1.6  # times as high
_FEW = 60  # records, each of which is still seen as a point
_NOT_FIGURES = ("epoch", "seconds", "step")


def draw_history(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """The course of one training or of several, in the format that the path's suffix names.

    The loss of the training and, dashed, of the validations; below it each other figure of the validations, and the
    learning rate, all over the optimiser's steps. A point marks the best validation.

    Args:
        histories: the records of history.jsonl, by the name of their run.

    Raises:
        ValueError: no record holds a loss; a suffix that names no format.
        MissingExtraError: matplotlib is not installed.
    """
    if not any("loss" in record for records in histories.values() for record in records):
        raise ValueError("a picture needs a record with a loss: nothing is recorded yet.")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    figures = _figures(histories.values())
    heights = [_LOSS_PANEL, *[1.0] * (len(figures) + 1)]
    figure = Figure(figsize=(_PANEL[0], _PANEL[1] * sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    for number, (name, records) in enumerate(histories.items()):
        colour = f"C{number % 10}"
        training = [record for record in records if record["kind"] == "train"]
        validations = [record for record in records if record["kind"] == "validation"]
        dots = {"marker": "." if len(training) + len(validations) < _FEW else None, "color": colour}
        best = [record for record in validations if record.get("best")][-1:]
        panels[0].plot(*_points(training, "loss"), **dots, alpha=0.6, label=f"{name}, training")
        for panel, shown in zip(panels, ["loss", *figures], strict=False):
            label = f"{name}, validation" if shown == "loss" else None
            panel.plot(*_points(validations, shown), **dots, linestyle="--", label=label)
            panel.plot(*_points(best, shown), color=colour, marker="o")
        panels[-1].plot(*_points(training, "learning_rate"), **dots)
    for panel, shown in zip(panels, ["loss", *figures, "learning rate"], strict=True):
        panel.set_ylabel(shown.replace("_", " "))
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    panels[-1].set_xlabel("step")
    figure.savefig(path, dpi=144)


def _points(records: Iterable[Mapping[str, Any]], figure: str) -> tuple[list[int], list[float]]:
    """Steps and values of a figure, where it is a number."""
    known = [record for record in records if isinstance(record.get(figure), (int, float))]
    return [record["step"] for record in known], [record[figure] for record in known]


def _figures(histories: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The figures of the validations beside the loss, in their order."""
    return list(
        dict.fromkeys(
            name
            for records in histories
            for record in records
            if record["kind"] == "validation"
            for name, value in record.items()
            if isinstance(value, float) and name != "loss" and name not in _NOT_FIGURES
        )
    )
