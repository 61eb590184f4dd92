"""kill -9 at random moments of a training: each must resume, and end with the uninterrupted run's weights.

    python benchmarks/kill_resume.py [--kills 20] [--seed 0] [--out benchmarks/results/kill_resume.json]

The training is a stateful LSTM language model with tied weights, dropout, early-stopping state, averaging
and a checkpoint at every third step, so that many kills fall into the writing of one. Each is killed once
at a moment drawn uniformly from the uninterrupted run's time, then resumed to the end, and compared: the
final weights to the bit, and the history but for its timings. Ends with exit code 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401  # imported before the fork, so that no moment is spent on it
import torch
from machine import machine
from torch import Tensor
from torch.nn import functional

from gatework.training import RunFolder, StepLoss, TrainingOptions, fit

OPTIONS = TrainingOptions(
    epochs=3,
    validate_every=17,
    average_last=3,
    checkpoint_every=3,
    record_every=5,
    learning_rate=5e-3,
    weight_decay=0.01,
    device="cpu",
)
TIMINGS = ("seconds", "items_per_second")
LANES, STEPS, VOCABULARY, HIDDEN = 8, 10, 40, 64


class LanguageModel(torch.nn.Module):
    """Embedding, two LSTM layers with dropout, softmax with the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, HIDDEN)
        self.lstm = torch.nn.LSTM(HIDDEN, HIDDEN, 2, dropout=0.3)
        self.output = torch.nn.Linear(HIDDEN, VOCABULARY)
        self.output.weight = self.embedding.weight

    def forward(self, inputs: Tensor, carry: Any) -> tuple[Tensor, Any]:
        output, carry = self.lstm(self.embedding(inputs), carry)
        return self.output(output), carry


class Problem:
    """A text that counts, with noise. Its batches come in another order each epoch."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.model = LanguageModel()
        text = torch.arange(LANES * 401) * 7 % VOCABULARY
        noise = torch.randint(0, VOCABULARY, text.shape)
        self.text = torch.where(torch.rand(text.shape) < 0.2, noise, text).view(LANES, 401).T

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[Any]:
        order = torch.randperm(40, generator=torch.Generator().manual_seed(epoch)).tolist()
        starts = [index * STEPS for index in order]
        return [(self.text[k : k + STEPS], self.text[k + 1 : k + STEPS + 1]) for k in starts]

    def initial_carry(self, rank: int, world: int) -> Any:
        return torch.zeros(2, LANES, HIDDEN), torch.zeros(2, LANES, HIDDEN)

    def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> StepLoss:
        inputs, targets = batch
        logits, carry = model(inputs, carry)
        total = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        return StepLoss(total, targets.numel(), carry)

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        logits, _ = model(self.text[:100], None)
        return {"loss": functional.cross_entropy(logits.flatten(0, 1), self.text[1:101].flatten()).item()}


def train(folder: Path, resume: bool) -> None:
    """One training process."""
    run = RunFolder.create(folder, resume=resume)
    run.write_config({})
    fit(Problem(), OPTIONS, run, resume=resume)
    run.complete()


def started(folder: Path, resume: bool) -> int:
    """A child process that trains; its id. It is forked: moments are of the training, not of imports."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        train(folder, resume)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def finish(folder: Path, resume: bool) -> None:
    """Train to the end in a child process."""
    _, status = os.waitpid(started(folder, resume), 0)
    if status != 0:
        raise SystemExit(f"the training failed: {folder.with_suffix('.log').read_text()}")


def outcome(folder: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """(final weights, history without timings) of a complete and verified run."""
    run = RunFolder.open(folder)
    history = [{k: v for k, v in record.items() if k not in TIMINGS} for record in run.read_history()]
    return run.read_tensors("model.safetensors"), history


def kill_once(folder: Path, moment: float) -> dict[str, Any] | None:
    """Kill a training after `moment` seconds. What it left on the disk; None where it had ended by then."""
    child = started(folder, resume=False)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return None
    checkpoints = folder / "checkpoints"
    names = sorted(path.name for path in checkpoints.iterdir()) if checkpoints.is_dir() else []
    temporary = [str(path.relative_to(folder)) for path in folder.rglob(".writing-*")]
    steps = [name for name in names if name.startswith("step-")]
    return {"moment": moment, "last_checkpoint": steps[-1] if steps else None, "half_written": temporary}


def run_kills(root: Path, kills: int, seed: int) -> dict[str, Any]:
    """Compare `kills` killed and resumed trainings with an uninterrupted one."""
    torch.set_num_threads(1)  # forked children must not inherit a pool of threads
    torch.optim.SGD([torch.zeros(1)])  # imports a second's worth of torch, here and not in each child
    draw = random.Random(seed)
    finish(root / "warm-up", resume=False)
    start = time.monotonic()
    finish(root / "uninterrupted", resume=False)
    seconds = time.monotonic() - start
    weights, history = outcome(root / "uninterrupted")
    rows: list[dict[str, Any]] = []
    attempt = 0
    while len(rows) < kills:
        attempt += 1
        folder = root / f"killed-{attempt}"
        row = kill_once(folder, draw.uniform(0, seconds))
        if row is None:
            continue
        finish(folder, resume=folder.exists())
        again, history_again = outcome(folder)
        row["weights_equal"] = weights.keys() == again.keys() and all(
            torch.equal(weights[name], again[name]) for name in weights
        )
        row["history_equal"] = history == history_again
        rows.append(row)
        print(json.dumps(row), flush=True)
    return {
        "kills": len(rows),
        "equal": sum(row["weights_equal"] and row["history_equal"] for row in rows),
        "kills_while_writing": sum(bool(row["half_written"]) for row in rows),
        "uninterrupted_seconds": seconds,
        "steps": max(record["step"] for record in history),
        "rows": rows,
    }


def main() -> None:
    """Kill, resume, compare, and write the result where `--out` says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run_kills(Path(folder), arguments.kills, arguments.seed)
    summary = {name: value for name, value in result.items() if name != "rows"}
    print(json.dumps(summary))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    sys.exit(0 if result["equal"] == result["kills"] else 1)


if __name__ == "__main__":
    main()
