"""`--threads`, and how a command's threads wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from gatework import tasks
from gatework.cli.threads import WAITING


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "chat"])
def test_threads_are_torchs_and_the_engines(command, gatework, run, corpus, tmp_path, monkeypatch):
    before, seen = torch.get_num_threads(), []

    def noticed(*args: object, **kwargs: object) -> None:
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "load", noticed)
    monkeypatch.setattr(tasks, "get", noticed)
    arguments = {
        "train": ["language-model", corpus, "--out", tmp_path / "run"],
        "evaluate": [run, corpus],
        "predict": [run],
        "chat": [run],
    }[command]
    try:
        assert gatework(command, *arguments, "--threads", 3).code == 130
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


def test_no_threads_are_refused_in_one_line(gatework, run, corpus):
    outcome = gatework("evaluate", run, corpus, "--threads", 0)
    assert outcome.code == 2
    assert "--threads" in outcome.err and outcome.err.count("\n") == 1  # noqa: PT018


@pytest.mark.parametrize("said", [None, *WAITING])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(said):
    code = (
        "import json, os, sys; from gatework.cli import main; main(['cells', 'lstm']); "
        "print(json.dumps(['torch' in sys.modules, os.environ.get('OMP_WAIT_POLICY')]))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    given = {} if said is None else {said: "ACTIVE" if said == "OMP_WAIT_POLICY" else "100"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**environment, **given})
    loaded, policy = json.loads(done.stdout.splitlines()[-1])
    assert not loaded, "the variable is read when torch is loaded"
    assert policy == ("PASSIVE" if said is None else given.get("OMP_WAIT_POLICY"))
