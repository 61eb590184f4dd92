"""What every task keeps: `check_task` runs these checks on a task's class and one small example of its data.

Each check is a function of a `Case`; `test_tasks.py` runs them one by one over everything registered. They stand in one
file, longer than others, because it is the whole list of what is asked of a new task.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import math
import os
import random
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

import gatework as gw
from gatework import tasks
from gatework.errors import InputError, MissingExtraError, RunError
from gatework.tasks.base import Task
from gatework.tasks.session import NOTHING, Session
from gatework.training import RunFolder
from gatework.training.options import options_with
from tests.contracts.damage import damaged
from tests.contracts.task_examples import TaskExample
from tests.tolerances import PREDICTIONS, TRAINED_IN_BF16, close_to

__all__ = ["CHECKS", "Case", "check_task"]

PATIENCE = 20.0  # seconds that an answer may take on a machine that does other things
KILLED = 9
TEXT_SETTINGS = ("stop", "speaker", "hotwords", "choose")  # of a prediction: texts that name no file


@dataclass(frozen=True)
class Case:
    """A task under test: its class, its example, a folder of its own."""

    kind: type[Task]
    example: TaskExample
    folder: Path

    @classmethod
    def of(cls, kind: type[Task], example: TaskExample, folder: Path) -> Case:
        """With what the example trains beforehand."""
        if example.beforehand is None:
            return cls(kind, example, folder)
        return cls(kind, replace(example, options={**example.options, **example.beforehand(folder)}), folder)

    @cached_property
    def model(self) -> Task:
        """A trained one; no check changes it."""
        return self.fit(self.folder / "run")

    @cached_property
    def streaming(self) -> Task:
        """A trained one whose inputs may be told piece by piece; no check changes it."""
        options = self.example.streaming
        return self.fit(self.folder / "streaming", options=options) if options else self.model

    def fit(
        self,
        out: Path | None = None,
        data: Any = None,
        *,
        options: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Task:
        """Train with the example's options and those given."""
        chosen = {**self.example.options, **(options or {})}
        data = self.example.rows if data is None else data
        return self.kind(**chosen).fit(data, valid=self.example.valid, out=out, **given)

    def copy(self, name: str) -> Path:
        """A copy of the trained run, for a check to damage."""
        target = self.folder / name
        shutil.copytree(self.model.run_.path, target)
        return target

    def predict(self, model: Task) -> list[dict[str, Any]]:
        return model.predict(self.example.inputs, **self.example.settings)


def check_task(kind: type[Task], example: TaskExample, folder: Path) -> None:
    """Every check, on a registered task.

    Args:
        kind: the task's class.
        example: see `TaskExample`.
        folder: an empty one, for runs.
    """
    case = Case.of(kind, example, folder)
    for check in CHECKS:
        check(case)


# What a task declares


def declares(case: Case) -> None:
    """A registered name, schemas, options and settings that carry descriptions."""
    kind = case.kind
    assert tasks.get(kind.name) is kind
    assert getattr(gw, kind.__name__) is kind
    assert kind.input_schema() == kind.Input.model_json_schema()
    assert {"input", "output"} <= set(kind.output_schema()["properties"])
    for model in (kind.Options, kind.Settings):
        assert model.model_config["extra"] == "forbid"
        for name, option in model.model_fields.items():
            assert option.description, name
    for name in {"beam", "alternatives", "length", "min_length", "no_repeat"} & set(
        kind.Settings.model_fields
    ):
        with pytest.raises(InputError, match="less than or equal"):  # a service answers strangers
            kind.settings(**{name: 10**9})
    with pytest.raises(InputError, match="not trained"):
        kind().predict(case.example.inputs)
    with pytest.raises(InputError, match="not trained"):
        kind().evaluate(case.example.valid)


# Data


def reads_every_form(case: Case) -> None:
    """A file, a list of rows, an iterator, a DataFrame and a Dataset are the same data."""
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    rows = list(case.example.rows)
    renamed = {name: f"my_{name}" for name in rows[0]}
    theirs = [{renamed[name]: value for name, value in row.items()} for row in rows]
    path = write_rows(case.folder / "rows.jsonl", rows)
    other = write_rows(case.folder / "theirs.jsonl", theirs)
    expected = case.fit(data=path, options={"max_steps": 2}).metrics_
    for data in (rows, iter(rows), pandas.DataFrame(rows), datasets.Dataset.from_list(rows)):
        assert case.fit(data=data, options={"max_steps": 2}).metrics_ == expected
    model = case.kind(**{**case.example.options, "max_steps": 2})
    valid = [{renamed[name]: value for name, value in row.items()} for row in case.example.valid]
    assert model.fit(other, valid=valid, columns=renamed).metrics_ == expected


def holds_back(case: Case) -> None:
    """Without validation data some is held back, and the run is a whole one."""
    model = case.kind(**case.example.options).fit(case.example.rows)
    assert 0 < model.metrics_["examples"] < case.model.evaluate(case.example.rows)["examples"]


