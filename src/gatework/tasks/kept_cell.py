"""A run's cells: chosen once, and from then on the graphs that the run keeps."""

from __future__ import annotations

import gatework.cells
from gatework.errors import RunError
from gatework.graph import Cell, GraphError
from gatework.training import RunFolder

__all__ = ["choose_cell", "read_cell"]


def choose_cell(
    run: RunFolder, file: str, cell: Cell | str, *, option: str = "cell", named: bool, parent: Cell | None
) -> Cell:
    """The cell that the run holds in a file, that of the run that is started from, or the one that was asked for.

    A user's file is run only where this call names it: a run's config.json may be a stranger's.

    Args:
        cell: the option's value; `named`: whether this call gave it.
        parent: the cell of the run that is started from.
    """
    if (run.path / file).exists():
        return read_cell(run, file)
    if parent is not None:
        return parent
    if not isinstance(cell, str):
        return cell
    if cell not in gatework.cells.names() and not named:
        name = "--cell" if option == "cell" else f"--set {option}="
        raise RunError(str(run.path), f"lacks the graph of its cell {cell}", f"Name it again: {name} {cell}.")
    return gatework.cells.load(cell)


def read_cell(run: RunFolder, file: str) -> Cell:
    """The cell that a run keeps.

    Raises:
        RunError: the file is no legal graph.
    """
    try:
        return Cell.from_json(run.read_text(file))
    except GraphError as error:
        what = f"is not the graph of a cell ({error})"
        raise RunError(str(run.path / file), what, "Restore it from a copy, or train again.") from error
