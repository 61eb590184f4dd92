"""A training that goes on is the one that was begun: the same data, and the same weights to start from."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gatework import tasks
from gatework.data import TokenStream
from gatework.errors import InputError, RunError
from gatework.tasks.base import Task
from gatework.training import RunFolder
from tests.contracts.task_contract import killed, write_rows
from tests.contracts.task_examples import EXAMPLES

NAMES = tasks.names()
# Series, one stream of tokens, frames with an aligner that is trained first, and examples: where a rule is the same for
# all tasks but for how they keep their data, these four stand for it.
KINDS = ("forecaster", "language-model", "synthesizer", "translator")


def fit(name: str, out: Path, data: Any = None, valid: Any = None, **given: Any) -> Task:
    some = EXAMPLES[name]
    options = {**some.options, **given.pop("options", {})}
    return tasks.get(name)(**options).fit(
        some.rows if data is None else data, valid=some.valid if valid is None else valid, out=out, **given
    )


def state(model: Any) -> dict[str, torch.Tensor]:
    return dict(model.network_.state_dict())


def assert_same(one: Any, other: Any) -> None:
    for name, value in state(other).items():
        assert torch.equal(state(one)[name], value), name


def other_rows(rows: Sequence[Any]) -> list[Any]:
    """The same rows but for the last one, in words that are in the others."""
    named = {name: rows[-1][name] for name in rows[0].keys() & {"series"}}  # no series is there twice
    last = {**rows[0], **named}
    assert last != rows[-1]
    return [*rows[:-1], last]


def names_a_file(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_file()


@pytest.mark.parametrize(
    ("part", "name"), [*(("training", name) for name in NAMES), *(("validation", name) for name in KINDS)]
)
def test_other_data_is_refused_and_both_are_named(
    name: str, part: str, finished: Callable[[str], Path], tmp_path: Path
) -> None:
    some = EXAMPLES[name]
    rows, valid = write_rows(tmp_path / "a.jsonl", some.rows), write_rows(tmp_path / "b.jsonl", some.valid)
    out = tmp_path / "run"
    killed(8, functools.partial(fit, name, out, rows, valid, options={"checkpoint_every": 3}))
    content = other_rows(some.rows if part == "training" else some.valid)
    other = write_rows(tmp_path / "other.jsonl", content)
    given = (other, valid) if part == "training" else (rows, other)
    begun = "a" if part == "training" else "b"
    message = rf"begun with the {part} data .*{begun}\.jsonl, and cannot go on with .*other\.jsonl, which"
    for _ in range(2):  # the first refusal leaves nothing of the other data behind
        with pytest.raises(RunError, match=message):
            fit(name, out, *given, resume=True)
    # Touched or moved, it is the same data; and the training is the one that was never stopped.
    moved = write_rows(tmp_path / "moved.jsonl", some.rows)
    resumed = fit(name, out, moved, valid, options={"checkpoint_every": 3}, resume=True)
    assert_same(resumed, tasks.load(finished(name)))


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_changed_is_refused(name: str, tmp_path: Path) -> None:
    some = EXAMPLES[name]
    rows = write_rows(tmp_path / "a.jsonl", some.rows)
    killed(8, functools.partial(fit, name, tmp_path / "run", rows, options={"checkpoint_every": 3}))
    write_rows(rows, other_rows(some.rows))
    with pytest.raises(
        RunError, match=r"begun with the training data .*a\.jsonl, .* with .*a\.jsonl as it is now"
    ):
        fit(name, tmp_path / "run", rows, resume=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_goes_on_with_its_own_data_only(name: str, tmp_path: Path) -> None:
    some = EXAMPLES[name]
    model = fit(name, tmp_path / "run")
    longer = {"max_steps": 12}
    with pytest.raises(RunError, match=r"a list of \d+ rows, and cannot go on with a list of \d+ rows"):
        fit(name, tmp_path / "run", other_rows(some.rows), options=longer, resume=True)
    assert_same(tasks.load(tmp_path / "run"), model)  # still whole
    assert fit(name, tmp_path / "run", options=longer, resume=True).result_.steps == 12


@pytest.mark.parametrize("name", NAMES)
def test_a_start_that_failed_leaves_nothing_of_its_data(
    name: str, finished: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its data was read; resumed with a wrong file, which fails; resumed with the right one."""
    config = json.loads((finished(name) / "config.json").read_text())
    del config["data"]  # written once the data is read
    run = RunFolder.create(tmp_path / "run")
    run.write_config(config)

    def fail(*arguments: Any, **given: Any) -> None:
        raise InputError("disk", "is full", "Free some space.")

    texts = [key for key, value in EXAMPLES[name].rows[0].items() if not names_a_file(value)]
    column = "question" if "question" in texts else texts[0]  # an answer must stand in its passage
    wrong = [
        {
            **row,
            column: ["x"] * len(row[column])
            if isinstance(row[column], list)
            else f"{row[column]} x y z {number}",
        }
        for number, row in enumerate(EXAMPLES[name].rows)
    ]
    with monkeypatch.context() as patch:
        patch.setattr("gatework.tasks.lifecycle.train", fail)
        with pytest.raises(InputError, match="is full"):
            fit(name, run.path, wrong, resume=True)
    assert_same(fit(name, run.path, resume=True), tasks.load(finished(name)))


