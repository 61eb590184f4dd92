"""A run's folder: what training leaves on the disk, and the checks before any of it is believed.

```
config.json         how the run was made, with format_version
cell.json           the traced graph of the cell
model.safetensors   the weights that the run keeps
tokenizer.json      and scalers, as JSON
metrics.json        figures of the model and of its baselines
history.jsonl       one JSON object a record of the training
checkpoints/        states that --resume goes on from (checkpoint.py)
restarts/           of a run that was trained several times, each training as a run of its own
aligner/            a run of another task that this one needs, with a COMPLETE of its own
COMPLETE            the SHA-256 of each of these files, written last
```

Nothing here is ever unpickled, and reading a stranger's run cannot run code.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from gatework.data import FileStamp
from gatework.errors import RunError
from gatework.training import files
from gatework.training.files import Schema
from gatework.training.run_lock import RunLock, Trainer, trainer_of

Module = TypeVar("Module", bound=torch.nn.Module)

FORMAT_VERSION: Final = 1
CONFIG, COMPLETE, HISTORY, MODEL, CHECKPOINTS = (
    "config.json",
    "COMPLETE",
    "history.jsonl",
    "model.safetensors",
    "checkpoints",
)
LOCK: Final = ".lock"
RESTARTS: Final = "restarts"


class DataRecord(BaseModel):
    """What a run was trained or validated on.

    name: for messages. sha256: of the examples. files: None where the data was in memory.
    """

    name: str
    sha256: str
    files: list[FileStamp] | None = None


class ParentRecord(BaseModel):
    """The run that another one started from: its folder, and the SHA-256 of its weights."""

    path: str
    sha256: str


class Complete(BaseModel):
    """COMPLETE: the SHA-256 of each file of the run by its name."""

    format_version: int = Field(ge=1)
    sha256: dict[str, str]


class HistoryRecord(BaseModel):
    """One line of history.jsonl; what else it holds depends on its kind."""

    model_config = ConfigDict(extra="allow")

    kind: str
    step: int = Field(ge=0)


class RunConfig(BaseModel):
    """config.json.

    task, options: which task, and its options as they were in force.
    parent: the run that this one started from.
    members: folders inside this one, each a run, of which the run is the ensemble; it then has no options of its own.
    data: by part (training, validation), from when the training starts; empty before, and of runs that earlier
        versions began.
    """

    model_config = ConfigDict(extra="allow")

    format_version: int = Field(default=FORMAT_VERSION, ge=1)
    task: str = ""
    options: dict[str, Any] = {}
    parent: ParentRecord | None = None
    members: list[str] = []
    data: dict[str, DataRecord] = {}


class RunFolder:
    """One run's folder. `create` makes or resumes one, `open` verifies a finished one.

    Under `accelerate launch` only the main process writes: on the others every writing method returns
    without doing anything, so that the same program runs on all of them.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True) -> None:
        self.path = Path(path)
        self.writes = writes
        self._lock: RunLock | None = None

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, resume: bool = False) -> RunFolder:
        """The folder of a training that starts, or with `resume` goes on; `locked` keeps others from it.

        Raises:
            RunError: `path` holds something already (without `resume`), or is not there (with it), or
                belongs to a newer format, or is being trained by another process.
        """
        run = cls(path, writes=launched()[0] == 0)
        if not run.writes:
            return run
        where = str(run.path)
        if run.path.exists() and not run.path.is_dir():
            raise RunError(where, "is a file", "Give the path of a new folder: out=RUN.")
        if resume and not run.path.is_dir():
            raise RunError(where, "there is no run to resume", "Check the path, or leave out resume=True.")
        if not (run.path / LOCK).exists():
            run._check_content(resume)  # before anything is written there
        with files.disk_errors(run.path, 0):
            (run.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        with run.locked():
            run._check_content(resume)
            (run.path / COMPLETE).unlink(missing_ok=True)
        return run

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While inside, no other process and no other `RunFolder` trains this run. May be nested.

        Raises:
            RunError: somebody else trains it.
        """
        if not self.writes:
            yield
            return
        if self._lock is None:
            self._lock = RunLock(self.path / LOCK)
        with files.disk_errors(self.path, 0):
            self._lock.acquire(self.path)
        try:
            yield
        finally:
            self._lock.release()

    def _check_content(self, resume: bool) -> None:
        """Refuse a folder whose content is in the way of a training that starts or, with `resume`, goes on."""
        where = str(self.path)
        if resume and (self.path / CONFIG).exists():
            self.read_config()
            begun = self.holds_checkpoint or (self.path / RESTARTS).is_dir()
            if (self.path / MODEL).exists() and not begun:
                what = "holds trained weights, but no checkpoint to go on from, like a copy that save made"
                raise RunError(where, what, "Start a new run from it: from_run=RUN.")
            return
        others = self.path.is_dir() and any(
            path.name != CHECKPOINTS and not is_passing(path) for path in self.path.iterdir()
        )
        if resume and others:
            raise RunError(where, f"is not a run: it has no {CONFIG}", "Give the folder of a run: out=RUN.")
        if not resume and (others or self.holds_training):
            raise RunError(
                where,
                "is already there and not empty",
                "Go on with resume=True, or give another folder: out=RUN.",
            )

    @property
    def trainer(self) -> Trainer | None:
        """The process that trains this run now, if one does."""
        return trainer_of(self.path / LOCK)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, unfinished: bool = False) -> RunFolder:
        """A finished run, verified: format, hash of each file, and that JSON and safetensors parse.

        Args:
            unfinished: also one whose training was stopped, or goes on; of which only the format is verified.

        Raises:
            RunError: it is no run, unfinished, of a newer format, or a file is missing or damaged.
        """
        run = cls(path, writes=False)
        where = str(run.path)
        if not (run.path / CONFIG).is_file():
            reason = f"it has no {CONFIG}" if run.path.exists() else "there is no such folder"
            raise RunError(where, f"is not a run: {reason}", "Give the folder of a trained run.")
        run.read_config()
        if unfinished and not run.is_complete:
            return run
        if not run.is_complete:
            if trainer := run.trainer:
                raise RunError(where, f"is being trained by {trainer}", "Wait for its end.")
            raise RunError(
                where,
                "is unfinished: its training was interrupted",
                "Go on with resume=True, or load what it has so far: gatework.load(folder, checkpoint='best').",
            )
        for name, digest in run._read_hashes().items():
            run._verify(name, digest)
        return run

    def _read_hashes(self) -> dict[str, str]:
        hashes = self.read_json(COMPLETE, Complete).sha256
        # The list comes with the run, perhaps from a stranger: it may name files of this folder only.
        if not all(name == Path(name).name and "\0" not in name for name in hashes):
            raise RunError(str(self.path / COMPLETE), "is damaged", "Restore it from a copy, or train again.")
        if CONFIG not in hashes:
            raise RunError(str(self.path / COMPLETE), f"does not list {CONFIG}", "Restore it from a copy.")
        return hashes

    def _verify(self, name: str, digest: str) -> None:
        path = self.path / name
        if not path.is_file():
            raise RunError(str(path), "is missing", "Restore the file from a copy, or train the run again.")
        if files.sha256(path) != digest:
            raise RunError(
                str(path),
                f"is not the file that the training wrote (its SHA-256 is not the one in {COMPLETE})",
                "Restore the file from a copy, or train the run again.",
            )
        if path.suffix == ".json":
            files.read_json(path)
        elif path.suffix == ".jsonl":
            self.read_history()
        elif path.suffix == ".safetensors":
            files.read_metadata(path)

    def complete(self) -> None:
        """Write `COMPLETE`: from now on `open` accepts the run. Called once everything else is written."""
        if not self.writes:
            return
        hashes = {
            path.name: files.sha256(path)
            for path in sorted(self.path.iterdir())
            if path.is_file() and path.name != COMPLETE and not is_passing(path)
        }
        files.write_json(self.path / COMPLETE, {"format_version": FORMAT_VERSION, "sha256": hashes})

    def copy_to(self, target: RunFolder, *, but: str = "") -> None:
        """Copy the run's files, and the finished runs inside it, into another folder, without checkpoints.

        Args:
            target: its `complete` is called once everything else is written.
            but: a file that is left out.
        """
        if not target.writes:
            return
        for path in self.path.iterdir():
            if is_passing(path) or path.name in (COMPLETE, but):
                continue
            if path.is_file():
                shutil.copyfile(path, target.path / path.name)
            elif (path / COMPLETE).is_file():
                inner = RunFolder(target.path / path.name)
                inner.path.mkdir(exist_ok=True)
                RunFolder(path).copy_to(inner)
                inner.complete()

    @property
    def holds_training(self) -> bool:
        """Whether a training has left anything: a record or a checkpoint."""
        return (self.path / HISTORY).exists() or self.holds_checkpoint

    @property
    def holds_checkpoint(self) -> bool:
        """Whether there is a checkpoint, good or not."""
        folder = self.path / CHECKPOINTS
        return folder.is_dir() and any(not is_passing(path) for path in folder.iterdir())

    @property
    def is_complete(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / COMPLETE).is_file()

    def write_config(self, config: RunConfig | Mapping[str, Any]) -> None:
        """Write config.json; `format_version` is added."""
        config = config if isinstance(config, RunConfig) else RunConfig(**config)
        self.write_json(CONFIG, config.model_dump(mode="json"))

    def read_config(self) -> RunConfig:
        """config.json, checked to be of a format that this version reads."""
        path = self.path / CONFIG
        config = files.read_json(path)
        version = config.get("format_version") if isinstance(config, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise RunError(
                str(path), f"has no valid format_version (it is {version!r:.40})", "Is this a run?"
            )
        if version > FORMAT_VERSION:
            raise RunError(
                str(path),
                f"is of format {version}, this version reads up to {FORMAT_VERSION}",
                "Upgrade with: pip install --upgrade gatework.",
            )
        return self.read_json(CONFIG, RunConfig)

    def write_json(self, name: str, value: Any) -> None:
        """Replace a JSON file of the run."""
        if self.writes:
            files.write_json(self.path / name, value)

    def read_json(self, name: str, schema: type[Schema]) -> Schema:
        """A JSON file of the run as a model; `RunError` where it does not parse or is of another shape."""
        return files.read_typed(self.path / name, schema)

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file of the run."""
        if self.writes:
            files.write_text(self.path / name, text)

    def read_text(self, name: str) -> str:
        """A text file of the run."""
        return files.read_text(self.path / name)

    def write_tensors(
        self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Replace a safetensors file of the run."""
        if self.writes:
            files.write_tensors(self.path / name, tensors, metadata)

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a safetensors file of the run, on the CPU."""
        return files.read_tensors(self.path / name)

    def write_model(self, model: torch.nn.Module, name: str = MODEL) -> None:
        """Write a module's weights; tied ones are stored once."""
        if self.writes:
            files.write_model(self.path / name, model)

    def read_model(self, model: torch.nn.Module, name: str = MODEL) -> None:
        """Load weights into `model`, on whatever device it is; `RunError` where they do not fit."""
        files.read_model(self.path / name, model)

    def build_model(self, build: Callable[[], Module], name: str = MODEL) -> Module:
        """The module that `build` makes, on the CPU, with the run's weights.

        It is built on torch's meta device first: sizes in a stranger's options that the weights do not have are
        refused before memory is spent on them.

        Raises:
            RunError: the weights do not fit.
        """
        with torch.device("meta"):
            files.check_fit(self.path / name, build())
        model = build()
        self.read_model(model, name)
        return model

    def append_history(self, record: Mapping[str, Any]) -> None:
        """Add one line to history.jsonl. It reaches the disk for certain with the next checkpoint."""
        if not self.writes:
            return
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        path = self.path / HISTORY
        with files.disk_errors(path, len(line)), path.open("ab") as file:
            file.write(line)

    def read_history(self) -> list[dict[str, Any]]:
        """The records of history.jsonl. A last line that a kill cut short is left out."""
        path = self.path / HISTORY
        if not path.exists():
            return []
        lines = files.read_text(path).splitlines(keepends=True)
        return [
            files.typed(files.parse_json(line, path), path, HistoryRecord).model_dump()
            for line in lines
            if line.endswith("\n")
        ]

    def truncate_history(self, records: int) -> None:
        """Keep the first `records` lines: what was recorded after a checkpoint happens again on resume."""
        path = self.path / HISTORY
        if not self.writes or not path.exists():
            return
        lines = files.read_text(path).splitlines(keepends=True)
        if len(lines) > records:
            files.write_text(path, "".join(lines[:records]))


def is_passing(path: Path) -> bool:
    """Whether a file or folder of a run is there only while a process trains: the lock, or what is half written."""
    return path.name == LOCK or path.name.startswith(files.TEMPORARY)


def launched() -> tuple[int, int]:
    """(rank, world) that this process's launcher gave it, before torch.distributed is set up; (0, 1) for none."""
    if "LOCAL_RANK" in os.environ:  # torchrun, and accelerate launch
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    for rank, world in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")):  # mpirun
        if rank in os.environ:
            return int(os.environ[rank]), int(os.environ.get(world, "1"))
    return 0, 1
