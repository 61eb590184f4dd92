"""Readers of tagged sentences: every form gives the same sentences, and what is wrong is named by file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gatework.data import TaggedSentence, read_tagged
from gatework.data.tagged import words_in_columns
from gatework.errors import InputError

SENTENCES = [
    (("fly", "to", "New", "York", "!"), ("O", "O", "B-city", "I-city", "O"), "travel"),
    (("stop",), ("O",), "end"),
]
TEXT = "fly to New York!"


def read(data: Any, columns: Mapping[str, str] | None = None, **options: str) -> list[TaggedSentence]:
    return list(read_tagged(data, columns or {}, **options))


def same(data: Any, *, labels: bool = True, **options: Any) -> None:
    expected = [(tokens, tags, label if labels else None) for tokens, tags, label in SENTENCES]
    assert [tuple(each[1:4]) for each in read(data, **options)] == expected


def lines(part: int) -> str:
    return "".join((" ".join(each[part]) if part < 2 else each[part]) + "\n" for each in SENTENCES)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_files_side_by_side_and_their_folder(tmp_path: Path) -> None:
    names = ["seq.in", "seq.out", "label"]
    files = [written(tmp_path / "plain" / name, lines(part)) for part, name in enumerate(names)]
    same(files)
    same(files[:2], labels=False)
    same(tmp_path / "plain")
    (tmp_path / "packed").mkdir()
    for part, name in enumerate(names):
        (tmp_path / "packed" / f"{name}.gz").write_bytes(gzip.compress(lines(part).encode()))
    same(str(tmp_path / "packed"))
    same([tmp_path / "packed"])
    assert read(files)[1].where == f"{files[0]}, line 2"


def test_columns(tmp_path: Path) -> None:
    rows = [
        "\n".join(f"{token} XX {tag}" for token, tag in zip(tokens, tags, strict=True))
        for tokens, tags, _ in SENTENCES
    ]
    text = "-DOCSTART- -X- O\n\n" + "\n\n".join(rows) + "\n"
    same(written(tmp_path / "train.txt", text), labels=False)
    same(written(tmp_path / "eng.conll", text.replace(" ", "\t")), labels=False)
    assert read(tmp_path / "train.txt")[1].where == f"{tmp_path / 'train.txt'}, line 9"
    assert read(tmp_path / "train.txt", tag_column="2")[1].tags == ("XX",)
    assert len(read([tmp_path / "eng.conll", tmp_path / "eng.conll"])) == 4


def test_conllu(tmp_path: Path) -> None:
    text = (
        "# text = vámonos\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n1\tvamos\tir\tVERB\tv\tMood=Imp\t0\troot\t_\t_\n"
        "2\tnos\tyo\tPRON\tp\t_\t1\tobj\t_\t_\n2.1\tx\t_\tX\t_\t_\t_\t_\t_\t_\n\n1\tmar\tmar\tNOUN\tn\t_\t0\troot\t_\t_\n"
    )
    path = written(tmp_path / "es.conllu", text)
    assert [(each.tokens, each.tags) for each in read(path)] == [
        (("vamos", "nos"), ("VERB", "PRON")),
        (("mar",), ("NOUN",)),
    ]
    assert read(path, tag_column="deprel")[0].tags == ("root", "obj")
    with pytest.raises(InputError, match=r"tag_column.*'no'.*upos"):
        read(path, tag_column="no")


def test_tables(tmp_path: Path) -> None:
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    rows = [{"tokens": list(tokens), "tags": list(tags), "label": label} for tokens, tags, label in SENTENCES]
    same(rows)
    same(pandas.DataFrame(rows))
    same(datasets.Dataset.from_list(rows))
    same({name: [row[name] for row in rows] for name in rows[0]})
    pandas.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    same(tmp_path / "rows.parquet")
    same(
        [{"t": row["tokens"], "tags": " ".join(row["tags"]), "label": row["label"]} for row in rows],
        columns={"tokens": "t"},
    )
    same(written(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    same([{k: v for k, v in row.items() if k != "label"} for row in rows], labels=False)


@pytest.mark.parametrize(
    "row",
    [
        {"text": TEXT, "spans": [[7, 15, "city"]]},
        {"text": TEXT, "label": [[7, 15, "city"]]},
        {"text": TEXT, "entities": [{"start_offset": 7, "end_offset": 15, "label": "city"}]},
        {"text": TEXT, "ents": [{"start": 7, "end": 15, "label": "city"}]},
        {"text": TEXT, "label": [{"start": 7, "end": 15, "text": "New York", "labels": ["city"]}]},
        {
            "data": {"text": TEXT},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {
                    "result": [
                        {"value": {"choices": ["x"]}},
                        {"value": {"start": 7, "end": 15, "labels": ["city"]}},
                    ]
                },
            ],
        },
        {"text": TEXT, "spans": [[6, 15, "city"]]},  # the space before belongs to no token
    ],
)
def test_spans_of_characters(row: dict[str, Any], tmp_path: Path) -> None:
    for data in (
        [row],
        written(tmp_path / "a.jsonl", json.dumps(row)),
        written(tmp_path / "a.json", json.dumps([row])),
    ):
        (sentence,) = read(data)
        assert sentence[1:] == (*SENTENCES[0][:2], None, 0)


def test_pairs_of_spacy(tmp_path: Path) -> None:
    pair = (TEXT, {"entities": [(7, 15, "city")]})
    for data in ([pair], iter([pair]), written(tmp_path / "a.json", json.dumps([pair]))):
        (sentence,) = read(data)
        assert sentence[1:] == (*SENTENCES[0][:2], None, 0)


def test_words_in_columns_need_no_tags(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "fly\nto\n\nNew X B-city\n")
    assert list(words_in_columns(path)) == [["fly", "to"], ["New"]]
    path = written(tmp_path / "a.conllu", "# a\n1-2\tflyto\n1\tfly\tx\n2\tto\tx\n")
    assert list(words_in_columns(path)) == [["fly", "to"]]


def test_spans_that_do_not_fit_the_tokens(tmp_path: Path) -> None:
    row = {"text": TEXT, "label": [[7, 13, "city"], [0, 3, "act"], [8, 10, "x"]]}
    path = written(tmp_path / "a.jsonl", "\n" + json.dumps(row))
    with pytest.raises(
        InputError, match=r"a\.jsonl, line 2, span 2: 'New Yo'.*inside a token.*cut_spans=widen"
    ):
        read(path)
    (dropped,), (widened,) = read(path, cut_spans="drop"), read(path, cut_spans="widen")
    assert (dropped.tags, dropped.cut) == (("B-act", "O", "O", "O", "O"), 2)
    assert (widened.tags, widened.cut) == (("B-act", "O", "B-city", "I-city", "O"), 2)
    with pytest.raises(InputError, match=r"span 2.*overlaps"):
        read([{"text": TEXT, "spans": [[0, 6, "a"], [4, 10, "b"]]}])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"tokens": ["a"], "tags": ["O", "O"]}], "row 1: has 2 tags for 1 tokens"),
        ([{"tokens": ["a"], "tag": ["O"]}], "no column 'tags'.*Did you mean 'tag'"),
        ([{"tokens": [], "tags": 3}], "row 1: the tags are int 3"),
        ([{"tokens": ["a"], "tags": [3]}], "tags 1: is int 3.*names"),
        ([{"tokens": [""], "tags": ["O"]}], "tokens 1: is an empty text"),
        ([{"text": "a", "spans": [[0, 2, "x"]]}], "span 1: goes from character 0 to 2 of a text of 1"),
        ([{"text": "a", "spans": [[1, 1, "x"]]}], "span 1: goes from character 1 to 1"),
        ([{"text": "a", "spans": [[0, 1]]}], "span 1: is"),
        ([{"text": "a", "spans": [[0, "b", "x"]]}], "span 1: is"),
        ([{"text": "a", "spans": [{"start": 0, "end": 1}]}], "span 1: is"),
        ([{"text": 2.5, "spans": []}], "the text is float"),
        ([{"tokens": ["a"], "tags": ["O"], "label": None}], "row 1: the text is missing"),
    ],
)
def test_bad_rows(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(data)


def test_bad_files(tmp_path: Path) -> None:
    tokens, tags = written(tmp_path / "a.in", "a b\nc\n"), written(tmp_path / "a.out", "O O\n")
    with pytest.raises(InputError, match=r"a\.out: ends before line 2, which .*a\.in has"):
        read([tokens, tags])
    with pytest.raises(InputError, match=r"a\.out, line 2: has 2 tags for 1 tokens"):
        read([tokens, written(tags, "O O\nO O\n")])
    with pytest.raises(InputError, match=r"has no seq\.in"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"b\.conll, line 3: has one column, 'b'"):
        read(written(tmp_path / "b.conll", "a O\n\nb\n"))
    with pytest.raises(InputError, match=r"b\.conll, line 1: has 2 columns, and column 4"):
        read(tmp_path / "b.conll", tag_column="4")
    with pytest.raises(InputError, match=r"c\.json: is not valid JSON"):
        read(written(tmp_path / "c.json", "[{]"))
    with pytest.raises(InputError, match="Leave the columns out"):
        read(tokens, {"tokens": "x"})
