"""The tasks by name, each imported when it is used."""

from __future__ import annotations

import importlib
from typing import Any

from gatework.errors import InputError, nearest

__all__ = ["TASKS", "check_name", "get", "names"]

# name on the command line and in config.json -> where its class is
TASKS = {
    "language-model": "gatework.tasks.language_model:LanguageModel",
    "chatbot": "gatework.tasks.chat_bot:ChatBot",
    "classifier": "gatework.tasks.classifier:Classifier",
    "forecaster": "gatework.tasks.forecaster:Forecaster",
    "reader": "gatework.tasks.reader:Reader",
    "synthesizer": "gatework.tasks.synthesizer:Synthesizer",
    "tagger": "gatework.tasks.tagger:Tagger",
    "transcriber": "gatework.tasks.transcriber:Transcriber",
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


def get(name: str) -> type[Any]:
    """The class of a task.

    Raises:
        InputError: no task has this name; the nearest one is given.
    """
    check_name(name)
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
