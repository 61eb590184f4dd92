"""The catalogue of cells: one file each, its equations and its paper.

A cell is found by its file. `__init__.pyi` says the same to type checkers and editors; `docs/stubs.py` makes it.
"""

from gatework.cells.catalogue import CATALOGUE, get, names
from gatework.cells.load import load

globals().update(CATALOGUE)  # the cell `lstm`, where the import of its file has left the module `lstm`

__all__ = ["CATALOGUE", "get", "load", "names", *CATALOGUE]
