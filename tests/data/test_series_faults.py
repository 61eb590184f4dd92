"""Series from data with faults: what is wrong, where it is and how it is mended is said; large data are read fast."""

from __future__ import annotations

import datetime
import gzip
import math
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.csv
import pytest

from gatework.data import read_series
from gatework.data.series_groups import LongTable
from gatework.errors import InputError

HEAD = "unique_id,ds,y\n"
GOOD = HEAD + "".join(f"{name},2024-01-0{day},{day}.5\n" for name in "ab" for day in range(1, 10))


def fault(data: Any, columns: Any = None, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        read_series(data, columns, **options)
    return str(error.value)


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("b,2024-01-05,5.5", "b,2024-01-05,high", "line 15: the cell of 'y' is 'high', not a number"),
        ("b,2024-01-05,5.5", "b,2024-01-05,inf", "line 15: the cell of 'y' is inf, not a number"),
        ("b,2024-01-05,5.5", "b,2024-01-05", "line 15: has 2 cells where the first line has 3"),
        ("b,2024-01-05,5.5", "b,2024-01-05,5,5", "line 15: has 4 cells where the first line has 3"),
        ("b,2024-01-05,5.5", ",2024-01-05,5.5", "line 15: the cell of 'unique_id' is missing"),
        ("b,2024-01-05,5.5", "b,,5.5", "line 15: the time ('ds') is missing"),
        ("b,2024-01-05,5.5", "b,2024-13-05,5.5", "line 15: the time ('ds') '2024-13-05' is no time"),
        ("b,2024-01-05,5.5", "b,soon,5.5", "line 15: the time ('ds') 'soon' is no time"),
        (
            "b,2024-01-05,5.5",
            "b,2024-01-05T00:00Z,5.5",
            "line 15: the time ('ds') has an offset from UTC where times before it have no offset",
        ),
        (
            "b,2024-01-05,5.5",
            "b,2024-01-04,5.5",
            "line 15: series 'b', the time 2024-01-04 is there a second time, after t.csv, row 13",
        ),
        (
            "b,2024-01-05,5.5",
            "b,2024-01-05 07:30,5.5",
            "series 'b', the time 2024-01-05 07:30:00 is no whole number of steps after 2024-01-01",
        ),
        ("ds,y", "ds,sales,y2", "t.csv"),
        ("unique_id,ds,y\n", "unique_id;ds;y\n", "line 1: has no ',' between its cells but ';'"),
    ],
)
def test_a_fault_in_a_table_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert GOOD.count(old) == 1
    written(tmp_path / "t.csv", GOOD.replace(old, new))
    assert said in fault("t.csv", frequency="auto")


