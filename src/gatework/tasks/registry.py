"""Loading the run of any task."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from gatework.errors import InputError, RunError
from gatework.tasks.names import TASKS, get

if TYPE_CHECKING:
    from gatework.tasks.base import Task

__all__ = ["load"]


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
