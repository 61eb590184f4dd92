"""Pictures of a layer's gates and states over time and units, by matplotlib."""

from __future__ import annotations

import math
import os
import warnings

import numpy as np

from gatework.errors import MissingExtraError
from gatework.inspect.alignment import fonts_for, visible
from gatework.inspect.recorded import Part

__all__ = ["draw_part"]

_INCHES = (0.16, 4.0, 12.0)  # a step; a panel at least and at most
_HEIGHT = 2.4  # of a panel
_MOST_LABELS = 40


def draw_part(part: Part, path: str | os.PathLike[str], *, title: str = "") -> None:
    """A panel for each gate and state: a column a step, a row a unit, those on top that remember longest; in the format
    that the path's suffix names.

    Args:
        part: of a report.
        path: of the picture.
        title: above it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    names, steps = list(part.values), len(part.labels)
    width = min(max(_INCHES[1], _INCHES[0] * steps), _INCHES[2])
    columns = 1 if width > _INCHES[1] * 2 else 2
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(columns * width + 1, rows * _HEIGHT + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for panel, name in zip(panels.flat, names, strict=False):
        values = part.values[name][:, _order(part, part.values[name].shape[1])].T
        signed = values.min() < 0
        most = max(1.0, float(np.abs(values).max())) if signed else max(1.0, float(values.max()))
        image = panel.imshow(
            values,
            aspect="auto",
            interpolation="nearest",
            cmap="PuOr" if signed else "Blues",
            vmin=-most if signed else 0.0,
            vmax=most,
        )
        low, high = part.saturation(name)
        shares = "" if signed else f": {low.mean():.0%} below 0.1, {high.mean():.0%} above 0.9"
        panel.set_title(name + shares, fontsize="small", loc="left")
        panel.set_yticks([])
        figure.colorbar(image, ax=panel)
    for panel in list(panels.flat)[len(names) :]:
        panel.remove()
    labels = [visible(label) for label in part.labels]
    fonts, _ = fonts_for("".join(labels))
    if steps <= _MOST_LABELS:
        for panel in panels[-1]:
            if panel.figure is not None:
                panel.set_xticks(
                    range(steps), labels, rotation=90, fontsize=7, family=fonts, parse_math=False
                )
    figure.supxlabel("step", fontsize="small")
    figure.supylabel("unit", fontsize="small")
    figure.suptitle(f"{title}  {part.name}".strip(), parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a box stands for it
        figure.savefig(path, dpi=144)


def _order(part: Part, size: int) -> np.ndarray:
    lives = next((each for each in part.half_lives.values() if len(each) == size), None)
    return np.arange(size) if lives is None else np.argsort(-lives, kind="stable")