def test_faults_of_files(tmp_path: Path) -> None:
    assert "is empty" in fault(written(tmp_path / "a.csv", ""))
    assert "has no rows" in fault(written(tmp_path / "a.csv", HEAD))
    decimal_comma = GOOD.replace(",", ";").replace(".5", ",5")
    assert "line 1: has no ',' between its cells but ';'" in fault(written(tmp_path / "a.csv", decimal_comma))
    assert "is UTF-16 text" in fault(written(tmp_path / "a.csv", GOOD.encode("utf-16")))
    late = (GOOD + "c,2024-01-01,1\n" * 1000).encode() + b"c\xff,2024-01-01,1\n"
    assert "line 1020: byte 0xff" in fault(written(tmp_path / "a.csv", late))
    rows = "".join(
        f"a,{day},{math.sin(k)}\n" for k, day in enumerate(pandas.date_range("2000", periods=5000))
    )
    packed = gzip.compress((HEAD + rows).encode())
    assert "is a damaged gzip file" in fault(written(tmp_path / "a.csv.gz", packed[: len(packed) // 2]))
    assert "is not a Parquet file" in fault(written(tmp_path / "a.parquet", "PAR1, and nothing after it"))
    assert "line 2: is not valid JSON" in fault(written(tmp_path / "a.jsonl", '{"y": 1}\n{"y": '))
    assert "is no table that can hold series" in fault(written(tmp_path / "a.txt", "1\n2\n"))
    assert "no such file" in fault(tmp_path / "missing.csv")
    (tmp_path / "empty").mkdir()
    assert "is a folder without tables" in fault(tmp_path / "empty")


def test_missing_and_misnamed_columns() -> None:
    frame = pandas.DataFrame(
        {"date": pandas.date_range("2024", periods=3), "OT": [1.0, 2, 3], "name": list("xyz")}
    )
    assert "has no column 'OTT'" in fault(frame, {"target": "OTT"})
    assert "Did you mean 'OT'?" in fault(frame, {"target": "OTT"})
    assert "Did you mean 'target'?" in fault(frame, {"targets": "OT"})
    assert "has no column 'HUFL'" in fault(frame, {"target": "OT", "past": "HUFL|HULL"})
    assert "the column 'OT' is named as target and as past" in fault(frame, {"target": "OT", "past": "OT"})
    assert "row 1: the cell of 'name' is 'x', not a number" in fault(frame, {"target": "name"})
    assert "columns name 2 for the time" in fault(frame, {"time": "date|name"})
    assert "has no column of numbers" in fault(frame[["date", "name"]])
    long = frame.assign(item_id="a", B=1)
    nested = pyarrow.table({"ds": ["2024-01-01", "2024-01-02"], "y": [{"a": 1}, {"a": 2}]})
    for table in (nested, nested.to_pylist()):
        assert "has no column" in fault(table, {"target": "z.a"})
        assert "'y.a' is inside another one" in fault(table, {"target": "y.a"})
    for wrong in (None, True, {"OT": 1}):
        assert "Give a column's name" in fault(frame, {"target": wrong})
    assert "several columns of numbers that could be the target (OT, B)" in fault(long)


def test_kinds_of_missing_and_infinite_values() -> None:
    times = pandas.date_range("2024", periods=4)
    for cells in (
        [1.0, None, math.nan, 4.0],
        pandas.array([1, None, None, 4], "Int64"),
        ["1", "NA", "", "4"],
        [1, "?", None, "4.0"],
        [True, None, "nan", 4],
    ):
        (one,) = read_series({"ds": times, "y": cells}).series
        np.testing.assert_array_equal(one.target[:, 0], [1, math.nan, math.nan, 4])
    for cells, said in (
        ([1, math.inf, 2, 3], "row 2: the cell of 'y' is inf"),
        (["1", "-Infinity", 2, 3], "row 2: the cell of 'y' is -inf"),
        ([1, 2, [3], 4], "row 3: the cell of 'y' is [3]"),
        ([1, 2, {"a": 1}, 4], "row 3: the cell of 'y' is {'a': 1}"),
        (["1", "1_0", "2", "3"], "row 2: the cell of 'y' is '1_0'"),
        ([1j, 1, 2, 3], "row 1: the cell of 'y' is 1j"),
        (["１", "2", "3", "4"], "row 1: the cell of 'y' is '１'"),
        ([10**400, 1, 2, 3], "row 1: the cell of 'y' is"),
    ):
        assert said in fault({"ds": times, "y": cells}, {"target": "y"})
    assert "1j" in fault({"ds": times, "y": np.array([1j] * 4)}, {"target": "y"})
    assert "has no value at all" in fault({"ds": times, "y": [None] * 4})
    for numbers in ([1, 2], [[1, 2]], np.ones(3), np.ones((3, 2))):
        assert "[{'target': [1, 2, 3]}]" in fault(numbers)
    both = pandas.DataFrame(
        {"item_id": list("aabb"), "timestamp": [*times[:2]] * 2, "target": [1, 2, None, None]}
    )
    assert "series 'b', the target (target) has no value at all" in fault(both)
    assert "columns of different lengths" in fault({"ds": times, "y": [1, 2]})
    for nothing in ([], {}, {"y": []}, pandas.DataFrame({"y": []}), pyarrow.table({"y": []}), iter([])):
        assert fault(nothing)


def test_time_zones() -> None:
    def series(*times: Any) -> Any:
        return read_series({"ds": list(times), "y": range(len(times))}, frequency="h")

    utc = series("2024-03-31T00:00Z", "2024-03-31T01:00Z", "2024-03-31T02:00Z")
    local = series("2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00")
    assert utc.series[0].times.tolist() == local.series[0].times.tolist()
    assert local.notes == ("The times have offsets from UTC; they were read as UTC.",)
    zoned = pandas.date_range("2024-03-31", periods=3, freq="h", tz="Europe/Berlin")
    for times in (zoned, list(zoned), pandas.Series(zoned)):
        found = read_series({"ds": times, "y": [1, 2, 3]})
        assert (
            found.series[0].times.tolist()
            == zoned.tz_convert("UTC").tz_localize(None).to_pydatetime().tolist()
        )
    for times in (
        ["2024-03-31T01:00", "2024-03-31T03:00+02:00"],
        ["2024-03-31T01:00Z", "2024-03-31T03:00"],
        [zoned[0], zoned[1].tz_localize(None)],
    ):
        assert "offset from UTC where times before it have" in fault({"ds": times, "y": [1, 2]})


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["31.01.2024", "1.2.2024"], ["2024-01-31", "2024-02-01"]),
        (["1/31/2024", "02/01/2024"], ["2024-01-31", "2024-02-01"]),
        (["31/01/2024", "01/02/2024"], ["2024-01-31", "2024-02-01"]),
        (["2024/01/31", "2024/02/01"], ["2024-01-31", "2024-02-01"]),
        (["2024-01", "2024-02"], ["2024-01-01", "2024-02-01"]),
        (["Jan 2024", "Feb 2024"], ["2024-01-01", "2024-02-01"]),
        ([20240131, 20240201], ["2024-01-31", "2024-02-01"]),
        (["20240131", "20240201"], ["2024-01-31", "2024-02-01"]),
        ([1706659200, 1706745600], ["2024-01-31", "2024-02-01"]),
        ([1706659200000.0, 1706745600000.0], ["2024-01-31", "2024-02-01"]),
        ([np.datetime64("2024-01-31"), np.datetime64("2024-02-01")], ["2024-01-31", "2024-02-01"]),
        ([datetime.date(2024, 1, 31), datetime.datetime(2024, 2, 1)], ["2024-01-31", "2024-02-01"]),
        (["2024-01-31 00:00:00.000000000", "2024-02-01 00:00:00.000000000"], ["2024-01-31", "2024-02-01"]),
    ],
)
def test_forms_of_times(cells: list[Any], days: list[str]) -> None:
    (one,) = read_series({"ds": cells, "y": [1, 2]}).series
    assert one.times is not None
    assert np.datetime_as_string(one.times, "D").tolist() == days


