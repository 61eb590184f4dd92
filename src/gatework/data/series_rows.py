"""Rows that hold a whole series each: GluonTS' form, the same with times, and the Monash archive's files (.tsf).

`{"item_id": "A", "start": "2024-01-01", "target": [1, 2, 3], "feat_dynamic_real": [[…]], "feat_static_cat": [0]}`: a
list of lists is of channels x steps, as GluonTS has it. Instead of `start`, the times may stand in a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..errors import InputError, nearest
from .column_names import is_several
from .files import read_lines
from .frequency import Frequency
from .series_columns import NAMES
from .series_groups import RawSeries
from .series_tables import not_a_number, numbers_of
from .times import TimeReader

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["CATEGORIES", "TARGETS", "RowNames", "names_of_row", "read_tsf", "series_of_row"]

_PAST, _FUTURE = "past_feat_dynamic_real", "feat_dynamic_real"
CATEGORIES = "feat_static_cat"
_STATIC = (CATEGORIES, "feat_static_real")
TARGETS = (*NAMES["target"], "value", "values")
_LISTS = "Give a list of numbers, or of channels a list each"
_TSF = "Write its header, the line @data, and then a series a line: T1:2020-01-01 00-00-00:1,2,3"


class RowNames(NamedTuple):
    """The names of what each series has."""

    targets: tuple[str, ...]
    past: tuple[str, ...]
    future: tuple[str, ...]
    static: tuple[str, ...]


class HasNames(Protocol):
    """What has such names, with these attributes."""

    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def past(self) -> tuple[str, ...]: ...
    @property
    def future(self) -> tuple[str, ...]: ...
    @property
    def static(self) -> tuple[str, ...]: ...


def names_of_row(where: str, row: Mapping[str, Any], named: Mapping[str, str]) -> RowNames:
    """What a row's series has: of lists of lists each list by its place, `target_0`.

    Args:
        named: the data's own names by role, as text.

    Raises:
        InputError: there is no target.
    """
    keys = {role: _keys(where, row, named, role) for role in ("target", "past", "future", "static")}
    if not keys["target"]:
        fix = f"{nearest('target', row).rstrip('.')} (or name it: columns={{'target': 'COLUMN'}})"
        raise InputError(where, "has no target", fix)
    parts = {role: tuple(_parts(where, row, some)) for role, some in keys.items() if role != "static"}
    static = tuple(name for key in keys["static"] for name, _ in _statics(key, row[key]))
    return RowNames(parts["target"], parts["past"], parts["future"], static)


def series_of_row(
    where: str,
    row: Mapping[str, Any],
    names: HasNames,
    named: Mapping[str, str],
    *,
    time_format: str = "",
    frequency: Frequency | None = None,
) -> RawSeries:
    """The series that a row holds.

    Args:
        where: the row, for messages.
        row: see the module.
        names: what each series has.
        named: the data's own names by role, as text.
        time_format: see `TimeReader`.
        frequency: the step of a series that has a start alone.

    Raises:
        InputError: something that each series has is not there, or is no list of numbers; lists of unequal lengths; a
            time that cannot be read; a start without a step.
    """
    target = _matrix(where, row, names.targets, _keys(where, row, named, "target"), "target")
    count = len(target)
    if not count:
        raise InputError(where, "the target is empty", "Give at least one step, or take the series out")
    past = _matrix(where, row, names.past, _keys(where, row, named, "past"), "past covariate")
    future = _matrix(where, row, names.future, _keys(where, row, named, "future"), "future covariate")
    past = past if names.past else np.zeros((count, 0))
    future = future if names.future else np.zeros((count, 0))
    if len(past) != count:
        what = f"the past covariates have {len(past):,} steps where the target has {count:,}"
        raise InputError(where, what, "Give as many")
    if len(future) < count:
        what = f"the future covariates have {len(future):,} steps where the target has {count:,}"
        raise InputError(where, what, "Give as many, and those of the steps to be forecast after them")
    found = {
        name: value for key in _keys(where, row, named, "static") for name, value in _statics(key, row[key])
    }
    for name in names.static:
        if name not in found and row.get(name) is not None:
            found |= dict(_statics(name, row[name]))
        if name not in found:
            raise InputError(where, f"has no static {name!r}", nearest(name, found).rstrip("."))
    times, step, numbered = _times(where, row, named, count, len(future), time_format, frequency)
    name = "/".join(str(row[key]) for key in _keys(where, row, named, "series"))
    static = tuple(found[name] for name in names.static)
    return RawSeries(name, where, times, target, past, future, static, step, numbered)


def read_tsf(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The series of a file of the Monash archive (https://forecastingdata.org), as rows in GluonTS' form, each with
    where it is; `freq` is what the header says, `?` is missing.

    Raises:
        InputError: it has no @data line or no series; a line has other attributes than the header, or no numbers.
    """
    attributes: list[str] = []
    frequency, begun, any_row = "", False, False
    for number, line in read_lines(path):
        line, where = line.strip(), f"{path}, line {number}"
        if not line or line.startswith("#"):
            continue
        if not begun:
            word, *rest = line.split()
            if not word.startswith("@"):
                raise InputError(where, f"stands before @data and is no line of a header: {line!r:.40}", _TSF)
            if word.lower() == "@attribute" and rest:
                attributes.append(rest[0])
            elif word.lower() == "@frequency" and rest:
                frequency = rest[0]
            begun = word.lower() == "@data"
            continue
        *values, numbers = line.split(":")
        if len(values) != len(attributes):
            what = f"has {len(values)} attributes where the header has {len(attributes)}"
            raise InputError(where, what, "Give each, with a colon after it")
        any_row = True
        row: dict[str, Any] = dict(zip(attributes, values, strict=True))
        if "start_timestamp" in row:
            row["start"] = row.pop("start_timestamp")
        yield where, {**row, "freq": frequency, "target": [_cell(one) for one in numbers.split(",")]}
    if not begun:
        raise InputError(str(path), "has no @data line, so it is no .tsf file", _TSF)
    if not any_row:
        raise InputError(str(path), "has no series after its header", _TSF)


