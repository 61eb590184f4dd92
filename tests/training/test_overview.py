"""The runs below a folder, beside each other."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from gatework.errors import InputError
from gatework.training import RunFolder, TrainingOptions
from gatework.training.overview import differing_options, runs_below


def begin(path: Path, task: str = "test", **options: Any) -> RunFolder:
    run = RunFolder.create(path)
    run.write_config({"task": task, "options": TrainingOptions(**options).model_dump(mode="json")})
    for step, loss, best in ((10, 2.0, True), (20, 1.5, True), (30, 1.75, False)):
        run.append_history({"kind": "train", "step": step, "epoch": step / 10, "loss": loss, "seconds": 1.0})
        run.append_history(
            {
                "kind": "validation",
                "step": step,
                "epoch": step / 10,
                "loss": loss,
                "bleu": 9.0 + step,
                "best": best,
            }
        )
    return run


def test_each_run_below_a_folder_is_summarized(tmp_path: Path) -> None:
    begin(tmp_path / "a", seed=1).complete()
    begin(tmp_path / "group" / "b", seed=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model": "of another program"}')
    (tmp_path / "group" / "c" / "checkpoints").mkdir(parents=True)
    os.utime(tmp_path / "a" / "history.jsonl", (1e9, 1e9))
    one, two = runs_below(tmp_path)
    assert [run.path for run in (one, two)] == [str(tmp_path / "a"), str(tmp_path / "group" / "b")]
    assert (one.task, one.state, one.steps, one.epoch) == ("test", "complete", 30, 3.0)
    assert (one.best, one.best_at) == ({"loss": 1.5, "bleu": 29.0}, 20)
    assert one.changed.timestamp() == 1e9
    assert time.time() - two.changed.timestamp() < 60
    assert one.size == sum(file.stat().st_size for file in (tmp_path / "a").iterdir() if file.is_file())
    assert two.state == "stopped"
    assert [run.path for run in runs_below(tmp_path / "a")] == [str(tmp_path / "a")]


def test_one_in_training_and_a_damaged_one_are_told(tmp_path: Path) -> None:
    busy, broken = begin(tmp_path / "busy"), begin(tmp_path / "broken")
    with (broken.path / "history.jsonl").open("a") as file:
        file.write("{}\n")
    with busy.locked():
        damaged, trained = runs_below(tmp_path)
    assert trained.state == "training"
    assert trained.problem == f"process {os.getpid()}"
    assert damaged.state == "unreadable"
    assert "history.jsonl: is damaged" in damaged.problem


def test_options_are_compared_within_a_task(tmp_path: Path) -> None:
    begin(tmp_path / "a", seed=1, learning_rate=0.1)
    begin(tmp_path / "b", seed=2, learning_rate=0.1)
    begin(tmp_path / "c", task="other", learning_rate=0.3)
    old = begin(
        tmp_path / "d", seed=1, learning_rate=0.1
    )  # of a version with another name and without an option
    options = old.read_config().options
    options["final"] = options.pop("min_lr_ratio")
    del options["read_ahead"]
    old.write_config({"task": "test", "options": options})
    different = differing_options(runs_below(tmp_path))
    assert [different[str(tmp_path / name)] for name in "abcd"] == [{"seed": 1}, {"seed": 2}, {}, {"seed": 1}]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        runs_below(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        runs_below(tmp_path / "none")