def refuses_bad_data(case: Case) -> None:
    """Wrong columns, no data, a row of rubbish, a wrong option: one line, with the file and the row."""
    out = case.folder / "refused"
    rows = [dict(row) for row in case.example.rows]
    column = next(iter(rows[0]))
    wrong = [{f"not_{name}": value for name, value in row.items()} for row in rows]
    rubbish = [*rows[:3], dict(case.example.rubbish), *rows[3:]]
    empty = case.folder / "empty.jsonl"
    empty.write_bytes(b"")
    file = write_rows(case.folder / "rubbish.jsonl", rubbish)

    def refused(match: str, data: Any, options: Mapping[str, Any] | None = None, **given: Any) -> None:
        with pytest.raises(InputError, match=match) as caught:
            case.fit(out, data, options=options, **given)
        one_line(caught.value)
        assert not out.exists()

    refused(column, wrong)
    refused(rf"wrong\.jsonl.*{column}", write_rows(case.folder / "wrong.jsonl", wrong))
    refused(" ", [])
    refused(" ", iter([]))
    refused(r"empty\.jsonl", empty)
    refused(r"rubbish\.jsonl, line 4", file)
    refused("row 4", rubbish)
    refused("absent", case.folder / "absent.jsonl")
    refused("columns", rows, columns={"no_such_column": "x"})
    refused("no option 'hiden_size'", rows, {"hiden_size": 3})
    with pytest.raises(InputError, match=r"rubbish\.jsonl, line 4") as caught:
        case.model.evaluate(file)
    one_line(caught.value)
    with pytest.raises(InputError, match=r"empty\.jsonl"):
        case.model.evaluate(empty)


def asks_for_packages_first(case: Case) -> None:
    """A package that an option needs late is missed before the data is read, and nothing is left behind."""
    out = case.folder / "unpacked"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
        with pytest.raises(MissingExtraError, match="tensorboard"):
            case.fit(out, case.folder / "absent.jsonl", options={"tensorboard": True})
    assert not out.exists()


# Figures


def gives_figures(case: Case) -> None:
    """The model's figures, and the baselines' of the same names, the strongest one again as `baseline`."""
    model = case.model
    figures = model.evaluate(case.example.valid)
    assert figures == model.metrics_ == json.loads((model.run_.path / "metrics.json").read_text())
    assert {"model", "baseline", "baselines", "examples", "unit"} <= set(figures)
    name = figures["headline"]
    assert figures["baseline"] == figures["baselines"][figures["strongest"]]
    sign = 1 if model.headline.higher else -1
    assert figures["below_baseline"] == (sign * figures["model"][name] < sign * figures["baseline"][name])
    assert case.kind.noun == figures["unit"]
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert type(figures["examples"]) is int
    assert figures["examples"] > 0
    assert figures["baseline"] in figures["baselines"].values()
    for baseline in figures["baselines"].values():
        assert baseline
        assert set(baseline) <= set(figures["model"])
    assert all(math.isfinite(value) for value in figures["model"].values())
    with pytest.raises(InputError, match="no option 'no_such_setting'"):
        model.evaluate(case.example.valid, no_such_setting=1)
    chosen = {name: value for name, value in case.example.settings.items() if name in evaluated_with(case)}
    assert model.evaluate(case.example.valid, **chosen)["model"].keys() == figures["model"].keys()


def evaluated_with(case: Case) -> set[str]:
    return set(case.kind.evaluation_settings().model_fields)


# Predictions


def predicts_by_schema(case: Case) -> None:
    """A record an input, of the published schema, which gives the input back; bad ones are refused."""
    records = case.predict(case.model)
    assert [record["input"] for record in records] == list(case.example.inputs)
    required = set(case.kind.output_schema()["required"])
    for record in records:
        assert required <= set(record)
        case.kind.Output.model_validate_json(json.dumps(record, allow_nan=False), strict=True)
    assert case.model.predict([], **case.example.settings) == []
    for bad in (3.5, None, object()):
        with pytest.raises(InputError, match="is not an input of") as caught:
            case.model.predict([case.example.inputs[0], bad])
        one_line(caught.value)
    with pytest.raises(InputError, match="no option 'no_such_setting'"):
        case.model.predict([], no_such_setting=1)


