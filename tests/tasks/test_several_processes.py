"""Two processes train every registered task: nobody races for a file, both end with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gatework import tasks
from gatework.training import files
from tests.contracts.task_examples import EXAMPLES
from tests.launch import launch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two")
    launch("tests.tasks.several_processes", path)
    return path


@pytest.mark.parametrize("name", tasks.names())
def test_both_have_the_same_weights_and_one_run(name: str, folder: Path) -> None:
    for run in (name, f"{name}-parts"):
        assert_one_run(folder, run)
        assert tasks.load(folder / run).evaluate(EXAMPLES[name].valid)["examples"] > 0


def test_of_several_trainings_both_keep_the_same(folder: Path) -> None:
    assert_one_run(folder, "restarts")


def assert_one_run(folder: Path, run: str) -> None:
    """Each process has the weights that the run keeps."""
    one, other = (files.read_tensors(folder / f"{run}-rank-{rank}.safetensors") for rank in range(2))
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key
    loaded = tasks.load(folder / run)
    files.read_model(folder / f"{run}-rank-1.safetensors", loaded.network_)  # of the same shapes
    written = files.read_tensors(folder / run / "model.safetensors")
    assert all(torch.equal(one[key], written[key]) for key in written)
    assert not (folder / run / "tokens").exists()


def test_without_a_folder_each_would_make_its_own(folder: Path) -> None:
    for rank in range(2):
        lines = (folder / f"refused-{rank}.txt").read_text().splitlines()
        assert len(lines) == len(tasks.names())
        assert all("2 processes train one run together" in line and "out=" in line for line in lines)


def test_a_failure_of_the_main_process_is_everyones(folder: Path) -> None:
    assert (folder / "failed-0.txt").read_text() == "the main one's own: message. Fix."
    assert (folder / "failed-1.txt").read_text().startswith("the main process: failed while it made")


def test_each_leaves_the_process_group_at_its_end(folder: Path) -> None:
    """Else the interpreter may end while the group's threads still run, which aborts a training that is complete."""
    assert [(folder / f"left-{rank}.txt").read_text() for rank in range(2)] == ["True", "True"]
