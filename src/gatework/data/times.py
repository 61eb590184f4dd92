"""Cells as times: ISO 8601 and the usual other forms, times of pandas, NumPy and Arrow, whole numbers."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MissingExtraError
from .arrow_cells import plain_array

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["TimeReader", "looks_like_time"]

_ZONE = "Write all times with an offset from UTC, or none of them"
_EXAMPLE = "Write times like 2024-01-31 or 2024-01-31 13:00:00, or say their form: time_format='%d.%m.%Y'"
_CLOCKS = ("", " %H:%M", " %H:%M:%S")
# Tried in this order where no time of a column is ISO 8601; of a day and a month in figures both orders.
_DAYS = ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y")
_FORMATS = (
    *(f"{day}{clock}" for day in _DAYS for clock in _CLOCKS),
    "%Y-%m",
    "%Y/%m",
    "%Y-%m-%d %H-%M-%S",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%b %d %Y",
    "%b %Y",
    "%B %Y",
)
_SWAPPED = {"%m/%d/%Y": "%d/%m/%Y", "%m-%d-%Y": "%d-%m-%Y", "%d-%m-%Y": "%m-%d-%Y"}
# Whole numbers that count from 1970-01-01, by the unit that makes them times between 1973 and 2286.
_EPOCHS = ((10**8, 10**10, "s"), (10**11, 10**13, "ms"), (10**14, 10**16, "us"), (10**17, 10**19, "ns"))
_DATES = (1500_01_01, 2999_12_31)  # of whole numbers that are dates: 20240131


class TimeReader:
    """Reads a column of times, some cells at a time; what the first cells are, all others must be.

    Args:
        column: its name, for messages.
        time_format: of text, its form as `datetime.strptime` has it; empty: found out.

    Attributes:
        numbered: the cells are whole numbers that count steps, and no times.
        offset: the times have an offset from UTC, and were read as UTC.
    """

    def __init__(self, column: str, time_format: str = "") -> None:
        self.column = column
        self.numbered: bool | None = None
        self.offset: bool | None = None
        self._format = time_format
        self._whole: str | None = None  # of whole numbers, what they count

    def read(self, cells: Any, place: Callable[[int], str]) -> npt.NDArray[np.int64]:
        """Microseconds since 1970-01-01, or numbers of steps.

        Args:
            cells: (N,) an Arrow array, or a list of Python's objects.
            place: where cell n is, for messages.

        Raises:
            InputError: a cell that is missing, no time, or of another kind than those before; a day and a month that
                could be either way round.
        """
        try:
            import pyarrow
            import pyarrow.compute
        except ModuleNotFoundError as error:
            raise MissingExtraError("pyarrow", "tasks") from error
        array = plain_array(self._as_arrow(cells, place) if isinstance(cells, list) else cells)
        if array.null_count:
            row = pyarrow.compute.index(array.is_null(), True).as_py()
            self._refuse_missing(place(row))
        kind = array.type
        if pyarrow.types.is_string(kind):
            return self._texts(array, place)
        if pyarrow.types.is_integer(kind):
            return self._numbers(array.to_numpy(), place)
        if pyarrow.types.is_floating(kind):
            numbers = array.to_numpy()
            bad = np.flatnonzero(numbers != np.round(numbers))
            if len(bad):
                self._refuse(numbers[bad[0]].item(), place(int(bad[0])))
            return self._numbers(numbers.astype(np.int64), place)
        if not (pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind)):
            self._refuse(array[0].as_py(), place(0))
        self._settle(place, numbered=False, offset=pyarrow.types.is_timestamp(kind) and kind.tz is not None)
        return array.cast(pyarrow.timestamp("us"), safe=False).cast(pyarrow.int64()).to_numpy()

    def _texts(self, array: Any, place: Callable[[int], str]) -> npt.NDArray[np.int64]:
        import pyarrow
        import pyarrow.compute

        texts = pyarrow.compute.utf8_trim_whitespace(array)
        empty = pyarrow.compute.index(texts, "").as_py()
        if empty >= 0:
            self._refuse_missing(place(empty))
        if not self._format:
            for unit, zone in (("us", None), ("us", "UTC"), ("ns", None), ("ns", "UTC")):
                try:
                    times = texts.cast(pyarrow.timestamp(unit, zone))
                except pyarrow.ArrowInvalid:
                    continue
                self._settle(place, numbered=False, offset=zone is not None)
                return times.cast(pyarrow.timestamp("us"), safe=False).cast(pyarrow.int64()).to_numpy()
            if pyarrow.compute.all(pyarrow.compute.match_substring_regex(texts, r"^[+-]?\d{1,19}$")).as_py():
                try:
                    return self._numbers(texts.cast(pyarrow.int64()).to_numpy(), place)
                except pyarrow.ArrowInvalid:
                    self._refuse(array[0].as_py(), place(0))
            if self.numbered is not None:  # the cells before were ISO 8601, or whole numbers
                self._refuse_first(texts, place)
            self._format = self._found_format(texts, place)
        self._settle(place, numbered=False, offset=False)
        return self._formatted(texts, self._format, place)

    def _found_format(self, texts: Any, place: Callable[[int], str]) -> str:
        """The form that all texts have; an error where none is, or where a day and a month could be either."""
        import pyarrow.compute

        def missed(form: str) -> int:
            return pyarrow.compute.strptime(texts, form, "us", error_is_null=True).null_count

        fits = [form for form in _FORMATS if missed(form) == 0 and not self._rolled(texts, form)]
        if not fits:
            self._refuse_first(texts, place)
        first = fits[0]
        for one, other in _SWAPPED.items():
            if first.startswith(one) and first.replace(one, other) in fits:
                what = f"the time ({self.column!r}) {texts[0].as_py()!r} could be of the form {first} or"
                what += f" {first.replace(one, other)}"
                raise InputError(place(0), what, f"Say which: time_format={first!r}, or write 2024-01-31")
        return first

    def _formatted(self, texts: Any, form: str, place: Callable[[int], str]) -> npt.NDArray[np.int64]:
        import pyarrow
        import pyarrow.compute

        try:
            times = pyarrow.compute.strptime(texts, form, "us", error_is_null=True)
        except pyarrow.ArrowException as error:
            raise InputError("time_format", f"{form!r} cannot be used ({error})", _EXAMPLE) from error
        rolled = self._rolled(texts, form)
        if times.null_count or rolled:
            missing = times.is_null().to_numpy(zero_copy_only=False)
            row = int(np.flatnonzero(missing)[0]) if times.null_count else texts.index(rolled[0]).as_py()
            what = f"the time ({self.column!r}) {texts[row].as_py()!r} is no time of the form {form}"
            raise InputError(place(row), what, "Mend it, or write all times in one form")
        return times.cast(pyarrow.int64()).to_numpy()

    @staticmethod
    def _rolled(texts: Any, form: str) -> list[str]:
        """Texts that Arrow reads though they do not have the form: a day that their month does not have is one of the
        first days of the next, and the year 20 that of the first century.
        """
        import pyarrow.compute

        times = pyarrow.compute.strptime(texts, form, "us", error_is_null=True)
        early = pyarrow.compute.less_equal(pyarrow.compute.day(times), 3)
        old = pyarrow.compute.less(pyarrow.compute.year(times), 1000)
        early = texts.filter(pyarrow.compute.or_(early, old)).unique()
        return [text for text in early.to_pylist() if not _has_form(text, form)]

    def _refuse_first(self, texts: Any, place: Callable[[int], str]) -> None:
        """Say which text is the first that is no time, or that has no offset where others have one."""
        kinds = [_iso_offset(text) for text in texts.to_pylist()]
        known = [kind for kind in kinds if kind is not None]
        if None in kinds:
            row = kinds.index(None) if known else 0
            self._refuse(texts[row].as_py(), place(row))
        if len(set(known)) > 1:
            row = kinds.index(not kinds[0])
            self._refuse_zone(place(row), bool(kinds[row]))
        self._refuse(texts[0].as_py(), place(0))  # of ISO 8601, and of a form that Arrow does not read

    def _numbers(self, numbers: npt.NDArray[np.int64], place: Callable[[int], str]) -> npt.NDArray[np.int64]:
        if self._whole is None:
            self._whole = _counted(numbers, self.column)
        self._settle(place, numbered=self._whole == "steps", offset=False)
        if self._whole == "steps":
            return numbers.astype(np.int64)
        if self._whole == "years":
            return _microseconds((numbers - 1970).astype("datetime64[Y]"))
        if self._whole == "dates":
            year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
            times = (year * 12 + month - 1 - 1970 * 12).astype("datetime64[M]").astype("datetime64[D]") + (
                day - 1
            )
            bad = np.flatnonzero(_dates(times) != numbers)
            if len(bad):
                self._refuse(int(numbers[bad[0]]), place(int(bad[0])))
            return _microseconds(times)
        return _microseconds(numbers.astype(f"datetime64[{self._whole}]"))

    def _as_arrow(self, cells: list[Any], place: Callable[[int], str]) -> Any:
        import pyarrow

        offsets = set()
        for row, cell in enumerate(cells):
            if cell is None or type(cell).__name__ in ("NaTType", "NAType"):
                self._refuse_missing(place(row))
            if hasattr(cell, "to_timestamp"):  # a pandas.Period
                cells[row] = cell = cell.to_timestamp()
            if isinstance(cell, np.datetime64):
                cells[row] = cell = cell.astype("datetime64[us]").item()
            if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
                # Beside a date Arrow would take the time of the day from its neighbours.
                cells[row] = cell = datetime.datetime(cell.year, cell.month, cell.day)
            if isinstance(cell, datetime.datetime):
                offsets.add(cell.tzinfo is not None)
                if len(offsets) > 1:
                    self._refuse_zone(place(row), cell.tzinfo is not None)
        try:
            return pyarrow.array(cells, from_pandas=True)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
            kinds = [type(cell).__name__ for cell in cells]
            row = next((row for row, kind in enumerate(kinds) if kind != kinds[0]), 0)
            what = f"the time ({self.column!r}) is {kinds[row]} {cells[row]!r:.40}"
            what += f" where {place(0)} has {kinds[0]}" if row else ""
            raise InputError(place(row), what, "Give all times in one form") from error

    def _settle(self, place: Callable[[int], str], *, numbered: bool, offset: bool) -> None:
        """Keep what the cells are, or refuse them where those before were something else."""
        if self.offset is not None and self.offset != offset and not numbered and not self.numbered:
            self._refuse_zone(place(0), offset)
        if self.numbered is not None and self.numbered != numbered:
            what = f"the times ({self.column!r}) are whole numbers here and dates elsewhere"
            raise InputError(place(0), what, "Give all times in one form")
        self.numbered, self.offset = numbered, offset

    def _refuse_zone(self, where: str, offset: bool) -> None:
        has, others = ("an", "no") if offset else ("no", "an")
        what = (
            f"the time ({self.column!r}) has {has} offset from UTC where times before it have {others} offset"
        )
        raise InputError(where, what, _ZONE)

    def _refuse_missing(self, where: str) -> None:
        raise InputError(where, f"the time ({self.column!r}) is missing", "Fill it in, or take the row out")

    def _refuse(self, value: Any, where: str) -> None:
        raise InputError(where, f"the time ({self.column!r}) {value!r:.40} is no time", _EXAMPLE)


def looks_like_time(text: str) -> bool:
    """Whether a text is a date, or a date and a time."""
    text = text.strip()
    return _iso_offset(text) is not None or any(_has_form(text, form) for form in _FORMATS)


def _iso_offset(text: str) -> bool | None:
    """Whether a time of ISO 8601 has an offset from UTC; None: the text is none."""
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None if not text.isdigit() else None
    except ValueError:
        return None


def _has_form(text: str, form: str) -> bool:
    try:
        datetime.datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _counted(numbers: npt.NDArray[np.int64], column: str) -> str:
    """What whole numbers count: a unit of time since 1970, years, dates such as 20240131, or steps."""
    least, most = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    if column.strip().lower() in ("year", "years") and least > 0 and most < 10_000:
        return "years"
    if _DATES[0] <= least and most <= _DATES[1] and 1 <= least // 100 % 100 <= 12 and 1 <= least % 100 <= 31:
        return "dates"
    return next((unit for low, high, unit in _EPOCHS if low <= least and most < high), "steps")


def _dates(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Days as whole numbers: 20240131."""
    months = times.astype("datetime64[M]")
    year = months.astype("datetime64[Y]").astype(np.int64) + 1970
    month = months.astype(np.int64) % 12 + 1
    return year * 10_000 + month * 100 + (times - months.astype("datetime64[D]")).astype(np.int64) + 1


def _microseconds(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return times.astype("datetime64[us]").astype(np.int64)
