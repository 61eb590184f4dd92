"""Pictures of a search over options: each trial's figure, and where in the options it was found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from gatework.errors import MissingExtraError

__all__ = ["draw_sweep"]

_COLUMNS = 3
_PANEL = (4.0, 2.8)  # inches


def draw_sweep(
    trials: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    figure: str,
    higher: bool,
    logarithmic: Sequence[str] = (),
) -> None:
    """The figure of every trial in its order, with the best so far, and over each searched option.

    A trial that was pruned is hollow, and the best one a star.

    Args:
        trials: each with `trial` (its number), `value`, `pruned` and `options`, a mapping of the searched ones.
        path: of the picture, in the format that its suffix names.
        figure: the name of the value.
        higher: whether a higher value is better.
        logarithmic: options that have a logarithmic axis.

    Raises:
        ValueError: there is no trial, or the suffix names no format.
        MissingExtraError: matplotlib is not installed.
    """
    if not trials:
        raise ValueError("a picture needs a trial: none is complete yet")
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    names = list(trials[0]["options"])
    rows = -(-len(names) // _COLUMNS)
    picture = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] * (rows + 1)), layout="constrained")
    grid = picture.add_gridspec(rows + 1, _COLUMNS)
    best = (max if higher else min)(trials, key=lambda trial: trial["value"])
    course = picture.add_subplot(grid[0, :])
    _scatter(course, [trial["trial"] for trial in trials], trials, best)
    so_far = [
        (max if higher else min)(other["value"] for other in trials[: number + 1])
        for number in range(len(trials))
    ]
    course.step([trial["trial"] for trial in trials], so_far, where="post", color="C7", label="best so far")
    course.set_xlabel("trial")
    course.xaxis.set_major_locator(MaxNLocator(integer=True))
    course.legend(fontsize="small")
    course.set_ylabel(figure.replace("_", " "))
    for number, name in enumerate(names):
        panel = picture.add_subplot(grid[1 + number // _COLUMNS, number % _COLUMNS], sharey=course)
        values = [trial["options"][name] for trial in trials]
        if any(isinstance(value, str | bool) or value is None for value in values):
            values = [str(value) for value in values]  # a place each
        _scatter(panel, values, trials, best)
        if name in logarithmic:
            panel.set_xscale("log")
        panel.set_xlabel(name.replace("_", " "))
        if number % _COLUMNS == 0:
            panel.set_ylabel(figure.replace("_", " "))
    for axes in picture.axes:
        axes.grid(alpha=0.3)
    picture.savefig(path, dpi=144)


def _scatter(axes: Any, places: Sequence[Any], trials: Sequence[Mapping[str, Any]], best: Any) -> None:
    colours = ["none" if trial["pruned"] else "C0" for trial in trials]
    values = [trial["value"] for trial in trials]
    axes.scatter(places, values, facecolors=colours, edgecolors="C0", s=28, zorder=3)
    at = next(place for place, trial in zip(places, trials, strict=True) if trial is best)
    axes.scatter([at], [best["value"]], marker="*", color="C3", s=130, zorder=4)
