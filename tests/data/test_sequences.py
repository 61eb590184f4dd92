"""Numeric sequences with labels: cells of tables, and the files of the time-series archives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from gatework.data import read_labelled
from gatework.errors import InputError

ONE = [[1.0, 2.5, -3.0], [4.0, 5.0]]
WIDE = [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[7.0, 8.0]]]
HEADER = """# about the data
@problemName Toy
@timeStamps false
@univariate false
@classLabel true a b
@data
"""


def read(data: Any, columns: Any = None) -> list[tuple[Any, str]]:
    return [
        (example.input.tolist(), example.output) for example in read_labelled(data, columns, numeric=True)
    ]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_sequences_in_cells(tmp_path: Path) -> None:
    for values in (ONE, WIDE):
        rows = [{"sequence": value, "label": label} for value, label in zip(values, "ab", strict=True)]
        expected = [
            (np.array(value).reshape(len(value), -1).tolist(), row["label"])
            for value, row in zip(values, rows, strict=True)
        ]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
        frame = pandas.DataFrame(rows)
        frame.to_csv(tmp_path / "a.csv", index=False)
        arrays = [{**row, "sequence": np.array(row["sequence"])} for row in rows]
        read_frame = pandas.read_parquet(tmp_path / "a.parquet")
        paths = [tmp_path / name for name in ("a.jsonl", "a.parquet", "a.csv")]
        for data in (*paths, rows, arrays, frame, read_frame, pandas.DataFrame(arrays)):
            assert read(data) == expected
    (example,) = read_labelled([{"sequence": [1, 2], "label": "a"}], numeric=True)
    assert example.input.dtype == np.float32
    assert example.input.shape == (2, 1)
    assert read([{"sequence": "1 2.5;-3", "label": "a"}]) == [([[1.0], [2.5], [-3.0]], "a")]


def test_sequences_as_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "t1,t2,t3,class\n1,2.5,-3,a\n4,5,,b\n")
    assert read(path, {"sequence": "t*", "label": "class"}) == [
        ([[1.0], [2.5], [-3.0]], "a"),
        ([[4.0], [5.0]], "b"),
    ]
    with pytest.raises(InputError, match="line 2: the sequence's column '2' is 'x'"):
        read(written(tmp_path / "b.csv", "t1,t2,class\n1,x,a\n"), {"sequence": "t*", "label": "class"})


def test_ts_files(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ts", HEADER + "1,3,5:2,4,6:a\n\n7:8:b\n")
    expected = [([[1, 2], [3, 4], [5, 6]], "a"), ([[7, 8]], "b")]
    assert read(path) == expected
    (tmp_path / "a.ts.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read([tmp_path / "a.ts.gz"]) == expected
    one = HEADER.replace("@univariate false", "@univariate true")
    assert read(written(tmp_path / "b.ts", one + "1.5,-2e3:a\n")) == [([[1.5], [-2000.0]], "a")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,2:3,4:a\n1,?:3,4:b\n", r"line 8: step 2 of channel 1 is missing or NaN"),
        (HEADER + "1,2:3,NaN:a\n", r"line 7: step 2 of channel 2 is missing or NaN"),
        (HEADER + "1,2:inf,-inf:a\n", r"step 1 of channel 2 is inf, too large for float32 \(2 such"),
        (HEADER + "1,2:3:a\n", r"line 7: its channels have unequal lengths \(2, 1\)"),
        (HEADER + "1,2:3,4:a\n1,2:b\n", "line 8: has 1 channels where the first example has 2"),
        (HEADER + "1,x:3,4:a\n", "line 7: step 2 of channel 1 is 'x', not a number"),
        (HEADER + "1,2:3,4:c\n", "line 7: the label 'c' is not among"),
        (HEADER + "a\n", "line 7: the sequence is empty"),
        (HEADER.replace("true a b", "false") + "1,2\n", "no @classLabel true"),
        (HEADER.replace("Stamps false", "Stamps true") + "1,2:a\n", "line 3: its steps have time stamps"),
        ("@targetLabel true\n@data\n1:2\n", "line 1: its examples have a number to predict"),
        ("const x = 1;\n", "line 1: stands before @data"),
        ("@problemName x\n", "has no @data line"),
        (HEADER, "has no examples after its header"),
    ],
)
def test_what_is_wrong_in_a_ts_file_is_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(written(tmp_path / "a.ts", text))


def test_lines_of_a_label_and_numbers(tmp_path: Path) -> None:
    expected = [([[1.0], [2.5], [3.0]], "1"), ([[4.0], [5.0]], "-1")]
    assert read(written(tmp_path / "a.tsv", "1\t1\t2.5\t3\n-1\t4\t5\tNaN\n")) == expected
    assert read(written(tmp_path / "a.csv", "1,1,2.5,3\n-1,4,5,\n")) == expected
    padded = "  1.0000000e+00   1.0   2.5   3.0\n -1.0000000e+00  4.0  5.0  NaN\n"
    assert read(written(tmp_path / "a.txt", padded)) == expected
    with pytest.raises(InputError, match="line 2: step 2 of channel 1 is missing or NaN"):
        read(written(tmp_path / "b.tsv", "1\t1\t2\t3\n2\t1\tNaN\t3\n"))
    with pytest.raises(InputError, match="line 2: the sequence is empty"):
        read(written(tmp_path / "b.tsv", "1\t1\t2\t3\n2\tNaN\tNaN\tNaN\n"))
    with pytest.raises(InputError, match="line 1: looks like a header"):
        read(written(tmp_path / "b.tsv", "label\t1\t2\t3\na\t1\t2\t3\n"))
    with pytest.raises(InputError, match="line 2: step 1 of channel 1 is 'x'"):
        read(written(tmp_path / "b.tsv", "1\t1\t2\n2\tx\t1\n"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "row 1: the sequence is missing"),
        ("", "the sequence is missing"),
        ([], "the sequence is empty"),
        ([[], []], "the sequence is empty"),
        ([1, None], "step 2 of channel 1 is missing or NaN"),
        ([1, float("nan"), float("nan")], r"step 2 of channel 1 is missing or NaN \(2 such numbers\)"),
        ([[1, 2], [3, 1e39]], r"step 2 of channel 2 is 1e\+39, too large for float32"),
        ([[1, 2], [3]], "step 2 has 1 channels where step 1 has 2"),
        ([[1, 2], 3], "of step 1 and step 2, one is a number and the other a list"),
        ([1, "x"], "step 2 of channel 1 is 'x', not a number"),
        ([1, 10**400], "step 2 of channel 1 is an integer of many digits, not a number of float32"),
        (np.array([1 + 2j]), "an array of complex128"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "an array of datetime64"),
        ([[[1]]], "3 dimensions"),
        (3, "the sequence is int 3"),
        ("[1, 2", "not valid JSON"),
        ("1 x", "step 2 of channel 1 is 'x'"),
    ],
)
def test_what_is_wrong_in_a_cell_is_named(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read([{"sequence": value, "label": "a"}])


def test_examples_of_other_channels_are_named() -> None:
    rows = [{"sequence": [[1, 2]], "label": "a"}, {"sequence": [1, 2], "label": "a"}]
    with pytest.raises(InputError, match="data, row 2: has 1 channels where data, row 1 has 2"):
        read(rows)


def test_a_folder_of_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)
