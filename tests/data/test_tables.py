"""One reader of rows: the same rows from every kind of source, and each fault with its row."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from gatework.data import describe_source, file_stamps, locate_rows, read_rows, source_paths
from gatework.errors import InputError

COLUMNS = {"text": "review", "label": "stars"}
# What other readers turn into something else: missing values, times, numbers, line ends, quotation marks.
REVIEWS = ["NA", "null", "2024-01-01T00:00:00", "007", 'a "quoted", word', "two\nlines", "ünïcode 𝄞", ""]
ROWS = [{"review": review, "stars": str(n), "other": "x"} for n, review in enumerate(REVIEWS)]
EXPECTED = [{"text": review, "label": str(n)} for n, review in enumerate(REVIEWS)]


def write_csv(path: Path) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["other", "stars", "review"])
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_jsonl(path: Path) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("\n\n".join(json.dumps(row) for row in ROWS))
    return path


def write_parquet(path: Path) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, row_group_size=3)
    return path


def write_dataset(path: Path) -> Path:
    datasets.Dataset.from_list(ROWS).save_to_disk(path)
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", write_csv),
        ("a.csv.gz", write_csv),
        ("a.jsonl", write_jsonl),
        ("lines.json", write_jsonl),
        ("a.ndjson.gz", write_jsonl),
        ("a.parquet", write_parquet),
        ("saved", write_dataset),
    ],
)
def test_the_same_rows_from_every_file(tmp_path: Path, name: str, write: Any) -> None:
    path = write(tmp_path / name)
    assert list(read_rows(path, COLUMNS)) == EXPECTED
    assert list(read_rows([str(path), path], COLUMNS)) == EXPECTED * 2


@pytest.mark.parametrize(
    "source",
    [
        ROWS,
        iter(ROWS),
        {name: [row[name] for row in ROWS] for name in ROWS[0]},
        pandas.DataFrame(ROWS),
        pyarrow.Table.from_pylist(ROWS),
        datasets.Dataset.from_list(ROWS),
        datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    ],
    ids=["list", "iterator", "columns", "DataFrame", "Arrow", "Dataset", "IterableDataset"],
)
def test_the_same_rows_from_memory(source: Any) -> None:
    assert list(read_rows(source, COLUMNS)) == EXPECTED


def test_columns_of_a_frame_may_be_numbers() -> None:
    assert list(read_rows(pandas.DataFrame([["a", 1]]), {"text": "0"})) == [{"text": "a"}]


def test_one_column_under_two_names() -> None:
    assert list(read_rows(ROWS[:1], {"a": "stars", "b": "stars"})) == [{"a": "0", "b": "0"}]


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('review\tstars\n"open\t3\nhe said "no"\t4\n', encoding="utf-8")
    assert [row["text"] for row in read_rows(path, COLUMNS)] == ['"open', 'he said "no"']


def test_columns_by_their_places_where_there_is_no_header(tmp_path: Path) -> None:
    rows = [["good", "1", "x"], ["a, b", "2", "y"]]
    expected = [{"text": text, "label": label} for text, label, _ in rows]
    places = {"text": 1, "label": "2"}
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    for name in ("a.tsv", "a.txt"):
        (tmp_path / name).write_text("\n" + "".join("\t".join(row) + "\n" for row in rows))
    for name, first in (("a.csv", 1), ("a.tsv", 2), ("a.txt", 2)):
        assert list(read_rows(tmp_path / name, places)) == expected
        assert [row.number for row in locate_rows(tmp_path / name, places)] == [first, first + 1]
        everything = list(locate_rows(tmp_path / name, None, headless=True))
        assert [row.values for row in everything] == [{"1": a, "2": b, "3": c} for a, b, c in rows]
    (tmp_path / "counted.csv").write_text(
        "0,1,2\na,b,c\n"
    )  # as pandas writes a frame whose columns have no names
    assert list(read_rows(tmp_path / "counted.csv", {"text": 1})) == [{"text": "b"}]
    (tmp_path / "b.tsv").write_text("a\tb\tc\n\na\tb\n")
    with pytest.raises(InputError, match="line 3: has 2 cells where the first line has 3"):
        list(read_rows(tmp_path / "b.tsv", places))
    with pytest.raises(InputError, match=r"no column '4'.* Known: 1, 2, 3"):
        list(read_rows(tmp_path / "a.tsv", {"text": 1, "label": 4}))


def test_plain_text_has_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo", encoding="utf-8")
    assert list(read_rows(path, {"source": "text"})) == [{"source": "one"}, {"source": ""}, {"source": "two"}]


def test_missing_values_are_none(tmp_path: Path) -> None:
    rows = [{"a": 1.5, "b": None}, {"a": None, "b": "x"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    columns = {"a": "a", "b": "b"}
    assert list(read_rows(tmp_path / "a.parquet", columns)) == rows
    assert list(read_rows(pandas.DataFrame(rows), columns)) == rows
    assert list(read_rows(rows, columns)) == rows


def test_rows_know_their_place(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv")
    numbers = [row.number for row in locate_rows(path, COLUMNS)]
    assert numbers == [2, 3, 4, 5, 6, 7, 9, 10]  # the sixth review takes two lines
    assert next(locate_rows(path, COLUMNS)).where == f"{path}, line 2"
    assert [row.where for row in locate_rows(ROWS, COLUMNS)][-1] == "data, row 8"


def test_a_long_cell(tmp_path: Path) -> None:
    long = "word " * 400_000  # 2 MB, where the csv module by itself stops at 131,072 characters
    for name, text in (("a.csv", f'review\n"{long}"\n'), ("a.jsonl", json.dumps({"review": long}))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert list(read_rows(tmp_path / name, {"text": "review"})) == [{"text": long}]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "revew,stars\na,1\n", ": has no column 'review'. Did you mean 'revew'?"),
        ("a.csv", "x,stars\na,1\n", ": has no column 'review'. Known: x, stars"),
        ("a.csv", "review,stars\n", ": has no rows. Give a file with data in it"),
        (
            "a.csv",
            "review,stars\n\na,1\n\na,b,2\n",
            ", line 5: has 3 cells where the first line has 2. Quote cells",
        ),
        (
            "a.csv",
            'review,stars\n"a"b,2\n',
            ", line 2: is not valid CSV (',' expected after '\"'). Double the",
        ),
        (
            "a.csv",
            'review,stars\na,1\n"b,2\n\n',
            ", line 3: is not valid CSV (unexpected end of data). Double",
        ),
        ("a.csv", "review,review,stars\na,b,2\n", ": has 2 columns named 'review'. Rename one of them"),
        ("a.tsv", "review\tstars\na\t1\nb\n", ", line 3: has 1 cells where the first line has 2. Take tabs"),
        (
            "a.jsonl",
            '{"review": "a", "stars": 1}\n\n{"review" "b"}',
            ", line 3: is not valid JSON (Expecting",
        ),
        ("a.jsonl", "[" * 100_000, ", line 1: is not valid JSON ("),
        ("a.jsonl", "[1]", ', line 1: is a JSON list, not an object. Write it as {"review": ...}'),
        ("a.jsonl", '{"review": "a", "star": 1}', ", line 1: has no column 'stars'. Did you mean 'star'?"),
        ("a.jsonl", "\n", ": has no rows. Give a file with data in it"),
        ("a.txt", "text\n", ": has no column 'review'. Known: text"),
        ("a.parquet", "no parquet", ": is not a Parquet file that can be read ("),
        ("a.parquet.gz", "", ": Parquet cannot be read through gzip. Decompress it"),
        ("a.json", '{"review": "a"}', ": a JSON document has no rows. Write one object a line, as .jsonl"),
        ("a.json", '{\n"review": "a"}', ": a JSON document has no rows. Write one object a line, as .jsonl"),
        ("a.json", "[]", ": a JSON document has no rows. Write one object a line, as .jsonl"),
    ],
)
def test_faults(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        list(read_rows(path, COLUMNS))
    assert str(caught.value).startswith(str(path) + message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "data: is an empty list. Give at least one file or row"),
        (iter([]), "data: has no rows. Give at least one"),
        ([{"review": "a", "stars": 1}, 7], "data, row 2: is int, not a dict. Give each row as"),
        ([{"review": "a"}], "data, row 1: has no column 'stars'. Known: review"),
        ({"review": ["a"]}, "data: has no column 'stars'. Known: review"),
        ({"review": "a", "stars": 1}, "data: is a dict whose 'review' is str, not a column of cells"),
        (
            {"review": ["a"], "stars": [1, 2]},
            "data: has columns of different lengths (review 1, stars 2). Give as many cells in each",
        ),
        ([{}], "data, row 1: has no column at all. Give"),
        (
            7,
            "data: cannot be read from int. Give a path, rows as dicts, a pandas DataFrame",
        ),
        (pandas.DataFrame({"review": ["a"]}), "the DataFrame: has no column 'stars'. Known: review"),
        (pyarrow.table({"review": ["a"]}), "the table: has no column 'stars'. Known: review"),
        (datasets.Dataset.from_dict({"review": ["a"]}), "the dataset: has no column 'stars'. Known: review"),
    ],
    ids=[
        "empty",
        "no rows",
        "number",
        "missing",
        "mapping",
        "row",
        "lengths",
        "nothing",
        "kind",
        "DataFrame",
        "Arrow",
        "Dataset",
    ],
)
def test_faults_in_memory(source: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_rows(source, COLUMNS))
    assert str(caught.value).startswith(message)


def test_splits_must_be_chosen() -> None:
    both = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS)}
    )
    with pytest.raises(InputError, match=r"holds several splits\. Give one of them: train, test$"):
        read_rows(both, COLUMNS)


def test_the_default_name_tells_how_to_map() -> None:
    with pytest.raises(
        InputError, match=r"has no column 'text' \(or map another: columns=\{'text': 'COLUMN'\}\)"
    ):
        list(read_rows([{"review": "a"}], {"text": "text"}))


def test_a_damaged_saved_dataset(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "saved")
    (path / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="is not a data set that can be read"):
        list(read_rows(path, COLUMNS))


def test_every_path_is_checked_before_the_first_row(tmp_path: Path) -> None:
    good = write_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"missing\.csv: no such file"):
        read_rows([good, tmp_path / "missing.csv"], COLUMNS)


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("reviews.csv", "text;label", "line 1: separates its cells by semicolons, not by commas.*tsv"),
        ("reviews.csv", '"text";"label"', "by semicolons"),
        ("reviews.csv", "text\tlabel", "by tabs, not by commas.*Name it .tsv"),
        ("reviews.tsv", "text,label", "by commas, not by tabs"),
        ("reviews.tsv", "text|label", "by vertical bars"),
        ("reviews.csv", "a;b", "has no column"),
    ],
)
def test_another_separator_is_named(tmp_path: Path, name: str, header: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(f"{header}\nfine;1\n")
    with pytest.raises(InputError, match=message):
        list(read_rows(path, {"text": "text", "label": "label"}))


NESTED = [{"id": n, "translation": {"en": f"house {n}", "de.AT": f"Haus {n}"}} for n in range(3)]


@pytest.mark.parametrize(
    "kind", ["list", "jsonl", "parquet", "Dataset", "IterableDataset", "DataFrame", "Arrow"]
)
def test_a_column_inside_a_column(tmp_path: Path, kind: str) -> None:
    """`datasets` has translations as one column of dicts."""
    source: Any = NESTED
    if kind == "jsonl":
        source = tmp_path / "a.jsonl"
        source.write_text("\n".join(map(json.dumps, NESTED)))
    elif kind == "parquet":
        source = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(NESTED), source)
    elif kind == "DataFrame":
        source = pandas.DataFrame(NESTED)
    elif kind == "Arrow":
        source = pyarrow.Table.from_pylist(NESTED)
    elif "Dataset" in kind:
        source = datasets.Dataset.from_list(NESTED)
        source = source.to_iterable_dataset() if kind == "IterableDataset" else source
    columns = {"source": "translation.en", "target": "translation.de.AT", "n": "id"}
    assert list(read_rows(source, columns)) == [
        {"source": f"house {n}", "target": f"Haus {n}", "n": n} for n in range(3)
    ]
    assert list(read_rows(source, None)) == NESTED
    for wrong, message in (
        ("translation.fr", r"row 1|line 1.*has no column 'translation.fr'.* Known: en, de.AT"),
        ("id.en", r"(row|line) 1.*column 'id' is int 0, which has no 'en'"),
        ("translations.en", "has no column 'translations.en'"),
    ):
        with pytest.raises(InputError, match=message):
            list(read_rows(source, {"source": wrong}))


def test_a_column_with_a_dot_in_its_name() -> None:
    assert list(read_rows([{"a.b": 1, "a": {"b": 2}}], {"x": "a.b"})) == [{"x": 1}]


def test_a_list_of_texts_is_no_list_of_paths(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("x")
    texts = ["The cat sat.", "Mr. Smith came", "Then"]
    assert list(read_rows(texts, {"text": "text"})) == [{"text": text} for text in texts]
    assert describe_source(texts) == "a list of 3 rows"
    assert file_stamps(texts) is None
    assert source_paths([str(tmp_path / "a b.txt")]) == [tmp_path / "a b.txt"]
    for paths in (
        ["trian.txt", "test.txt"],
        ["my corpus.txt"],
        ["cat", "dog"],
        [str(tmp_path / "a b.txt"), "c d"],
    ):
        with pytest.raises(InputError, match="no such file"):
            list(read_rows(paths, {"text": "text"}))
