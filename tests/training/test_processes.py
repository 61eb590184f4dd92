"""Several processes give the result of one with the same global batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gatework.training import RunFolder, files
from tests.launch import launch
from tests.tolerances import TWO_PROCESSES, WEIGHTS_OF_TWO_PROCESSES, assert_close, close_to
from tests.training import several_processes
from tests.training.problems import TinyProblem


def numbers(history: list[dict[str, Any]]) -> list[list[float]]:
    """Every figure of a history but the timings."""
    skipped = ("seconds", "items_per_second", "parts")
    history = [{**record, **record.get("parts", {})} for record in history]
    return [
        [float(value) for name, value in sorted(record.items()) if name not in skipped and name != "kind"]
        for record in history
    ]


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    several_processes.main(tmp_path / "one")
    complaint = launch("tests.training.several_processes", tmp_path / "two")
    assert complaint.count("resumes at step 20") == 1  # the main process alone speaks

    one, two, other = (
        files.read_tensors(tmp_path / name)
        for name in ("one/rank-0.safetensors", "two/rank-0.safetensors", "two/rank-1.safetensors")
    )
    start = TinyProblem().model.state_dict()
    for name in one:
        assert_close(two[name], one[name], WEIGHTS_OF_TWO_PROCESSES)
        assert torch.equal(two[name], other[name]), name
        moved = (one[name] - start[name]).abs().max()
        assert moved > 1000 * WEIGHTS_OF_TWO_PROCESSES[torch.float32].absolute, name  # it did train
    histories = [RunFolder.open(tmp_path / name / "run").read_history() for name in ("one", "two")]
    assert [record["kind"] for record in histories[0]] == [record["kind"] for record in histories[1]]
    for record in histories[1]:
        if record["kind"] == "train":
            assert record["parts"]["quarter"] == pytest.approx(record["loss"] / 4)
    for a, b in zip(*map(numbers, histories), strict=True):
        assert b == [close_to(number, table=TWO_PROCESSES) for number in a]
    ranks = sorted(path.name for path in (tmp_path / "two").rglob("rank-1.safetensors"))
    assert len(ranks) == 3  # in each of two checkpoints, and this test's own
