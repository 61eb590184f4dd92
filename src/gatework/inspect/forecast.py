"""Forecasts as a picture: history, forecast and intervals over time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gatework.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers: TypeAlias = "npt.NDArray[np.floating[Any]]"

__all__ = ["ForecastPanel", "draw_forecasts"]

_PANEL = (9.0, 2.8)  # inches
_MOST_PANELS = 16
_SIGNS = 5  # of the legend, side by side
_COLOUR = "C0"
_FEW = 60  # steps, each of which is still seen as a point
_ALPHA = (0.14, 0.40)  # of the widest and the narrowest interval


@dataclass(frozen=True)
class ForecastPanel:
    """What is shown of one channel of one series.

    Attributes:
        title: its name.
        times: (N,) of the history's steps, datetime64 or numbers.
        history: (N,) its values; NaN: missing.
        ahead: (H,) the times of the forecast's steps.
        mean: (H,).
        quantiles: (H, Q), rising along Q.
        future: (H,) what came true, NaN where it is not known; None: nothing is.
    """

    title: str
    times: npt.NDArray[Any]
    history: Numbers
    ahead: npt.NDArray[Any]
    mean: Numbers
    quantiles: Numbers
    future: Numbers | None = None


def draw_forecasts(
    panels: Sequence[ForecastPanel], levels: Sequence[float], path: str | os.PathLike[str]
) -> None:
    """Forecasts, one below another, in the format that the path's suffix names.

    The history as a line, broken where values are missing; the forecast's mean as a dashed one that begins at the last
    known value; an area for each interval, the narrower the darker; what came true as points.

    Args:
        panels: 1 to 16 of them.
        levels: (Q,) the quantiles' levels, rising; those that are as far from 0 as from 1 make an interval.

    Raises:
        ValueError: no panel, or too many; arrays whose lengths do not fit; a suffix that names no format.
        MissingExtraError: matplotlib is not installed.
    """
    if not 1 <= len(panels) <= _MOST_PANELS:
        raise ValueError(f"a picture shows 1 to {_MOST_PANELS} forecasts, received {len(panels)}.")
    for panel in panels:
        _check(panel, len(levels))
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    figure = Figure(figsize=(_PANEL[0], _PANEL[1] * len(panels) + 0.4), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        _draw(axes, panel, _intervals(levels))
    signs: dict[str, Any] = {}  # by label: not every panel has all of them
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        signs |= dict(zip(labels, handles, strict=True))
    style: dict[str, Any] = {
        "loc": "outside upper center",
        "ncols": min(len(signs), _SIGNS),
        "fontsize": "small",
    }
    figure.legend(list(signs.values()), list(signs), frameon=False, **style)
    figure.savefig(path, dpi=144)


def _draw(axes: Any, panel: ForecastPanel, intervals: Sequence[tuple[int, int, str]]) -> None:
    known = np.flatnonzero(~np.isnan(panel.history))
    begin = known[-1:]  # the forecast is joined to the last value that is known
    ahead = np.concatenate([panel.times[begin], panel.ahead])
    dot = "." if len(panel.times) + len(panel.ahead) <= _FEW else None
    for number, (low, high, label) in enumerate(intervals):
        share = number / max(len(intervals) - 1, 1)
        edges = [np.concatenate([panel.history[begin], panel.quantiles[:, place]]) for place in (low, high)]
        alpha = _ALPHA[0] + share * (_ALPHA[1] - _ALPHA[0])
        axes.fill_between(ahead, *edges, color=_COLOUR, alpha=alpha, linewidth=0, label=label)
    alone = _alone(panel.history)
    axes.plot(panel.times, panel.history, color="0.25", linewidth=1.2, marker=dot, label="history")
    axes.plot(panel.times[alone], panel.history[alone], ".", color="0.25")
    mean = np.concatenate([panel.history[begin], panel.mean])
    axes.plot(ahead, mean, color=_COLOUR, linewidth=1.6, linestyle="--", label="forecast")
    if panel.future is not None:
        small = 4 if dot else 2.5
        axes.plot(panel.ahead, panel.future, "o", color="C3", markersize=small, label="what came true")
    axes.axvline(panel.times[-1], color="0.6", linewidth=0.8)
    axes.set_title(panel.title, fontsize="medium", loc="left", parse_math=False)
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    if np.issubdtype(panel.times.dtype, np.datetime64):
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        axes.set_xlabel("step")


def _alone(values: Numbers) -> npt.NDArray[np.bool_]:
    """Values between missing ones, which no line shows."""
    known = np.pad(~np.isnan(values), 1)
    return known[1:-1] & ~known[:-2] & ~known[2:]


def _intervals(levels: Sequence[float]) -> list[tuple[int, int, str]]:
    """Which two quantiles make an interval, the widest first, and its name."""
    places = {round(level, 6): place for place, level in enumerate(levels)}
    pairs = [(level, places.get(round(1 - level, 6))) for level in places if level < 0.5]
    return [
        (places[low], high, f"{100 * (1 - 2 * low):.4g} % interval")
        for low, high in sorted(pairs)
        if high is not None
    ]


def _check(panel: ForecastPanel, levels: int) -> None:
    steps, horizon = len(panel.times), len(panel.ahead)
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "history": (panel.history, (steps,)),
        "mean": (panel.mean, (horizon,)),
        "quantiles": (panel.quantiles, (horizon, levels)),
    }
    if panel.future is not None:
        shapes["future"] = (panel.future, (horizon,))
    for name, (array, shape) in shapes.items():
        if np.shape(array) != shape:
            raise ValueError(f"{panel.title!r}: {name} has shape {np.shape(array)}, where {shape} is due.")
    if not horizon or np.isnan(panel.history).all():
        raise ValueError(f"{panel.title!r}: a picture needs a known value and a step of forecast.")