def _cell(text: str) -> Any:
    text = text.strip()
    return None if text in ("?", "") else text


def _keys(where: str, row: Mapping[str, Any], named: Mapping[str, str], role: str) -> list[str]:
    """The row's keys of a role, named or recognised."""
    if role in named:
        name = named[role]
        keys = (
            [name]
            if name in row or not is_several(name)
            else [part.strip() for part in name.split("|") if part.strip()]
        )
        for key in keys:
            if key not in row:
                raise InputError(where, f"has no column {key!r}", nearest(key, row).rstrip("."))
        return keys
    if role == "target":
        return [key for key in TARGETS if key in row][:1]
    if role == "series":
        return [key for key in NAMES["series"] if row.get(key) is not None][:1]
    known = {"past": (_PAST,), "future": (_FUTURE,), "static": _STATIC}[role]
    return [key for key in known if row.get(key) is not None]


def _parts(where: str, row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Floats]:
    """The lists of numbers that a row has under some keys, by name."""
    return {name: part for key in keys for name, part in _channels(where, key, row[key])}


def _matrix(
    where: str, row: Mapping[str, Any], wanted: Sequence[str], keys: Sequence[str], word: str
) -> Floats:
    """What a row has of some names, (M, names): by their names, or else in order."""
    if not wanted:
        return np.zeros((0, 0))
    if all(name in row for name in wanted):
        parts = [(name, part) for name in wanted for _, part in _channels(where, name, row[name])]
        if len(parts) != len(wanted):
            raise _unequal(where, len(parts), word, wanted)
    else:
        found = _parts(where, row, keys)
        if not all(name in found for name in wanted) and len(found) != len(wanted):
            missing = next(name for name in wanted if name not in found)
            if not found or (len(wanted) > 1 and set(wanted) & row.keys()):
                missing = next(name for name in wanted if name not in row)
                raise InputError(where, f"has no {word} {missing!r}", nearest(missing, row).rstrip("."))
            raise _unequal(where, len(found), word, wanted)
        parts = (
            [(name, found[name]) for name in wanted] if set(wanted) <= found.keys() else list(found.items())
        )
    lengths = {len(part) for _, part in parts}
    if len(lengths) > 1:
        shown = ", ".join(f"{name} {len(part):,}" for name, part in parts)
        raise InputError(where, f"its lists have unequal lengths ({shown})", "Give as many numbers in each")
    return np.stack([part for _, part in parts], axis=1)


