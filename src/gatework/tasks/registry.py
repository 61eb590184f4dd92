"""The tasks by name, each imported when it is used, and loading the run of any of them."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from gatework.errors import InputError, RunError, nearest

if TYPE_CHECKING:
    from gatework.tasks.base import Task

__all__ = ["TASKS", "get", "load", "names"]

# name on the command line and in config.json -> where its class is
TASKS = {
    "language-model": "gatework.tasks.language_model:LanguageModel",
    "chatbot": "gatework.tasks.chat_bot:ChatBot",
    "translator": "gatework.tasks.translator:Translator",
}


def names() -> list[str]:
    """The names of all tasks."""
    return list(TASKS)


def get(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        InputError: no task has this name; the nearest one is given.
    """
    if name not in TASKS:
        raise InputError("task", f"there is no task {name!r}", nearest(name, TASKS))
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def load(folder: str | os.PathLike[str]) -> Task:
    """The trained task of a run's folder, on the CPU.

    Nothing of the run is executed: its cell is a verified graph, its weights are safetensors.

    Raises:
        RunError: the folder is no finished run, is damaged, or was written by a newer version.
    """
    from gatework.training.run_folder import RunFolder

    run = RunFolder.open(folder)
    name = run.read_config().task
    if not isinstance(name, str) or name not in TASKS:
        what = f"names the task {name!r}, which this version does not have"
        raise RunError(str(run.path / "config.json"), what, "Upgrade with: pip install --upgrade gatework.")
    return get(name).restore(run)
