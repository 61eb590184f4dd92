"""The contract over every registered task; each check is shown a fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gatework import tasks
from gatework.errors import InputError, RunError
from gatework.tasks.base import Task
from gatework.training import RunFolder
from tests.contracts import task_contract
from tests.contracts.damage import damaged
from tests.contracts.task_contract import (
    CHECKS,
    Case,
    answers_as_an_ensemble,
    answers_as_inputs_come,
    answers_from_elsewhere,
    answers_from_two_threads,
    asks_for_packages_first,
    calls_back,
    declares,
    follows_the_datas_size,
    gives_figures,
    holds_back,
    is_looked_into,
    is_trained_by_one_at_a_time,
    keeps_the_best_of_several,
    loads_to_the_bit,
    loads_what_was_stopped,
    predicts_alike_alone_and_together,
    predicts_by_schema,
    predicts_from_tables,
    reads_every_form,
    refuses_a_damaged_checkpoint,
    refuses_a_strangers_files,
    refuses_a_wrong_resume,
    refuses_bad_data,
    resumes_to_the_bit,
    says_that_it_cannot_stream,
    starts_from_a_run,
    streams_as_it_predicts,
    trains_in_bf16,
)
from tests.contracts.task_examples import EXAMPLES


class Cases(dict[str, Case]):
    """A case for each task, made when it is asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders

    def __missing__(self, name: str) -> Case:
        self[name] = case = Case.of(tasks.get(name), EXAMPLES[name], self._folders.mktemp(name))
        return case


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return Cases(tmp_path_factory)


def test_every_task_has_its_example() -> None:
    assert set(EXAMPLES) == set(tasks.names())


def test_damage_is_damage() -> None:
    text = '{"a": [1, {"b": "c"}], "d": 2.5}'
    texts = [other for seed in "abc" for other in damaged(text, seed)]
    assert len(set(texts)) > 35
    assert len(set(texts)) > len(set(damaged(text, "a"))) > 15
    assert any("NaN" in text for text in texts)
    assert any(text.startswith("{") and '"d"' not in text for text in texts)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", tasks.names())
def test_a_registered_task_keeps_the_contract(
    name: str, check: Callable[[Case], None], cases: dict[str, Case]
) -> None:
    check(cases[name])


# Each check, shown a fault. A fault is a method of the task that does a little else than it should.


def declares_no_schema(method: Callable[..., Any]) -> Callable[..., Any]:
    return classmethod(lambda cls: {"properties": {"output": {}}})  # type: ignore[return-value]


