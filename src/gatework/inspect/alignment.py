"""Pictures of an alignment: which tokens of the source each token of the target was made from."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

from gatework.errors import MissingExtraError

__all__ = ["alignment_text", "draw_alignment"]

_SHADES = " ░▒▓█"
_INCHES = 0.28  # a token's cell
_MOST_INCHES = 24.0


def alignment_text(source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """An alignment for the terminal: a row a target token, a column a source token, darker for more weight.

    Args:
        weights: a row a target token, which sums to 1 over the source's.
    """
    labels = [_visible(token) for token in target]
    width = max(map(len, labels), default=0)
    columns = [_visible(token) for token in source]
    deep = max(map(len, columns), default=0)
    lines = [
        " " * (width + 1) + " ".join(token[row] if row < len(token) else " " for token in columns)
        for row in range(deep)
    ]
    for label, row in zip(labels, weights, strict=True):
        shades = (_SHADES[min(len(_SHADES) - 1, round(float(w) * (len(_SHADES) - 1)))] for w in row)
        lines.append(f"{label:>{width}} " + " ".join(shades))
    return "\n".join(line.rstrip() for line in lines)


def draw_alignment(
    source: Sequence[str],
    target: Sequence[str],
    weights: Sequence[Sequence[float]],
    path: str | os.PathLike[str],
    *,
    title: str = "",
) -> None:
    """An alignment as a picture (Bahdanau et al. 2014, figure 3), in the format that the path's suffix names.

    Args:
        weights: a row a target token, which sums to 1 over the source's.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    wide, high = len(source) * _INCHES + 2.2, len(target) * _INCHES + 1.8
    scale = min(1.0, _MOST_INCHES / max(wide, high))
    figure = Figure(figsize=(wide * scale, high * scale), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow([list(row) for row in weights], cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto")
    long = sum(len(token) > 2 for token in source) > 1  # the end of the source has a name of its own
    labels = [_visible(token) for token in source]
    axes.set_xticks(range(len(source)), labels, rotation=60 if long else 0, ha="left" if long else "center")
    axes.set_yticks(range(len(target)), [_visible(token) for token in target])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel(title or "source")
    figure.colorbar(image, ax=axes, label="attention weight", shrink=0.8)
    figure.savefig(path, dpi=144)


def _visible(token: str) -> str:
    """A token as it can be shown by itself."""
    shown = "".join("␣" if ch == " " else ch if unicodedata.category(ch)[0] != "C" else "�" for ch in token)
    return shown or "∅"
