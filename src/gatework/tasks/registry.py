"""The tasks by name, each imported when it is used, and loading the run of any of them."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Literal

from gatework.errors import InputError, RunError, nearest

if TYPE_CHECKING:
    from gatework.tasks.base import Task

__all__ = ["TASKS", "check_name", "get", "load", "names"]

# name on the command line and in config.json -> where its class is
TASKS = {
    "language-model": "gatework.tasks.language_model:LanguageModel",
    "chatbot": "gatework.tasks.chat_bot:ChatBot",
    "classifier": "gatework.tasks.classifier:Classifier",
    "tagger": "gatework.tasks.tagger:Tagger",
    "translator": "gatework.tasks.translator:Translator",
}


def names() -> list[str]:
    """The names of all tasks."""
    return list(TASKS)


def check_name(name: str) -> None:
    """Refuse the name of no task, without importing one.

    Raises:
        InputError: no task has this name; the nearest one is given.
    """
    if name not in TASKS:
        raise InputError("task", f"there is no task {name!r}", nearest(name, TASKS))


def get(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        InputError: no task has this name; the nearest one is given.
    """
    check_name(name)
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def load(
    folder: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    device: str = "cpu",
    checkpoint: Literal["best", "last"] | None = None,
) -> Task:
    """The trained task of a run's folder; of several folders the ensemble of their runs.

    Nothing of the run is executed: its cell is a verified graph, its weights are safetensors.

    Args:
        device: where it predicts: cpu, cuda, cuda:N, mps, or auto for the fastest that is there.
        checkpoint: of a run whose training was stopped, or goes on, the weights of the best validation so far
            ("best") or of the last checkpoint ("last"), and it is said that the run is unfinished. A finished run's
            own weights are its best ones.

    Raises:
        RunError: a folder is no finished run, is damaged, or was written by a newer version; with `checkpoint`, it
            holds none.
        InputError: there is no such device, or the runs make no ensemble.
    """
    from gatework.training.processes import device_of

    if checkpoint not in (None, "best", "last"):
        raise InputError("checkpoint", f"there is no {checkpoint!r}", 'Give "best" or "last".')
    place = device_of(device)
    first, *others = [_load(each, checkpoint) for each in (folder, *more)]
    for task in (first, *others):
        task.network_.to(place)
    return first.ensemble(*others) if others else first


def _load(folder: str | os.PathLike[str], checkpoint: Literal["best", "last"] | None) -> Task:
    from gatework.training.checkpoint import stopped_weights
    from gatework.training.run_folder import RunFolder

    run = RunFolder.open(folder, unfinished=checkpoint is not None)
    name = run.read_config().task
    if not isinstance(name, str) or name not in TASKS:
        what = f"names the task {name!r}, which this version does not have"
        raise RunError(str(run.path / "config.json"), what, "Upgrade with: pip install --upgrade gatework.")
    if checkpoint is None or (run.is_complete and checkpoint == "best"):
        return get(name).restore(run)
    weights = stopped_weights(run, checkpoint)
    task = get(name).restore(run, weights.file)
    state = "has other weights than these" if run.is_complete else "is unfinished"
    shown = [f"{figure} {value:.4g}" for figure, value in weights.figures.items() if value is not None]
    note = f"{run.path} {state}: they are of step {weights.step:,}"
    task._say(f"note: {note} ({', '.join(shown)})." if shown else f"note: {note}.")
    return task
