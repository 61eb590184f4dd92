"""The frames of a training's recordings, in a file of its run that goes once the run is complete."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from gatework.data import FeatureStore, LogMel
from gatework.data.recordings import Recording
from gatework.tasks.artifacts import Artifacts
from gatework.training import RunFolder
from gatework.training.progress import counted

__all__ = ["remove_frames", "stored_frames"]

_FOLDER = "features"


def stored_frames(
    recordings: Sequence[Recording], features: LogMel, run: RunFolder, keep: Artifacts, *, trim: bool = False
) -> FeatureStore:
    """The frames of recordings, which the main process reads; see `FeatureStore.of`."""

    def stored() -> FeatureStore:
        folder = run.path / _FOLDER
        folder.mkdir(exist_ok=True)
        with counted("reading recordings", len(recordings)) as tick:
            return FeatureStore.of(recordings, features, folder / "training.bin", tick, trim=trim)

    return keep.first(stored, stored)


def remove_frames(run: RunFolder) -> None:
    """Remove the file, if there is one."""
    if run.writes:
        shutil.rmtree(run.path / _FOLDER, ignore_errors=True)
