"""Pairs of texts: tables and parallel files, and what can be wrong with them; batches of like lengths."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import pandas
import pytest

from gatework.data import length_batches, read_pairs
from gatework.errors import InputError


def texts(data, columns=None):
    return [(pair.source, pair.target) for pair in read_pairs(data, columns or {})]


def test_tables_and_parallel_files_give_the_same_pairs(tmp_path: Path) -> None:
    pairs = [("good morning", "guten Morgen"), ("", "leer"), ("日本 🍣", "япония")]
    (tmp_path / "p.tsv").write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
    rows = [{"en": a, "de": b} for a, b in pairs]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "p.en").write_text("".join(f"{a}\n" for a, _ in pairs))
    with gzip.open(tmp_path / "p.de.gz", "wt") as file:
        file.writelines(f"{b}\n" for _, b in pairs)
    assert texts(tmp_path / "p.tsv") == pairs
    assert texts(tmp_path / "p.jsonl", {"source": "en", "target": "de"}) == pairs
    assert texts([tmp_path / "p.en", tmp_path / "p.de.gz"]) == pairs
    assert texts(iter(rows), {"source": "en", "target": "de"}) == pairs


def test_a_table_without_a_header_gives_pairs_by_place(tmp_path: Path) -> None:
    for name in ("a.tsv", "a.txt"):
        (tmp_path / name).write_text("Go.\tGeh.\tCC-BY 2.0\nHi.\tHallo!\tCC-BY 2.0\n")
        assert texts(tmp_path / name, {"source": 1, "target": 2}) == [("Go.", "Geh."), ("Hi.", "Hallo!")]


def test_files_of_different_lengths_are_named_with_both_counts(tmp_path: Path) -> None:
    lines = [f"the cat number {n} sat on the mat" for n in range(30)]
    (tmp_path / "a").write_text("\n".join(lines) + "\n")
    shifted = [*lines[:11], "x", *lines[11:]]
    (tmp_path / "b").write_text("\n".join(shifted) + "\n")
    with pytest.raises(
        InputError, match=r"30 and 31 lines; line 12 is the first whose sides differ"
    ) as caught:
        texts([tmp_path / "a", tmp_path / "b"])
    assert "\n" not in str(caught.value)
    (tmp_path / "b").write_text("\n".join([*lines[:4], "", *lines[4:]]) + "\n")
    with pytest.raises(InputError, match="line 5 is empty in one"):
        texts([tmp_path / "a", tmp_path / "b"])


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(InputError, match="two parallel files"):
        texts(tmp_path / "a.txt")
    with pytest.raises(InputError, match="two parallel files"):
        texts([tmp_path / "a.txt"] * 3)
    with pytest.raises(InputError, match="no columns"):
        texts([tmp_path / "a.txt"] * 2, {"source": "en"})
    with pytest.raises(InputError, match="null"):
        texts(iter([{"source": "a", "target": None}]))
    with pytest.raises(InputError, match="float"):
        texts(iter([{"source": "a", "target": 3.5}]))
    with pytest.raises(InputError, match="surrogate"):
        texts(iter([{"source": "a", "target": "\ud800"}]))


def test_batches_hold_every_example_once_and_few_tokens() -> None:
    lengths = [(n % 23 + 1, n % 7 + 1) for n in range(500)]
    batches = length_batches(lengths, 100, seed=3)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    assert all(max(max(lengths[i]) for i in batch) * len(batch) <= 100 for batch in batches)
    assert batches == length_batches(lengths, 100, seed=3)
    assert batches != length_batches(lengths, 100, seed=4)
    padded = sum(max(max(lengths[i]) for i in batch) * len(batch) for batch in batches)
    assert padded < 1.3 * sum(max(pair) for pair in lengths)
    assert length_batches([(500, 1)], 100, seed=0) == [[0]]
    shares = [length_batches(lengths, 100, seed=3, rank=rank, world=3) for rank in range(3)]
    assert len({len(share) for share in shares}) == 1
    assert {index for share in shares for batch in share for index in batch} == set(range(500))
    assert [len(length_batches([(3, 3)], 100, seed=0, rank=rank, world=4)) for rank in range(4)] == [1] * 4


def test_an_empty_line_too_many_at_the_end_is_named(tmp_path: Path) -> None:
    one, two = tmp_path / "a.de", tmp_path / "a.en"
    one.write_text("eins\nzwei\n\n")
    two.write_text("one\ntwo\n")
    for files in ((one, two), (two, one)):
        with pytest.raises(InputError, match=r"a\.de, line 3: is empty, and .*a\.en ends a line before it"):
            list(read_pairs(list(files), {}))


def test_numbers_are_read_from_a_table_in_memory_as_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("source,target\none,1\ntwo,22\n")
    expected = [("one", "1"), ("two", "22")]
    assert texts(path) == expected
    for data in (pandas.read_csv(path), datasets.Dataset.from_csv(str(path), cache_dir=str(tmp_path))):
        assert texts(data) == expected
