from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from gatework.errors import InputError, RunError
from gatework.training import RunFolder, TrainingOptions, files
from gatework.training.checkpoint import Checkpoints, NonFiniteError, load, pack_rank, validated_name
from gatework.training.optimizers import build_optimizer, optimizer_tensors
from gatework.training.state import TrainingState
from tests.training.problems import TinyModel, in_one_block

OPTIONS = TrainingOptions()


class Saved:
    """A model with an optimizer that has taken a step, and the checkpoints of a run."""

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.checkpoints = Checkpoints(RunFolder.create(path), keep)
        self.model = TinyModel()
        self.optimizer = build_optimizer(self.model, OPTIONS)
        self.model(torch.zeros(2, 1, dtype=torch.long), None)[0].sum().backward()
        self.optimizer.step()

    def save(self, step: int, carry: Any = None, **state: Any) -> None:
        position = TrainingState(step=step, batches=100, **state)
        options = OPTIONS.model_dump(mode="json")
        self.checkpoints.save(position, options, self.model, self.optimizer, [pack_rank(carry)])

    def names(self) -> list[str]:
        return sorted(path.name for path in self.checkpoints.path.iterdir())


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "run")


def test_weights_that_are_parts_of_one_block_come_back(saved: Saved) -> None:
    in_one_block(saved.model)
    saved.save(7)
    latest, _ = Checkpoints(saved.checkpoints.run, 2).latest()
    assert latest is not None
    twin = in_one_block(TinyModel())
    load(latest, twin, build_optimizer(twin, OPTIONS), rank=0, device=torch.device("cpu"))
    for value, expected in zip(twin.parameters(), saved.model.parameters(), strict=True):
        assert torch.equal(value, expected)


