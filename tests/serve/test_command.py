"""`gatework serve`, as a process: it says where it listens, and ends well."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatework.cli import main
from gatework.serve.server import serve
from tests.serve.running import PATIENCE

PREDICT = "/v1/runs/language-model/predict"
LONG = {"inputs": ["the"] * 2, "settings": {"length": 400}}


@contextmanager
def served(*arguments: object, **environment: str) -> Iterator[tuple[Any, str]]:
    """The process and its address; killed at the end, if it is still there."""
    command = [sys.executable, "-m", "gatework", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        for line in process.stderr or ():
            if found := re.match(r"(http://\S+:\d+) \(", line):
                yield process, found[1]
                break
        else:
            pytest.fail("it does not listen")
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def test_a_stop_finishes_what_has_begun(run_of: Callable[[str], Path]) -> None:
    with served(run_of("language-model"), GATEWORK_TOKEN="a-token-of-enough-letters") as (process, url):
        assert httpx.get(f"{url}/v1/runs").status_code == 401
        right = {"authorization": "Bearer a-token-of-enough-letters"}
        answers: list[httpx.Response] = []
        ask = threading.Thread(
            target=lambda: answers.append(httpx.post(url + PREDICT, json=LONG, headers=right, timeout=60))
        )
        ask.start()
        deadline = time.monotonic() + PATIENCE
        while "gatework_bodies_bytes 0.0" in httpx.get(f"{url}/metrics", headers=right).text:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        ask.join(PATIENCE)
        assert (answers[0].status_code, len(answers[0].json()["records"])) == (200, 2)
        assert process.wait(PATIENCE) == 0
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{url}/v2/health/live")


def test_what_cannot_be_served_is_one_line(
    run_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(run_of("language-model"))
    (tmp_path / "token").write_text("short\n")
    for arguments, sentence in (
        ([], "RUN: is missing"),
        ([str(tmp_path)], "is not a run"),
        ([run, run], "are both named 'language-model'"),
        ([run, "--host", "nowhere.invalid"], "nobody can listen there"),
        ([run, "--set", "batches=3"], "Did you mean 'batch'?"),
        ([run, "--set", "token=x"], "would be seen by everybody"),
        ([run, "--token-file", str(tmp_path / "none")], "cannot be read"),
        ([run, "--token-file", str(tmp_path / "token")], "at least 16 characters"),
        ([run, "--port", "70000"], "Invalid value for '--port'"),
    ):
        assert main(["serve", "--port", "0", *arguments]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1


def test_help_lists_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert "body=8.0" in shown
    assert "MiB of a request's body at most" in shown


def test_where_it_listens_is_said_no_sooner_than_it_can_be_reached(run_of: Callable[[str], Path]) -> None:
    class Reached(Exception):
        pass

    def connect(line: str) -> None:
        if found := re.match(r"http://(\S+):(\d+) \(", line):
            with socket.create_connection((found[1], int(found[2])), PATIENCE):
                raise Reached

    with pytest.raises(Reached):
        serve([run_of("language-model")], port=0, note=connect)
