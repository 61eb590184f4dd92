"""Training one cell at one problem of `memory_problems`, in given minutes: the setting is chosen by validation.

The minutes are spent by successive halving (Jamieson & Talwalkar 2016): a quarter goes to all settings, a quarter to
the two that are best on the validation examples, and the rest to the best one; each goes on where it stopped. A network
that has solved the problem on two validations in a row is not trained further. Minutes are those of a core, so that a
machine that does other work at the same time takes nothing away from a cell.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from memory_problems import Batch, Problem
from torch import Tensor, nn

import gatework as gw
from gatework.graph.parameters import gate_rows

ROWS = 32
"""Of a training batch; examples are drawn anew for each."""
HELD_BACK = 256
"""Validation examples, and test examples."""
LEARNING_RATES = (0.005, 0.001)
OWN_LEARNING_RATES = {"co_rnn": (0.02, 0.005)}
"""Of cells whose papers train at others."""
VALIDATIONS = 10
"""Of a setting in its share of the minutes, at most; fewer where they would take more than a tenth of it."""
CLIP_NORM = 1.0
SEEDS = {"training": 0, "validation": 1, "test": 2}

REMEMBERS = ("forget", "update")
"""Gates whose bias says how long the state is kept."""
KEEPS_WHEN_SHUT = ("min_gru", "minimal_gated_unit")
"""Cells in which that gate, open, lets the new value in."""
OPTIONS: dict[
    str, list[dict[str, float]]
] = {  # of cells whose equations have numbers that their papers choose by problem
    "co_rnn": [
        {"step": 0.042, "frequency": 2.7, "damping": 4.7},  # sequential MNIST
        {"step": 0.06, "frequency": 66.0, "damping": 15.0},  # adding over 500 steps
        {"step": 0.016, "frequency": 94.5, "damping": 9.5},  # adding over 5,000 steps
    ],
    "lem": [{"step": 1.0}, {"step": 0.1}],
}


VARIANTS: dict[str, tuple[str, dict[str, int]]] = {"slstm_4_heads": ("slstm", {"heads": 4})}
"""Cells of the catalogue with other options than their own, by the names that they have here."""


def known_names() -> list[str]:
    """Of the cells that can be trained here."""
    return [*gw.cells.names(), *VARIANTS]


def cell_of(name: str) -> gw.Cell:
    """A cell of the catalogue, or a variant of one."""
    base, options = VARIANTS.get(name, (name, {}))
    cell = gw.cells.get(base)
    return cell.with_options(**options) if options else cell


@dataclass(frozen=True)
class Setting:
    """How a network begins, and how fast it learns.

    Attributes:
        start: `torch` (all weights uniform), `keras` (orthogonal recurrent weights, open forget gates), or `chrono`
            (gates that remember for 1 to `lag` steps, Tallec & Ollivier 2018, arXiv:1804.11188).
        options: of the cell's equations.
    """

    start: str
    learning_rate: float
    options: tuple[tuple[str, float], ...] = ()

    def named(self) -> dict[str, Any]:
        return {"start": self.start, "learning_rate": self.learning_rate, **dict(self.options)}


def settings(cell: str) -> list[Setting]:
    """What is tried for a cell."""
    options = [tuple(each.items()) for each in OPTIONS.get(cell, [{}])]
    starts = ["torch", "keras"] if len(options) == 1 else ["torch"]
    if _memory_gate(cell_of(cell)) is not None:
        starts.append("chrono")
    return [
        Setting(start, rate, given)
        for start, given, rate in product(starts, options, OWN_LEARNING_RATES.get(cell, LEARNING_RATES))
    ]


def _memory_gate(cell: gw.Cell) -> tuple[str, str] | None:
    """The slot and the name of the gate whose bias says how long the state is kept."""
    for block in cell.graph.blocks:
        if block.bias and block.gate in REMEMBERS:
            return block.slot, block.gate
    return None


class Network(nn.Module):
    """Recurrent layers of one cell and a linear read-out."""

    def __init__(self, problem: Problem, cell: str, setting: Setting) -> None:
        super().__init__()
        kind = cell_of(cell)
        self.layers = gw.Recurrent(
            kind.with_options(**dict(setting.options)) if setting.options else kind,
            problem.inputs,
            problem.units,
            problem.layers,
            init="keras" if setting.start == "keras" else "torch",
        )
        if setting.start == "chrono":
            self._remember(problem)
        self.read_out = nn.Linear(problem.units, problem.outputs)

    @torch.no_grad()
    def _remember(self, problem: Problem) -> None:
        cell = self.layers.cell
        slot, gate = _memory_gate(cell)
        sign = -1.0 if cell.name in KEEPS_WHEN_SHUT else 1.0
        for layer in range(problem.layers):
            first, last = gate_rows(cell.graph, slot, self.layers.stack.layer_sizes(layer))[gate]
            steps = torch.empty(last - first).uniform_(1.0, max(problem.lag - 1.0, 2.0))
            getattr(self.layers, f"bias_{slot}_l{layer}")[first:last] = sign * steps.log()

    def forward(self, inputs: Tensor, last: int) -> Tensor:
        """The outputs at the last steps, (last, B, outputs), of inputs (T, B, inputs)."""
        return self.read_out(self.layers(inputs)[0][-last:])


class Trial:
    """One setting in training.

    Attributes:
        loss: the least of the validation examples so far; infinite before the first validation.
        figure: the problem's, of the same examples at the last validation.
        seconds, steps: so far.
        solved: whether the last two validations say so.
    """

    def __init__(self, problem: Problem, cell: str, setting: Setting, seed: int, validation: Batch) -> None:
        self.problem, self.setting, self.validation = problem, setting, validation
        torch.manual_seed(seed)
        self.network = Network(problem, cell, setting)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=setting.learning_rate)
        self.draws = generator("training", seed)
        self.loss, self.figure, self.solved = math.inf, problem.chance, False
        self.weights = copy.deepcopy(self.network.state_dict())  # of the least loss
        self.seconds, self.steps, self.diverged = 0.0, 0, False
        self.course: list[dict[str, float]] = []

    def train(self, seconds: float, now: Callable[[], float] = time.process_time) -> None:
        """Trains for so long, or until the problem is solved."""
        begin = validated = now()
        before, pause = self.seconds, seconds / VALIDATIONS
        while not (self.solved or self.diverged):
            self._step()
            started = now()
            time_is_up = started - begin >= seconds
            if time_is_up or started - validated >= pause:
                self.seconds = before + started - begin
                self._validate()
                validated = now()
                pause = max(seconds / VALIDATIONS, 10 * (validated - started))
            if time_is_up:
                break
        self.seconds = before + now() - begin

    def _step(self) -> None:
        batch = self.problem.draw(ROWS, self.draws)
        loss = self.problem.loss(self.network(batch.inputs, len(batch.targets)), batch.targets)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.diverged = not bool(norm.isfinite())
        if not self.diverged:
            self.optimizer.step()
            self.steps += 1

    def _validate(self) -> None:
        outputs = outputs_of(self.network, self.validation)
        loss = self.problem.loss(outputs, self.validation.targets).item()
        self.diverged = not math.isfinite(loss)
        if self.diverged:
            return
        if loss < self.loss:
            self.loss, self.weights = loss, copy.deepcopy(self.network.state_dict())
        was_solved = self.problem.is_solved(self.figure)
        self.figure = self.problem.figure(outputs, self.validation.targets)
        self.solved = was_solved and self.problem.is_solved(self.figure)
        self.course.append(
            {"step": self.steps, "seconds": round(self.seconds, 2), "loss": loss, "figure": self.figure}
        )


def generator(what: str, seed: int) -> torch.Generator:
    """Random numbers of training, validation or test examples, which never meet."""
    return torch.Generator().manual_seed(len(SEEDS) * seed + SEEDS[what])


@torch.no_grad()
def outputs_of(network: Network, batch: Batch) -> Tensor:
    """Of all rows, a training batch's number of them at a time."""
    rows = batch.inputs.split(ROWS, dim=1)
    return torch.cat([network(part, len(batch.targets)) for part in rows], 1)


