"""`gw.Batch`: the calls of pandas, datasets, Ray Data and Spark by their conventions; its way to other processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

import gatework as gw
from gatework.errors import InputError, RunError
from tests.contracts.task_examples import EXAMPLES

EXAMPLE = EXAMPLES["classifier"]
TEXTS = ["great film", "awful", "a lovely and silent film of 1920", "boring", "new"]
NUMBERS = [1.5, 2.5, 3.5, 4.5, 5.5]


def trained(folder: Path, **options: Any) -> Path:
    task = gw.tasks.get("classifier")(**{**EXAMPLE.options, "rivals": False, "max_steps": 4, **options})
    task.fit(EXAMPLE.rows, valid=EXAMPLE.valid, out=folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("batch") / "run")


@pytest.fixture(scope="module")
def answers(run: Path) -> list[Any]:
    return [record["output"] for record in gw.load(run).predict(TEXTS)]


def test_a_frame_and_an_arrow_table_get_a_column(run: Path, answers: list[Any]) -> None:
    frame = pandas.DataFrame({"text": TEXTS, "number": NUMBERS}, index=list("abcde"))
    found = gw.Batch(run)(frame)
    assert list(found.columns) == ["text", "number", "output"]
    assert list(found.index) == list("abcde")
    assert list(found["output"]) == answers
    assert "output" not in frame
    table = gw.Batch(run)(pyarrow.table({"text": TEXTS, "number": NUMBERS}))
    assert table.to_pydict() == {"text": TEXTS, "number": NUMBERS, "output": answers}


def test_datasets_map(run: Path, answers: list[Any], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"review": TEXTS, "number": NUMBERS})
    batch = gw.Batch(run, columns={"text": "review"}, fields=["output", "probability"])
    found = data.map(batch, batched=True, batch_size=2, load_from_cache_file=False)
    assert found.column_names == ["review", "number", "output", "probability"]
    assert list(found["output"]) == answers
    assert found.features["review"] == data.features["review"]
    # what datasets keeps a result by: the same for the same run, another for another
    fingerprint = datasets.fingerprint.Hasher.hash
    assert fingerprint(batch) == fingerprint(gw.Batch(run, columns={"text": "review"}, fields=batch.fields))
    assert fingerprint(batch) != fingerprint(gw.Batch(run, columns={"text": "review"}))
    with pytest.raises(InputError, match="batched=True"):
        data.map(batch, load_from_cache_file=False)


def test_ray_data_calls_an_instance_with_a_dict_of_arrays(run: Path, answers: list[Any]) -> None:
    """`map_batches(gw.Batch, fn_constructor_args=[run])`: an actor makes one, and calls it; lists and arrays return."""
    constructor_arguments = pickle.loads(pickle.dumps([str(run)]))
    actor = gw.Batch(*constructor_arguments)
    batch = {"text": np.array(TEXTS, dtype=object), "number": np.array(NUMBERS)}
    found = actor(batch)
    assert list(found) == ["text", "number", "output"]
    assert found["text"] is batch["text"]
    assert found["output"] == answers
    assert all(isinstance(column, list | np.ndarray) and len(column) == 5 for column in found.values())
    assert actor({"text": np.array(TEXTS)})["output"] == answers  # of numpy's own texts


def test_spark_calls_a_copy_with_an_iterator_of_frames(run: Path, answers: list[Any]) -> None:
    """`mapInPandas(gw.Batch(run), schema)`: a pickled copy, called once a partition, answers frame by frame."""
    copy = pickle.loads(pickle.dumps(gw.Batch(run)))
    read = []

    def frames() -> Iterator[pandas.DataFrame]:
        for texts in (TEXTS[:2], [], TEXTS[2:]):
            read.append(len(texts))
            yield pandas.DataFrame({"text": pandas.Series(texts, dtype=object)})

    found = copy(frames())
    assert read == []
    assert list(next(found)["output"]) == answers[:2]
    assert read == [2]
    rest = list(found)
    assert list(rest[0].columns) == ["text", "output"]
    assert len(rest[0]) == 0
    assert list(rest[1]["output"]) == answers[2:]


def test_it_travels_as_a_path_and_refuses_a_changed_run(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run")
    batch = gw.Batch(folder)
    sent = pickle.dumps(batch)
    assert len(sent) < 1000
    there = pickle.loads(sent)
    assert there._task is None
    assert there({"text": TEXTS}) == batch({"text": TEXTS})
    other = trained(tmp_path / "other", seed=1)
    folder.rename(tmp_path / "away")
    other.rename(folder)
    with pytest.raises(RunError, match="has changed"):
        pickle.loads(sent)({"text": TEXTS})
    assert batch({"text": TEXTS})  # which has it already


def test_settings_and_ensembles(run: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "run", seed=1)
    records = gw.load(run, other).predict(TEXTS, alternatives=2)
    found = gw.Batch(run, other, fields=["alternatives"], alternatives=2)({"text": TEXTS})
    assert found["alternatives"] == [record["alternatives"] for record in records]


def test_what_is_wrong_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="alternatves"):
        gw.Batch(run, alternatves=2)
    with pytest.raises(RunError, match="no such"):
        gw.Batch(tmp_path / "none")
    with pytest.raises(InputError, match="fields: cannot be 'output'"):
        gw.Batch(run, fields="output")
    batch = gw.Batch(run)
    with pytest.raises(InputError, match="has a column 'output' already"):
        batch({"text": TEXTS, "output": TEXTS})
    with pytest.raises(InputError, match="no batch of a table"):
        batch(3)
    with pytest.raises(InputError, match="one row, and no batch"):
        batch({"text": "a film"})
    with pytest.raises(InputError, match="names 'outptu', and a record of classifier has"):
        gw.Batch(run, fields=["outptu"])({"text": TEXTS})
    with pytest.raises(InputError, match="text"):
        batch({"txt": TEXTS})
