"""What the training loop costs over a bare torch loop with the same model, data and optimiser.

    python benchmarks/loop_overhead.py [--pairs 7] [--seconds 5] [--out benchmarks/results/loop_overhead.json]

Both loops train a stateful LSTM language model by truncated backpropagation with AdamW and clipping. The
bare loop does that and nothing else. The time of `fit` is that of the whole call: records, a checkpoint
with its flushes to the disk, the final weights. First both must reach the same weights to the bit; then
pairs of runs are interleaved, and the ratio is the median over the pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import machine
from torch import Tensor
from torch.nn import functional

from gatework.training import RunFolder, StepLoss, TrainingOptions, fit


class Shape(NamedTuple):
    """A language model and its batches."""

    layers: int
    hidden: int
    vocabulary: int
    steps: int  # T
    lanes: int  # B


SHAPES = {
    "2x256, T=64, B=32": Shape(2, 256, 1000, 64, 32),
    "1x64, T=32, B=16": Shape(1, 64, 100, 32, 16),
}


class LanguageModel(torch.nn.Module):
    """Embedding, LSTM, softmax."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(shape.vocabulary, shape.hidden)
        self.lstm = torch.nn.LSTM(shape.hidden, shape.hidden, shape.layers)
        self.output = torch.nn.Linear(shape.hidden, shape.vocabulary)

    def forward(self, inputs: Tensor, carry: Any) -> tuple[Tensor, Any]:
        output, carry = self.lstm(self.embedding(inputs), carry)
        return self.output(output), carry


class Problem:
    """Random text: the time of a step does not depend on what it says."""

    def __init__(self, shape: Shape) -> None:
        torch.manual_seed(0)
        self.shape = shape
        self.model = LanguageModel(shape)
        text = torch.randint(0, shape.vocabulary, (shape.steps * 50 + 1, shape.lanes))
        starts = range(0, shape.steps * 50, shape.steps)
        self.epoch = [(text[k : k + shape.steps], text[k + 1 : k + shape.steps + 1]) for k in starts]

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[Any]:
        return self.epoch

    def initial_carry(self, rank: int, world: int) -> Any:
        zeros = torch.zeros(self.shape.layers, self.shape.lanes, self.shape.hidden)
        return zeros, zeros

    def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> StepLoss:
        inputs, targets = batch
        logits, carry = model(inputs, carry)
        total = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        return StepLoss(total, targets.numel(), carry)

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        return {"loss": 0.0}  # the cost of a validation is the model's, not the loop's


class Times(NamedTuple):
    """Seconds on the clock, and of processor time, which another program's load disturbs less."""

    wall: float
    cpu: float


Train = Callable[[Problem, int], None]


def train_bare(problem: Problem, steps: int) -> None:
    """The loop that everybody writes, without anything that can be left out."""
    model, done = problem.model, 0
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True
    )
    while done < steps:
        h, c = problem.initial_carry(0, 1)
        for inputs, targets in problem.epoch[: steps - done]:
            logits, (h, c) = model(inputs, (h, c))
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
            (loss / targets.numel()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            h, c = h.detach(), c.detach()
            done += 1


def train_fit(problem: Problem, steps: int) -> None:
    """The same through `fit`, in a run folder of its own."""
    options = TrainingOptions(
        max_steps=steps, learning_rate=1e-3, schedule="constant", validate_every=steps, device="cpu"
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(problem, options, RunFolder.create(Path(folder) / "run"))


def timed(train: Train, shape: Shape, steps: int) -> Times:
    """What `steps` steps take."""
    problem = Problem(shape)
    wall, cpu = time.perf_counter(), time.process_time()
    train(problem, steps)
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def check(shape: Shape) -> None:
    """Both loops give the same weights, or the comparison would mean nothing."""
    bare, fitted = Problem(shape), Problem(shape)
    train_bare(bare, 60)
    train_fit(fitted, 60)
    for (name, a), b in zip(bare.model.named_parameters(), fitted.model.parameters(), strict=True):
        if not torch.equal(a, b):
            raise SystemExit(f"the two loops train different models: {name} differs")


def measure(shape: Shape, pairs: int, seconds: float) -> dict[str, Any]:
    """Medians over interleaved pairs of runs of about `seconds` each."""
    check(shape)
    steps = max(50, round(50 * seconds / timed(train_bare, shape, 50).wall))
    rows: list[tuple[Times, Times]] = []
    for pair in range(pairs):
        order: tuple[Train, Train] = (train_bare, train_fit) if pair % 2 == 0 else (train_fit, train_bare)
        times = {train: timed(train, shape, steps) for train in order}
        rows.append((times[train_bare], times[train_fit]))
    return {
        "steps": steps,
        "pairs": pairs,
        "bare_ms_per_step": 1e3 * statistics.median(bare.wall for bare, _ in rows) / steps,
        "fit_ms_per_step": 1e3 * statistics.median(fitted.wall for _, fitted in rows) / steps,
        "ratio": statistics.median(fitted.wall / bare.wall for bare, fitted in rows),
        "cpu_ratio": statistics.median(fitted.cpu / bare.cpu for bare, fitted in rows),
        "ratios": [fitted.wall / bare.wall for bare, fitted in rows],
    }


def main() -> None:
    """Measure, print, and write the result where `--out` says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "shapes": {}}
    for name, shape in SHAPES.items():
        figures = measure(shape, arguments.pairs, arguments.seconds)
        result["shapes"][name] = figures
        print(
            f"{name}: bare {figures['bare_ms_per_step']:.3f} ms/step, fit {figures['fit_ms_per_step']:.3f} "
            f"ms/step, ratio {figures['ratio']:.4f} (processor time {figures['cpu_ratio']:.4f})"
        )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
