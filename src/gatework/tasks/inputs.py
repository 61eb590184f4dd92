"""What `predict` is given: an input, several, or a table that has one in each row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from gatework.data import (
    Row,
    cell_of,
    check_columns,
    file_format,
    is_frame,
    locate_rows,
    named_by_place,
    read_lines,
    top_column,
)
from gatework.data.sound_folders import is_sound, sounds_of_folder
from gatework.errors import InputError

__all__ = ["InputReader", "checked_input"]


@dataclass(frozen=True)
class InputReader:
    """Reads the inputs of a task's `predict`.

    Attributes:
        task: the task's name, for messages.
        kind: its `Input`.
        alternatives: its `input_columns`.
        columns: the table's own names of the task's columns.
    """

    task: str
    kind: type[BaseModel]
    alternatives: Sequence[Sequence[str]]
    columns: Mapping[str, str]

    def items(self, given: Any) -> Iterable[Any]:
        """What was given, one by one: inputs, or rows of a table with all of their cells; unchecked."""
        if is_frame(given):
            return locate_rows(given, None)
        if isinstance(given, (str, bytes)) or not isinstance(given, (Iterable, os.PathLike)):
            return [given]
        one = self._is_input(given)
        if isinstance(given, os.PathLike):
            return [given] if one else self._file_items(Path(given))
        if isinstance(given, Mapping):
            columns = not any(
                isinstance(cells, str) or not isinstance(cells, Iterable) for cells in given.values()
            )
            return locate_rows(given, None) if columns and not one else self._listed([given])
        several = not isinstance(given, Sequence) or not given or self._is_input(given[0])
        return self._listed(given) if several or not one else [given]

    def input(self, item: Any) -> Any:
        """The input that an item is, or the one in its row; checked. What is no text may be written as JSON, as in a
        line of standard input.

        Raises:
            InputError: it is none; a row has no such column.
        """
        if not isinstance(item, Row):
            return self._checked(self._from_json(item), "predict")
        return self._checked(self._value(item), item.where)

    def _listed(self, given: Iterable[Any]) -> Iterator[Any]:
        for number, item in enumerate(given, start=1):
            row = isinstance(item, Mapping) and not self._is_input(item)
            yield Row("inputs", "row", number, dict(item)) if row else item

    def _file_items(self, path: Path) -> Iterable[Any]:
        """A sound, the sounds of a folder, the lines of a text file, the rows of any other; where columns are named by
        their places, rows of text files too."""
        headless, heard = named_by_place(self.columns), ("audio",) in self.alternatives
        if heard and (is_sound(path) or path.is_dir()):
            return (
                [found.sound for found in sounds_of_folder(path, text=False)]
                if path.is_dir()
                else [str(path)]
            )
        if file_format(path) == "text" and not headless:
            # A sound under another ending, or what the reader of sounds refuses.
            if heard and _is_binary(path):
                return [str(path)]
            return (line for _, line in read_lines(path))
        return locate_rows(path, None, headless=headless)

    def _value(self, row: Row) -> Any:
        """What a row's cells say: of the alternatives, the first that is named in `columns`, or else is there."""
        choices = [{name: self.columns.get(name, name) for name in names} for names in self.alternatives]
        choices = [choice for choice in choices if choice.keys() & self.columns.keys()] or choices
        chosen = max(choices, key=lambda choice: _share_there(row, choice))  # the first of equals
        check_columns(row.where, chosen, row.values)
        cells = {name: cell_of(row.where, row.values, column) for name, column in chosen.items()}
        if len(cells) > 1:
            return cells
        (cell,) = cells.values()
        if isinstance(cell, np.ndarray):  # what pandas reads from Parquet
            return cell.tolist()
        if isinstance(cell, int) and not isinstance(cell, bool) and not self._is_input(cell):
            return str(cell)  # as `text_of` reads it
        return cell

    def _from_json(self, item: Any) -> Any:
        if not isinstance(item, str) or self._is_input(item):
            return item
        try:
            found = json.loads(item)
        except (ValueError, RecursionError):
            return item  # the check says what is wrong with it
        return found if self._is_input(found) else item

    def _is_input(self, item: Any) -> bool:
        try:
            self.kind.model_validate(item, strict=True)
        except ValidationError:
            return False
        return True

    def _checked(self, item: Any, where: str) -> Any:
        return checked_input(item, self.kind, self.task, where)


def checked_input(item: Any, kind: type[BaseModel], task: str, where: str) -> Any:
    """An item that is an input of a task.

    Raises:
        InputError: it is none.
    """
    try:
        kind.model_validate(item, strict=True)
    except ValidationError as error:
        what = f"{item!r:.60} is not an input of {task} ({error.errors()[0]['msg']})"
        raise InputError(where, what, "See its input_schema().") from error
    return item


def _is_binary(path: Path) -> bool:
    """Whether a file, and no pipe, begins with bytes that no text has."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return b"\0" in file.read(4096)


def _share_there(row: Row, columns: Mapping[str, str]) -> float:
    """Of some columns, the share that a row has."""
    return sum(top_column(column, row.values) is not None for column in columns.values()) / len(columns)
