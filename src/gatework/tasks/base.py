"""What all tasks share, beside how they train: figures and predictions."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from pydantic import BaseModel

from gatework.data import Row, is_frame, while_pipes_are_kept
from gatework.errors import InputError
from gatework.export import Exported
from gatework.export.exportable import Exportable, export_task
from gatework.export.files import ExportOptions, Form, Say, Weights
from gatework.export.layer import check_options
from gatework.export.page import Page, page_files
from gatework.export.targets import NATIVE
from gatework.inspect import Report, Subject
from gatework.metrics.figure import Figure
from gatework.tasks.ensemble import EnsembleLifecycle
from gatework.tasks.inputs import InputReader, checked_input
from gatework.tasks.inspecting import report_of, scaled, trained_with
from gatework.tasks.options import PredictionSettings
from gatework.tasks.session import Event, Session, check_owner, step_together
from gatework.tasks.session_state import SessionState
from gatework.tasks.windows import windows
from gatework.training import parse_options
from gatework.training.options import options_with

__all__ = ["Task"]


class Task(EnsembleLifecycle):
    """An application: from data to a trained model, its figures and its predictions.

    The constructor's arguments are the fields of the class's `Options`, kept unchanged in `options`. What is learned
    ends in `_`. A loaded task is immutable: `predict`, `predict_stream` and `evaluate` may be called from several
    threads at the same time, and give what each alone would give.

    Attributes:
        name: on the command line and in config.json.
        columns: the data's columns.
        Settings: the settings of `predict`, a pydantic model.
        Input, Output: one input of `predict` and one record, pydantic models: their schemas are published.
        SentInput: one input as somebody sends it who may name no file of this machine; None: `Input` names none.
        hears: whether one input is a sound.
        input_columns: which of `columns` make an input, where `predict` reads a table: alternatives, of which the
            first that a row has is taken. One column is the input itself, several are a dict.
        cells: options that name a cell, and the run's file that keeps each one's graph.
        headline: the figure by which the strongest baseline is found, and the model compared with it.
        noun: what its examples are called.
        ensemble_options: options that the runs of an ensemble have in common: they say how an input is read.
        options: the options as they were given.
        options_: the options in force: those given, and this task's defaults for the rest.
        cells_: the run's cells, by option.
        network_: the network, in eval mode.
        metrics_: figures of the model and of the baselines on the validation data, as `evaluate` gives them.
        members_: of an ensemble, its runs.
        result_: how the training went.
        run_: the run's folder.
    """

    Settings: ClassVar[type[BaseModel]]
    Input: ClassVar[type[BaseModel]]
    Output: ClassVar[type[BaseModel]]
    SentInput: ClassVar[type[BaseModel] | None] = None
    hears: ClassVar[bool] = False
    input_columns: ClassVar[tuple[tuple[str, ...], ...]]
    Reader: ClassVar[type[InputReader]] = InputReader
    headline: ClassVar[Figure]
    noun: ClassVar[str] = "examples"

    @classmethod
    def input_schema(cls) -> dict[str, Any]:
        """The JSON schema of one input of `predict`."""
        return cls.Input.model_json_schema()

    @classmethod
    def output_schema(cls) -> dict[str, Any]:
        """The JSON schema of one output of `predict`."""
        return cls.Output.model_json_schema()

    @classmethod
    def settings(cls, **settings: Any) -> Any:
        """The settings of predictions, checked: an instance of `Settings`.

        Args:
            settings: fields of `Settings`, typed or as text.

        Raises:
            InputError: a setting that there is not, or a wrong value.
        """
        return parse_options(cls.Settings, settings, f"predict with {cls.name}")

    @classmethod
    def evaluation_settings(cls) -> type[BaseModel]:
        """The settings of `evaluate`: those of `predict` where figures are of outputs, else none."""
        return PredictionSettings

    def evaluate(
        self, data: Any, *, columns: Mapping[str, Any] | None = None, **settings: Any
    ) -> dict[str, Any]:
        """Figures on data of the kinds that `fit` takes, beside those of the baselines.

        Args:
            data: as for `fit`.
            columns: the data's own names of this task's columns.
            settings: fields of `evaluation_settings()`: how the outputs are found that are scored.

        Returns:
            The figures under `model`, those of each baseline by name under `baselines`, the strongest of them
            again under `baseline` and its name under `strongest`, by the figure named under `headline`; whether the
            model is `below_baseline` in it; the number of `examples`, what they are (`unit`), and how the model's
            outputs were found (`search`), where they are searched for.
        """
        self._check_fitted()
        chosen = parse_options(self.evaluation_settings(), settings, f"evaluate with {self.name}")
        with while_pipes_are_kept():
            return self._evaluate(data, self._check_columns(columns), chosen)

    def predict(
        self, inputs: Any, *, columns: Mapping[str, Any] | None = None, **settings: Any
    ) -> list[dict[str, Any]]:
        """One record `{"input": …, "output": …, …}` for each input, in their order.

        Args:
            inputs: one input, or several in a list, a tuple or any other iterable; what one input is, the class's
                `Input` says. Or a table of the kinds that `evaluate` takes, with an input in each row: a DataFrame,
                a Dataset, a list of dicts, a dict of columns, a `Path`; of a text file each line is an input
                (as JSON, where an input is no text).
            columns: the table's own names of this task's columns.
            settings: fields of the class's `Settings`.

        Raises:
            InputError: something that is no input, a table without an input's columns, or a wrong setting.
        """
        self._check_fitted()
        chosen, reader = self.settings(**settings), self._reader(columns)
        with while_pipes_are_kept():
            given = [reader.input(item) for item in reader.items(inputs)]
        return self._records(given, chosen)

    @classmethod
    def read_sent(cls, item: Any) -> Any:
        """An input of `predict` that was sent from elsewhere, as JSON: it names no file of this machine.

        Args:
            item: as `SentInput` says, or where that is None as `Input` does.

        Raises:
            InputError: it is none.
        """
        return checked_input(item, cls.SentInput or cls.Input, cls.name, "the input")

    def predict_sent(self, inputs: Sequence[Any], **settings: Any) -> list[dict[str, Any]]:
        """`predict` for somebody elsewhere: no file of this machine is read or written at their word.

        Args:
            inputs: what `read_sent` gives.
            settings: fields of the class's `Settings`, but those that name a file.

        Raises:
            InputError: as `predict`, and a setting that names a file.
        """
        self.check_sent(settings)
        return self.predict(list(inputs), **settings)

    @classmethod
    def check_sent(cls, settings: Mapping[str, Any]) -> None:
        """Refuse settings that only somebody at this machine may give.

        Raises:
            InputError: one of them names a file.
        """
        for name in options_with(cls.Settings, where="command line"):
            if name in settings:
                what = "names a file, and nobody elsewhere names files of this machine"
                raise InputError(f"setting {name}", what, "Leave it out.")

    def predict_stream(
        self, inputs: Any, *, columns: Mapping[str, Any] | None = None, **settings: Any
    ) -> Iterator[dict[str, Any]]:
        """The records of `predict`, in order, while inputs still come: from a pipe, a file, a connection.

        Inputs that are there are answered together; one that comes alone is answered at once. Memory does not grow
        with the number of inputs.

        Args:
            inputs: as for `predict`; read in a thread of their own, ahead of the answers.
            columns, settings: as for `predict`.

        Raises:
            InputError: a wrong setting at once; something that is no input, once all before it are answered; and
                what `inputs` raises.
        """
        return (_last(parts) for _, parts in self.predict_parts(inputs, columns=columns, **settings))

    def predict_parts(
        self, inputs: Any, *, columns: Mapping[str, Any] | None = None, **settings: Any
    ) -> Iterator[tuple[Any, Iterator[str | dict[str, Any]]]]:
        """As `predict_stream`; with each input the parts of its answer, as `stream` gives them."""
        self._check_fitted()
        chosen, reader = self.settings(**settings), self._reader(columns)
        return self._parts_of_windows(reader.items(inputs), reader, chosen)

    def predict_rows(
        self, table: Any, *, columns: Mapping[str, Any] | None = None, **settings: Any
    ) -> Iterator[dict[str, Any]]:
        """The rows of a table, in order, all of their columns, and the answer's `output` as one more.

        Args:
            table, columns, settings: as for `predict_stream`. What is no row of a table stands under `input`.

        Raises:
            InputError: as for `predict_stream`, or the table has a column `output`.
        """
        self._check_fitted()
        chosen, reader = self.settings(**settings), self._reader(columns)
        rows: deque[dict[str, Any]] = deque()  # read, and not answered yet

        def noted() -> Iterator[Any]:
            for item in reader.items(table):
                row = item.values if isinstance(item, Row) else {"input": item}
                if "output" in row:
                    what = "has a column 'output' already"
                    raise InputError(item.where, what, "Rename it: the answer is written under this name.")
                rows.append(row)
                yield item

        answers = self._parts_of_windows(noted(), reader, chosen)
        return ({**rows.popleft(), "output": _last(parts)["output"]} for _, parts in answers)

    def stream(self, item: Any, **settings: Any) -> Iterator[str | dict[str, Any]]:
        """Pieces of the output's text as they are known, if any are before the end, and last the whole record."""
        self._check_fitted()
        (parts,) = self._parts([self._reader().input(item)], self.settings(**settings))
        yield from parts

    # Inputs that are told piece by piece

    @property
    def streams(self) -> bool:
        """Whether `session` gives a session."""
        return self._needs_whole_inputs() is None

    def session(self, *, state: bytes | None = None, **settings: Any) -> Session:
        """A session, which is told an input piece by piece and answers as soon as it knows; see `Session`.

        Args:
            state: what a session's `state()` gave, of the same run: the new one goes on from there.
            settings: of `predict`; those of the state where they are left out.

        Raises:
            InputError: the task, or this run, needs whole inputs; a wrong setting; the state is damaged, or of another
                task or run.
        """
        return self._session_from(state, settings)

    def feed_together(self, sessions: Sequence[Session], items: Sequence[Any]) -> list[list[Event]]:
        """Feed many sessions of this run, and take one step of each, as one batch.

        Args:
            sessions: each once.
            items: for each of them what `feed` takes, or `NOTHING` where it goes on with what it says.

        Returns:
            The events of each session; there may be more of those that are still `pending`.

        Raises:
            InputError: a session of another run, or an item that is none: nothing has changed then.
        """
        for session in sessions:
            if session.network is not self.network_:
                raise InputError(
                    "sessions", "has one of another run", "Give those that this run's `session` made."
                )
        return step_together(sessions, items)

    def inspect(
        self,
        item: Any,
        out: str | os.PathLike[str] | None = None,
        *,
        columns: Mapping[str, Any] | None = None,
        scale: Mapping[str, float] | None = None,
        reasons: bool = True,
        **settings: Any,
    ) -> Report:
        """Looks into the network while it answers an input: gates and states step by step, what they tell, what carried
        the answer, how its gradient flows.

        Args:
            item: one input, as for `predict`; of a table, such as a file, the first one.
            out: where the report is kept, one HTML page; None: nowhere.
            columns, settings: as for `predict`.
            scale: what gates are multiplied by, in answering too, `{"forget": 0}`: see `gatework.record`.
            reasons: whether to say what carried the answer, and how the gradient flows: most of the work.

        Raises:
            InputError: something that is no input, or none with steps to look at; a wrong setting; a gate that the
                network does not have.
        """
        self._check_fitted()
        chosen, reader = self.settings(**settings), self._reader(columns)
        table = isinstance(item, os.PathLike) or is_frame(item)
        with while_pipes_are_kept():
            if table or columns:
                item = next(iter(reader.items(item if table else [item])), item)
            input = reader.input(item)
        with scaled(self.network_, scale):
            return self._inspect(input, out, chosen, reasons)

    def inspect_sent(self, item: Any, *, scale: Any = None, reasons: bool = True, **settings: Any) -> Report:
        """`inspect` for somebody elsewhere: no file of this machine is read or written at their word.

        Args:
            item: what `read_sent` gives.
            scale, reasons: as for `inspect`.
            settings: as for `predict_sent`.

        Raises:
            InputError: as `inspect`, and a setting that names a file.
        """
        self.check_sent(settings)
        return self.inspect(item, scale=scale, reasons=reasons, **settings)

    def _inspect(
        self, input: Any, out: str | os.PathLike[str] | None, settings: Any, reasons: bool
    ) -> Report:
        (record,) = self._records([input], settings)
        run = self.members_[0] if self.members_ else self
        notes = ["Of the ensemble's runs the first one is shown."] if self.members_ else []
        answer = {name: value for name, value in record.items() if name != "input"}
        subject = trained_with(run._subject(input, answer), self.name, self.Options)
        found = report_of(self.name, subject, input, answer, notes, reasons=reasons)
        if out is not None:
            found.save(out)
        return found

    def export(
        self,
        out: str | os.PathLike[str],
        to: Form = "c",
        *,
        target: str = NATIVE,
        weights: Weights | None = None,
        flash: int | None = None,
        ram: int | None = None,
        say: Say = lambda line: None,
    ) -> Exported:
        """Writes the steps of the trained network, with what they read and give, for where Python is not.

        Args:
            out: a new folder.
            to: of `gatework.export_layer`, or `html`: a page of one file, `index.html`, that runs a language model, a
                tagger or a classifier in a browser.
            weights: `float32`, or `int8`: weight matrices are kept in 8 bits, as `layer.stream(weights="int8")` rounds
                them, and so are tables: a number is off by at most 1/254 of its row's largest magnitude, or of 8 root
                mean squares of its table where that is more. None: `float32`, but `int8` in a page that would have
                more than 5 million bytes. The other arguments are those of `gatework.export_layer`.

        Raises:
            InputError: a task or an ensemble that has no export, or as `gatework.export_layer` says.
        """
        self._check_fitted()
        options = ExportOptions(target, weights or "float32", flash, ram, say)
        check_options(to, options, Path(out))
        if self.members_:
            raise InputError(
                self.name, "an ensemble has no one network to export", "Export its runs one by one."
            )
        if to == "html":
            return page_files(self._exported_page(), options, weights).written(Path(out), {})
        return export_task(self._exported(), Path(out), to, options)

    # What a task writes

    def _exported_page(self) -> Page:
        """The page of an export: `to="html"`."""
        raise InputError(
            self.name, "this task has no page", "Language models, taggers and classifiers have one."
        )

    def _exported(self) -> Exportable:
        """What of the trained network is exported."""
        raise InputError(
            self.name,
            "this task has no export",
            "Export a layer of its network_: gatework.export_layer(layer, out).",
        )

    def _needs_whole_inputs(self) -> tuple[str, str] | None:
        """Why an input cannot be told piece by piece, and what to do about it; None where it can."""
        return "answers whole inputs: what it says of their first part depends on the rest", "Use predict."

    def _new_session(self, settings: Any) -> Session:
        """A session before its first item."""
        raise NotImplementedError(f"{type(self).__name__} has no session, and says that it can have one")

    @abstractmethod
    def _subject(self, input: Any, record: Mapping[str, Any]) -> Subject:
        """What a report of an input and its answer looks at: a call of the network, with gradients, and what stands at
        the steps of its layers."""

    @abstractmethod
    def _evaluate(self, data: Any, columns: Mapping[str, str], settings: Any) -> dict[str, Any]:
        """What `evaluate` gives."""

    @abstractmethod
    def _answer(self, inputs: Sequence[Any], settings: Any) -> list[dict[str, Any]]:
        """The records of inputs, each without its `input`. The network is in eval mode, no gradients are kept."""

    def _parts(self, inputs: Sequence[Any], settings: Any) -> Iterator[Iterator[str | dict[str, Any]]]:
        """For each input the parts of its answer. A task that knows a part of the text sooner gives it."""
        for record in self._records(inputs, settings):
            yield iter((record,))

    def _search_words(self, settings: Any) -> str:
        """How outputs are found with these settings, for people; empty where they are not searched for."""
        return ""

    # How figures are compared

    def _compared(
        self, model: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        """The figures of the model and of its baselines, and whether it is below the strongest by the headline."""
        strongest = self.headline.strongest(baselines)
        return {
            "model": dict(model),
            "baseline": baselines.get(strongest, {}),
            "baselines": baselines,
            "headline": self.headline.name,
            "strongest": strongest,
            "below_baseline": bool(strongest) and self.headline.better(baselines[strongest], model),
        }

    # How predictions are made

    def _session_from(self, state: bytes | None, settings: Mapping[str, Any], **given: Any) -> Session:
        """As `session`; `given` is what `_new_session` takes besides."""
        self._check_fitted()
        refusal = self._needs_whole_inputs()
        if refusal is not None:
            raise InputError("session", f"this {self.name} {refusal[0]}", refusal[1])
        if state is None:
            return self._new_session(self.settings(**settings), **given)
        saved = SessionState.of_bytes(state)
        check_owner(saved, self.name, self.network_)
        session = self._new_session(self.settings(**{**saved.value("settings", dict), **settings}), **given)
        session.go_on(saved)
        return session

    def _records(self, inputs: Sequence[Any], settings: Any) -> list[dict[str, Any]]:
        with torch.inference_mode():
            answers = self._answer(inputs, settings)
        return [{"input": item, **answer} for item, answer in zip(inputs, answers, strict=True)]

    def _reader(self, columns: Mapping[str, Any] | None = None) -> InputReader:
        return self.Reader(self.name, self.Input, self.input_columns, self._check_columns(columns))

    def _parts_of_windows(
        self, items: Iterable[Any], reader: InputReader, settings: Any
    ) -> Iterator[tuple[Any, Iterator[str | dict[str, Any]]]]:
        for window, failure in windows(items):
            good: list[Any] = []
            try:
                for item in window:
                    good.append(reader.input(item))
            except InputError as error:
                failure = error  # what stands before it is answered first
            yield from zip(good, self._parts(good, settings), strict=True)
            if failure is not None:
                raise failure


def _last(parts: Iterator[str | dict[str, Any]]) -> dict[str, Any]:
    """The record, the last part of an answer."""
    *_, record = parts
    return cast("dict[str, Any]", record)
