"""The runs that are served: loaded by name, and loaded anew when their folder changes."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gatework.errors import InputError, RunError, nearest
from gatework.serve.refusals import Gone, NotFound
from gatework.tasks.base import Task
from gatework.tasks.registry import load
from gatework.training.run_folder import COMPLETE

__all__ = ["ServedRun", "ServedRuns", "named_runs"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_PAUSE = 60.0  # seconds between tries to load a run that could not be loaded


class Signature(NamedTuple):
    """What changes when a run is written anew: of the file that is written last."""

    time: int
    size: int
    inode: int


class ServedRun:
    """One run under its name.

    Attributes:
        name: in the service's paths.
        path: its folder.
        version: counts the loads, from 1.
        problem: why the run that is answered with is not the folder's content now; empty where it is.
    """

    def __init__(self, name: str, path: Path, device: str) -> None:
        """Load the run.

        Raises:
            RunError: the folder is no finished run, or damaged.
        """
        self.name, self.path, self._device = name, path, device
        self._task: Task | None = None
        self._lock = threading.Lock()
        self._pause, self._try_again = 1.0, 0.0
        self._signature: Signature | None = None
        self.version, self.problem = 0, ""
        self._load(self._look())

    @property
    def task(self) -> Task:
        """What answers now.

        Raises:
            Gone: the folder has been removed.
        """
        task = self._task
        if task is None:
            raise Gone(f"run {self.name!r}: its folder has been removed. It is served again once it is back.")
        return task

    @property
    def is_there(self) -> bool:
        """Whether it can answer."""
        return self._task is not None

    def refresh(self) -> bool:
        """Look at the folder, and load the run anew where it has changed; whether it was. For a thread of its own.

        While a folder holds no whole run, because it is trained further or copied, the run as it was goes on to
        answer. A folder that is not there any more is a run that is not there any more.
        """
        with self._lock:
            seen = self._look()
            if seen is None:
                if not self.path.is_dir():
                    self._task, self._signature = None, None
                self.problem = (
                    "its folder holds no finished run at present" if self.path.is_dir() else "removed"
                )
                return False
            if seen == self._signature and not self.problem:
                return False
            if seen == self._signature and self._task is not None:  # it was away for a moment
                self.problem = ""
                return False
            if time.monotonic() < self._try_again:
                return False
            try:
                self._load(seen)
            except InputError as error:
                self.problem = f"cannot be loaded: {error.what}"
                self._try_again = time.monotonic() + self._pause
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                return False
            return True

    def _load(self, seen: Signature | None) -> None:
        task = load(self.path, device=self._device)
        if self._task is not None and type(task) is not type(self._task):
            what = f"holds a {task.name} now, and a {self._task.name} is served under this name"
            raise RunError(str(self.path), what, "Start the service anew.")
        self._task, self._signature = task, seen
        self.version += 1
        self.problem, self._pause, self._try_again = "", 1.0, 0.0

    def _look(self) -> Signature | None:
        try:
            found = os.stat(self.path / COMPLETE)
        except OSError:
            return None
        return Signature(found.st_mtime_ns, found.st_size, found.st_ino)


class ServedRuns:
    """The runs of a service, by name."""

    def __init__(self, runs: Sequence[ServedRun]) -> None:
        self._runs = {run.name: run for run in runs}

    @classmethod
    def load(cls, given: Sequence[str | os.PathLike[str]], device: str = "cpu") -> ServedRuns:
        """Runs by their folders, or as NAME=FOLDER.

        Raises:
            InputError: two runs have one name, or a name is none for a path; none was given.
            RunError: a folder is no finished run.
        """
        return cls([ServedRun(name, path, device) for name, path in named_runs(given).items()])

    def __iter__(self) -> Iterator[ServedRun]:
        return iter(self._runs.values())

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, name: str) -> ServedRun:
        """The run of a name.

        Raises:
            NotFound: there is none; the nearest name is given.
        """
        try:
            return self._runs[name]
        except KeyError:
            raise NotFound(f"there is no run {name!r:.60}. {nearest(name[:100], self._runs)}") from None


def named_runs(given: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """The folders by their runs' names.

    Args:
        given: folders, whose names the runs then have, or NAME=FOLDER.

    Raises:
        InputError: as `ServedRuns.load`.
    """
    named: dict[str, Path] = {}
    for each in (str(os.fspath(one)) for one in given):
        name, equals, folder = each.partition("=")
        if not equals or Path(each).is_dir():
            folder = each
            name = Path(os.path.abspath(each)).name
        if not _NAME.fullmatch(name):
            what = f"the run's name {name!r} is none for a path (letters, digits, '.', '_', '-'; 100 at most)"
            raise InputError(each, what, "Name it: NAME=FOLDER.")
        if name in named:
            what = f"{named[name]} and {folder} are both named {name!r}"
            raise InputError("RUN", what, f"Name one of them apart: {name}-2={folder}.")
        named[name] = Path(folder)
    if not named:
        raise InputError("RUN", "is missing", "Give the folder of a trained run.")
    return named
