"""Pictures of the courses of several runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gatework.errors import InputError
from gatework.inspect import draw_history
from gatework.training import RunFolder
from gatework.training.overview import RunSummary

__all__ = ["draw"]


def draw(runs: Sequence[RunSummary], path: Path) -> None:
    """The courses of these runs in one picture, those that have recorded something.

    Raises:
        InputError: none has, or the file cannot be written.
    """
    readable = [Path(run.path) for run in runs if run.state != "unreadable"]
    above = os.path.commonpath([run.parent for run in readable]) if readable else ""
    histories = {os.path.relpath(run, above): RunFolder(run, writes=False).read_history() for run in readable}
    histories = {name: records for name, records in histories.items() if records}
    if not histories:
        raise InputError("--plot", "no run has recorded a step yet", "Wait for the first record.")
    try:
        draw_history(histories, path)
    except (OSError, ValueError) as error:
        raise InputError(
            str(path), f"cannot be drawn ({error})", "Give a path that ends in .png or .pdf."
        ) from error