def learn(problem: Problem, cell: str, minutes: float, seed: int = 0) -> dict[str, Any]:
    """Trains a cell at a problem, and tests the network that was best on the validation examples.

    Returns:
        What was chosen, what it took, the course of its validations and `figures`, by name, of the test examples.
    """
    begin = time.process_time()
    validation = problem.draw(HELD_BACK, generator("validation", seed))
    for options in dict.fromkeys(
        setting.options for setting in settings(cell)
    ):  # compiled before the clock runs
        Trial(problem, cell, Setting("torch", 0.0, options), seed, validation).train(0.0)
    compiled = time.process_time()
    budget = max(60.0 * minutes - (compiled - begin), 0.0)
    trials = [Trial(problem, cell, setting, seed, validation) for setting in settings(cell)]
    left = trials
    for share, kept in ((0.25, len(trials)), (0.25, 2), (0.5, 1)):
        left = sorted(left, key=lambda trial: trial.loss)[:kept]
        for trial in left:
            if not any(other.solved for other in trials):
                trial.train(share * budget / kept)
    best = min(trials, key=lambda trial: (not trial.solved, trial.loss))
    best.network.load_state_dict(best.weights)
    test = problem.draw_test(HELD_BACK, generator("test", seed))
    figures = problem.test_figures(outputs_of(best.network, test), test.targets)
    return {
        "problem": problem.name,
        "cell": cell,
        "units": problem.units,
        "layers": problem.layers,
        "parameters": sum(parameter.numel() for parameter in best.network.parameters()),
        "minutes": minutes,
        "seed": seed,
        "figures": figures,
        "skill": {name: problem.skill(figure) for name, figure in figures.items()},
        "solved": best.solved,
        "setting": best.setting.named(),
        "steps": best.steps,
        "seconds": round(best.seconds, 1),
        "seconds_of_all_settings": round(time.process_time() - compiled, 1),
        "seconds_of_compiling": round(compiled - begin, 1),
        "milliseconds_a_step": round(1e3 * best.seconds / max(best.steps, 1), 2),
        "course": best.course,
        "tried": [
            {
                **trial.setting.named(),
                "loss": trial.loss if math.isfinite(trial.loss) else None,
                "steps": trial.steps,
            }
            for trial in trials
        ],
    }
