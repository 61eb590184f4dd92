"""The runs below a folder: what each is, how far it is, and in which options they differ."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from gatework.errors import InputError
from gatework.training.options import TrainingOptions, with_new_names
from gatework.training.run_folder import CONFIG, HISTORY, RunFolder

State = Literal["training", "stopped", "complete", "unreadable"]

__all__ = ["RunSummary", "differing_options", "runs_below"]


class RunSummary(BaseModel):
    """One run, as `gatework runs` lists it."""

    path: str
    task: str
    state: State
    problem: str = Field(
        "", description="of an unreadable run: what is wrong; of one in training: who trains it"
    )
    steps: int = Field(0, description="optimiser steps that are recorded")
    epoch: float = 0.0
    best: dict[str, float | None] = Field({}, description="figures of the best validation")
    best_at: int | None = Field(None, description="the step it was made at")
    options: dict[str, Any] = {}
    changed: datetime = Field(description="when the training last wrote a record, or began")
    size: int = Field(description="bytes of all its files, checkpoints included")


def runs_below(folder: str | os.PathLike[str]) -> list[RunSummary]:
    """The runs in a folder and its folders, or the one run that it is, by their paths.

    Nothing of a run is executed, and its weights are not read. Runs that are being trained are looked at too.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(str(path), "is no folder", "Give the folder of a run, or one above it.")
    runs = [_summary(RunFolder(found, writes=False)) for found in _folders(path)]
    if not runs:
        what = f"holds no run: no folder in it has a {CONFIG} with a format_version"
        raise InputError(str(path), what, "Give the folder of a run, or one above it.")
    return runs


def differing_options(runs: Sequence[RunSummary]) -> dict[str, dict[str, Any]]:
    """For each run by its path the options that are not the same in all runs of its task.

    Runs of other versions may lack an option: then nothing is known of it, and nothing differs.
    """
    different: dict[str, dict[str, Any]] = {}
    for run in runs:
        alike = [other.options for other in runs if other.task == run.task]
        different[run.path] = {
            name: value
            for name, value in run.options.items()
            if any(options.get(name, value) != value for options in alike)
        }
    return different


def _folders(path: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(path):
        below.sort()
        if CONFIG in names and b'"format_version"' in _head(Path(folder, CONFIG)):
            below.clear()
            yield Path(folder)


def _head(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4096)
    return b""


def _summary(run: RunFolder) -> RunSummary:
    files = [path for path in run.path.rglob("*") if path.is_file()]
    written = next(path for name in (HISTORY, CONFIG) if (path := run.path / name).exists())
    known: dict[str, Any] = {
        "path": str(run.path),
        "changed": datetime.fromtimestamp(written.stat().st_mtime).astimezone(),
        "size": sum(_size(path) for path in files),
    }
    try:
        config, history = run.read_config(), run.read_history()
        options = with_new_names(TrainingOptions, config.options)
    except ValueError as error:  # a RunError among them
        return RunSummary(task="", state="unreadable", problem=str(error), **known)
    trainer = run.trainer
    state: State = "training" if trainer else "complete" if run.is_complete else "stopped"
    last = history[-1] if history else {}
    best = [
        record for record in history if record.get("best") and record["kind"] in ("validation", "average")
    ]
    figures: dict[str, float | None] = {
        name: value
        for name, value in (best[-1] if best else {}).items()
        if isinstance(value, float) and name not in ("epoch", "seconds")
    }
    return RunSummary(
        task=config.task,
        state=state,
        problem=str(trainer or ""),
        steps=last.get("step", 0),
        epoch=last.get("epoch", 0.0),
        best=figures,
        best_at=best[-1]["step"] if best else None,
        options=options,
        **known,
    )


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):  # a training deletes its old checkpoints
        return path.stat().st_size
    return 0
