from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from safetensors import SafetensorError

from gatework.errors import InputError, RunError
from gatework.training import RunFolder, files
from gatework.training.run_folder import FORMAT_VERSION, RunConfig
from tests.training.problems import in_one_block


class Figures(BaseModel):
    """A schema of metrics.json."""

    model: dict[str, float]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A complete run."""
    run = RunFolder.create(tmp_path / "run")
    run.write_config({"task": "test"})
    run.write_text("cell.json", '{"nodes": []}')
    run.write_json("metrics.json", {"model": {"loss": 1.5}})
    run.write_tensors("model.safetensors", {"w": torch.arange(3.0)}, {"layout": "ih"})
    run.append_history({"kind": "train", "step": 1})
    run.complete()
    return run.path


def reseal(path: Path) -> None:
    """What somebody would do who changes a file and wants it to look right."""
    RunFolder(path).complete()


def test_what_was_written_is_read_again(finished: Path) -> None:
    run = RunFolder.open(finished)
    assert run.is_complete
    assert run.read_config() == RunConfig(format_version=FORMAT_VERSION, task="test")
    assert run.read_json("metrics.json", Figures).model == {"loss": 1.5}
    assert run.read_text("cell.json") == '{"nodes": []}'
    assert torch.equal(run.read_tensors("model.safetensors")["w"], torch.arange(3.0))
    assert files.read_metadata(finished / "model.safetensors") == {"layout": "ih"}
    assert run.read_history() == [{"kind": "train", "step": 1}]
    assert not [path for path in finished.iterdir() if path.name.startswith(files.TEMPORARY)]


def test_create_refuses_what_is_in_the_way(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"already there.*resume=True"):
        RunFolder.create(finished)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        RunFolder.create(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty")


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run to resume.*leave out resume=True"):
        RunFolder.create(tmp_path / "none", resume=True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    with pytest.raises(RunError, match=r"not a run: it has no config\.json"):
        RunFolder.create(tmp_path / "thesis", resume=True)


def test_a_run_killed_before_its_config_resumes(tmp_path: Path) -> None:
    path = RunFolder.create(tmp_path / "run").path
    (path / (files.TEMPORARY + "config.json")).write_text("{")
    RunFolder.create(path, resume=True)


def test_a_run_without_checkpoints_does_not_start_anew(finished: Path) -> None:
    with pytest.raises(RunError, match=r"no checkpoint to go on from.*from_run=RUN"):
        RunFolder.create(finished, resume=True)
    RunFolder.open(finished)


def test_a_resumed_run_is_unfinished_again(finished: Path) -> None:
    (finished / "checkpoints" / "step-000000001").mkdir()
    RunFolder.create(finished, resume=True)
    with pytest.raises(RunError, match=r"unfinished.*resume=True"):
        RunFolder.open(finished)


def test_other_processes_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    run = RunFolder.create(tmp_path / "run")
    run.write_config({})
    run.write_text("a", "b")
    run.write_tensors("t.safetensors", {"w": torch.zeros(1)})
    run.write_model(torch.nn.Linear(1, 1))
    run.append_history({})
    run.complete()
    assert not run.path.exists()


def test_a_rank_without_a_launcher_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("RANK", "1")  # left over in somebody's shell
    assert RunFolder.create(tmp_path / "run").writes


def test_open_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"it has no config\.json"):
        RunFolder.open(tmp_path)


def test_open_refuses_an_unfinished_run(finished: Path) -> None:
    (finished / "COMPLETE").unlink()
    with pytest.raises(RunError, match="unfinished"):
        RunFolder.open(finished)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (FORMAT_VERSION + 1, "this version reads up to.*pip install --upgrade"),
        ("1", "no valid"),
        (True, "no valid"),
        (None, "no valid"),
        (0, "no valid"),
    ],
)
def test_open_refuses_other_formats(finished: Path, version: Any, message: str) -> None:
    (finished / "config.json").write_text(json.dumps({"format_version": version}))
    with pytest.raises(RunError, match=message):
        RunFolder.open(finished)
    with pytest.raises(RunError, match=message):
        RunFolder.create(finished, resume=True)


@pytest.mark.parametrize("name", ["cell.json", "metrics.json", "model.safetensors", "history.jsonl"])
def test_open_refuses_missing_and_changed_files(finished: Path, name: str) -> None:
    path = finished / name
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    with pytest.raises(RunError, match=f"{name}: is not the file that the training wrote"):
        RunFolder.open(finished)
    path.unlink()
    with pytest.raises(RunError, match=f"{name}: is missing"):
        RunFolder.open(finished)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("model.safetensors", b"\xff" * 40, "is not safetensors"),
        ("model.safetensors", b"", "is not safetensors"),
        ("cell.json", b'{"nodes": ', "is not JSON"),
        ("cell.json", b"\xff\xfe", "is not UTF-8 at byte 0"),
        ("metrics.json", b"[" * 200_000, "is not JSON"),
        ("history.jsonl", b"nothing\n", "is not JSON"),
        ("config.json", b"[1]", "no valid format_version"),
    ],
)
def test_open_refuses_what_does_not_parse_even_with_the_right_hash(
    finished: Path, name: str, data: bytes, message: str
) -> None:
    (finished / name).write_bytes(data)
    reseal(finished)
    with pytest.raises(RunError, match=message):
        RunFolder.open(finished)


@pytest.mark.parametrize(
    "seal",
    [
        "[]",
        "{}",
        '{"sha256": {"../other/config.json": "0"}}',
        '{"sha256": {"config.json": 3}}',
        '{"sha256": {}}',
        "{",
    ],
)
def test_open_refuses_a_damaged_seal(finished: Path, seal: str) -> None:
    (finished / "COMPLETE").write_text(seal)
    with pytest.raises(RunError, match="COMPLETE"):
        RunFolder.open(finished)


def test_nan_never_reaches_a_json_file(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    for write in (
        lambda: run.write_json("a.json", {"x": float("nan")}),
        lambda: run.append_history({"x": float("inf")}),
    ):
        with pytest.raises(ValueError, match="JSON"):
            write()
    assert not (run.path / "a.json").exists()
    assert run.read_history() == []


def test_history_without_a_line_cut_short_and_truncated(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    for step in range(4):
        run.append_history({"kind": "train", "step": step})
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 4')
    assert [record["step"] for record in run.read_history()] == [0, 1, 2, 3]
    run.truncate_history(2)
    assert (run.path / "history.jsonl").read_text().count("\n") == 2
    assert [record["step"] for record in run.read_history()] == [0, 1]


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.output = torch.nn.Linear(3, 5)
        self.output.weight = self.embedding.weight


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    run, first, second = RunFolder.create(tmp_path / "run"), Tied(), Tied()
    run.write_model(first)
    assert len(run.read_tensors("model.safetensors")) == 2
    run.read_model(second)
    assert torch.equal(first.output.weight, second.embedding.weight)
    assert torch.equal(first.output.bias, second.output.bias)
    assert second.output.weight is second.embedding.weight


def test_weights_that_are_parts_of_one_block_are_stored_and_read(tmp_path: Path) -> None:
    """As cuDNN's layers keep their parameters on a GPU; tied ones among them stay tied."""
    run, first, second = RunFolder.create(tmp_path / "run"), Tied(), Tied()
    in_one_block(first)
    in_one_block(second)
    run.write_model(first)
    assert run.read_tensors("model.safetensors").keys() == {"embedding.weight", "output.bias"}
    run.read_model(second)
    assert torch.equal(first.output.weight, second.embedding.weight)
    assert torch.equal(first.output.bias, second.output.bias)
    assert second.output.weight is second.embedding.weight


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_model(torch.nn.Linear(2, 3))
    for other in (torch.nn.Linear(3, 3), torch.nn.Linear(2, 3, bias=False), torch.nn.LSTM(2, 3)):
        with pytest.raises(RunError, match="does not fit the model") as caught:
            run.read_model(other)
        assert "\n" not in str(caught.value)


