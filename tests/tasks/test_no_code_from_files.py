"""Configuration files and runs come from strangers: nothing that they say is run, whichever option says it."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gatework import tasks
from gatework.cli import main
from gatework.errors import InputError
from gatework.graph import Cell
from gatework.training.options import option_rules
from tests.contracts.task_examples import EXAMPLES

RUNS_CODE = [
    (name, option)
    for name in tasks.names()
    for option in tasks.get(name).Options.model_fields
    if option_rules(tasks.get(name).Options, option).where == "command line"
]


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """evil.py in the working folder, which holds a cell and leaves a trace where it is run."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "evil.py"
    file.write_text("open('was_run', 'w').close()\nfrom gatework.cells import gru as cell\n")
    return tmp_path / "was_run"


def test_every_option_that_takes_a_cell_is_seen() -> None:
    """An option whose value may be a `Cell` is for the command line, in every task."""
    cell = Cell(lambda x, h: h + x)
    for name in tasks.names():
        model = tasks.get(name).Options
        takes = set()
        for option in model.model_fields:
            try:
                model.model_validate({option: cell})
            except ValueError:
                continue
            takes.add(option)
        assert takes == {option for task, option in RUNS_CODE if task == name}
        assert "cell" in takes


@pytest.mark.parametrize(("name", "option"), RUNS_CODE)
def test_a_configuration_file_runs_no_code(
    name: str, option: str, evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EXAMPLES[name].rows))
    Path("options.yaml").write_text(f"{option}: evil.py:cell\n")
    assert main(["train", name, "data.jsonl", "--out", "run", "--config", "options.yaml"]) == 2
    message = capsys.readouterr().err
    flag = "--cell evil.py:cell" if option == "cell" else f"--set {option}=evil.py:cell"
    assert f"options.yaml: {option} names a cell in a Python file" in message
    assert flag in message
    assert not evil.exists()
    assert not Path("run").exists()
    # The check can fail: the same name on the command line is run.
    options = {**EXAMPLES[name].options, "max_steps": 1}
    arguments = [f"--set={key}={value}" for key, value in options.items() if key != option]
    code = main(["train", name, "data.jsonl", "--out", "run", f"--set={option}=evil.py:cell", *arguments])
    assert (code, evil.exists()) == (0, True), capsys.readouterr().err


@pytest.mark.parametrize(("name", "option"), RUNS_CODE)
@pytest.mark.parametrize("graphs", ["kept", "deleted"])
def test_a_run_runs_no_code(
    name: str, option: str, graphs: str, evil: Path, finished: Any, tmp_path: Path
) -> None:
    """A stranger's config.json names the file: the run is loaded, resumed, started from, trained anew."""
    some, run = EXAMPLES[name], tmp_path / "run"
    shutil.copytree(finished(name), run)
    config = json.loads((run / "config.json").read_text())
    config["options"][option] = "evil.py:cell"
    (run / "config.json").write_text(json.dumps(config))
    if graphs == "deleted":
        for file in run.glob("*cell.json"):
            file.unlink()
    kind = tasks.get(name)

    def tried(action: Any) -> None:
        with contextlib.suppress(InputError):  # whether it is refused is another test's matter
            action()
        assert not evil.exists()

    tried(lambda: kind().fit(some.rows, valid=some.valid, out=run, resume=True))
    rehash(run)
    tried(lambda: tasks.load(run))
    tried(lambda: kind(epochs=1).fit(some.rows, valid=some.valid, out=tmp_path / "child", from_run=run))
    tried(lambda: tasks.load(run).fit(some.rows, valid=some.valid, out=tmp_path / "again"))


def rehash(run: Path) -> None:
    """Write COMPLETE anew, as a stranger would."""
    from gatework.training import RunFolder

    RunFolder(run).complete()
