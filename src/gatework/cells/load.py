"""Finding a cell by name or in a user's file."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path

from gatework.cells import catalogue
from gatework.errors import InputError, nearest
from gatework.graph import Cell, GraphError, TraceError


def load(spec: str) -> Cell:
    """The cell that a text names: `lstm` of the catalogue, or `path/to/file.py:my_cell`.

    The file is the user's own program and is run, once, to find the cell; runs keep the traced graph and never
    need the file again.

    Raises:
        InputError: no such cell or file, the file fails to import, or the cell fails to trace.
    """
    path_text, colon, name = spec.rpartition(":")
    if not colon or not path_text.endswith(".py"):
        if spec.endswith(".py"):
            raise InputError(f"cell {spec}", "no cell is named", f"Name one: {spec}:my_cell")
        return catalogue.get(spec)
    path = Path(path_text)
    if not path.is_file():
        raise InputError(f"cell {spec}", f"there is no file {path}", "Give the path of an existing file.")
    namespace = run_file(path)
    cell = namespace.get(name)
    cells = [key for key, value in namespace.items() if isinstance(value, Cell)]
    if not isinstance(cell, Cell):
        what = f"{name} is no cell" if name in namespace else f"there is no {name}"
        fix = (
            f"Put @gw.cell above def {name}."
            if name in namespace
            else nearest(name, cells or ["no cell at all"])
        )
        raise InputError(f"cell {spec}", what, fix)
    try:
        _ = cell.graph
    except (TraceError, GraphError) as error:
        raise InputError(
            f"cell {spec}", f"it cannot be traced: {_one_line(error)}", "Mend the equations."
        ) from error
    except Exception as error:  # whatever a user's function raises while it is traced is the user's to mend
        raise InputError(f"cell {spec}", _failure(path, error), "Mend the function.") from error
    return cell


def run_file(path: Path) -> dict[str, object]:
    """What a user's Python file defines, by name, once it has run.

    Raises:
        InputError: it is no Python file, or it fails; the message names the line.
    """
    spec = importlib.util.spec_from_file_location(f"_gatework_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"file {path}", "Python cannot import it", "Give a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises is the user's to mend
        raise InputError(
            f"file {path}", _failure(path, error), "Mend the file, or run it with python first."
        ) from error
    return vars(module)


def _failure(path: Path, error: Exception) -> str:
    """What went wrong and in which line of the user's file."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path.absolute() or Path(frame.filename) == path
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    at = f" in line {line}" if line is not None else ""
    return f"it fails{at}: {type(error).__name__}: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
