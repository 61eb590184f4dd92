"""Pictures of a question's reduction: which facts changed it, in each layer and direction."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

import numpy as np

from gatework.errors import MissingExtraError

__all__ = ["draw_gates"]

_WIDEST = 60  # characters of a fact in a line
_INCHES = 0.3  # height of a line, width of a column
_MOST_INCHES = 40.0


def draw_gates(
    facts: Sequence[str],
    gates: Sequence[Sequence[float]],
    path: str | os.PathLike[str],
    *,
    title: str = "",
) -> None:
    """A story as a picture (Seo et al. 2017, figure 3): a row a fact, a column a layer and direction, darker where the
    fact changed the question more.

    Args:
        facts: T of them, at least one.
        gates: (T, G) numbers between 0 and 1, of the layers from the lowest on, each forward and backward but for the
            top one, which reads forward alone: the `gates` of a reader's `sentences`.
        path: of the picture, whose suffix names the format.
        title: above the picture, such as the question and its answer.

    Raises:
        ValueError: the gates are not (T, G) with an odd G, or are no numbers between 0 and 1.
        MissingExtraError: matplotlib is not installed.
    """
    counts = {len(row) for row in gates}
    if not facts or len(gates) != len(facts) or len(counts) != 1 or not min(counts) % 2:
        raise ValueError(
            f"{len(facts)} facts have {len(gates)} rows of {sorted(counts)} gates: give a row for each of at least one "
            "fact, all of the same odd number of gates."
        )
    table = np.asarray(gates, float)
    if not ((table >= 0) & (table <= 1)).all():
        raise ValueError("a gate is no number between 0 and 1.")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "inspect") from error
    labels = [textwrap.shorten(fact, _WIDEST, placeholder=" …") for fact in facts]
    columns = [f"{number // 2 + 1}{'→←'[number % 2]}" for number in range(table.shape[1])]
    width = 1.6 + 0.085 * max(map(len, labels)) + _INCHES * len(columns) * 1.4
    height = min(1.3 + _INCHES * len(facts), _MOST_INCHES)
    figure = Figure(figsize=(max(width, 0.09 * len(title)), height), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(table, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_xticks(range(len(columns)), columns)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("layer and direction")
    axes.tick_params(length=0)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", axis="y", color="0.9", linewidth=0.5)
    if title:
        figure.suptitle(title, parse_math=False)
    figure.colorbar(image, ax=axes, label="update gate", shrink=0.8)
    figure.savefig(path, dpi=144)