def test_everything_comes_back(saved: Saved) -> None:
    h = torch.randn(2, 3, 4, requires_grad=True)
    carry = (h, [h[:, 1:], None])  # one is a view of the other
    saved.save(7, carry, epoch=1, best_at=7, best={"loss": 0.1 + 0.2}, norms=[1 / 3])
    expected = [random.random(), torch.rand(()).item()]

    twin = TinyModel()
    optimizer = build_optimizer(twin, OPTIONS)
    again = Checkpoints(saved.checkpoints.run, 2)
    latest, damaged = again.latest()
    assert latest is not None
    assert damaged == []
    restored = load(latest, twin, optimizer, rank=0, device=torch.device("cpu"))

    assert [random.random(), torch.rand(()).item()] == expected
    assert torch.equal(restored[0], h)
    assert torch.equal(restored[1][0], h[:, 1:])
    assert restored[1][1] is None
    assert not restored[0].requires_grad
    state = latest.manifest.state
    assert (state.step, state.epoch, state.best, state.norms) == (7, 1, {"loss": 0.1 + 0.2}, [1 / 3])
    for a, b in zip(saved.model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert twin.output.weight is twin.embedding.weight
    ours, theirs = optimizer_tensors(saved.optimizer), optimizer_tensors(optimizer)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_only_the_last_few_are_kept(saved: Saved) -> None:
    for step in (1, 2, 3):
        saved.save(step)
    assert saved.names() == ["step-000000002", "step-000000003"]


def test_a_position_saved_before_its_validation_is_saved_again_after(saved: Saved) -> None:
    saved.save(1)
    saved.save(2)
    saved.save(2, validated_at=2, best_at=2)
    assert saved.names() == ["step-000000002", "step-000000002-validated"]
    latest, _ = Checkpoints(saved.checkpoints.run, 2).latest()
    assert latest is not None
    assert latest.manifest.state.validated_at == 2


def test_validated_weights_are_handed_on_without_a_copy(saved: Saved) -> None:
    for step in (1, 2, 3):
        torch.nn.init.constant_(saved.model.output.bias, step)
        saved.save(step, best_at=1, validated=[s for s in (step - 1, step) if s])
    folder = saved.checkpoints.path / "step-000000003"
    names = sorted(path.name for path in folder.glob("validated-*"))
    assert names == [validated_name(step) for step in (1, 2, 3)]
    biases = [files.read_tensors(folder / name)["output.bias"] for name in names]
    assert all(torch.equal(bias, torch.full((11,), float(step))) for step, bias in enumerate(biases, 1))
    assert os.path.samefile(folder / "model.safetensors", folder / validated_name(3))
    assert os.path.samefile(
        folder / validated_name(2), folder.with_name("step-000000002") / validated_name(2)
    )
    latest, _ = Checkpoints(saved.checkpoints.run, 2).latest()
    assert latest is not None
    assert latest.path == folder


def test_a_disk_without_hard_links_gets_copies(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    saved.save(1, best_at=1)
    saved.save(2, best_at=1)
    latest, damaged = Checkpoints(saved.checkpoints.run, 2).latest()
    assert latest is not None
    assert latest.manifest.state.step == 2
    assert damaged == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_checkpoint_of_weights_that_are_not_finite(saved: Saved, bad: float) -> None:
    saved.save(1)
    with torch.no_grad():
        saved.model.output.bias[3] = bad
    with pytest.raises(NonFiniteError, match=r"output\.bias"):
        saved.save(2)
    assert saved.names() == ["step-000000001"]


def test_nor_of_moments(saved: Saved) -> None:
    next(iter(saved.optimizer.state.values()))["exp_avg"].fill_(float("inf"))
    with pytest.raises(NonFiniteError, match=r"0\.exp_avg"):
        saved.save(2)
    assert saved.names() == []


def test_a_full_disk_leaves_the_last_good_checkpoint(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    saved.save(1)
    count = 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"step-000000002.*the disk is full: .* needed.*from the last checkpoint"
    ):
        saved.save(2)
    assert saved.names() == ["step-000000001"]
    latest, _ = Checkpoints(saved.checkpoints.run, 2).latest()
    assert latest is not None
    assert latest.manifest.state.step == 1


def damage_bytes(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)


def damage_state(path: Path) -> None:
    (path / "state.json").write_text("{")


def damage_list(path: Path) -> None:
    manifest = json.loads((path / "state.json").read_text())
    del manifest["sha256"]["optimiser.safetensors"]
    (path / "state.json").write_text(json.dumps(manifest))


def damage_type(path: Path) -> None:
    manifest = json.loads((path / "state.json").read_text())
    manifest["state"]["step"] = "../../etc"
    (path / "state.json").write_text(json.dumps(manifest))


def damage_missing(path: Path) -> None:
    (path / "rank-0.safetensors").unlink()


@pytest.mark.parametrize("damage", [damage_bytes, damage_state, damage_list, damage_type, damage_missing])
def test_a_damaged_checkpoint_is_passed_over_and_said(saved: Saved, damage: Any) -> None:
    saved.save(1)
    saved.save(2)
    damage(saved.checkpoints.path / "step-000000002")
    latest, damaged = Checkpoints(saved.checkpoints.run, 2).latest()
    assert latest is not None
    assert latest.manifest.state.step == 1
    assert len(damaged) == 1
    assert "step-000000002" in str(damaged[0])
    damage(saved.checkpoints.path / "step-000000001")
    with pytest.raises(RunError, match="step-000000002"):
        Checkpoints(saved.checkpoints.run, 2).latest()


def test_a_newer_format_is_not_called_damaged(saved: Saved) -> None:
    saved.save(1)
    file = saved.checkpoints.path / "step-000000001" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format_version": 99}))
    with pytest.raises(RunError, match="is of format 99, this version reads up to 1"):
        Checkpoints(saved.checkpoints.run, 2).latest()


def test_half_written_folders_are_no_checkpoints_and_are_swept(saved: Saved) -> None:
    saved.save(1)
    for name in (".writing-step-000000002", ".writing-deleted-step-000000000"):
        (saved.checkpoints.path / name).mkdir()
    (saved.checkpoints.run.path / ".writing-model.safetensors").write_bytes(b"x")
    again = Checkpoints(saved.checkpoints.run, 2)
    latest, damaged = again.latest()
    assert latest is not None
    assert latest.manifest.state.step == 1
    assert damaged == []
    again.sweep()
    assert saved.names() == ["step-000000001"]
    assert not list(saved.checkpoints.run.path.glob(".writing-*"))
