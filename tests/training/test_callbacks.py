"""What the caller of a training hears of it, and how it ends one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatework.training import Callback, Record, Result, RunFolder, TrainingOptions, fit
from gatework.training.progress import SilentProgress
from tests.training.problems import TinyProblem


def train(path: Path, *callbacks: Callback, resume: bool = False, **options: Any) -> Result:
    run = RunFolder.create(path, resume=resume)
    run.write_config({})
    settings = TrainingOptions(**{"epochs": 2, "device": "cpu", **options})
    return fit(TinyProblem(), settings, run, resume=resume, progress=SilentProgress(), callbacks=callbacks)


def test_callbacks_hear_every_record_and_the_end(tmp_path: Path) -> None:
    heard: list[Record] = []
    result = train(tmp_path / "run", heard.append)  # type: ignore[arg-type]  # gives None
    assert heard[:-1] == result.history
    assert {record["kind"] for record in heard} == {"train", "validation", "end"}
    end = heard[-1]
    assert (end["kind"], end["stopped"], end["step"], end["epoch"]) == ("end", "finished", result.steps, 2.0)


def test_what_a_callback_changes_is_its_own(tmp_path: Path) -> None:
    def greedy(record: Any) -> None:
        record.clear()

    heard: list[Record] = []
    result = train(tmp_path / "run", greedy, heard.append)  # type: ignore[arg-type]
    assert heard[:-1] == result.history
    assert all(record["kind"] for record in heard)


@pytest.mark.parametrize("kind", ["train", "validation"])
def test_one_that_asks_to_stop_ends_a_whole_training(tmp_path: Path, kind: str) -> None:
    heard: list[Record] = []

    def stop(record: Record) -> bool:
        heard.append(record)
        return record["kind"] == kind and record["step"] >= 10

    result = train(tmp_path / "run", stop, record_every=4)
    assert result.stopped == "callback"
    assert result.steps == (12 if kind == "train" else 39)
    assert [r["step"] for r in result.history if r["kind"] == "validation"] == [result.steps]
    assert result.best_at == result.steps
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert heard[-1]["stopped"] == "callback"
    again = train(tmp_path / "run", resume=True, record_every=4)  # and it may go on
    assert again.stopped == "finished"
    assert again.steps == 78


def test_only_true_asks_for_the_end(tmp_path: Path) -> None:
    assert train(tmp_path / "run", lambda record: 1).stopped == "finished"  # type: ignore[arg-type,return-value]


def test_an_interrupted_training_says_so_and_an_error_is_the_callers(tmp_path: Path) -> None:
    def broken(record: Record) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        train(tmp_path / "run", broken)
    assert train(tmp_path / "run", resume=True).stopped == "finished"