def _unequal(where: str, count: int, word: str, wanted: Sequence[str]) -> InputError:
    what = f"has {count} channels of {word} where {len(wanted)} are wanted ({', '.join(wanted)})"
    return InputError(where, what, "Give a list for each, in this order")


def _channels(where: str, key: str, value: Any) -> list[tuple[str, Floats]]:
    """The channels of a list of numbers, or of lists of them."""
    if isinstance(value, np.ndarray):
        value = list(value) if value.ndim > 1 or value.dtype == object else value
    elif not isinstance(value, list | tuple):
        raise InputError(
            where, f"{key!r} is {type(value).__name__} {value!r:.40}, not a list of numbers", _LISTS
        )
    if len(value) and isinstance(value[0], list | tuple | np.ndarray):
        if not all(isinstance(part, list | tuple | np.ndarray) for part in value):
            raise InputError(where, f"{key!r} holds lists and numbers", _LISTS)
        return [
            (f"{key}_{place}", _floats(where, f"{key}_{place}", part)) for place, part in enumerate(value)
        ]
    return [(key, _floats(where, key, value))]


def _floats(where: str, key: str, value: Any) -> Floats:
    """A list of numbers (M,) float64; missing ones are NaN."""

    def place(step: int) -> str:
        return f"{where}, step {step + 1}"

    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        numbers = value.astype(np.float64)
    else:
        try:
            numbers = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            return numbers_of(list(value), key, place)
    if numbers.ndim != 1:
        raise InputError(where, f"{key!r} has {numbers.ndim} dimensions", _LISTS)
    bad = np.flatnonzero(np.isinf(numbers))
    if len(bad):
        raise not_a_number(place(int(bad[0])), key, float(numbers[bad[0]]))
    return numbers


def _statics(key: str, value: Any) -> list[tuple[str, str | float]]:
    """Static values by name; those of `feat_static_cat` are categories, however they are written."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return [(key, value if isinstance(value, float) and key != CATEGORIES else str(value))]
    real = key == _STATIC[1]
    return [(f"{key}_{place}", float(one) if real else str(one)) for place, one in enumerate(value)]


def _times(
    where: str,
    row: Mapping[str, Any],
    named: Mapping[str, str],
    count: int,
    most: int,
    time_format: str,
    frequency: Frequency | None,
) -> tuple[npt.NDArray[np.int64] | None, str, bool]:
    """The times (M,) of a row, the step that it states, and whether the times are numbers of steps."""
    key = named.get("time") or next((name for name in NAMES["time"] if name in row), "start")
    if key not in row or row[key] is None:
        if "time" in named:
            raise InputError(where, f"has no column {key!r}", nearest(key, row).rstrip("."))
        return None, "", False
    value, reader = row[key], TimeReader(key, time_format)
    step = str(row.get("freq") or "")
    if isinstance(value, list | tuple | np.ndarray):
        times = reader.read(list(value), lambda place: f"{where}, step {place + 1}")
        if not count <= len(times) <= max(count, most):
            what = f"has {len(times):,} times where the target has {count:,} steps"
            raise InputError(where, what, "Give a time for each step")
        return times, step, bool(reader.numbered)
    start = reader.read([value], lambda _: where)
    if reader.numbered:
        return start[0] + np.arange(count), step, True
    found = Frequency.parse(step) if step else frequency
    if found is None:
        raise InputError(where, f"has a start ({value}) and no step of time", "Say it: frequency='h'")
    begin = start.astype("datetime64[us]")
    found = found.settled(begin)
    if found.steps(begin, begin[0])[1][0]:
        raise InputError(
            where, f"starts at {value}, where no {found.words} of {found} does", "Mend the start"
        )
    return found.at(begin[0], np.arange(count)).astype(np.int64), step, False
