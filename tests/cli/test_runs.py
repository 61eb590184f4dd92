"""`gatework runs`: a table, JSON lines and a picture."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def several(run, tmp_path):
    """The trained run twice, the second one with another seed and unfinished."""
    for name in ("first", "second"):
        shutil.copytree(run, tmp_path / "runs" / name)
    config = tmp_path / "runs" / "second" / "config.json"
    content = json.loads(config.read_text())
    content["options"]["seed"] = 7
    config.write_text(json.dumps(content))
    (tmp_path / "runs" / "second" / "COMPLETE").unlink()
    return tmp_path / "runs"


@pytest.mark.parametrize("columns", ["80", "200", None])
def test_a_table_shows_every_run_whole(gatework, several, monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    done = gatework("runs", several)
    assert done.code == 0, done.err
    assert "…" not in done.out
    for word in ("complete", "stopped", "loss", "first: seed=0", "second: seed=7"):
        assert word in done.out


def test_json_and_the_folder_runs_by_default(gatework, several, monkeypatch):
    monkeypatch.chdir(several.parent)
    lines = [json.loads(line) for line in gatework("runs", "--json").out.splitlines()]
    assert [(line["path"], line["state"]) for line in lines] == [
        ("runs/first", "complete"),
        ("runs/second", "stopped"),
    ]
    assert lines[0]["best"]["loss"] > 0
    assert lines[1]["options"]["seed"] == 7


def test_a_picture(gatework, several, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "course.png"
    done = gatework("runs", several, "--plot", picture)
    assert done.code == 0, done.err
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused = gatework("runs", several, "--plot", tmp_path / "course.xyz")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    shutil.rmtree(several / "second")
    (several / "first" / "history.jsonl").unlink()
    assert "no run has recorded a step" in gatework("runs", several, "--plot", picture).err


def test_nothing_there_is_one_line(gatework, tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        done = gatework("runs", folder)
        assert (done.code, len(done.err.splitlines())) == (2, 1)
