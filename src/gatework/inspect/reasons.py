"""Why an outcome is what it is: the steps and units that carried it, verified by leaving them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatework.inspect.influence import Influence, influence_of
from gatework.inspect.subject import Outcome, Subject

__all__ = ["Reason", "UnitReason", "reason_of"]

_NAMED = 12  # units
_DRAWS = 4  # of steps that are left out at random, to compare with
_LEFT_OUT = 0.1  # of the steps are left out where an explanation is verified


class UnitReason(NamedTuple):
    """By how much an outcome would fall, to first order, without a unit's change at a step."""

    state: str
    unit: int
    step: int
    effect: float


@dataclass(frozen=True)
class Reason:
    """Why an outcome is what it is.

    Attributes:
        outcome: in words; its `value`.
        inside: the recurrent layer whose steps explain it.
        steps: (T,) by how much the outcome would fall, to first order, without each step.
        units: those of the largest effects.
        left_out: the steps whose absence would change most, a tenth of all: they were left out to verify it.
        without: the outcome without them.
        without_others: the outcome without as many other steps, drawn at random, for each draw.
    """

    outcome: str
    value: float
    inside: str
    steps: np.ndarray
    units: Sequence[UnitReason]
    left_out: Sequence[int]
    without: float
    without_others: Sequence[float]

    @property
    def verified(self) -> bool:
        """Whether leaving out the named steps changes the outcome more than leaving out others does on average."""
        others = [abs(value - self.value) for value in self.without_others]
        return not others or abs(self.without - self.value) > sum(others) / len(others)

    def __str__(self) -> str:
        others = np.mean([abs(value - self.value) for value in self.without_others] or [0.0])
        count = len(self.left_out)
        steps = "step" if count == 1 else "steps"
        return (
            f"{self.outcome} is {self.value:.4g}. Without the {count} {steps} that carried it most it is "
            f"{self.without:.4g}, a change of {abs(self.without - self.value):.2g}; without as many others it "
            f"changes by {others:.2g} on average."
        )


def reason_of(subject: Subject, outcome: Outcome, steps: int, rows: int, row: int) -> Reason:
    """Explains an outcome by the `steps` steps of the `rows` rows that its layer reads, of which it depends on one."""
    layer = subject.module.get_submodule(outcome.inside)
    one_row = torch.arange(rows) == row

    def answer() -> Tensor:
        value = outcome.value(subject.call())
        return torch.where(one_row.to(value.device), value, 0.0)

    found = influence_of(subject.module, answer, (steps, rows), inside=layer)
    effects = found.steps[:, row].float().cpu().numpy()
    count = max(1, round(_LEFT_OUT * steps))
    left_out = np.argsort(-np.abs(effects), kind="stable")[:count]
    others = np.setdiff1d(np.arange(steps), left_out)
    random = np.random.default_rng(0)
    draws = [random.permutation(others)[:count] for _ in range(_DRAWS if len(others) >= count else 0)]

    def without(chosen: np.ndarray) -> float:
        leave_out = torch.zeros(steps, rows)
        leave_out[torch.from_numpy(chosen), row] = 1
        return float(found.without(leave_out)[row])

    return Reason(
        outcome.name,
        float(found.value[row]),
        outcome.inside,
        effects,
        _units(found, row),
        sorted(left_out.tolist()),
        without(left_out),
        [without(chosen) for chosen in draws],
    )


def _units(found: Influence, row: int) -> list[UnitReason]:
    named = []
    for name, effect in found.units.items():
        own = effect[:, row]
        for place in own.abs().flatten().topk(min(_NAMED, own.numel())).indices.tolist():
            step, unit = divmod(place, own.shape[1])
            named.append(UnitReason(name, unit, step, float(own[step, unit])))
    return sorted(named, key=lambda each: -abs(each.effect))[:_NAMED]
