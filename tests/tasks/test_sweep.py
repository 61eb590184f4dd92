"""Sweeps: what is searched, several processes on one folder of which one is killed, and what may not be mixed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import gatework as gw
from gatework.errors import InputError, RunError
from gatework.tasks.search_space import Choices, Range, default_search, read_space
from gatework.tasks.sweeping import JOURNAL, PICTURE, TABLE, Sweep
from gatework.training import RunFolder
from tests.contracts.task_examples import EXAMPLES

pytest.importorskip("optuna")

CLASSIFIER = gw.tasks.get("classifier")
EXAMPLE = EXAMPLES["classifier"]
OPTIONS = {name: value for name, value in EXAMPLE.options.items() if name != "learning_rate"}
OPTIONS |= {"max_steps": 6, "validate_every": 2, "rivals": False}
SEARCH = {"learning_rate": "0.001..0.1", "cell": ["gru", "min_gru"]}


def swept(folder: Path, trials: int = 3, **given: Any) -> list[Any]:
    given = {"search": SEARCH, "options": OPTIONS, "valid": EXAMPLE.valid, **given}
    return gw.sweep("classifier", EXAMPLE.rows, out=folder, trials=trials, **given)


class TestSearch:
    def test_ranges_and_choices_have_the_types_of_their_options(self) -> None:
        search = {
            "learning_rate": "0.001..0.01",
            "hidden_size": "8..64",
            "dropout": "0..0.5",
            "cell": "gru,lstm",
            "num_layers": "1,2",
            "warmup": ["none", 0.1],
        }
        space = read_space(CLASSIFIER.Options, search, {})
        assert space["learning_rate"] == Range(0.001, 0.01, whole=False)
        assert space["hidden_size"] == Range(8, 64, whole=True)
        assert [space[name].log for name in ("learning_rate", "hidden_size", "dropout")] == [
            True,
            False,
            False,
        ]
        assert space["cell"] == Choices(("gru", "lstm"))
        assert space["num_layers"] == Choices((1, 2))
        assert space["warmup"] == Choices((None, 0.1))

    @pytest.mark.parametrize(
        ("search", "message"),
        [
            ({"learning_rat": "0.1..0.2"}, "Did you mean 'learning_rate'"),
            ({"learning_rate": "0.2..0.1"}, "no range"),
            ({"learning_rate": "0.1"}, "nothing to choose"),
            ({"learning_rate": "0.1,0.1"}, "nothing to choose"),
            ({"learning_rate": "-1..0.1"}, "greater than 0"),
            ({"hidden_size": "4.5..9"}, "hidden_size"),
            ({"hidden_size": "many..more"}, "hidden_size"),
            ({"select_by": "loss,accuracy"}, "compared by one figure"),
            ({"restarts": "1..3"}, "one training"),
            ({"max_steps": "1..3"}, "already"),
            ({}, "nothing to search"),
        ],
    )
    def test_what_cannot_be_searched_is_refused(self, search: dict[str, str], message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_space(CLASSIFIER.Options, search, {"max_steps": 6})

    def test_the_default_is_what_the_task_has(self) -> None:
        assert list(default_search(CLASSIFIER.Options, {})) == ["learning_rate", "dropout"]
        assert list(default_search(CLASSIFIER.Options, {"dropout": 0.1})) == ["learning_rate"]


def test_each_trial_is_a_run_and_the_best_stands_first(tmp_path: Path) -> None:
    found = swept(tmp_path / "s")
    assert sorted(trial.trial for trial in found) == [0, 1, 2]
    values = [trial.value for trial in found]
    assert values == sorted(values, reverse=True)
    for trial in found:
        config = RunFolder.open(trial.path).read_config()
        assert {name: config.options[name] for name in SEARCH} == trial.options
    (answer,) = gw.load(found[0].path).predict("great film")
    assert answer["output"] in ("good", "bad")
    with (tmp_path / "s" / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [trial.trial for trial in found]
    assert rows[0]["macro_f1"] == str(values[0])
    assert (tmp_path / "s" / PICTURE).read_bytes()[:4] == b"\x89PNG"
    # the folder goes on, with the trials that are still to come
    more = swept(tmp_path / "s", trials=4)
    assert {trial.trial: trial.value for trial in found}.items() <= {t.trial: t.value for t in more}.items()
    again = swept(tmp_path / "other", trials=2)
    assert {t.trial: t.options for t in again}.items() <= {t.trial: t.options for t in more}.items()


def test_a_trial_that_validates_worse_than_the_median_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Sweep(CLASSIFIER, tmp_path, search=SEARCH, options=OPTIONS)
    tell = Sweep._tell

    def told(self: Sweep, trial: Any, run: RunFolder, record: Any) -> bool:
        worse = {**record, "macro_f1": 0.9 if trial.number < 5 else 0.1}
        return tell(self, trial, run, worse)

    monkeypatch.setattr(Sweep, "_tell", told)
    given.train(EXAMPLE.rows, 6, valid=EXAMPLE.valid)
    states = {trial.trial: trial.state for trial in given.write()}
    assert states == {**dict.fromkeys(range(5), "complete"), 5: "pruned"}
    last = RunFolder.open(tmp_path / "trial-0005").read_history()
    assert [record["step"] for record in last if record["kind"] == "validation"] == [2, 4]


def test_other_arguments_other_data_and_other_folders_are_refused(tmp_path: Path) -> None:
    swept(tmp_path / "s", trials=1)
    with pytest.raises(RunError, match="begun with seed=0, and cannot go on with 1"):
        swept(tmp_path / "s", trials=2, seed=1)
    with pytest.raises(RunError, match="begun with search="):
        swept(tmp_path / "s", trials=2, search={"learning_rate": "0.001..0.2"})
    with pytest.raises(RunError, match="other data than trial-0000"):
        gw.sweep(
            "classifier", EXAMPLE.rows[1:], valid=EXAMPLE.valid, out=tmp_path / "s", trials=2, search=SEARCH,
            options=OPTIONS,
        )  # fmt: skip
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match=r"holds letter\.txt, and no sweep"):
        swept(tmp_path / "mine")
    with pytest.raises(InputError, match="one training"):
        swept(tmp_path / "t", options={**OPTIONS, "restarts": 2})
    with pytest.raises(InputError, match="cannot be 0"):
        swept(tmp_path / "t", trials=0)


def test_a_damaged_journal_and_a_folder_that_is_none_are_said(tmp_path: Path) -> None:
    swept(tmp_path / "s", trials=1)
    journal = tmp_path / "s" / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], "what is this\n", *lines[1:]]))
    with pytest.raises(RunError, match=r"journal\.log: is damaged"):
        swept(tmp_path / "s", trials=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written and locked"):
        swept(tmp_path / "file")


def test_a_trial_that_cannot_begin_is_none_of_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label"):
        gw.sweep("classifier", [{"text": "a"}], out=tmp_path, trials=2, search=SEARCH, options=OPTIONS)
    found = swept(tmp_path, trials=2)
    assert [trial.state for trial in found] == ["complete", "complete"]


def test_a_torn_line_of_the_journal_harms_nothing(tmp_path: Path) -> None:
    first = swept(tmp_path, trials=1)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"killed wh')
    found = swept(tmp_path, trials=2)
    assert len(found) == 2
    assert first[0] in found
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())


def test_a_trial_that_was_begun_and_has_no_run_is_trained(tmp_path: Path) -> None:
    """Killed between the journal's line and the run's first file; and after the run's end, before the journal's."""
    begun = Sweep(CLASSIFIER, tmp_path, search=SEARCH, options=OPTIONS)
    claimed, lock = begun._claim(3)
    options = begun._options_of(claimed)
    lock.release()
    done, lock = begun._claim(3)
    assert done.number == 0
    CLASSIFIER(**OPTIONS, **options).fit(EXAMPLE.rows, valid=EXAMPLE.valid, out=tmp_path / "trial-0000")
    weights = (tmp_path / "trial-0000" / "model.safetensors").stat().st_mtime_ns
    lock.release()
    found = {trial.trial: trial for trial in swept(tmp_path, trials=2)}
    assert (found[0].state, found[0].options) == ("complete", options)
    assert (tmp_path / "trial-0000" / "model.safetensors").stat().st_mtime_ns == weights
    assert len(found) == 2


@pytest.mark.slow
def test_of_two_processes_one_is_killed_and_a_third_goes_on(tmp_path: Path) -> None:
    table = tmp_path / "films.tsv"
    lines = [f"{row['text']}\t{row['label']}" for row in EXAMPLE.rows] * 10
    table.write_text("text\tlabel\n" + "\n".join(lines) + "\n")
    settings = {**OPTIONS, "max_steps": 40, "validate_every": 10, "checkpoint_every": 5, "device": "cpu"}
    command = [sys.executable, "-m", "gatework", "sweep", "classifier", str(table), "--valid", str(table)]
    command += ["--out", str(tmp_path / "s"), "--trials", "3", "--search", "learning_rate=0.001..0.1"]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]

    def start() -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    killed, other = start(), start()
    processes = [killed, other]
    try:
        trial = trained_by(tmp_path / "s", killed)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
        assert not RunFolder(trial).is_complete
        processes.append(start())
        for process in processes[1:]:
            said = process.communicate(timeout=200)
            assert process.returncode == 0, said[1][-3000:]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    given = Sweep(CLASSIFIER, tmp_path / "s", search={"learning_rate": "0.001..0.1"}, options=settings)
    found = given.write()
    assert sorted(trial.trial for trial in found) == [0, 1, 2]
    assert {trial.state for trial in found} <= {"complete", "pruned"}
    for row in found:
        assert RunFolder.open(row.path).read_config().options["learning_rate"] == row.options["learning_rate"]
    complete = [row for row in found if row.state == "complete"]
    assert all(row.steps == 40 for row in complete)


def trained_by(folder: Path, process: subprocess.Popen[str]) -> Path:
    """The trial that a process trains, once it has a checkpoint."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for trial in folder.glob("trial-*"):
            trainer = RunFolder(trial, writes=False).trainer
            if trainer is not None and trainer.process == process.pid and any(trial.glob("checkpoints/*/")):
                return trial
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    raise AssertionError("the process has begun no trial")