def ignores_columns(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *data, columns=None, **given: method(self, *data, **given)


def validates_on_its_training_data(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, data, *, valid=None, **given: method(self, data, valid=valid or data, **given)


def complains_in_two_lines(method: Callable[..., Any]) -> Callable[..., Any]:
    def fit(self: Task, *data: Any, **given: Any) -> Task:
        try:
            return method(self, *data, **given)
        except InputError as error:
            raise InputError(error.where, f"{error.what}\n", error.fix) from error

    return fit


def has_no_baseline(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *data, **given: {**method(self, *data, **given), "baseline": {"loss": 0.0}}


def forgets_its_input(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *inputs, **given: [
        {**record, "input": ""} for record in method(self, *inputs, **given)
    ]


def looks_at_the_neighbours(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *inputs, **given: [
        {**record, "score": record["score"] + 0.01 * index}
        for index, record in enumerate(method(self, *inputs, **given))
    ]


def shares_a_state(method: Callable[..., Any]) -> Callable[..., Any]:
    callers: list[int] = []

    def predict(self: Task, *inputs: Any, **given: Any) -> list[dict[str, Any]]:
        callers.append(1)
        time.sleep(0.02)
        records: list[dict[str, Any]] = method(self, *inputs, **given)
        shift = len(callers) - 1
        callers.pop()
        return [{**record, "score": record["score"] + shift} for record in records]

    return predict


def changes_what_it_looks_at(method: Callable[..., Any]) -> Callable[..., Any]:
    def subject(self: Task, *given: Any) -> Any:
        with torch.no_grad():
            next(self.network_.parameters()).mul_(1.01)
        return method(self, *given)

    return subject


def mixes_up_its_sessions(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, sessions, items: method(self, sessions, items)[::-1]


def promises_a_session(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: None


def loses_a_weight(method: Callable[..., Any]) -> Callable[..., Any]:
    def save(self: Task, folder: Any) -> None:
        method(self, folder)
        run = RunFolder(folder)
        tensors = run.read_tensors("model.safetensors")
        run.write_tensors("model.safetensors", {name: value * 1.001 for name, value in tensors.items()})
        run.complete()

    return save


def takes_the_end_for_a_checkpoint(method: Callable[..., Any]) -> Callable[..., Any]:
    return classmethod(lambda cls, run, weights="": method(run))  # type: ignore[return-value]


def resumes_without_a_look(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, run: None


def resumes_with_other_noise(method: Callable[..., Any]) -> Callable[..., Any]:
    def fit(self: Task, *data: Any, resume: bool = False, **given: Any) -> Task:
        model: Task = method(self, *data, resume=resume, **given)
        if resume:
            weight = next(iter(model.network_.parameters()))  # type: ignore[attr-defined]
            weight.data += 1e-6
        return model

    return fit


def rounds_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    def fit(self: Task, *data: Any, **given: Any) -> Task:
        self.options = self.options.model_copy(update={"precision": "float32"})
        return method(self, *data, **given)

    return fit


def keeps_the_first(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, trained: -trained.options_.seed


def always_counts_many(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: 10**9


def starts_from_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *data, from_run=None, **given: method(self, *data, **given)


def begins_before_it_looks(method: Callable[..., Any]) -> Callable[..., Any]:
    def fit(self: Task, *data: Any, out: Any = None, **given: Any) -> Task:
        (out / "COMPLETE").unlink(missing_ok=True)
        return method(self, *data, out=out, **given)

    return fit


def asks_for_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: None


def calls_nobody(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *data, callbacks=(), **given: method(self, *data, **given)


def is_the_first_alone(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, networks: networks[0]


def waits_for_all(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, inputs, **given: method(self, list(inputs), **given)


def takes_anything(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda item: item


def trusts_a_stranger(method: Callable[..., Any]) -> Callable[..., Any]:
    def predict(self: Task, *inputs: Any, **given: Any) -> Any:
        if self.run_.path.name == "stranger":
            raise KeyError("options")
        return method(self, *inputs, **given)

    return predict


def trusts_a_checkpoint(method: Callable[..., Any]) -> Callable[..., Any]:
    def fit(self: Task, *data: Any, **given: Any) -> Task:
        try:
            return method(self, *data, **given)
        except RunError as error:
            raise KeyError("step") from error

    return fit


FAULTS = {
    declares: ("output_schema", declares_no_schema),
    reads_every_form: ("fit", ignores_columns),
    holds_back: ("fit", validates_on_its_training_data),
    refuses_bad_data: ("fit", complains_in_two_lines),
    gives_figures: ("evaluate", has_no_baseline),
    predicts_by_schema: ("predict", forgets_its_input),
    answers_from_elsewhere: ("read_sent", takes_anything),
    predicts_from_tables: ("predict", ignores_columns),
    predicts_alike_alone_and_together: ("predict", looks_at_the_neighbours),
    answers_from_two_threads: ("predict", shares_a_state),
    streams_as_it_predicts: ("feed_together", mixes_up_its_sessions),
    says_that_it_cannot_stream: ("_needs_whole_inputs", promises_a_session),
    loads_to_the_bit: ("save", loses_a_weight),
    is_looked_into: ("_subject", changes_what_it_looks_at),
    loads_what_was_stopped: ("restore", takes_the_end_for_a_checkpoint),
    refuses_a_wrong_resume: ("_whole_run", resumes_without_a_look),
    resumes_to_the_bit: ("fit", resumes_with_other_noise),
    trains_in_bf16: ("fit", rounds_nothing),
    keeps_the_best_of_several: ("_merit", keeps_the_first),
    follows_the_datas_size: ("_training_tokens", always_counts_many),
    is_trained_by_one_at_a_time: ("fit", begins_before_it_looks),
    asks_for_packages_first: ("_check_packages", asks_for_nothing),
    calls_back: ("fit", calls_nobody),
    starts_from_a_run: ("fit", starts_from_nothing),
    answers_as_an_ensemble: ("_joined", is_the_first_alone),
    answers_as_inputs_come: ("predict_stream", waits_for_all),
    refuses_a_strangers_files: ("predict", trusts_a_stranger),
    refuses_a_damaged_checkpoint: ("fit", trusts_a_checkpoint),
}


def test_every_check_is_shown_a_fault() -> None:
    assert set(FAULTS) == set(CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_fault_is_found(
    check: Callable[[Case], None], cases: dict[str, Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cases["language-model" if check is streams_as_it_predicts else "translator"]
    case = Case(whole.kind, whole.example, tmp_path)
    case.__dict__["model"] = whole.model  # trained before the fault
    name, fault = FAULTS[check]
    monkeypatch.setattr(case.kind, name, fault(getattr(case.kind, name)))
    monkeypatch.setattr(task_contract, "PATIENCE", 0.5)  # seconds that a faulty answer is waited for
    with pytest.raises((AssertionError, InputError, pytest.fail.Exception)):
        check(case)
