"""What each process of test_processes.py runs: an interrupted and resumed training, in the folder given."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from gatework.training import RunFolder, StepLoss, TrainingOptions, files, fit
from gatework.training.progress import SilentProgress
from tests.training.problems import TinyProblem

OPTIONS = TrainingOptions(
    epochs=2, device="cpu", learning_rate=0.01, record_every=4, validate_every=30, average_last=2
)


class Halved(TinyProblem):
    """The loss also in two parts, as sums over this process's targets."""

    def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> StepLoss:
        step = super().loss(model, batch, carry)
        return step._replace(parts={"quarter": step.total / 4, "rest": step.total * 0.75})


class OneInterrupt(SilentProgress):
    """Ctrl-C on one process alone, in the middle of an epoch."""

    def tick(self, share: float, step: int) -> None:
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)


def main(folder: Path) -> None:
    """Train with the same streams whatever the number of processes; leave each process's weights.

    The targets that are padding differ in number between the streams, so that a mean of the processes' means
    would not be the mean.
    """
    rank = int(os.environ.get("RANK", "0"))
    run = RunFolder.create(folder / "run")
    run.write_config({})
    part = fit(Halved(padding=0), OPTIONS, run, progress=OneInterrupt())
    # One process stops at once, several where they next agree.
    assert (part.stopped, part.steps) == ("interrupted", 17 if part.steps == 17 else 20), part
    run = RunFolder.create(folder / "run", resume=True)
    problem = Halved(seed=3, padding=0)
    result = fit(problem, OPTIONS, run, resume=True)
    assert (result.stopped, result.steps) == ("finished", 78), result
    run.complete()
    files.write_model(folder / f"rank-{rank}.safetensors", problem.model)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