def test_times_that_are_no_times() -> None:
    for cells, said in (
        (["1/2/2024", "3/4/2024"], "could be of the form %m/%d/%Y or %d/%m/%Y"),
        (["31.02.2024", "01.03.2024"], "'31.02.2024' is no time"),
        ([20240230, 20240301], "20240230 is no time"),
        ([0.5, 1.5], "0.5 is no time"),
        (["2024-01-01", "01.02.2024"], "row 2: the time ('ds') '01.02.2024' is no time"),
        (["2024-01-01", 5], "row 2: the time ('ds') is int 5 where data, row 1 has str"),
        ([True, False], "is no time"),
        (pandas.to_timedelta([1, 2], "h"), "is no time"),
        ([None, "2024-01-01"], "row 1: the time ('ds') is missing"),
        ([pandas.Timestamp("2024-01-01T00Z"), pandas.NaT], "row 2: the time ('ds') is missing"),
        ([20240101, pandas.NA], "row 2: the time ('ds') is missing"),
    ):
        assert said in fault({"ds": cells, "y": [1, 2]}, {"time": "ds"}), cells
    mixed = read_series({"ds": [datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, 5)], "y": [1, 2]})
    assert str(mixed.frequency) == "5h"
    found = read_series({"ds": ["1/2/2024", "3/4/2024"], "y": [1, 2]}, time_format="%d/%m/%Y", frequency="D")
    assert np.datetime_as_string(found.series[0].times[[0, -1]], "D").tolist() == ["2024-02-01", "2024-04-03"]
    said = fault({"ds": ["1/2/2024", "3-4-2024"], "y": [1, 2]}, time_format="%d/%m/%Y")
    assert "row 2: the time ('ds') '3-4-2024' is no time of the form %d/%m/%Y" in said