def answers_from_elsewhere(case: Case) -> None:
    """What is sent as JSON is answered as by `predict`, and no file of this machine is named by it."""
    sent = [as_sent(item) for item in case.example.inputs]
    given = case.kind.SentInput or case.kind.Input
    for item in sent:
        given.model_validate_json(json.dumps(item), strict=True)
    read = [case.kind.read_sent(json.loads(json.dumps(item))) for item in sent]
    records = case.model.predict_sent(read, **case.example.settings)
    for record, expected in zip(records, case.predict(case.model), strict=True):
        if expected["output"] is None:
            assert base64.b64decode(record["output"])[:4] == b"RIFF"  # the sound itself
        else:
            assert_close(record["output"], expected["output"])
        assert record.keys() == expected.keys()
        assert any(record["input"] is each for each in read)
    files = options_with(case.kind.Settings, where="command line")
    texts = {
        name for name, field in case.kind.Settings.model_fields.items() if "str" in str(field.annotation)
    }
    assert texts <= {*files, *TEXT_SETTINGS}, "say of a new one whether it names a file: CommandLine[…]"
    for name in files:
        with pytest.raises(InputError, match=f"setting {name}: names a file"):
            case.model.predict_sent(read, **{name: "x"})
    for bad in (3.5, None, {"path": __file__}, {"audio": __file__, "speaker": None}):
        if not (
            case.kind.name == "forecaster" and isinstance(bad, dict)
        ):  # whose columns are called as one likes
            with pytest.raises(InputError, match=r"the input: .* is not an input of"):
                case.kind.read_sent(bad)


def as_sent(item: Any) -> Any:
    """An input of an example as somebody elsewhere sends it: the content of a sound file in place of its path."""
    if isinstance(item, str) and item.endswith(".wav"):
        return {"bytes": base64.b64encode(Path(item).read_bytes()).decode()}
    return item


def predicts_from_tables(case: Case) -> None:
    """A table has an input in each row, in the columns that the task names: read from every form, whatever the columns
    are called, and given back with the answer as a column more."""
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    model, settings = case.model, case.example.settings
    assert set().union(*case.kind.input_columns) <= set(case.kind.columns)
    columns = next(names for names in case.kind.input_columns if set(names) <= set(case.example.rows[0]))
    rows = [{"id": n, **row} for n, row in enumerate(case.example.rows[:5])]
    cells = [[row[name] for name in columns] for row in rows]
    inputs = [dict(zip(columns, row, strict=True)) if len(row) > 1 else row[0] for row in cells]
    expected = model.predict(list(inputs), **settings)
    frame = pandas.DataFrame(rows)
    path = write_rows(case.folder / "inputs.jsonl", rows)
    for table in (rows, iter(rows), path, frame, frame.to_dict("list"), datasets.Dataset.from_list(rows)):
        assert model.predict(table, **settings) == expected
    assert_close(list(model.predict_stream(path, **settings)), expected)
    theirs = {name: f"my_{name}" for name in columns}
    renamed = frame.rename(columns=theirs)
    assert model.predict(renamed, columns=theirs, **settings) == expected
    outputs = [record["output"] for record in expected]
    written = list(model.predict_rows(path, **settings))
    assert written == [{**row, "output": output} for row, output in zip(rows, outputs, strict=True)]
    with pytest.raises(InputError, match=f"row 1: has no column '({'|'.join(columns)})'"):
        model.predict([{"nothing": 1}], **settings)
    with pytest.raises(InputError, match="has no column 'no_such_column'"):
        model.predict(rows, columns={"no_such_column": "id"})


def predicts_alike_alone_and_together(case: Case) -> None:
    """An input's record does not depend on its neighbours, nor on their order."""
    inputs, records = list(case.example.inputs), case.predict(case.model)
    assert len({json.dumps(record["input"]) for record in records}) >= 3
    for item, record in zip(inputs, records, strict=True):
        alone = case.model.predict([item], **case.example.settings)
        assert_close(alone, [record])
    single = next(item for item in inputs if not isinstance(item, list))
    assert_close(case.model.predict(single, **case.example.settings), [records[inputs.index(single)]])
    many = inputs * 40
    random.Random(0).shuffle(many)
    by_input = {json.dumps(record["input"]): record for record in records}
    again = case.model.predict(many, **case.example.settings)
    assert_close(again, [by_input[json.dumps(item)] for item in many])


def answers_as_inputs_come(case: Case) -> None:
    """`predict_stream` gives what `predict` gives, an input that comes alone is answered before the next one, and what
    is wrong with one is said once those before it are answered."""
    inputs, settings = list(case.example.inputs), case.example.settings
    expected = case.predict(case.model)
    assert_close(list(case.model.predict_stream(iter(inputs), **settings)), expected)
    many = case.model.predict_stream(iter(inputs * 50), **settings)
    assert_close(list(many), expected * 50)

    answered = threading.Semaphore(0)

    def slowly() -> Iterator[Any]:
        for item in inputs:
            yield item
            assert answered.acquire(timeout=PATIENCE), "the next input came before the answer"

    count = 0
    for record, item in zip(case.model.predict_stream(slowly(), **settings), inputs, strict=True):
        assert record["input"] == item
        count += 1
        answered.release()
    assert count == len(inputs)

    with pytest.raises(InputError, match="no option 'no_such_setting'"):
        case.model.predict_stream(slowly(), no_such_setting=1)
    answers = case.model.predict_stream(iter([*inputs, object(), inputs[0]]), **settings)
    assert_close([next(answers) for _ in inputs], expected)
    with pytest.raises(InputError, match="is not an input of"):
        next(answers)

    def broken() -> Iterator[Any]:
        yield from inputs
        raise InputError("standard input", "is broken", "Mend it.")

    answers = case.model.predict_stream(broken(), **settings)
    assert_close([next(answers) for _ in inputs], expected)
    with pytest.raises(InputError, match="is broken"):
        next(answers)