# -- a full disk


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_text("notes.txt", "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"notes\.txt: the disk is full: 3 bytes are needed, .* are free.*resume=True"
    ):
        run.write_text("notes.txt", "new")
    assert [path.name for path in sorted(run.path.iterdir())] == ["checkpoints", "notes.txt"]
    assert run.read_text("notes.txt") == "old"


def test_safetensors_words_for_a_full_disk_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(tmp_path / "run")

    def full(*arguments: Any, **options: Any) -> None:
        # The text that safetensors 0.8 gave on a full tmpfs.
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(files, "save_file", full)
    monkeypatch.setattr(files, "save_model", full)
    with pytest.raises(InputError, match=r"the disk is full: 4\.0 MB are needed"):
        run.write_tensors("w.safetensors", {"w": torch.zeros(1_000_000)})
    with pytest.raises(InputError, match=r"model\.safetensors: the disk is full: 16 bytes"):
        run.write_model(torch.nn.Linear(3, 1))


def test_a_forbidden_folder_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "missing")
    with pytest.raises(InputError, match=r"a\.txt: cannot be written \(No such file"):
        run.write_text("a.txt", "x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"model": {"loss": "1.5"}}', r"model\.loss: .*number"),
        ('{"model": [1.5]}', "model: .*object"),
        ('{"modle": {"loss": 1.5}}', "model: Field required"),
        ("[]", "its value: .*object"),
        ('{"model": {"loss": NaN}}', "NaN is no number of JSON"),
        ('{"model": {"loss": -Infinity}}', "-Infinity is no number"),
        ('{"model": {"loss": ' + "9" * 5000 + "}}", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_of_another_shape_is_refused_in_one_line(finished: Path, text: str, reason: str) -> None:
    (finished / "metrics.json").write_text(text)
    with pytest.raises(RunError, match=rf"metrics\.json: .*{reason}") as caught:
        RunFolder(finished).read_json("metrics.json", Figures)
    assert "\n" not in str(caught.value)


def test_a_history_of_another_shape_is_refused(finished: Path) -> None:
    for line in ("3", '{"kind": 3, "step": 1}', '{"kind": "train"}', '{"kind": "train", "step": -1}'):
        (finished / "history.jsonl").write_text(line + "\n")
        with pytest.raises(RunError, match=r"history\.jsonl: is damaged"):
            RunFolder(finished).read_history()


# -- sizes that the weights do not have


def test_a_model_is_built_only_where_its_weights_have_its_sizes(tmp_path: Path) -> None:
    built: list[str] = []

    def build(size: int, bias: bool = True) -> torch.nn.Linear:
        layer = torch.nn.Linear(size, 2, bias=bias)
        built.append(layer.weight.device.type)
        return layer

    run = RunFolder.create(tmp_path / "run")
    layer = build(3)
    run.write_model(layer)
    assert torch.equal(run.build_model(lambda: build(3)).weight, layer.weight)
    built.clear()
    with pytest.raises(RunError, match=r"weight is \(2, 3\), and should be \(2, 1000000000000\)"):
        run.build_model(lambda: build(10**12))
    with pytest.raises(RunError, match="which has no bias"):
        run.build_model(lambda: build(3, bias=False))
    run.write_model(build(3, bias=False))
    built.pop()
    with pytest.raises(RunError, match="it lacks bias"):
        run.build_model(lambda: build(3))
    assert built == ["meta"] * 3


def test_tied_weights_are_stored_once_and_fit(tmp_path: Path) -> None:
    def build() -> torch.nn.Sequential:
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        model[1].weight = model[0].weight
        return model

    run = RunFolder.create(tmp_path / "run")
    model = build()
    run.write_model(model)
    loaded = run.build_model(build)
    assert torch.equal(loaded[1].weight, model[0].weight)
    assert loaded[1].weight is loaded[0].weight


def test_every_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run = RunFolder.create(tmp_path / "run")
        run.write_text("a", "b")
        run.write_tensors("b.safetensors", {"w": torch.zeros(1)})
        run.write_model(torch.nn.Linear(1, 1))
        run.append_history({"kind": "train", "step": 1})
    finally:
        os.umask(before)
    files_of_run = [path for path in run.path.iterdir() if path.is_file()]
    assert len(files_of_run) == 4
    assert {path.stat().st_mode & 0o777 for path in files_of_run} == {0o640}
