"""One process trains a run at a time."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatework.errors import InputError, RunError
from gatework.training import RunFolder, run_lock
from gatework.training.run_lock import Trainer

HOLD = """
import sys, time
from gatework.training import RunFolder
run = RunFolder.create(sys.argv[1])
with run.locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_that_another_process_trains_is_refused_and_taken_over_from_a_killed_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        before = sorted(tmp_path.rglob("*"))
        for resume in (False, True):
            with pytest.raises(
                RunError, match=f"run: is being trained by process {other.pid}. Wait"
            ) as caught:
                RunFolder.create(path, resume=resume)
            assert "\n" not in str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before
        assert RunFolder(path).trainer == Trainer(process=other.pid, host=platform.node())
        other.kill()
    assert RunFolder(path).trainer is None
    mine = RunFolder.create(path)
    with mine.locked():
        assert mine.trainer == Trainer(process=os.getpid(), host=platform.node())


def test_another_thread_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    mine = RunFolder.create(tmp_path / "run")
    refusals = []

    def train() -> None:
        try:
            RunFolder.create(tmp_path / "run", resume=True)
        except RunError as error:
            refusals.append(str(error))

    with mine.locked():
        with mine.locked():
            pass  # still locked after it
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert [f"process {os.getpid()}" in refusal for refusal in refusals] == [True]
    RunFolder.create(tmp_path / "run", resume=True)


def test_the_lock_is_no_part_of_the_run(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    with run.locked():
        run.write_config({"task": "test"})
        run.complete()
        assert (run.path / ".lock").exists()
        assert set(run._read_hashes()) == {"config.json"}
        RunFolder.open(run.path)  # whoever reads a finished run asks for no lock
    assert sorted(path.name for path in run.path.iterdir()) == ["COMPLETE", "checkpoints", "config.json"]


def test_an_unfinished_run_is_said_to_be_in_training(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_config({"task": "test"})
    with run.locked(), pytest.raises(RunError, match="is being trained by process"):
        RunFolder.open(run.path)
    with pytest.raises(RunError, match="was interrupted"):
        RunFolder.open(run.path)


def test_the_machine_is_named_where_it_is_another_one() -> None:
    assert str(Trainer(process=3, host=platform.node())) == "process 3"
    assert str(Trainer(process=3, host="other")) == "process 3 on host other"


def test_only_the_main_process_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFolder.create(tmp_path / "run").locked():
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("RANK", "1")
        with RunFolder.create(tmp_path / "run", resume=True).locked():
            pass


def test_a_file_system_without_locks_does_not_stop_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.FileLock, "acquire", none)
    with RunFolder.create(tmp_path / "run").locked():
        pass
    line = capsys.readouterr().err.splitlines()[-1]
    assert "has no locks" in line


def test_a_full_disk_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(tmp_path / "run")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(InputError, match="the disk is full"), run.locked():
            pass
    assert run.trainer is None
    with run.locked():
        pass
