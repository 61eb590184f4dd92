"""Numeric sequences, T steps of C channels: from the cells of a table, and from the files of the time-series archives.

The UEA & UCR archive (https://www.timeseriesclassification.com) has two formats: `.ts`, with a header and any number of
channels (`read_ts`), and lines of a label and the numbers of one channel (`read_label_lines`), in which sequences
are filled up with NaN to the length of the longest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError, nearest
from .files import read_lines

__all__ = ["LabelledSequence", "holds_label_lines", "read_label_lines", "read_ts", "sequence_of", "unpadded"]

if TYPE_CHECKING:  # importing numpy.typing takes time that a mistyped command does not have
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_FILL = "Fill it in, or take the example out"
_SHAPE = "Give a list of numbers, or of lists with a number a channel: [[1, 2], [3, 4]]"
_DATA = "Write its header, the line @data, and then an example a line: 1,2,3:LABEL"
_LARGEST = float(np.finfo(np.float32).max)


class LabelledSequence(NamedTuple):
    """A sequence (T, C), its label as the file has it, and where they were found."""

    where: str
    sequence: Floats
    label: str


def sequence_of(where: str, value: Any) -> Floats:
    """The sequence (T, C) of a cell: a list of numbers, a list of lists (steps x channels), an array, or as text a JSON
    list or numbers with spaces, commas or semicolons between them.

    Raises:
        InputError: the cell holds something else, nothing, or a number that is missing, NaN or infinite.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError(where, "the sequence is missing", "Fill it in, or take the row out")
    if isinstance(value, str):
        value = _numbers_in_text(where, value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufO":
            raise InputError(where, f"the sequence is an array of {value.dtype}", _SHAPE)
        value = value.tolist() if value.dtype == object else value
    elif not isinstance(value, list | tuple):
        raise InputError(where, f"the sequence is {type(value).__name__} {value!r:.40}", _SHAPE)
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(where, _what_is_uneven(value), _SHAPE) from error
    if numbers.ndim not in (1, 2):
        raise InputError(where, f"the sequence has {numbers.ndim} dimensions", _SHAPE)
    return _checked(where, numbers[:, None] if numbers.ndim == 1 else numbers)


def unpadded(numbers: Sequence[float]) -> Sequence[float]:
    """Numbers without the NaN at their end, by which a sequence is filled up to the length of the longest."""
    end = len(numbers)
    while end and np.isnan(numbers[end - 1]):
        end -= 1
    return numbers[:end]


def read_ts(path: Path) -> Iterator[LabelledSequence]:
    """The examples of a `.ts` file.

    Raises:
        InputError: it has no label a line, or time stamps; a line has channels of unequal lengths, another number of
            channels than the first, a label that the header does not have, or a number that is missing (`?`), NaN or
            infinite.
    """
    labels: list[str] | None = None
    begun, channels = False, 0
    for number, line in read_lines(path):
        line = line.strip()
        where = f"{path}, line {number}"
        if not line or line.startswith(("#", "%")):
            continue
        if not begun:
            begun = line.lower() == "@data"
            labels = _labels_of_header(where, line) or labels
            continue
        if labels is None:
            what = "has no @classLabel true in its header: its examples have no label"
            raise InputError(str(path), what, "Write the line @classLabel true and the labels before @data")
        *sides, label = line.split(":")
        label = label.strip()
        if labels and label not in labels:
            what = f"the label {label!r:.40} is not among those of the header"
            raise InputError(where, what, nearest(label, labels).rstrip("."))
        numbers = [_numbers(where, side.split(","), channel) for channel, side in enumerate(sides, start=1)]
        lengths = {len(some) for some in numbers}
        if len(lengths) > 1:
            what = f"its channels have unequal lengths ({', '.join(str(len(some)) for some in numbers)})"
            raise InputError(where, what, "Give as many steps in each")
        channels = channels or len(numbers)
        if len(numbers) != channels:
            raise InputError(
                where,
                f"has {len(numbers)} channels where the first example has {channels}",
                "Give as many in each",
            )
        yield LabelledSequence(where, _checked(where, np.array(numbers).T), label)
    if begun and not channels:
        raise InputError(str(path), "has no examples after its header", "Write an example a line")
    if not begun:
        raise InputError(str(path), "has no @data line, so it is no .ts file of a time-series archive", _DATA)


def holds_label_lines(path: Path) -> bool:
    """Whether the first line of a file is a label and then numbers, at least two."""
    cells = next((_cells(line) for _, line in read_lines(path) if line.strip()), [])
    return len(cells) > 2 and all(_number(cell) is not None for cell in cells[1:])


def read_label_lines(path: Path) -> Iterator[LabelledSequence]:
    """The examples of a file whose lines are a label and the numbers of one channel, with tabs, commas or spaces
    between. NaN at the end of a line fills it up and is left out.

    Raises:
        InputError: a line without numbers, or with one that is missing, NaN or infinite; a first line that counts
            its cells.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        label, *cells = _cells(line)
        if cells[:3] in (["0", "1", "2"], ["1", "2", "3"]) and _number(label) is None:
            fix = (
                "Take that line out, or name the columns: columns={'sequence': 'PATTERN*', 'label': 'COLUMN'}"
            )
            raise InputError(where, f"looks like a header ({line!r:.40})", fix)
        numbers = unpadded(_numbers(where, cells, 1))
        yield LabelledSequence(where, _checked(where, np.array(numbers)[:, None]), _whole(label))


def _labels_of_header(where: str, line: str) -> list[str] | None:
    """The labels that a line of a `.ts` file's header states; None: it states something else, or that there are
    none.
    """
    name, *values = line.split()
    if not name.startswith("@"):
        raise InputError(where, f"stands before @data and is no line of a header: {line!r:.40}", _DATA)
    yes = bool(values) and values[0].lower() == "true"
    if name.lower() == "@timestamps" and yes:
        what = "its steps have time stamps, which are not read"
        raise InputError(where, what, "Give the values alone, at equal distances")
    if name.lower() == "@targetlabel" and yes:
        raise InputError(
            where, "its examples have a number to predict and no label", "Give one with @classLabel"
        )
    return values[1:] if name.lower() == "@classlabel" and yes else None


def _cells(line: str) -> list[str]:
    separator = next((mark for mark in "\t," if mark in line), None)
    return [cell.strip() for cell in line.split(separator)]


def _number(cell: str) -> float | None:
    """The number that a cell is; NaN for `?` and nothing, None for any other text."""
    try:
        return float(cell) if cell not in ("", "?") else np.nan
    except ValueError:
        return None


def _numbers(where: str, cells: Sequence[str], channel: int) -> list[float]:
    numbers = []
    for step, cell in enumerate(cells, start=1):
        number = _number(cell.strip())
        if number is None:
            what = f"step {step} of channel {channel} is {cell!r:.40}, not a number"
            raise InputError(where, what, "Give a number")
        numbers.append(number)
    return numbers


def _whole(label: str) -> str:
    """A label that is written as a fraction or with an exponent and is a whole number: that number's digits."""
    number = _number(label) if re.search(r"[.eE]", label) else None
    return str(int(number)) if number is not None and number.is_integer() else label


def _numbers_in_text(where: str, text: str) -> Any:
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(where, f"the sequence is not valid JSON ({error})", _SHAPE) from error
    return _numbers(where, [cell for cell in re.split(r"[\s,;]+", text.strip()) if cell], 1)


def _checked(where: str, numbers: npt.NDArray[np.float64]) -> Floats:
    """A sequence (T, C) of at least one number, all finite in float32."""
    if numbers.size == 0:
        raise InputError(where, "the sequence is empty", "Give at least one step, or take the example out")
    bad = np.argwhere(~(np.abs(numbers) <= _LARGEST))
    if len(bad):
        step, channel = bad[0]
        number = numbers[step, channel]
        kind = "missing or NaN" if np.isnan(number) else f"{number:g}, too large for float32"
        what = f"step {step + 1} of channel {channel + 1} is {kind}"
        raise InputError(where, what + (f" ({len(bad):,} such numbers)" if len(bad) > 1 else ""), _FILL)
    return numbers.astype(np.float32)


def _what_is_uneven(value: Sequence[Any]) -> str:
    """Why a list is no sequence."""
    channels: int | None = None  # of the first step; 0: it is a number by itself
    for step, cell in enumerate(value, start=1):
        wide = isinstance(cell, list | tuple | np.ndarray)
        inner = list(cell) if wide else [cell]
        for channel, number in enumerate(inner, start=1):
            try:
                np.float64(number)
            except (TypeError, ValueError, OverflowError):
                return f"step {step} of channel {channel} is {_shown(number)}, not a number of float32"
        count = len(inner) if wide else 0
        channels = count if channels is None else channels
        if bool(count) != bool(channels):
            return f"of step 1 and step {step}, one is a number and the other a list"
        if count != channels:
            return f"step {step} has {count} channels where step 1 has {channels}"
    return "the sequence is no list of numbers"


def _shown(value: Any) -> str:
    """A value for a message; Python refuses to write very long integers."""
    return "an integer of many digits" if isinstance(value, int) else f"{value!r:.40}"
