"""How a task begins, trains, is kept and comes back: new, resumed, or started from another run."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from gatework.data import while_pipes_are_kept
from gatework.errors import InputError, RunError, nearest
from gatework.graph import Cell
from gatework.tasks.artifacts import Artifact, Artifacts
from gatework.tasks.names import get as task_of
from gatework.tasks.options import TaskOptions, inherited_options
from gatework.tasks.run_cells import cell_of_run
from gatework.training import Callback, Problem, Result, RunFolder, parse_options
from gatework.training import fit as train
from gatework.training.memory import check_memory
from gatework.training.options import AUTO, changed_options, option_rules
from gatework.training.processes import Processes
from gatework.training.provenance import Sources, parent_record, parent_to_start_from
from gatework.training.run_folder import (
    CONFIG,
    MODEL,
    DataRecord,
    ParentRecord,
    RunConfig,
    is_passing,
    launched,
)
from gatework.training.sizing import not_chosen, sized
from gatework.training.tensorboard import summary_writer
from gatework.training.whole_run import WholeRun

__all__ = ["METRICS", "Lifecycle", "TrainingData", "repeatable"]

METRICS = "metrics.json"


class TrainingData(NamedTuple):
    """What `fit` was given.

    train: the training data.
    valid: the validation data, or None: then some of `train` is held back.
    columns: the data's own names of the task's columns.
    sources: where the digests of `training` and `validation` are noted: a run that goes on is compared with them.
    """

    train: Any
    valid: Any
    columns: Mapping[str, str]
    sources: Sources


class Lifecycle(ABC):
    """The part of a task that knows about runs. `Task` says what the attributes are.

    A task of its own kind writes the hooks at the end. Their order in `fit` is `_prepare` (which calls `_learn`),
    `_training_tokens`, `_network`, `_problem`, the training, `_settle`, `_validation_figures`, `_clear`; in `restore`
    it is `_learn`, with nothing to learn from, `_network` and `_settle`.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[TaskOptions]]
    cells: ClassVar[Mapping[str, str]] = {"cell": "cell.json"}  # option -> the run's file

    starts_from: ClassVar[tuple[str, ...]] = ()  # other tasks, of whose runs some layers can be taken

    options: TaskOptions
    options_: TaskOptions
    network_: nn.Module
    metrics_: dict[str, Any]
    result_: Result
    run_: RunFolder
    cells_: dict[str, Cell]
    learned_: Mapping[str, Artifact]
    members_: tuple[Self, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if hasattr(cls, "Options"):
            cls.__signature__ = inspect.signature(cls.Options)  # type: ignore[attr-defined]

    def __init__(self, **options: Any) -> None:
        self.options = parse_options(self.Options, options, self.name)

    def __repr__(self) -> str:
        fields = self.Options.model_fields
        changed = {name: value for name, value in self._given().items() if value != fields[name].default}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def fit(
        self,
        data: Any,
        *,
        valid: Any = None,
        out: str | os.PathLike[str] | None = None,
        columns: Mapping[str, Any] | None = None,
        resume: bool = False,
        from_run: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Train on data and keep the run in a folder.

        Args:
            data: a path or several, an iterable of dicts or of texts, a dict of columns, a pandas DataFrame or a
                `datasets.Dataset`.
            valid: validation data of the same kinds; without it a part of `data` is held back.
            out: the run's folder, new or empty; without it a temporary one that goes with this object.
            columns: the data's own names of this task's columns, `{"text": "review"}`, or their places, `{"text": 1}`.
            resume: go on with the interrupted training in `out`, from its last checkpoint. The run's own
                options hold; how long and where it trains may be given anew, and what its course may need (the
                learning rate, the clipping, checkpoints).
            from_run: start from the weights of another run of this task.
            callbacks: called with each record of the training; one may ask it to end (`gatework.training.Callback`).

        Raises:
            InputError: the data cannot be read or is too short, an option is wrong.
            RunError: `out` is in the way, or being trained by another process, or `from_run` is damaged.
        """
        out = self._place(out, resume)
        columns = self._check_columns(columns)
        data, valid = repeatable(data), repeatable(valid)
        origin = None if from_run is None else Path(from_run)
        parent = None if origin is None or resume else self._load_parent(origin)
        whole = self._whole_run(RunFolder(out)) if resume else None
        self.run_ = RunFolder.create(out, resume=resume)
        with self.run_.locked(), while_pipes_are_kept():
            return self._fit(data, valid, columns, resume, origin, parent, whole, callbacks)

    def _place(self, out: str | os.PathLike[str] | None, resume: bool) -> Path:
        """The folder of a training: the given one, or a temporary one that goes with this object."""
        _, world = launched()
        if out is None and world > 1:
            what = f"is missing, and {world} processes train one run together"
            raise InputError("out", what, "Name the folder of the new run: out='runs/NAME'.")
        if self.members_:
            raise InputError(self.name, "is an ensemble of trained runs", "Train each run by itself.")
        if resume and out is None:
            raise InputError("resume", "names no training to go on with", "Give its folder: out=RUN.")
        if out is None:
            out = tempfile.mkdtemp(prefix="gatework-")
            weakref.finalize(self, shutil.rmtree, out, ignore_errors=True)
        return Path(out)

    def _fit(
        self,
        data: Any,
        valid: Any,
        columns: Mapping[str, str],
        resume: bool,
        origin: Path | None,
        parent: Lifecycle | None,
        whole: WholeRun | None,
        callbacks: Sequence[Callback],
    ) -> Self:
        """`fit`, in the run's folder, which is this process's own."""
        run = self.run_
        begun = resume and (run.path / CONFIG).exists()
        before = run.read_config() if begun else None
        try:
            if before is not None and not run.holds_checkpoint:
                origin = parent_to_start_from(run, before.parent, origin)
            if origin is not None and parent is None and not run.holds_checkpoint:
                parent = self._load_parent(origin)
            if before is not None:
                self.options_ = self._resumed_options(before)
                self._check_packages()
                record, recorded = before.parent, before.data
                if run.writes and not (recorded or run.holds_training):
                    self._forget_data()
            else:
                self.options_ = self._resolve_options(parent)
                self._check_packages()
                record, recorded = None if parent is None else parent_record(parent.run_), {}
                # First of all files: what is killed after it can be resumed.
                run.write_config(self._config(record, recorded))
            processes = Processes(self.options_)
            keep = Artifacts(run, first=processes.first, parent=None if parent is None else parent.run_)
            sources = Sources(run, recorded, training=data, validation=valid)
            self._choose_cells(keep)
            self._prepare(TrainingData(data, valid, columns, sources), keep)
            self._choose_by_size()
            self.learned_ = self._shared(keep)
            with torch.device("meta"):
                check_memory(self._new_network())
            torch.manual_seed(self.options_.seed)
            self.network_ = self._new_network()
            if parent is not None:
                self._start_from(parent)
            elif not run.holds_checkpoint:
                self._start_anew()
            problem = self._problem()
            run.write_config(self._config(record, sources.records))
            self.result_ = train(
                problem, self.options_, run, resume=resume, processes=processes, callbacks=callbacks
            )
        except BaseException:
            if whole is not None and whole.unchanged(run):
                self._clear()
                whole.restore(run)
            elif before is not None and not run.holds_training:
                run.write_config(before)  # the next call may bring other data
            elif before is None and run.writes and not run.holds_training:
                shutil.rmtree(run.path)  # leave the way free for another try
            raise
        if self.result_.stopped == "interrupted":
            return self
        self.network_.eval()
        self._settle(keep)

        def figures() -> dict[str, Any]:
            values = self._validation_figures()
            run.write_json(METRICS, values)
            return values

        self.metrics_ = processes.first(figures, lambda: _read_metrics(run))
        self._clear()
        run.complete()
        processes.wait()  # whoever reads the run next finds it whole
        return self

    def _whole_run(self, run: RunFolder) -> WholeRun | None:
        """What a finished run is, which is to go on; None of an unfinished one, or where there is none.

        Raises:
            RunError: it cannot go on: it is another task's, or an ensemble.
        """
        if not run.path.is_dir() or not (run.path / CONFIG).exists():
            return None  # `RunFolder.create` says what it is
        config, where = run.read_config(), str(run.path)
        if config.members:
            raise RunError(where, "is an ensemble", "Train each of its runs by itself.")
        if config.task not in ("", self.name):
            what = f"is a {config.task}, which a {self.name} cannot go on with"
            raise RunError(where, what, f"Resume it as what it is: a {config.task}.")
        return WholeRun.of(run, config) if run.is_complete else None

    @classmethod
    def restore(cls, run: RunFolder, weights: str = MODEL) -> Self:
        """The task of a run; `gatework.load` finds the class.

        Args:
            run: a finished one, unless `weights` names those of a checkpoint: then there are no `metrics_`.

        Raises:
            RunError: a file of the run is damaged, or of the wrong kind.
        """
        task = cls.__new__(cls)
        task.run_ = run
        task.options = task.options_ = _read_options(cls, run, run.read_config())
        task.metrics_ = _read_metrics(run) if weights == MODEL else {}
        keep = Artifacts(run)
        task._choose_cells(keep)
        # From now on the cells are their graphs: training again must not run a file that the run names.
        task.options = task.options_ = task.options_.model_copy(update=task.cells_)
        try:
            task._learn((), keep)
            task.learned_ = task._shared(keep)
            task.network_ = run.build_model(task._new_network, weights).eval()
            if weights == MODEL:
                task._settle(keep)
        except RunError:
            raise
        except InputError as error:
            raise RunError(str(run.path / CONFIG), str(error), "Restore it from a copy.") from error
        return task

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Copy the trained run, without its checkpoints, into a new folder.

        Raises:
            RunError: the folder holds something already.
        """
        self._check_fitted()
        target = RunFolder.create(folder)
        self.run_.copy_to(target)
        target.complete()

    def _shared(self, keep: Artifacts) -> dict[str, Artifact]:
        """What was learned that the runs of one ensemble have in common: not their cells."""
        return {file: value for file, value in keep.shared.items() if file not in self.cells.values()}

    # What a task writes

    @abstractmethod
    def _prepare(self, data: TrainingData, keep: Artifacts) -> None:
        """Read the data for `_problem`, and call `_learn`."""

    @abstractmethod
    def _training_tokens(self) -> int:
        """What an epoch of the prepared training data reads, in tokens of its longer side: options follow it."""

    @abstractmethod
    def _learn(self, train: Any, keep: Artifacts) -> None:
        """What is taken from the training data before there is a network: `self.labels_ = keep.get(…)`.

        A restored run calls it without data: then `keep` holds everything.
        """

    @abstractmethod
    def _network(self) -> nn.Module:
        """A new network, of `cells_`, `options_` and what was learned. A `ValueError` is the options' fault."""

    @abstractmethod
    def _problem(self) -> Problem:
        """What the training loop trains: `network_` on what was prepared."""

    def _settle(self, keep: Artifacts) -> None:  # noqa: B027  # many tasks choose nothing
        """Choose what the trained network's outputs become answers by, on the validation data: `keep.renew(…)`.

        Called once the weights are final, and for a finished run that is restored.
        """

    @abstractmethod
    def _validation_figures(self) -> dict[str, Any]:
        """What `evaluate` gives for the validation data, after training; may fit baselines."""

    @abstractmethod
    def _clear(self) -> None:
        """Drop what only training needed; also after a failure, whatever of it there is."""

    def _check_packages(self) -> None:
        """Ask for the packages that `options_` need later, before anything is read. A task adds those of its own."""
        if self.options_.tensorboard:
            summary_writer()

    def _inherited(self, parent: Lifecycle, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options that a run shares with the one it starts from. Raises `InputError` where others were given."""
        return inherited_options(parent.options_, given)

    def _start_from(self, parent: Lifecycle) -> None:
        """Give the new network what the run has learned that it starts from."""
        self.network_.load_state_dict(parent.network_.state_dict())

    def _start_anew(self) -> None:  # noqa: B027
        """Give the new network of a run that starts from no other what its options say that it begins with."""

    def _defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that depend on the options given."""
        return {}

    # The beginning of a run

    def _resolve_options(self, parent: Lifecycle | None) -> TaskOptions:
        given = self._given()
        inherited = {} if parent is None else self._inherited(parent, given)
        defaults = self._defaults({**inherited, **given})
        options = self.Options.model_validate({**defaults, **inherited, **given})
        if parent is None and options.unfreeze_every:
            what = "is for a run that starts from the weights of another"
            raise InputError("option unfreeze_every", what, "Give from_run=RUN, or leave the option out.")
        return options

    def _choose_by_size(self) -> None:
        """Choose the options that follow the data's size and are still open. A run that goes on has none."""
        open_options = not_chosen(self.options_)
        if open_options:
            tokens = self._training_tokens()
            self.options_ = sized(self.options_, tokens)
            values = {name: getattr(self.options_, name) for name in open_options}
            chosen = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
            if chosen:
                self._say(f"For {tokens:,} tokens of training data: {chosen}.")

    def _config(self, parent: ParentRecord | None, data: dict[str, DataRecord]) -> RunConfig:
        options = self.options_.model_dump(mode="json") | dict.fromkeys(not_chosen(self.options_), AUTO)
        return RunConfig(task=self.name, options=options, parent=parent, data=data)

    def _forget_data(self) -> None:
        """Delete what was learned from data that no training has seen yet: this call may bring other data."""
        for path in self.run_.path.iterdir():
            if path.name in (CONFIG, "checkpoints", *self.cells.values()) or is_passing(path):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _choose_cells(self, keep: Artifacts) -> None:
        self.cells_ = {}
        for option, file in self.cells.items():
            named = option in self.options.model_fields_set
            value = getattr(self.options if named else self.options_, option)
            self.cells_[option] = cell_of_run(keep, file, option, value, named=named)

    def _new_network(self) -> nn.Module:
        try:
            return self._network()
        except InputError:
            raise
        except ValueError as error:
            kind = "cells" if len(self.cells_) > 1 else "cell"
            names = " and ".join(cell.name for cell in self.cells_.values())
            what = str(error).rstrip(".")
            raise InputError(f"{kind} {names}", what, f"Change the options or the {kind}.") from error

    # Options

    def _sizes(self, network: type[nn.Module]) -> dict[str, Any]:
        """The options in force that are arguments of a network of this class."""
        names = inspect.signature(network).parameters.keys() & type(self.options_).model_fields.keys()
        return {name: getattr(self.options_, name) for name in sorted(names - self.cells.keys())}

    def _given(self) -> dict[str, Any]:
        return {
            name: getattr(self.options, name)
            for name in self.Options.model_fields
            if name in self.options.model_fields_set
        }

    def _resumed_options(self, config: RunConfig) -> TaskOptions:
        """The run's options, with the given ones where they may change."""
        recorded = _read_options(type(self), self.run_, config)
        given = self._given()
        before = recorded.model_dump(mode="json")
        now = {name: value for name, value in self.options.model_dump(mode="json").items() if name in given}
        changed = changed_options(
            str(self.run_.path), self.Options, before, now, refused=("new run", "never")
        )
        return recorded.model_copy(update={name: given[name] for name in changed})

    def _load_parent(self, folder: str | os.PathLike[str]) -> Lifecycle:
        run = RunFolder.open(folder)
        name = run.read_config().task
        if name == self.name:
            return self.restore(run)
        if name in self.starts_from:
            return task_of(name).restore(run)
        kinds = " or ".join(f"a {kind}" for kind in (self.name, *self.starts_from))
        raise RunError(str(folder), f"is a {name}, not {kinds}", f"Start from a run of {kinds}.")

    def _check_columns(self, columns: Mapping[str, Any] | None) -> dict[str, Any]:
        # A column's place may be a number; several columns are a list.
        columns = {name: str(it) if isinstance(it, int) else it for name, it in (columns or {}).items()}
        for name in columns:
            if name not in self.columns:
                raise InputError(
                    "columns", f"{self.name} has no column {name!r}", nearest(name, self.columns)
                )
        return columns

    def _check_fitted(self) -> None:
        if not hasattr(self, "metrics_"):
            raise InputError(self.name, "is not trained", "Call fit first, or load a run with gw.load.")

    def _say(self, message: str) -> None:
        if launched()[0] == 0:  # one process speaks for all
            print(message, file=sys.stderr)


class Metrics(BaseModel):
    """metrics.json: what `evaluate` gives for the validation data. A task may add to it."""

    model_config = ConfigDict(extra="allow")

    model: dict[str, float | None]
    baseline: dict[str, float | None]
    baselines: dict[str, dict[str, float | None]]
    examples: int


def _read_options(cls: type[Lifecycle], run: RunFolder, config: RunConfig) -> TaskOptions:
    where = str(run.path / CONFIG)
    if not config.options:
        raise RunError(where, "holds no options", "Restore it from a copy, or train again.")
    options = dict(config.options)
    for name in cls.Options.model_fields.keys() - options.keys():
        once = option_rules(cls.Options, name).once
        if once in options:
            options[name] = options[once]
    try:
        return parse_options(cls.Options, options, where)
    except InputError as error:
        raise RunError(error.where, error.what, error.fix) from error


def _read_metrics(run: RunFolder) -> dict[str, Any]:
    """The figures of a finished run."""
    return run.read_json(METRICS, Metrics).model_dump()


def repeatable(data: Any) -> Any:
    """Data is read more than once (a tokenizer is trained first), which an iterator does not allow."""
    return deque(data) if isinstance(data, Iterator) else data  # not a list, which would be one of paths
