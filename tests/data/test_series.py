"""Series over time: every form of their data gives the same series; covariates, gaps, frequencies."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from gatework.data import (
    Frequency,
    Row,
    Series,
    SeriesData,
    SeriesNames,
    check_known,
    group_rows,
    one_series,
    read_series,
)
from gatework.errors import InputError

DAYS = pandas.date_range("2024-02-27", periods=5, freq="D")
LONG = pandas.DataFrame(
    {
        "unique_id": ["a"] * 5 + ["b"] * 3,
        "ds": [*DAYS, *DAYS[1:4]],
        "y": [1.0, 2.5, -3.0, 4.0, 5.0, 60.0, 70.0, 80.0],
    }
)
WIDE = pandas.DataFrame(
    {
        "date": pandas.date_range("2024-01-01", periods=4, freq="h"),
        "x": [1, 2, 3, 4],
        "z": [0.5, 1.5, 2.5, 3.5],
    }
)


def plain(data: SeriesData) -> list[tuple[str, list[str] | None, list[list[float]]]]:
    return [
        (
            one.name,
            None if one.times is None else np.datetime_as_string(one.times, "m").tolist(),
            one.target.tolist(),
        )
        for one in data.series
    ]


# How the texts of an Arrow table may be held; polars gives views, and dictionaries of them for categories.
TEXTS = (
    pyarrow.string(),
    pyarrow.large_string(),
    pyarrow.string_view(),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
)


def _retyped(table: pyarrow.Table, kind: Any) -> pyarrow.Table:
    texts = [field.type in (pyarrow.string(), pyarrow.large_string()) for field in table.schema]
    for place, name in enumerate(table.column_names):
        if texts[place]:
            table = table.set_column(place, name, table[name].cast(pyarrow.string()).cast(kind))
    return table


def forms(frame: pandas.DataFrame, folder: Path) -> list[Any]:
    """A frame in every form that is read."""
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_csv(folder / "t.tsv", index=False, sep="\t")
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes()))
    frame.to_parquet(folder / "t.parquet", index=False)
    texts = json.loads(frame.to_json(orient="records", date_format="iso", date_unit="s"))
    (folder / "t.jsonl").write_text("\n\n".join(json.dumps(row) for row in texts))
    dataset = datasets.Dataset.from_pandas(frame)
    dataset.save_to_disk(str(folder / "saved"))
    names = ("t.csv", "t.tsv", "t.csv.gz", "t.parquet", "t.jsonl", "saved")
    rows = frame.to_dict("records")
    table = pyarrow.Table.from_pandas(frame)
    memory = [
        frame,
        *(_retyped(table, kind) for kind in TEXTS),
        dataset,
        frame.to_dict("list"),
        rows,
        iter(rows),
    ]
    times = frame.columns[1] if len(frame.columns) == 3 and "unique_id" in frame else frame.columns[0]
    return [
        *(folder / name for name in names),
        str(folder / "t.csv"),
        *memory,
        frame.set_index(times),
        texts,
        pyarrow.Table.from_pylist(texts),
    ]


def test_every_form_of_a_long_table(tmp_path: Path) -> None:
    days = [f"{day:%Y-%m-%dT%H:%M}" for day in DAYS]
    a, b = [[1.0], [2.5], [-3.0], [4.0], [5.0]], [[60.0], [70.0], [80.0]]
    for data in forms(LONG, tmp_path):
        found = read_series(data)
        assert plain(found) == [("a", days, a), ("b", days[1:4], b)], data
        assert found.targets == ("y",)
        assert str(found.frequency) == "D"
        assert found.missing_words() == ""
    frame = LONG.rename(columns={"unique_id": "item_id", "ds": "timestamp", "y": "target"})
    assert plain(read_series(frame.set_index(["item_id", "timestamp"]))) == plain(read_series(LONG))
    named = LONG.rename(columns={"unique_id": "who", "ds": "when", "y": "what"})
    names = {"series": "who", "time": "when", "target": "what"}
    assert plain(read_series(named, names)) == plain(read_series(LONG))


def test_every_form_of_a_wide_table(tmp_path: Path) -> None:
    hours = [f"2024-01-01T0{hour}:00" for hour in range(4)]
    for data in forms(WIDE, tmp_path):
        found = read_series(data)
        assert found.targets == ("x", "z")
        assert plain(found) == [("", hours, [[1.0, 0.5], [2.0, 1.5], [3.0, 2.5], [4.0, 3.5]])], data
    assert plain(read_series(WIDE, {"target": "z"})) == [("", hours, [[0.5], [1.5], [2.5], [3.5]])]
    assert read_series(WIDE.set_index("date")["x"]).targets == ("target",)


def test_rows_in_any_order_are_put_in_order_and_it_is_said() -> None:
    mixed = LONG.iloc[[5, 0, 1, 6, 2, 3, 7, 4]]  # interleaved, each series in order
    found = read_series(mixed)
    assert {one[0]: one for one in plain(found)} == {one[0]: one for one in plain(read_series(LONG))}
    assert found.notes == ()
    turned = read_series(LONG.iloc[::-1])
    assert {one[0]: one for one in plain(turned)} == {one[0]: one for one in plain(read_series(LONG))}
    assert "6 rows were not in the order of their times" in turned.notes[0]


def test_covariates(tmp_path: Path) -> None:
    frame = LONG.assign(p=range(8), k=range(10, 18), shop=["n"] * 5 + ["s"] * 3, size=[1] * 5 + [2] * 3, q=0)
    frame.loc[[3, 4, 7], "y"] = np.nan
    frame.loc[[3, 4, 7], "p"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    columns = {"past": "p", "future": ["k"], "static": "shop|size"}
    for data in (frame, tmp_path / "t.csv"):
        found = read_series(data, columns)
        one, two = found.series
        assert one.target[:, 0].tolist() == [1.0, 2.5, -3.0]
        assert one.past[:, 0].tolist() == [0.0, 1.0, 2.0]
        assert one.future[:, 0].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
        assert one.ahead is not None
        assert one.ahead.tolist() == [pandas.Timestamp(day).to_pydatetime() for day in DAYS[3:]]
        assert [one.static, two.static] == [("n", 1.0), ("s", 2.0)]
        assert (found.past, found.future, found.static, found.static_numbers) == (
            ("p",),
            ("k",),
            ("shop", "size"),
            ("size",),
        )
        assert found.notes == ("Columns that were not read: q.",)
        check_known(one, 2, found)
        with pytest.raises(InputError, match=r"series 'a', .*\(k\) are known for 2 of the 3 steps"):
            check_known(one, 3, found)
    blank = frame.astype({"k": float})
    blank.loc[4, "k"] = np.nan
    found = read_series(blank, columns)
    with pytest.raises(InputError, match=r"'k' is missing at step 2 after the target's last \(2024-03-02\)"):
        check_known(found.series[0], 2, found)
    with pytest.raises(
        InputError, match=r"row 8: series 'b', the static 'size' is '9' where rows before have '2'"
    ):
        read_series(frame.assign(size=[1] * 5 + [2, 2, 9]), columns)


def test_missing_times_are_filled_in_and_counted() -> None:
    frame = LONG.drop([2, 6]).reset_index(drop=True)
    frame.loc[0, "y"] = None
    found = read_series(frame)
    one, two = found.series
    np.testing.assert_array_equal(one.target[:, 0], [np.nan, 2.5, np.nan, 4.0, 5.0])
    assert [one.filled, one.missing, two.filled, two.missing] == [1, 1, 1, 0]
    assert found.missing_words() == (
        "2 of 8 times are missing in 2 of 2 series, most in 'a' (1); 1 of 8 values are missing in 1 of 2 series."
    )
    observed = read_series(frame, frequency="observed")
    assert [len(one.target) for one in observed.series] == [4, 2]
    assert str(observed.frequency) == "observed:D"
    irregular = read_series(frame, frequency="irregular")
    assert irregular.series[0].times is not None
    assert np.diff(irregular.series[0].times).astype("timedelta64[D]").astype(int).tolist() == [1, 2, 1]
    future = read_series(frame.assign(k=1.0), {"future": "k"})
    assert future.series[0].future[:, 0].tolist()[3:] == [1.0, 1.0]
    assert np.isnan(future.series[0].future[2, 0])


def test_numbered_steps() -> None:
    frame = pandas.DataFrame({"unique_id": ["a"] * 3, "ds": [5, 6, 9], "y": [1.0, 2.0, 3.0]})
    (one,) = read_series(frame).series
    assert (one.times, one.first, one.filled) == (None, 5, 2)
    np.testing.assert_array_equal(one.target[:, 0], [1.0, 2.0, np.nan, np.nan, 3.0])
    (one,) = read_series({"y": [3, 4, None]}).series
    assert one.times is None
    np.testing.assert_array_equal(one.target[:, 0], [3.0, 4.0, np.nan])


def test_a_file_for_each_series(tmp_path: Path) -> None:
    for name, begin in (("BRK-A", 0), ("T", 2)):
        WIDE.iloc[begin:].to_csv(tmp_path / f"{name}.csv.gz", index=False)
    (tmp_path / "SOURCE.md").write_text("Prices.")
    for data in (tmp_path, [tmp_path / "BRK-A.csv.gz", tmp_path / "T.csv.gz"]):
        found = read_series(data, {"target": "z"})
        assert [(one.name, len(one.target)) for one in found.series] == [("BRK-A", 4), ("T", 2)]
    (tmp_path / "other.csv").write_text("date,w\n2024-01-01,1\n")
    with pytest.raises(InputError, match=r"other\.csv: has no column 'z'"):
        read_series(tmp_path, {"target": "z"})


ROWS: list[dict[str, Any]] = [
    {
        "item_id": "a",
        "start": "2024-01-01",
        "target": [1, None, 3],
        "feat_dynamic_real": [[1, 2, 3, 4]],
        "feat_static_cat": [7],
    },
    {
        "item_id": "b",
        "start": "2024-02-01",
        "target": [4, 5],
        "feat_dynamic_real": [[5, 6]],
        "feat_static_cat": [8],
    },
]


def test_rows_that_hold_a_series_each(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    frame = pandas.DataFrame(ROWS)
    frame.to_parquet(tmp_path / "t.parquet")
    arrays = [{**row, "target": np.array(row["target"], float)} for row in ROWS]
    for data in (ROWS, iter(ROWS), arrays, frame, tmp_path / "t.jsonl", tmp_path / "t.parquet"):
        found = read_series(data, frequency="h")
        one, two = found.series
        assert [one.name, two.name] == ["a", "b"]
        np.testing.assert_array_equal(one.target[:, 0], [1.0, np.nan, 3.0])
        assert one.future[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
        assert (one.static, two.static) == (("7",), ("8",))
        assert two.times is not None
        assert np.datetime_as_string(two.times, "h").tolist() == ["2024-02-01T00", "2024-02-01T01"]
        assert found.future == ("feat_dynamic_real_0",)
        assert one.missing == 1
    with pytest.raises(InputError, match=r"has a start .* and no step of time"):
        read_series(ROWS)
    first = {"item_id": "a", "start": "2024-01-01", "target": [1, 2]}
    for change, said in (
        ({}, "row 2: series 'a' is there a second time, after data, row 1"),
        ({"item_id": "c", "target": [[1], [2]]}, "row 2: has 2 channels of target where 1 are wanted"),
        ({"item_id": "c", "target": None}, "row 2: 'target' is NoneType"),
    ):
        with pytest.raises(InputError, match=said):
            read_series([first, {**first, **change}], frequency="h")
    timed = {"target": [[1, 2, 3], [4, 5, 6]], "timestamp": ["2024-01-01", "2024-01-02", "2024-01-05"]}
    (one,) = read_series([timed]).series
    np.testing.assert_array_equal(one.target[[0, 1, 4]], [[1, 4], [2, 5], [3, 6]])
    assert one.filled == 2
    unsorted = {"target": [3, 1, 2], "time": ["2024-01-03", "2024-01-01", "2024-01-02"]}
    assert read_series([unsorted]).series[0].target[:, 0].tolist() == [1.0, 2.0, 3.0]


TSF = """# a comment
@relation toy
@attribute series_name string
@attribute start_timestamp date
@frequency half_hourly
@missing true
@data
T1:2020-01-01 00-00-00:1,2,?,4
T2:2020-01-02 12-30-00:5.5,-6
"""


def test_monash_archive(tmp_path: Path) -> None:
    (tmp_path / "toy.tsf").write_text(TSF)
    found = read_series(tmp_path / "toy.tsf")
    one, two = found.series
    assert (str(found.frequency), one.name, two.name) == ("30min", "T1", "T2")
    np.testing.assert_array_equal(one.target[:, 0], [1, 2, np.nan, 4])
    assert two.times is not None
    assert np.datetime_as_string(two.times, "m").tolist() == ["2020-01-02T12:30", "2020-01-02T13:00"]
    monthly = TSF.replace("half_hourly", "monthly")  # a day of the month for each series
    (tmp_path / "toy.tsf").write_text(monthly)
    (_, two) = read_series(tmp_path / "toy.tsf").series
    assert two.times is not None
    assert np.datetime_as_string(two.times, "D").tolist() == ["2020-01-02", "2020-02-02"]
    for text, what in (
        (TSF.replace("@data\n", "@dat\n"), "stands before @data"),
        (TSF[: TSF.index("T1")], "has no series"),
        (TSF.replace("T2:", ""), "line 9: has 1 attributes where the header has 2"),
        (TSF.replace("5.5", "five"), "line 9, step 1: the cell of 'target' is 'five', not a number"),
    ):
        (tmp_path / "toy.tsf").write_text(text)
        with pytest.raises(InputError, match=what):
            read_series(tmp_path / "toy.tsf")


NAMES = SeriesNames(("x", "z"), (), ("k",), ("shop",), (), Frequency("h"))
ONE = SeriesNames(("y",), (), (), (), (), Frequency("D"))


def test_one_input() -> None:
    for value in ([1, 2, None], np.array([1, 2, np.nan]), {"target": [1, 2, None]}, {"y": [1, 2, None]}):
        one = one_series(value, ONE)
        np.testing.assert_array_equal(one.target, [[1], [2], [np.nan]])
        assert one.times is None
    one = one_series({"target": [1, 2], "start": "2024-02-29", "item_id": 7}, ONE)
    assert one.name == "7"
    assert one.times is not None
    assert np.datetime_as_string(one.times, "D").tolist() == ["2024-02-29", "2024-03-01"]
    assert one_series({"y": [1, 2], "time": ["2024-02-29", "2024-03-02"]}, ONE).filled == 1
    steps = SeriesNames(("x", "z"), (), (), (), (), None)
    for value in ([[1, 4], [2, 5]], {"target": [[1, 2], [4, 5]]}, {"x": [1, 2], "z": [4, 5]}):
        assert one_series(value, steps).target.tolist() == [[1, 4], [2, 5]]
    trading = SeriesNames(("y",), (), ("k",), (), (), Frequency.parse("observed:B"))
    days = ["2024-01-04", "2024-01-05", "2024-01-09", "2024-01-10"]
    one = one_series({"y": [1, 2], "k": [1, 2, 3, 4], "time": days}, trading)
    assert one.ahead is not None
    assert np.datetime_as_string(one.ahead, "D").tolist() == days[2:]
    one = one_series({"y": [1, 2], "k": [1, 2, 3, 4], "time": days[:2]}, trading)
    assert one.ahead is not None
    assert np.datetime_as_string(one.ahead, "D").tolist() == ["2024-01-08", "2024-01-09"]  # over the weekend
    full: dict[str, Any] = {"target": [[1, 2], [4, 5]], "k": [1, 2, 3], "shop": "n"}
    whole = one_series(full, NAMES, {"static": "shop"})
    assert (whole.future.tolist(), whole.static) == ([[1], [2], [3]], ("n",))
    assert one_series(full, NAMES).static == ("n",)
    for wrong, what in (
        ({"k": None}, "has no future covariate 'k'"),
        ({"k": [1]}, "the future covariates have 1 steps where the target has 2"),
        ({"target": [[1, 2]]}, "has 1 channels of target where 2 are wanted"),
        ({"target": [[1, 2], [3]]}, "unequal lengths"),
        ({"target": [[1, "b"], [3, 4]]}, "'b', not a number"),
        ({"target": [[1, 2], [3, float("inf")]]}, "step 2: the cell of 'target_1' is inf"),
    ):
        given = {name: cell for name, cell in {**full, **wrong}.items() if cell is not None}
        with pytest.raises(InputError, match=what):
            one_series(given, NAMES, {"static": "shop"})
    for value, what in (
        ([], "the target is empty"),
        ("1, 2", "which is no series"),
        (5, "which is no series"),
        (pandas.Series([1, 2]), "is Series, which is no series"),
        ([None, float("nan")], "has no value at all"),
        ({"target": [1, 2], "time": ["2024-01-01"]}, "has 1 times where the target has 2 steps"),
        ({"target": [1, 2], "time": ["2024-01-01", "2024-01-01"]}, "the time 2024-01-01 is there twice"),
        ({"target": [1, 2], "time": ["2024-01-01", "2024-01-02 05:00"]}, "is no whole number of steps"),
        ({"amount": [1, 2]}, "has no target 'y'"),
    ):
        with pytest.raises(InputError, match=what):
            one_series(value, ONE)


def test_rows_are_grouped_while_they_are_read() -> None:
    rows = [Row("t.csv", "line", number + 2, row) for number, row in enumerate(LONG.to_dict("records"))]
    read = 0

    def counted() -> Any:
        nonlocal read
        for row in rows:
            read += 1
            yield row

    found: list[Series] = []
    for one in group_rows(counted(), ONE):
        found.append(one)
        assert read <= 6 or len(found) == 2
    assert [(one.name, one.target.tolist()) for one in found] == [
        (one.name, one.target.tolist()) for one in read_series(LONG).series
    ]
    assert found[1].where == "t.csv, line 7"
    with pytest.raises(InputError, match="line 2: series 'a', its rows do not stand together"):
        list(group_rows([*rows, rows[0]], ONE))
    whole = [Row("data", "row", 1, {"item_id": "q", "y": [1, 2]})]
    assert [one.name for one in group_rows(whole, ONE)] == ["q"]


def test_what_a_model_was_trained_on_is_demanded() -> None:
    trained = read_series(LONG)
    other = LONG.assign(extra=0.0).drop([1])
    found = read_series(other, like=trained)
    assert (found.targets, found.frequency) == (("y",), trained.frequency)
    assert found.series[0].filled == 1
    with pytest.raises(InputError, match="has no column 'y'"):
        read_series(LONG.rename(columns={"y": "sales"}), like=trained)
    renamed = read_series(LONG.rename(columns={"y": "sales"}), {"target": "sales"}, like=trained)
    assert renamed.targets == ("y",)
    for columns, said in (
        ({"target": "y|x"}, r"targets are 2 \(y, x\) where 1 are wanted \(y\)"),
        ({"past": "x"}, r"past are 1 \(x\) where 0 are wanted"),
    ):
        with pytest.raises(InputError, match=said):
            read_series(LONG.assign(x=1), columns, like=trained)
    hourly = LONG.assign(ds=[*pandas.date_range("2024-01-01", periods=8, freq="h")])
    with pytest.raises(InputError, match="01:00:00 is no whole number of steps after"):
        read_series(hourly, like=trained)