def test_frequencies_that_the_times_do_not_have() -> None:
    days = pandas.date_range("2024-01-01", periods=8)
    frame = pandas.DataFrame(
        {"ds": [*days[:3], days[3] + pandas.Timedelta("90min"), *days[4:]], "y": range(8)}
    )
    for frequency in ("auto", "D"):
        said = fault(frame, frequency=frequency)
        assert "the time 2024-01-04 01:30:00 is no whole number of steps after 2024-01-01" in said
        assert "frequency='observed'" in said
    assert len(read_series(frame, frequency="observed").series[0].target) == 8
    assert "2024-01-06 is no whole number of steps" in fault({"ds": days, "y": range(8)}, frequency="B")
    assert "are in one step of frequency W" not in fault({"ds": days, "y": range(8)}, frequency="W")
    assert "is no frequency" in fault(frame, frequency="fortnight")
    assert "no series has two times" in fault({"ds": days[:1], "y": [1]})
    assert "have no times, and frequency='irregular' is asked for" in fault(
        {"y": [1, 2]}, frequency="irregular"
    )
    far = {"ds": ["2024-01-01 00:00:00", "2024-01-01 00:00:01", "9024-01-01 00:00:00"], "y": [1, 2, 3]}
    said = fault(far, frequency="s")
    assert "between 2024-01-01 00:00:01 and 9024-01-01" in said
    stated = [{"target": [1, 2], "start": "2024-01-01", "freq": name} for name in ("D", "h")]
    assert "data, row 2: its frequency is stated as h, and D is wanted" in fault(stated)
    assert "data, row 1: its frequency is stated as D, and h is wanted" in fault(stated, frequency="h")
    mixed = [{"target": [1, 2], "time": list(days[:2])}, {"target": [1, 2]}]
    assert "data, row 2: has no dates where data, row 1 has" in fault(mixed)


def test_thousands_of_series_of_unequal_length_are_read_fast(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 10_000)
    days = np.datetime64("2020-01-01", "s") + 86_400 * np.arange(60)
    columns = {
        "item_id": np.repeat(np.arange(10_000), lengths),
        "timestamp": np.concatenate([days[:length] for length in lengths]),
        "target": np.arange(lengths.sum(), dtype=float),
    }
    pyarrow.csv.write_csv(pyarrow.table(columns), tmp_path / "t.csv")
    begin = time.perf_counter()
    found = read_series(tmp_path / "t.csv")
    assert time.perf_counter() - begin < 20  # some 1.5 s on one core; a quadratic step takes minutes
    assert [len(one.target) for one in found.series] == lengths.tolist()
    assert found.series[-1].name == "9999"


def test_a_row_of_a_large_file_is_some_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 300_000
    times = np.datetime64("2000-01-01", "s") + 3600 * np.arange(count)
    pyarrow.csv.write_csv(pyarrow.table({"date": times, "x": np.ones(count)}), tmp_path / "t.csv")
    read_series(pandas.DataFrame({"y": [1.0]}))  # what is imported first
    located: list[int] = []
    monkeypatch.setattr(
        "gatework.data.series_tables._line", lambda path, row, headless: located.append(row) or f"row {row}"
    )
    tracemalloc.start()
    found = read_series(tmp_path / "t.csv")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.series[0].target) == count
    assert not located  # finding a row's line reads the file again
    assert kept / count < 40  # a time and a number: 16 bytes, and the arrays that they are views of
    assert peak / count < 80  # a dict a row has some 400


def test_rows_are_not_gathered_before_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    add = LongTable._series_of

    def noted(self: Any, block: Any, name: str, count: int, place: Any) -> Any:
        sizes.append(count)
        return add(self, block, name, count, place)

    monkeypatch.setattr(LongTable, "_series_of", noted)
    read_series({"ds": i, "y": i / 2} for i in range(150_000))
    assert max(sizes) <= 1 << 16
    assert sum(sizes) == 150_000