def answers_from_two_threads(case: Case) -> None:
    """A loaded task is immutable: threads that predict at the same time get what one alone gets."""
    expected = case.predict(case.model)
    with ThreadPoolExecutor(4) as threads:
        for records in threads.map(lambda _: case.predict(case.model), range(12)):
            assert records == expected
        streams = threads.map(
            lambda _: list(case.model.predict_stream(case.example.inputs, **case.example.settings)), range(6)
        )
        for records in streams:
            assert_close(records, expected)


# The run


def streams_as_it_predicts(case: Case) -> None:
    """Sessions end with what `predict` says: alone, together, from several threads, and taken up from a saved state."""
    if case.example.parts is None:
        return
    model, settings = case.streaming, case.example.settings
    pairs = [(given, case.example.parts(given)) for given in case.example.inputs]
    inputs, items = zip(*((given, own) for given, own in pairs if own), strict=True)
    alone = [told(model.session(**settings), own) for own in items]
    for events, record in zip(alone, model.predict(list(inputs), **settings), strict=True):
        said = next((one for one in reversed(events) if one["kind"] == "record"), None)
        if said is None:  # of sound, whose texts are final one by one
            said = {"output": " ".join(one["output"] for one in events if one["kind"] == "final")}
        assert said["output"] == record["output"] or not isinstance(said["output"], str)
        for name in said.keys() & record.keys() - {"input", "spans"}:  # a sentence has no places in a text
            assert_close(said[name], record[name])
        json.dumps(events, allow_nan=False)
    assert_close(together(model, settings, items), alone)
    with ThreadPoolExecutor(len(items)) as pool:
        assert list(pool.map(lambda own: told(model.session(**settings), own), items)) == alone
    half = len(items[0]) // 2
    session = model.session(**settings)
    begun = [event for item in items[0][:half] for event in session.feed(item)]
    saved = session.state()
    assert begun + told(model.session(state=saved), items[0][half:]) == alone[0]
    for harmed in (saved[:-1], saved[: len(saved) // 2], b""):
        with pytest.raises(InputError, match=r"^state: ") as caught:
            model.session(state=harmed)
        one_line(caught.value)
    for item in ({"x": object()}, ["a", {}]):
        with pytest.raises(InputError) as caught:
            session.feed(item)
        one_line(caught.value)


def told(session: Session, items: Sequence[Any]) -> list[dict[str, Any]]:
    """All that a session says of an input."""
    events = [event for item in items for event in session.feed(item)]
    return events + list(session.finish())


def together(model: Task, settings: Mapping[str, Any], items: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """As `told`, of several inputs whose sessions are stepped together."""
    sessions = [model.session(**settings) for _ in items]
    events: list[list[Any]] = [[] for _ in items]
    waiting = [list(own) for own in items]
    while any(waiting) or any(session.pending for session in sessions):
        now = [
            own.pop(0) if own and not session.pending else NOTHING
            for session, own in zip(sessions, waiting, strict=True)
        ]
        for own, new in zip(events, model.feed_together(sessions, now), strict=True):
            own += new
    return [own + list(session.finish()) for own, session in zip(events, sessions, strict=True)]


def says_that_it_cannot_stream(case: Case) -> None:
    """A run that needs whole inputs refuses a session, in one line with the fix."""
    cannot = case.example.parts is None or bool(case.example.streaming)
    assert case.model.streams == (not cannot)
    if cannot:
        with pytest.raises(InputError, match=f"^session: this {case.kind.name} ") as caught:
            case.model.session()
        one_line(caught.value)


def loads_to_the_bit(case: Case) -> None:
    """A loaded run, and a saved copy of it, are the model that was trained."""
    case.model.save(case.folder / "saved")
    modes = {path.stat().st_mode for path in case.model.run_.path.rglob("*") if path.is_file()}
    assert len(modes) == 1, "whoever may read one file of a run may read all of them"
    for folder in (case.model.run_.path, case.folder / "saved"):
        loaded = gw.load(folder)
        assert type(loaded) is case.kind
        assert_same_weights(loaded, case.model)
        assert loaded.metrics_ == case.model.metrics_
        assert loaded.options_.model_dump(mode="json") == case.model.options_.model_dump(mode="json")
        assert case.predict(loaded) == case.predict(case.model)
        assert loaded.evaluate(case.example.valid) == case.model.evaluate(case.example.valid)
    with pytest.raises(RunError, match="already there"):
        case.model.save(case.folder / "saved")
    with pytest.raises(RunError, match="no checkpoint to go on from"):
        case.fit(case.folder / "saved", resume=True)
    gw.load(case.folder / "saved")


def loads_what_was_stopped(case: Case) -> None:
    """A run that was stopped predicts and evaluates with the weights of a checkpoint, and it is said."""
    out = case.folder / "stopped"
    killed(
        6,
        functools.partial(case.fit, out, options={"checkpoint_every": 3, "validate_every": 4}),
    )
    with pytest.raises(RunError, match="unfinished"):
        gw.load(out)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        best, last = (gw.load(out, checkpoint=which) for which in ("best", "last"))
    assert re.search(r"is unfinished: they are of step 4 \(loss", said.getvalue())
    assert "is unfinished: they are of step 6." in said.getvalue()
    for model, checkpoint in ((best, "step-000000004-validated"), (last, "step-000000006")):
        stored = RunFolder(out).read_tensors(f"checkpoints/{checkpoint}/model.safetensors")
        assert all(torch.equal(state(model)[name], value) for name, value in stored.items())
        assert model.metrics_ == {}
        assert len(case.predict(model)) == len(case.example.inputs)
        assert model.evaluate(case.example.valid)["model"]["loss"] > 0
    finished = case.model.run_.path
    assert_same_weights(gw.load(finished, checkpoint="best"), case.model)
    assert_same_weights(gw.load(finished, device="auto"), case.model)
    for given in ({"device": "cuda:99"}, {"device": "gpu"}, {"checkpoint": "worst"}):
        with pytest.raises(InputError, match="there is no"):
            gw.load(finished, **given)
    killed(1, functools.partial(case.fit, case.folder / "unbegun"))
    for start in (case.folder / "unbegun" / "checkpoints").iterdir():  # of a task that judges its start
        shutil.rmtree(start)
    with pytest.raises(RunError, match="holds no checkpoint"):
        gw.load(case.folder / "unbegun", checkpoint="best")


def refuses_a_wrong_resume(case: Case) -> None:
    """A finished run is what it was after a resume that is refused, wherever that is found."""
    path = case.copy("whole")
    before = {each.name: each.read_bytes() for each in path.iterdir() if each.is_file()}

    def refused(match: str, out: Path = path, **given: Any) -> None:
        with pytest.raises(InputError, match=match) as caught:
            case.fit(out, resume=True, **given)
        one_line(caught.value)
        assert {each.name: each.read_bytes() for each in path.iterdir() if each.is_file()} == before

    more = {"max_steps": 20}
    refused("cannot go on with", data=list(case.example.rows)[1:], options=more)
    refused("cannot go on with", options=more | {"seed": 5})
    manifests = {each: each.read_text() for each in path.glob("checkpoints/*/state.json")}
    for file, text in manifests.items():  # by another number of processes, and damaged
        file.write_text(text.replace('"world": 1', '"world": 2'))
    refused("2 processes|does not list", options=more)
    for file in manifests:
        file.write_text("{")
    refused(r"state\.json", options=more)
    for file, text in manifests.items():
        file.write_text(text)
    case.model.save(case.folder / "copied-run")
    refused("no checkpoint to go on from", case.folder / "copied-run", options=more)
    assert gw.load(case.folder / "copied-run").metrics_ == case.model.metrics_
    config = json.loads(before["config.json"])
    RunFolder(case.folder / "other").path.mkdir()
    RunFolder(case.folder / "other").write_config(config | {"task": "a-painter"})
    refused(f"is a a-painter, which a {case.kind.name}", case.folder / "other")
    with pytest.raises(InputError, match="resume: names no training"):
        case.fit(resume=True)
    assert case.fit(path, resume=True, options=more).result_.steps == 20


def resumes_to_the_bit(case: Case) -> None:
    """A training that was killed between two steps, and resumed, is the one that was not."""
    steps = case.model.result_.steps
    assert steps >= 8
    often = {"checkpoint_every": 3}
    for killed_at in (1, 8):  # before the first checkpoint, and after some
        out = case.folder / f"killed-{killed_at}"
        killed(killed_at, functools.partial(case.fit, out, options=often))
        with pytest.raises(RunError, match="unfinished"):
            gw.load(out)
        resumed = case.fit(out, options=often, resume=True)
        assert resumed.result_.steps == steps
        assert_same_weights(resumed, case.model)
        assert resumed.metrics_ == case.model.metrics_


def trains_in_bf16(case: Case) -> None:
    """`precision=bf16`, which `auto` is on a GPU, trains another model of about the same figures."""
    model, exact = case.fit(options={"precision": "bf16"}), case.model
    assert {weight.dtype for weight in state(model).values()} == {
        value.dtype for value in state(exact).values()
    }
    loss, expected = (one.metrics_["model"]["loss"] for one in (model, exact))
    assert loss != expected
    assert loss == close_to(expected, table=TRAINED_IN_BF16)
    assert len(case.predict(model)) == len(case.example.inputs)


def keeps_the_best_of_several(case: Case) -> None:
    """`restarts=2` trains two seeds, also across a kill, and keeps the better one on the validation data."""
    out, several = case.folder / "restarted", {"restarts": 2, "seed": 3}
    steps = case.model.result_.steps
    killed(
        steps + 4,
        functools.partial(case.fit, out, options=several | {"checkpoint_every": 3}),
    )
    with pytest.raises(RunError, match="unfinished"):
        gw.load(out)
    kept = case.fit(out, resume=True, options={"checkpoint_every": 3})
    alone = [case.fit(options={"seed": seed}) for seed in (3, 4)]
    figures = [one.metrics_["model"][case.kind.headline.name] for one in alone]
    assert kept.metrics_["restarts"] == {"3": figures[0], "4": figures[1]}
    sign = 1 if case.kind.headline.higher else -1
    ranks = [
        (sign * figure, -one.metrics_["model"]["loss"]) for figure, one in zip(figures, alone, strict=True)
    ]
    best = alone[ranks.index(max(ranks))]
    for model in (kept, gw.load(out)):
        assert_same_weights(model, best)
        assert case.predict(model) == case.predict(best)
        assert model.evaluate(case.example.valid)["model"] == best.metrics_["model"]
        assert model.options_.restarts == 2
    before = (out / "COMPLETE").read_bytes()
    for given in ({"restarts": 3}, {"seed": 4}):
        with pytest.raises(RunError, match="was begun with") as caught:
            case.fit(out, resume=True, options=given)
        one_line(caught.value)
    assert (out / "COMPLETE").read_bytes() == before
    kept.save(case.folder / "saved-best")
    assert case.predict(gw.load(case.folder / "saved-best")) == case.predict(best)
    begun = RunFolder(case.folder / "just-begun")
    begun.path.mkdir()
    begun.write_config({"task": case.kind.name, "options": several | {"max_steps": 1}})
    resumed = case.fit(begun.path, resume=True, options={"max_steps": 1})
    assert resumed.metrics_["restarts"].keys() == {"3", "4"}
    with pytest.raises(InputError):
        case.fit(case.folder / "refused-twice", case.folder / "absent.jsonl", options=several)
    assert not (case.folder / "refused-twice").exists()


def follows_the_datas_size(case: Case) -> None:
    """What is not given is chosen by the data's size and recorded; a run that goes on has the same."""
    auto = options_with(case.kind.Options, auto=True)
    options = {name: value for name, value in case.example.options.items() if name not in auto}
    small = case.kind(**options).fit(case.example.rows, valid=case.example.valid, out=case.folder / "sized")
    assert small.options_.step_tokens < case.kind.Options().step_tokens
    assert small.options_.learning_rate > case.kind.Options().learning_rate
    config = json.loads((small.run_.path / "config.json").read_text())
    assert all(config["options"][name] == getattr(small.options_, name) for name in auto)
    begun = case.folder / "begun"  # killed before its data was read
    begun.mkdir()
    open_options = config["options"] | dict.fromkeys(auto, "auto")
    (begun / "config.json").write_text(json.dumps({**config, "options": open_options, "data": {}}))
    again = case.kind().fit(case.example.rows, valid=case.example.valid, out=begun, resume=True)
    assert json.loads((begun / "config.json").read_text())["options"] == config["options"]
    assert_same_weights(again, small)


def is_trained_by_one_at_a_time(case: Case) -> None:
    """A run that is being trained is refused to others, whole as it was; a finished one is read meanwhile."""
    run = RunFolder(case.copy("busy"))
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    with run.locked():
        for given in ({"resume": True}, {}):
            with pytest.raises(RunError, match="is being trained by process") as caught:
                case.fit(out=run.path, **given)
            one_line(caught.value)
        assert case.predict(gw.load(run.path)) == case.predict(case.model)
    assert before == {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def calls_back(case: Case) -> None:
    """Callbacks hear the training's records and its end, and one that asks ends it as a whole run."""
    heard: list[Mapping[str, Any]] = []

    def stop(record: Mapping[str, Any]) -> bool:
        heard.append(record)
        return record["step"] >= 4

    model = case.fit(case.folder / "called", options={"record_every": 2}, callbacks=[stop])
    assert (model.result_.stopped, model.result_.steps) == ("callback", 4)
    assert heard[:-1] == model.result_.history
    after = [record["kind"] for record in heard if record["step"]]  # a start that is judged is no step
    assert after == ["train", "train", "validation", "end"]
    assert case.predict(gw.load(model.run_.path)) == case.predict(model)


def starts_from_a_run(case: Case) -> None:
    """`from_run` takes the other run's weights and the options that belong to them."""
    name, other = case.example.inherited
    options = {key: value for key, value in case.example.options.items() if key != name}
    still = {"max_steps": 1, "learning_rate": 1e-12}
    parent = case.model.run_.path
    child = case.kind(**options | still).fit(case.example.rows, valid=case.example.valid, from_run=parent)
    assert getattr(child.options_, name) == getattr(case.model.options_, name) != other
    for key, value in case.model.network_.state_dict().items():
        torch.testing.assert_close(child.network_.state_dict()[key], value)
    assert_close(child.evaluate(case.example.valid), case.model.metrics_)
    own = {"checkpoint_every": 3, "device": "cpu"}
    whole = case.fit(options=own, from_run=parent)
    unfinished = (
        case.folder / "killed-child"
    )  # before its first checkpoint: the parent's weights are not lost
    killed(1, functools.partial(case.fit, unfinished, options=own, from_run=parent))
    assert_same_weights(case.fit(unfinished, options=own, resume=True), whole)
    out = case.folder / "contradiction"
    with pytest.raises(InputError, match=name):
        case.kind(**{name: other}).fit(case.example.rows, from_run=parent, out=out)
    assert not out.exists()


def answers_as_an_ensemble(case: Case) -> None:
    """Runs that differ in their seeds answer together: by the mean of their probabilities, with a run's life."""
    rows, settings, valid = case.example.rows, case.example.settings, case.example.valid
    one, other = (case.kind(**case.example.options | {"seed": seed}).fit(rows) for seed in (3, 4))
    twice = case.model.ensemble(case.model)
    assert_close(case.predict(twice), case.predict(case.model))
    assert_close(twice.evaluate(valid), case.model.metrics_)

    joint = one.ensemble(other)
    figures, parts = joint.evaluate(valid), [each.evaluate(valid) for each in (one, other)]
    assert figures["model"] != parts[0]["model"]
    # -log of a mean is at most the mean of the -logs.
    assert figures["model"]["loss"] < sum(part["model"]["loss"] for part in parts) / 2
    assert figures["baselines"] == parts[0]["baselines"]
    records = case.predict(joint)
    assert_close(list(joint.predict_stream(iter(case.example.inputs), **settings)), records)
    joint.save(case.folder / "ensemble")
    loaded = gw.load(case.folder / "ensemble")
    assert type(loaded) is case.kind
    assert case.predict(loaded) == records == case.predict(gw.load(one.run_.path, other.run_.path))
    assert loaded.evaluate(valid) == figures
    assert len(loaded.ensemble(one).members_) == 3
    loaded.save(case.folder / "copied")
    assert case.predict(gw.load(case.folder / "copied")) == records

    with pytest.raises(InputError, match="is an ensemble"):
        joint.fit(rows)
    with pytest.raises(RunError, match="is an ensemble"):
        case.fit(from_run=case.folder / "ensemble")
    with pytest.raises(RunError, match="is an ensemble"):
        case.fit(case.folder / "ensemble", resume=True)
    few = case.kind(**case.example.options).fit(rows[:4])
    with pytest.raises(InputError, match=r"the \w+\.json of .* differ"):
        one.ensemble(few)
    with pytest.raises(InputError, match="not trained"):
        one.ensemble(case.kind())
    with pytest.raises(InputError, match=rf"^ensemble: one is 3, not a {case.kind.name}\."):
        one.ensemble(3)
    (case.folder / "ensemble/1/config.json").write_text("{}")
    with pytest.raises(RunError, match=r"1/config\.json"):
        gw.load(case.folder / "ensemble")


def is_looked_into(case: Case) -> None:
    """A report of an input has the answer that `predict` gives, what every layer did, and why; nothing is changed."""
    before, settings = state(case.model), case.example.settings
    page = case.folder / "report.html"
    found = case.model.inspect(case.example.inputs[0], page, **settings)
    assert found.record == case.model.predict([case.example.inputs[0]], **settings)[0]
    assert found.record["input"] == case.example.inputs[0]
    for part in found.parts.values():
        for values in part.values.values():
            assert len(values) == len(part.labels) > 0
    assert found.reasons
    assert all(math.isfinite(reason.value) for reason in found.reasons)
    assert found.flow is not None
    assert f'"title":{json.dumps(found.title, ensure_ascii=False)}' in page.read_text("utf-8")
    assert {part["name"] for part in found.data()["parts"]} == set(found.parts)
    assert all(torch.equal(value, before[name]) for name, value in state(case.model).items())
    assert not any(value.grad is not None for value in case.model.network_.parameters())
    joint = case.model.ensemble(case.model)
    assert set(joint.inspect(case.example.inputs[0], **settings).parts) == set(found.parts)
    with pytest.raises(InputError, match="is not an input of"):
        case.model.inspect(3.5)


def refuses_a_strangers_files(case: Case) -> None:
    """A JSON file of a run that is damaged anywhere, hashes made anew: `RunError` in one line, or it still predicts."""
    folder = case.copy("stranger")
    shutil.rmtree(folder / "checkpoints")
    outcomes = []
    for file in sorted(folder.iterdir()):
        if file.suffix not in (".json", ".jsonl") and file.name != "COMPLETE":
            continue
        content = file.read_text()
        text = content.splitlines()[0] if file.suffix == ".jsonl" else content
        for other in damaged(text, seed=f"{case.kind.name}: {file.name}"):
            file.write_text(other + "\n")
            if file.name != "COMPLETE":
                RunFolder(folder).complete()
            outcomes.append(is_refused(f"{file.name} holding {other}", functools.partial(use, case, folder)))
        file.write_text(content)
        RunFolder(folder).complete()
    assert min(outcomes.count(True), outcomes.count(False)) > 10


def refuses_a_damaged_checkpoint(case: Case) -> None:
    """A run whose checkpoint is damaged anywhere is resumed, or refused by a `RunError` in one line."""
    folder = case.copy("checkpoint")
    newest = max(folder.glob("checkpoints/*/state.json")).relative_to(folder)
    for older in {*(folder / "checkpoints").iterdir()} - {folder / newest.parent}:
        shutil.rmtree(older)
    text, steps = (folder / newest).read_text(), case.model.result_.steps
    outcomes = []
    for number, other in enumerate(damaged(text, seed=case.kind.name)):
        run = case.folder / f"resumed-{number}"
        shutil.copytree(folder, run)
        (run / newest).write_text(other)
        resume = functools.partial(
            case.kind(max_steps=steps + 1).fit,
            case.example.rows,
            valid=case.example.valid,
            out=run,
            resume=True,
        )
        outcomes.append(is_refused(f"a checkpoint holding {other}", resume))
        shutil.rmtree(run)
    assert outcomes.count(True) > 5


# What the checks share


def killed(step: int, train: Callable[[], object]) -> None:
    """Train in a process that dies, as by `kill -9`, before the optimiser's step of this number (from 0)."""
    child = os.fork()
    if child == 0:
        left = iter(range(step))

        def die(*arguments: Any) -> None:
            if next(left, None) is None:
                os._exit(KILLED)

        register_optimizer_step_pre_hook(die)
        try:
            train()
        finally:
            os._exit(0)  # neither pytest's end nor that of the threads which the parent has
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == KILLED


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def use(case: Case, folder: Path) -> None:
    """Do with a run what its user does."""
    loaded = gw.load(folder)
    case.predict(loaded)
    loaded.evaluate(case.example.valid)


def is_refused(what: str, act: Callable[[], object]) -> bool:
    """Whether a `RunError` in one line is raised; anything else that is raised is a fault."""
    try:
        act()
    except RunError as error:
        one_line(error)
        return True
    except Exception as error:
        raise AssertionError(f"{what:.2000}: {type(error).__name__}: {error}") from error
    return False


def one_line(error: InputError) -> None:
    """The error says where, what and how to mend it, in one line."""
    assert "\n" not in str(error)
    assert error.where
    assert error.what
    assert error.fix


def assert_same_weights(one: Task, other: Task) -> None:
    """Equal, to the bit."""
    weights, expected = state(one), state(other)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name


def state(model: Task) -> dict[str, Tensor]:
    return dict(model.network_.state_dict())  # type: ignore[attr-defined]


def assert_close(value: Any, expected: Any) -> None:
    """Equal, numbers within the tolerance."""
    if value == expected:
        return  # a sound's many numbers at once
    if isinstance(expected, Mapping):
        assert value.keys() == expected.keys()
        for name in expected:
            assert_close(value[name], expected[name])
    elif isinstance(expected, list):
        assert len(value) == len(expected)
        for one, other in zip(value, expected, strict=True):
            assert_close(one, other)
    else:
        assert value == (close_to(expected, table=PREDICTIONS) if type(expected) is float else expected)


CHECKS: tuple[Callable[[Case], None], ...] = (
    declares,
    reads_every_form,
    holds_back,
    refuses_bad_data,
    asks_for_packages_first,
    gives_figures,
    predicts_by_schema,
    answers_from_elsewhere,
    predicts_from_tables,
    predicts_alike_alone_and_together,
    answers_as_inputs_come,
    answers_from_two_threads,
    streams_as_it_predicts,
    says_that_it_cannot_stream,
    loads_to_the_bit,
    is_looked_into,
    loads_what_was_stopped,
    refuses_a_wrong_resume,
    resumes_to_the_bit,
    trains_in_bf16,
    keeps_the_best_of_several,
    follows_the_datas_size,
    is_trained_by_one_at_a_time,
    calls_back,
    starts_from_a_run,
    answers_as_an_ensemble,
    refuses_a_strangers_files,
    refuses_a_damaged_checkpoint,
)
