"""Runs by name, loaded anew when their folder changes, and gone when it is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gatework.errors import InputError, RunError
from gatework.serve.app import Service
from gatework.serve.options import ServiceOptions
from gatework.serve.refusals import Gone, NotFound
from gatework.serve.runs import ServedRun, ServedRuns, named_runs
from gatework.tasks.language_model import LanguageModel
from tests.contracts.task_examples import EXAMPLES
from tests.serve.running import PATIENCE, running


def test_runs_are_named_by_their_folders_or_apart(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert named_runs(["runs/one", "two=runs/one", f"three={odd}"]) == {
        "one": Path("runs/one"),
        "two": Path("runs/one"),
        "three": odd,
    }
    with pytest.raises(InputError, match=r"runs/one and other/one are both named 'one'\. .* one-2=other/one"):
        named_runs(["runs/one", "other/one"])
    for name in ("runs/a b", "..=runs/one", "=runs/one", str(odd), "/"):
        with pytest.raises(InputError, match=r"is none for a path .* Name it: NAME=FOLDER"):
            named_runs([name])
    with pytest.raises(InputError, match="RUN: is missing"):
        named_runs([])
    with pytest.raises(RunError, match="is not a run"):
        ServedRuns.load([tmp_path / "nothing"])


def test_a_name_that_is_not_there_is_no_run(run_of: Callable[[str], Path]) -> None:
    runs = ServedRuns.load([run_of("language-model")])
    assert [run.name for run in runs] == ["language-model"]
    with pytest.raises(NotFound, match=r"no run 'language-modal'\. Did you mean 'language-model'\?"):
        runs["language-modal"]


def test_a_folder_that_changes_is_loaded_anew(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_of("language-model"), folder)
    run = ServedRun("run", folder, "cpu")
    first = run.task
    assert not run.refresh()
    example = EXAMPLES["language-model"]
    shutil.rmtree(folder)
    LanguageModel(**{**example.options, "seed": 5}).fit(example.rows, valid=example.valid, out=folder)
    assert run.refresh()
    assert (run.version, run.problem) == (2, "")
    assert run.task is not first
    settings = {"length": 8, "seed": 3}
    assert run.task.predict(["the"], **settings) != first.predict(["the"], **settings)

    # While there is no whole run, the one that was there answers.
    now = run.task
    complete = (folder / "COMPLETE").read_bytes()
    (folder / "COMPLETE").unlink()
    assert not run.refresh()
    assert run.task is now
    assert run.problem == "its folder holds no finished run at present"
    (folder / "COMPLETE").write_bytes(complete)
    assert run.refresh()
    assert run.problem == ""

    # Nor does a damaged one take its place.
    now = run.task
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1])
    (folder / "COMPLETE").write_bytes(complete)
    assert not run.refresh()
    assert run.task is now
    assert run.problem.startswith("cannot be loaded: is not the file that the training wrote")

    # Nor a run of another task.
    shutil.rmtree(folder)
    shutil.copytree(run_of("translator"), folder)
    run._try_again = 0.0
    assert not run.refresh()
    assert "holds a translator now, and a language-model is served" in run.problem
    assert run.task is now

    # A folder that is gone is a run that is gone, until it is back.
    shutil.rmtree(folder)
    assert not run.refresh()
    assert not run.is_there
    with pytest.raises(Gone, match="run 'run': its folder has been removed"):
        _ = run.task
    shutil.copytree(run_of("language-model"), folder)
    run._try_again = 0.0
    assert run.refresh()
    assert run.is_there


def test_a_run_removed_under_the_server_and_put_back(run_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_of("language-model"), folder)
    given = {"inputs": ["the"], "settings": {"length": 2}}

    def becomes(client: httpx.Client, status: int) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = client.post("/v1/runs/run/predict", json=given)
            if answer.status_code == status:
                return answer
            time.sleep(0.02)
        pytest.fail(f"it is still {answer.status_code}: {answer.text}")

    with running(Service(ServedRuns.load([folder]), ServiceOptions(look=0.05))) as client:
        assert becomes(client, 200).json()["version"] == 1
        folder.rename(tmp_path / "away")
        gone = becomes(client, 404)
        assert (
            gone.json()["error"]
            == "run 'run': its folder has been removed. It is served again once it is back."
        )
        assert client.get("/v1/runs/run").status_code == 404
        assert client.get("/v2/models/run/ready").status_code == 503
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v1/runs").json()["runs"][0]["ready"] is False
        assert 'gatework_run_ready{run="run"} 0.0' in client.get("/metrics").text
        (tmp_path / "away").rename(folder)
        assert becomes(client, 200).json()["version"] == 2
        assert client.get("/v2/health/ready").status_code == 200
