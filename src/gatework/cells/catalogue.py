"""The catalogue: every cell that Gatework brings, by name."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from gatework.errors import InputError, nearest
from gatework.graph import Cell


def _found() -> dict[str, Cell]:
    """The cell of each file of this folder that defines one by the file's own name, in the order of the names."""
    folder = Path(__file__).parent
    cells: dict[str, Cell] = {}
    for name in sorted(file.name for file in pkgutil.iter_modules([str(folder)])):
        cell = getattr(importlib.import_module(f"gatework.cells.{name}"), name, None)
        if isinstance(cell, Cell):
            cells[name] = cell
    return cells


CATALOGUE = _found()


def names() -> list[str]:
    """The names of the catalogue, in its order."""
    return list(CATALOGUE)


def get(name: str) -> Cell:
    """A cell of the catalogue.

    Raises:
        InputError: there is none of this name; the message has the nearest right one.
    """
    if name not in CATALOGUE:
        raise InputError(f"cell {name!r}", "there is no such cell in the catalogue", nearest(name, CATALOGUE))
    return CATALOGUE[name]
