"""Examples with labels: the same from every kind of source, and each fault with its place."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from gatework.data import check_labels, label_counts, read_labelled
from gatework.errors import InputError

TEXTS = ["I like it, much", "NA", "", 'ünïcode 𝄞 "quoted"']
LABELS = ["joy", "null", "joy", "a b"]
PAIRS = list(zip(TEXTS, LABELS, strict=True))
SETS = [["joy", "love"], [], ["fear"], ["joy"]]


def read(data: Any, columns: Any = None, **kind: bool) -> list[tuple[Any, Any]]:
    return [(example.input, example.output) for example in read_labelled(data, columns, **kind)]


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


# One label an example


def test_one_label_from_every_table(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in PAIRS]
    frame = pandas.DataFrame(rows)
    frame.to_csv(tmp_path / "a.csv", index=False)
    written(tmp_path / "a.tsv.gz", "label\ttext\n" + "".join(f"{b}\t{a}\n" for a, b in PAIRS))
    written(tmp_path / "none.tsv", "".join(f"{a}\t{b}\tx\n" for a, b in PAIRS))
    written(tmp_path / "none.txt", "".join(f"{b}\t{a}\n" for a, b in PAIRS))
    written(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    for name in ("a.csv", "a.tsv.gz", "a.jsonl", "a.parquet", "saved"):
        assert read(tmp_path / name) == PAIRS, name
    assert read(tmp_path / "none.tsv", {"text": 1, "label": 2}) == PAIRS
    assert read(tmp_path / "none.txt", {"text": "2", "label": "1"}) == PAIRS
    for data in (rows, iter(rows), frame, datasets.Dataset.from_list(rows), {"text": TEXTS, "label": LABELS}):
        assert read(data) == PAIRS
    renamed = frame.rename(columns={"text": "review", "label": "stars"})
    assert read(renamed, {"text": "review", "label": "stars"}) == PAIRS
    nested = [{"data": {"text": text}, "label": [label]} for text, label in PAIRS]
    assert read(nested, {"text": "data.text"}) == PAIRS


def test_labels_that_are_numbers_are_their_digits(tmp_path: Path) -> None:
    values = [1, 2.0, True, np.int64(3), np.float32(4.5), " five "]
    assert [label for _, label in read([{"text": "x", "label": value} for value in values])] == [
        "1",
        "2",
        "true",
        "3",
        "4.5",
        "five",
    ]
    frame = pandas.DataFrame({"text": ["a", "b", "c"], "label": [0, 1, 2]})
    assert [label for _, label in read(frame)] == ["0", "1", "2"]
    frame["label"] = frame["label"].astype(float)  # what pandas makes of whole numbers beside a missing one
    assert [label for _, label in read(frame)] == ["0", "1", "2"]


def test_a_folder_for_each_label(tmp_path: Path) -> None:
    for index, (text, label) in enumerate(PAIRS):
        written(tmp_path / "train" / label / f"{index}.txt{'.gz' if index == 1 else ''}", text)
    written(tmp_path / "train" / "README", "about the data")
    written(tmp_path / "train" / ".hidden" / "x", "x")
    assert read(tmp_path / "train") == sorted(PAIRS, key=lambda pair: (pair[1], TEXTS.index(pair[0])))
    assert read(str(tmp_path / "train"), several=True)[0] == (TEXTS[3], ["a b"])
    written(tmp_path / "train" / "joy" / "more" / "x", "x")
    with pytest.raises(InputError, match="more: is a folder inside that of a label"):
        read(tmp_path / "train")
    (tmp_path / "empty" / "joy").mkdir(parents=True)
    with pytest.raises(InputError, match="joy: holds no texts"):
        read(tmp_path / "empty")
    with pytest.raises(InputError, match="without a folder for each label"):
        read(tmp_path / "empty" / "joy")


def test_a_file_of_texts_and_one_of_labels(tmp_path: Path) -> None:
    texts = written(tmp_path / "seq.in", "a b\nc\n")
    labels = written(tmp_path / "label.gz", "x\ny\n")
    assert read([texts, labels]) == [("a b", "x"), ("c", "y")]
    with pytest.raises(InputError, match="2 and 3 lines"):
        read([texts, written(tmp_path / "label", "x\ny\nz\n")])


# Several labels an example


def test_several_labels_from_every_form(tmp_path: Path) -> None:
    rows = list(zip(TEXTS, SETS, strict=True))
    lists = [{"text": text, "label": labels} for text, labels in rows]
    written(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in lists))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lists), tmp_path / "a.parquet")
    frame = pandas.DataFrame(lists)
    frame.to_csv(tmp_path / "python.csv", index=False)  # "['joy', 'love']"
    cells = pandas.DataFrame([{"text": text, "label": ", ".join(labels)} for text, labels in rows])
    cells.to_csv(tmp_path / "cells.csv", index=False)
    expected = [(text, labels) for text, labels in rows]
    for name in ("a.jsonl", "a.parquet", "python.csv", "cells.csv"):
        assert read(tmp_path / name, several=True) == expected, name
    assert read(lists, several=True) == read(frame, several=True) == expected
    assert read(pandas.read_parquet(tmp_path / "a.parquet"), several=True) == expected
    assert read([{"text": "x", "label": "a,b"}]) == [("x", "a,b")]  # asked for one, it is one


def test_labels_as_columns_of_0_and_1(tmp_path: Path) -> None:
    names = ["joy", "love", "fear"]
    rows = [
        {"is_joy": "joy" in labels, "text": text, "is_love": "love" in labels, "is_fear": "fear" in labels}
        for text, labels in zip(TEXTS, SETS, strict=True)
    ]
    frame = pandas.DataFrame(rows)
    frame.to_csv(tmp_path / "true.csv", index=False)
    frame.astype({f"is_{name}": int for name in names}).to_csv(tmp_path / "a.csv", index=False)
    frame.astype({f"is_{name}": float for name in names}).to_parquet(tmp_path / "a.parquet")
    expected = list(zip(TEXTS, SETS, strict=True))
    for name in ("true.csv", "a.csv", "a.parquet"):
        assert read(tmp_path / name, {"label": "is_*"}, several=True) == expected, name
    plain = frame.rename(columns={f"is_{name}": name for name in names})
    assert read(plain, {"label": names}, several=True) == expected
    assert read(plain, {"label": "joy|love|fear"}, several=True) == expected
    assert [labels for _, labels in read(plain, {"label": ["fear"]}, several=True)] == [[], [], ["fear"], []]
    assert read(plain.iloc[2:], {"label": names}) == [("", "fear"), (TEXTS[3], "joy")]
    with pytest.raises(InputError, match="row 1: has 2 labels"):
        read(plain, {"label": names})
    with pytest.raises(InputError, match=r"row 1: the column of label 'text' is .* neither 0 nor 1"):
        read([{"t": "x", "is_text": "yes"}], {"text": "t", "label": "is_*"}, several=True)
    with pytest.raises(InputError, match=r"no column 'lov'.*'love'"):
        read(plain, {"label": "joy|lov"}, several=True)
    with pytest.raises(InputError, match=r"no column 'has_\*'"):
        read(plain, {"label": "has_*"}, several=True)


def test_fasttext_lines(tmp_path: Path) -> None:
    lines = "__label__joy __label__love I like it , much\n__label__2\n__label__fear no!\n"
    path = written(tmp_path / "train.txt", lines)
    assert read(path, several=True) == [("I like it , much", ["joy", "love"]), ("", ["2"]), ("no!", ["fear"])]
    assert read([path, path], several=True) == read(path, several=True) * 2
    assert read(lines.splitlines()[1:]) == [("", "2"), ("no!", "fear")]
    assert read(iter(lines.splitlines()[1:])) == [("", "2"), ("no!", "fear")]
    assert read([written(tmp_path / "late.txt", "good __label__joy one\n")]) == [("good one", "joy")]
    with pytest.raises(InputError, match=r"train.txt, line 1: has 2 labels \(joy, love\)"):
        read(path)
    with pytest.raises(InputError, match=r"bad.txt, line 2: has no label. Begin the line with __label__NAME"):
        read(written(tmp_path / "bad.txt", "__label__a x\ny\n"))
    with pytest.raises(InputError, match="data, row 2: the label is missing"):
        read(["__label__a x", "y z"])
    with pytest.raises(InputError, match="no columns"):
        read(path, {"text": "review"})


# Faults


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([{"text": "x", "label": None}], {}, "row 1: the label is missing"),
        ([{"text": "x", "label": "a"}, {"text": "x", "label": " "}], {}, "row 2: the label is missing"),
        ([{"text": "x", "label": float("nan")}], {}, "row 1: the label is missing"),
        ([{"text": "x", "label": None}], {"several": True}, "missing .* Give an empty list"),
        ([{"text": "x", "label": "a,,b"}], {"several": True}, "row 1: the label is missing"),
        ([{"text": "x", "label": "[a"}], {"several": True}, "are no list"),
        ([{"text": "x", "label": {"a": 1}}], {}, "the label is dict"),
        ([{"text": "x", "label": 10**5000}], {}, "an integer of too many digits"),
        ([{"text": "x", "label": ["a", "b"]}], {}, r"has 2 labels \(a, b\). Say that an example has several"),
        ([{"text": "x", "label": []}], {}, "has no label"),
        ([{"text": "x", "label": "\ud800"}], {}, "surrogate"),
        ([{"text": None, "label": "a"}], {}, r"row 1: the text is missing \(null\)"),
        ([{"text": 1.5, "label": "a"}], {}, "the text is float"),
        ([{"txt": "x", "label": "a"}], {}, "no column 'text' .*'txt'"),
        ([{"text": "x", "lable": "a"}], {}, "no column 'label' .*'lable'"),
    ],
)
def test_each_fault_has_its_row(rows: Any, kind: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(rows, **kind)


def test_a_file_in_two_encodings_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\nschön,a\n".encode() + "schön,b\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"line 3: byte 0xf6 .* is not UTF-8"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes("text,label\nschön,a\n".encode("utf-16"))
    with pytest.raises(InputError, match="UTF-16"):
        read(tmp_path / "b.csv")


def test_a_file_without_a_header_is_not_guessed_at(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "good film\tjoy\nbad film\tanger\n")
    with pytest.raises(InputError, match=r"no column 'text' .* no header, name columns by their places"):
        read(path)


def test_labels_that_can_be_learned() -> None:
    assert label_counts(["b", "a", "b"]) == {"a": 1, "b": 2}
    assert label_counts([["b", "a"], [], ["b"]]) == {"a": 1, "b": 2}
    check_labels({"a": 1, "b": 2}, several=False)
    check_labels({"a": 1}, several=True)
    with pytest.raises(InputError, match="all 1,000 examples have the label 'a'"):
        check_labels({"a": 1000}, several=False)
    with pytest.raises(InputError, match="no example has a label"):
        check_labels({}, several=True)


def test_a_word_of_ten_thousand_characters_is_a_text(tmp_path: Path) -> None:
    word = "x" * 200_000
    assert read(written(tmp_path / "a.csv", f"text,label\n{word},a\n")) == [(word, "a")]


@pytest.mark.slow
def test_a_million_rows_take_the_memory_of_a_few(tmp_path: Path) -> None:
    """Less than 8 MB more than after the first 50,000, of a file of 42 MB: a block of it and its rows."""
    path = tmp_path / "million.tsv"
    lines = "".join(f"a short text, number {index}\t{index % 7}\n" for index in range(10_000))
    with path.open("w") as file:
        file.write("text\tlabel\n")
        for _ in range(100):
            file.write(lines)
    examples, count = read_labelled(path), 0
    for _ in itertools.islice(examples, 50_000):  # the reader's own buffers and modules are there now
        pass
    before, most = resident_bytes(), 0
    for count, _ in enumerate(examples, start=50_001):
        if count % 50_000 == 0:
            most = max(most, resident_bytes() - before)
    assert count == 1_000_000
    assert most < 8 << 20


def resident_bytes() -> int:
    """The memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
