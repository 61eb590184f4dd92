"""What all tasks share: options, and the lifecycle fit, evaluate, predict, save, load."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ValidationError

from gatework.errors import InputError, RunError, nearest
from gatework.training import Problem, Result, RunFolder, TrainingOptions, parse_options
from gatework.training import fit as train
from gatework.training.processes import Processes
from gatework.training.provenance import Sources, parent_record, parent_to_start_from
from gatework.training.run_folder import Records, launched

__all__ = ["Task"]

# What may change when a run goes on: how long it trains and where. Anything else would make another run.
CHANGEABLE = frozenset({"epochs", "max_steps", "max_minutes", "device"})


class Task(ABC):
    """An application: from data to a trained model, its figures and its predictions.

    The constructor's arguments are the fields of the class's `Options`, kept unchanged in `options`.
    What is learned ends in `_`:

    Attributes:
        options: the options as they were given.
        options_: the options in force: those given, and this task's defaults for the rest.
        metrics_: figures of the model and of the baselines on the validation data, as `evaluate` gives them.
        result_: how the training went.
        run_: the run's folder.
    """

    name: ClassVar[str]
    Options: ClassVar[type[TrainingOptions]]
    Settings: ClassVar[type[BaseModel]]
    Input: ClassVar[type[BaseModel]]
    Output: ClassVar[type[BaseModel]]
    columns: ClassVar[tuple[str, ...]]
    chosen_files: ClassVar[tuple[str, ...]] = (
        "cell.json",
        "decoder_cell.json",
    )  # of options, not of the data

    options_: TrainingOptions
    metrics_: dict[str, Any]
    result_: Result
    run_: RunFolder

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__signature__ = inspect.signature(cls.Options)  # type: ignore[attr-defined]

    def __init__(self, **options: Any) -> None:
        self.options = parse_options(self.Options, options, self.name)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self.options, name)!r}" for name in self._given())
        return f"{type(self).__name__}({given})"

    @classmethod
    def input_schema(cls) -> dict[str, Any]:
        """The JSON schema of one input of `predict`."""
        return cls.Input.model_json_schema()

    @classmethod
    def output_schema(cls) -> dict[str, Any]:
        """The JSON schema of one output of `predict`."""
        return cls.Output.model_json_schema()

    # The lifecycle

    def fit(
        self,
        data: Any,
        *,
        valid: Any = None,
        out: str | os.PathLike[str] | None = None,
        columns: Mapping[str, str] | None = None,
        resume: bool = False,
        from_run: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Train on data and keep the run in a folder.

        Args:
            data: a path or several, an iterable, a pandas DataFrame or a `datasets.Dataset`.
            valid: validation data of the same kinds; without it a part of `data` is held back.
            out: the run's folder, new or empty; without it a temporary one that goes with this object.
            columns: the data's own names of this task's columns, such as `{"text": "review"}`.
            resume: go on with the interrupted training in `out`, from its last checkpoint. The run's own
                options hold; only how long and where it trains may be given anew.
            from_run: start from the weights of another run of this task.

        Raises:
            InputError: the data cannot be read or is too short, an option is wrong.
            RunError: `out` is in the way, or `from_run` is damaged.
        """
        _, world = launched()
        if out is None and world > 1:
            what = f"is missing, and {world} processes train one run together"
            raise InputError("out", what, "Name the folder of the new run: out='runs/NAME'.")
        if out is None:
            out = tempfile.mkdtemp(prefix="gatework-")
            weakref.finalize(self, shutil.rmtree, out, ignore_errors=True)
        columns = self._check_columns(columns)
        data, valid = _repeatable(data), _repeatable(valid)
        given = None if from_run is None else Path(from_run)
        parent = None if given is None or resume else self._load_parent(given)
        was_complete = RunFolder(out).is_complete
        self.run_ = run = RunFolder.create(out, resume=resume)
        begun = resume and (run.path / "config.json").exists()
        config_before = run.read_config() if begun else {}
        recorded = run.read_records() if begun else Records()
        try:
            if begun and not run.holds_checkpoint:
                given = parent_to_start_from(run, recorded.parent, given)
            if given is not None and parent is None and not run.holds_checkpoint:
                parent = self._load_parent(given)
            self.options_ = self._resumed_options(run) if begun else self._resolve_options(parent)
            if not begun:
                recorded = Records(parent=None if parent is None else parent_record(parent.run_))
                self._write_config(
                    run, recorded
                )  # first of all files: what is killed after it can be resumed
            if begun and run.writes and not (recorded.data or run.holds_training):
                self._forget_data(run)
            self._processes = processes = Processes(self.options_)
            self._sources = Sources(run, recorded.data, training=data, validation=valid)
            problem = self._prepare(run, data, valid, columns, parent)
            self._write_config(run, Records(parent=recorded.parent, data=self._sources.records))
            was_complete = False
            self.result_ = train(problem, self.options_, run, resume=resume, processes=processes)
        except BaseException:
            if was_complete:
                run.complete()  # nothing has changed
            elif begun and not run.holds_training:
                run.write_config(config_before)  # the next call may bring other data
            elif not begun and run.writes and not run.holds_training:
                shutil.rmtree(run.path)  # leave the way free for another try
            raise
        finally:
            self.__dict__.pop("_processes", None)
            self.__dict__.pop("_sources", None)
        if self.result_.stopped == "interrupted":
            return self

        def figures() -> dict[str, Any]:
            found = self._validation_figures()
            run.write_json("metrics.json", found)
            return found

        self.metrics_ = processes.first(figures, lambda: run.read_json("metrics.json"))
        self._clear(run)
        run.complete()
        processes.wait()  # whoever reads the run next finds it whole
        return self

    def evaluate(self, data: Any, *, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Figures on data of the kinds that `fit` takes, beside those of the baselines.

        Returns:
            The figures under `model`, those of each baseline by name under `baselines`, the strongest of them
            again under `baseline`, and the number of `examples`.
        """
        self._check_fitted()
        return self._evaluate(_repeatable(data), self._check_columns(columns))

    def predict(self, inputs: Any, **settings: Any) -> list[dict[str, Any]]:
        """One record `{"input": …, "output": …, …}` for each input.

        The settings are the fields of the class's `Settings`.
        """
        self._check_fitted()
        chosen = self._read_settings(settings)
        items = [inputs] if isinstance(inputs, str) else inputs
        return [self._predict(self._check_input(item), chosen) for item in items]

    def stream(self, item: Any, **settings: Any) -> Iterator[str | dict[str, Any]]:
        """Pieces of the output's text as they are known, and last the record that `predict` gives."""
        yield from self.predict([item], **settings)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Copy the trained run, without its checkpoints, into a new folder.

        Raises:
            RunError: the folder holds something already.
        """
        self._check_fitted()
        target = RunFolder.create(folder)
        for file in self.run_.path.iterdir():
            if file.is_file() and file.name != "COMPLETE":
                shutil.copyfile(file, target.path / file.name)
        target.complete()

    @classmethod
    def restore(cls, run: RunFolder) -> Self:
        """The task of a finished run; `gatework.load` finds the class."""
        config = run.read_config()
        task = cls.__new__(cls)
        task.options = task.options_ = _read_options(cls, run, config)
        task.run_ = run
        task.metrics_ = run.read_json("metrics.json")
        task._restore(run)
        return task

    @abstractmethod
    def _prepare(
        self, run: RunFolder, data: Any, valid: Any, columns: Mapping[str, str], parent: Self | None
    ) -> Problem:
        """Read the data, build the network, keep in the run what loading needs; use what is there already."""

    @abstractmethod
    def _restore(self, run: RunFolder) -> None:
        """Load a finished run; `options_` is set already."""

    @abstractmethod
    def _validation_figures(self) -> dict[str, Any]:
        """What `evaluate` gives for the validation data, after training; may fit the baselines."""

    @abstractmethod
    def _evaluate(self, data: Any, columns: Mapping[str, str]) -> dict[str, Any]: ...

    @abstractmethod
    def _predict(self, item: Any, settings: Any) -> dict[str, Any]: ...

    def _clear(self, run: RunFolder) -> None:  # noqa: B027  # nothing to remove is the usual case
        """Remove what only training needed."""

    def _defaults(self, given: Mapping[str, Any], parent: Self | None) -> dict[str, Any]:
        """Defaults that depend on the options given, or on the run that is started from."""
        return {}

    def _given(self) -> dict[str, Any]:
        return {
            name: getattr(self.options, name)
            for name in self.Options.model_fields
            if name in self.options.model_fields_set
        }

    def _resolve_options(self, parent: Self | None) -> TrainingOptions:
        given = self._given()
        options = self.Options.model_validate({**self._defaults(given, parent), **given})
        if parent is None and options.unfreeze_every:
            what = "is for a run that starts from the weights of another"
            raise InputError("option unfreeze_every", what, "Give --from RUN, or leave the option out.")
        return options

    def _resumed_options(self, run: RunFolder) -> TrainingOptions:
        """The run's options, with the given ones where they may change."""
        config = run.read_config()
        recorded = _read_options(type(self), run, config)
        given = self._given()
        for name, value in given.items():
            if name not in CHANGEABLE and _comparable(recorded, name) != _comparable(self.options, name):
                raise RunError(
                    str(run.path),
                    f"was begun with {name}={getattr(recorded, name)!r}, and cannot go on with {value!r}",
                    "Leave the option out, or train a new run (perhaps with --from).",
                )
        return recorded.model_copy(update={n: v for n, v in given.items() if n in CHANGEABLE})

    def _write_config(self, run: RunFolder, records: Records) -> None:
        options = self.options_.model_dump(mode="json")
        run.write_config({"task": self.name, "options": options, **records.model_dump(exclude_defaults=True)})

    def _forget_data(self, run: RunFolder) -> None:
        """Delete what was learned from data that no training has seen yet: the next call may bring other data."""
        for path in run.path.iterdir():
            if path.name in ("config.json", "checkpoints") or path.name in self.chosen_files:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _load_parent(self, folder: str | os.PathLike[str]) -> Self:
        run = RunFolder.open(folder)
        name = run.read_config().get("task")
        if name != self.name:
            raise RunError(
                str(folder), f"is a {name}, not a {self.name}", "Start from a run of the same task."
            )
        return self.restore(run)

    def _check_columns(self, columns: Mapping[str, str] | None) -> dict[str, str]:
        columns = dict(columns or {})
        for name in columns:
            if name not in self.columns:
                raise InputError(
                    "columns", f"{self.name} has no column {name!r}", nearest(name, self.columns)
                )
        return columns

    def _read_settings(self, settings: Mapping[str, Any]) -> Any:
        return parse_options(self.Settings, settings, f"predict with {self.name}")

    def _check_input(self, item: Any) -> Any:
        try:
            self.Input.model_validate(item)
        except ValidationError as error:
            message = f"{item!r:.60} is not an input of {self.name} ({error.errors()[0]['msg']})"
            raise InputError("predict", message, "See its input_schema().") from error
        return item

    def _check_fitted(self) -> None:
        if not hasattr(self, "metrics_"):
            raise InputError(self.name, "is not trained", "Call fit first, or load a run with gw.load.")

    def _say(self, message: str) -> None:
        if self.run_.writes:
            print(message, file=sys.stderr)


def _read_options(cls: type[Task], run: RunFolder, config: Mapping[str, Any]) -> TrainingOptions:
    if not isinstance(config.get("options"), dict):
        raise RunError(
            str(run.path / "config.json"), "holds no options", "Restore it from a copy, or train again."
        )
    return parse_options(cls.Options, config["options"], str(run.path / "config.json"))


def _comparable(options: TrainingOptions, name: str) -> Any:
    return options.model_dump(mode="json")[name]


def _repeatable(data: Any) -> Any:
    """Data is read more than once (a tokenizer is trained first), which an iterator does not allow."""
    return deque(data) if isinstance(data, Iterator) else data  # not a list, which would be one of paths