@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_an_earlier_version_began_goes_on(
    name: str, finished: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its config.json and its tokens have no digests."""
    killed(8, functools.partial(fit, name, tmp_path / "run", options={"checkpoint_every": 3}))
    path = tmp_path / "run/config.json"
    config = json.loads(path.read_text())
    del config["data"]
    path.write_text(json.dumps(config))
    for file in (tmp_path / "run").glob("tokens/*"):
        header, rest = file.read_bytes()[:512], file.read_bytes()[512:]
        fields = {key: value for key, value in json.loads(header).items() if key != "sha256"}
        file.write_bytes(json.dumps(fields).encode().ljust(511) + b"\n" + rest)
        assert TokenStream.open(file).sha256 is None
    resumed = fit(name, tmp_path / "run", options={"checkpoint_every": 3}, resume=True)
    assert_same(resumed, tasks.load(finished(name)))


# -- the run that another one starts from


@pytest.fixture(scope="module")
def grown(finished: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Task]:
    """`grown(name)` was trained from the weights of `finished(name)`, without a stop."""

    @functools.cache
    def run(name: str) -> Task:
        return fit(name, tmp_path_factory.mktemp("grown") / name, from_run=finished(name))

    return run


@pytest.mark.parametrize(
    ("named_again", "name"), [*((True, name) for name in NAMES), *((False, name) for name in KINDS)]
)
def test_killed_before_its_first_checkpoint_it_starts_from_the_parent_again(
    name: str,
    named_again: bool,
    finished: Callable[[str], Path],
    grown: Callable[[str], Task],
    tmp_path: Path,
) -> None:
    parent, straight = finished(name), grown(name)
    killed(1, functools.partial(fit, name, tmp_path / "run", from_run=parent))
    again = {"from_run": parent} if named_again else {}
    resumed = fit(name, tmp_path / "run", resume=True, **again)
    assert_same(resumed, straight)
    assert resumed.metrics_ == straight.metrics_
    assert resumed.options_.model_dump() == straight.options_.model_dump()


@pytest.mark.parametrize("name", KINDS)
def test_a_parent_that_is_gone_or_another_is_an_error(
    name: str, finished: Callable[[str], Path], grown: Callable[[str], Task], tmp_path: Path
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(finished(name), parent)
    killed(1, functools.partial(fit, name, tmp_path / "run", from_run=parent))
    if any((tmp_path / "run").glob("checkpoints/*-validated")):  # its start was a candidate, and is kept
        shutil.rmtree(parent)
        resumed = fit(name, tmp_path / "run", resume=True)
        assert_same(resumed, grown(name))
        return
    other = tmp_path / "other"
    fit(name, other, options={"seed": 3})
    with pytest.raises(
        RunError, match=r"no checkpoint of its own yet, and .*other does not hold the weights"
    ):
        fit(name, tmp_path / "run", resume=True, from_run=other)
    shutil.rmtree(parent)
    with pytest.raises(RunError, match=r"no checkpoint of its own yet, and .*parent is not there"):
        fit(name, tmp_path / "run", resume=True)
    # A copy elsewhere serves as well.
    resumed = fit(name, tmp_path / "run", resume=True, from_run=finished(name))
    assert_same(resumed, grown(name))


@pytest.mark.parametrize("name", KINDS)
def test_with_a_checkpoint_the_parent_is_not_needed(
    name: str, finished: Callable[[str], Path], grown: Callable[[str], Task], tmp_path: Path
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(finished(name), parent)
    often = {"checkpoint_every": 3}
    killed(8, functools.partial(fit, name, tmp_path / "run", from_run=parent, options=often))
    shutil.rmtree(parent)
    resumed = fit(name, tmp_path / "run", resume=True, options=often)
    assert_same(resumed, grown(name))


def test_a_run_of_its_own_does_not_go_on_from_another(
    finished: Callable[[str], Path], tmp_path: Path
) -> None:
    killed(1, functools.partial(fit, "translator", tmp_path / "run"))
    with pytest.raises(RunError, match="did not start from another run"):
        fit("translator", tmp_path / "run", resume=True, from_run=finished("translator"))


def test_a_diverged_training_may_go_on_more_carefully(tmp_path: Path) -> None:
    """As DivergedError advises: with a lower learning rate or clip_norm, but not as another model."""
    often = {"checkpoint_every": 3}
    killed(8, functools.partial(fit, "translator", tmp_path / "run", options=often))
    with pytest.raises(RunError, match="was begun with dropout="):
        fit("translator", tmp_path / "run", options={**often, "dropout": 0.5}, resume=True)
    careful = {**often, "learning_rate": 1e-4, "clip_norm": 0.5}
    model = fit("translator", tmp_path / "run", options=careful, resume=True)
    assert (model.options_.learning_rate, model.options_.clip_norm) == (1e-4, 0.5)
    assert model.result_.steps == 10


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("given_first", [True, False])
def test_validation_data_neither_comes_nor_goes(name: str, given_first: bool, tmp_path: Path) -> None:
    """What was held back stays held back, also where a finished epoch lets no other number of batches show."""
    some = EXAMPLES[name]
    valid = [some.valid, None] if given_first else [None, some.valid]
    options = {**some.options, "max_steps": None, "epochs": 1}
    model = tasks.get(name)(**options).fit(some.rows, valid=valid[0], out=tmp_path / "run")
    longer = tasks.get(name)(**{**options, "epochs": 2})
    with pytest.raises(
        RunError,
        match="was begun with the validation data .*, and none was given now"
        if given_first
        else "was begun without validation",
    ):
        longer.fit(some.rows, valid=valid[1], out=tmp_path / "run", resume=True)
    assert_same(tasks.load(tmp_path / "run"), model)  # still whole
    longer.fit(some.rows, valid=valid[0], out=tmp_path / "run", resume=True)


def test_what_an_earlier_version_held_back_by_its_seed_stays_held_back(tmp_path: Path) -> None:
    """The split has a seed of its own; before, it was the run's."""
    some = EXAMPLES["translator"]
    options = some.options | {"seed": 3, "checkpoint_every": 3}

    def fit_on(out: str, **given: Any) -> Task:
        return tasks.get("translator")(**options | given.pop("more", {})).fit(
            some.rows, out=tmp_path / out, **given
        )

    whole = fit_on("whole", more={"split_seed": 3})
    killed(8, functools.partial(fit_on, "run", more={"split_seed": 3}))
    run = RunFolder(tmp_path / "run")
    config = run.read_config()
    del config.options["split_seed"]
    run.write_config(config)
    assert_same(fit_on("run", resume=True), whole)
    assert fit_on("other").metrics_["examples"] == whole.metrics_["examples"]


def test_a_training_that_has_nothing_left_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("translator", tmp_path / "run")
    assert fit("translator", tmp_path / "run", resume=True).result_.steps == 10
    assert "nothing is left to train: max_steps=10 is done. Give more" in capsys.readouterr().err
