"""A run's cells: chosen once, and from then on the graphs that the run keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import gatework.cells
from gatework.errors import RunError
from gatework.graph import Cell, GraphError
from gatework.tasks.artifacts import Artifacts

__all__ = ["RunCell", "cell_of_run"]


@dataclass(frozen=True)
class RunCell:
    """A cell as a run keeps it: its traced graph."""

    cell: Cell

    def to_json(self) -> str:
        return self.cell.to_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        try:
            return cls(Cell.from_json(text))
        except GraphError as error:
            raise ValueError(f"is not the graph of a cell ({error})") from error


def cell_of_run(keep: Artifacts, file: str, option: str, value: Cell | str, *, named: bool) -> Cell:
    """The cell that the run keeps in a file, that of the run that is started from, or the one asked for.

    A user's file is run only where this call names it: a run's config.json may be a stranger's.

    Args:
        option, value: the option that says which cell.
        named: whether the option was given in this call.

    Raises:
        InputError: there is no such cell, or its file cannot be read.
        RunError: the run's file is no graph, or is missing and `value` is a file that this call does not name.
    """

    def make() -> RunCell:
        if not isinstance(value, str):
            return RunCell(value)
        if value not in gatework.cells.names() and not named:
            what = f"lacks the graph of its cell {value}"
            raise RunError(keep.where, what, f"Name it again: {option}={value}.")
        return RunCell(gatework.cells.load(value))

    return keep.get(file, RunCell, make).cell
