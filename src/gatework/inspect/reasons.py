"""Why an outcome is what it is: the steps and units that carried it, verified by leaving them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatework.inspect.influence import influence_of
from gatework.inspect.subject import Outcome, Subject

__all__ = ["Reason", "UnitReason", "reason_of"]

_NAMED = 12  # units
_DRAWS = 4  # of steps that are left out at random, to compare with
_LEFT_OUT = 0.1  # of the steps are left out where an explanation is verified
_ALONE = 16  # steps at most that are left out one by one, of which those that change most are named
_AT = (0.0, 0.5)  # how much of every step is left out where the gradients are taken


class UnitReason(NamedTuple):
    """By how much an outcome would fall, by the gradients, without a unit's change at a step."""

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
        steps: (T,) by how much the outcome would fall, by the gradients, without each step.
        units: those of the largest effects.
        left_out: the steps whose absence changes most, a tenth of all: they were left out together to verify it.
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
    """Explains an outcome by the `steps` steps of the `rows` rows that its layer reads, of which it depends on one.

    A network that is sure of its answer has next to no gradient there. So an effect is the mean of two gradients on the
    way from all steps to none, as in integrated gradients (Sundararajan et al. 2017): where nothing is left out, and
    where half of every step is. Of twice as many steps as are named each is left out by itself, where they are few.
    """
    layer = subject.module.get_submodule(outcome.inside)
    one_row = torch.arange(rows) == row

    def answer() -> Tensor:
        value = outcome.value(subject.call())
        return torch.where(one_row.to(value.device), value, 0.0)

    found, halfway = (influence_of(subject.module, answer, (steps, rows), inside=layer, at=at) for at in _AT)
    units = {name: (effect + halfway.units[name]) / 2 for name, effect in found.units.items()}
    effects = ((found.steps + halfway.steps) / 2)[:, row].float().cpu().numpy()
    value, count = float(found.value[row]), max(1, round(_LEFT_OUT * steps))

    def without(chosen: np.ndarray) -> float:
        leave_out = torch.zeros(steps, rows)
        leave_out[torch.from_numpy(chosen), row] = 1
        return float(found.without(leave_out)[row])

    order = np.argsort(-np.abs(effects), kind="stable")
    if 2 * count <= _ALONE:
        order = order[: 2 * count]
        order = order[np.argsort([-abs(without(step[None]) - value) for step in order], kind="stable")]
    left_out = order[:count]
    others = np.setdiff1d(np.arange(steps), left_out)
    random = np.random.default_rng(0)
    draws = [random.permutation(others)[:count] for _ in range(_DRAWS if len(others) >= count else 0)]

    return Reason(
        outcome.name,
        value,
        outcome.inside,
        effects,
        _units(units, row),
        sorted(left_out.tolist()),
        without(left_out),
        [without(chosen) for chosen in draws],
    )


def _units(effects: Mapping[str, Tensor], row: int) -> list[UnitReason]:
    named = []
    for name, effect in effects.items():
        own = effect[:, row]
        for place in own.abs().flatten().topk(min(_NAMED, own.numel())).indices.tolist():
            step, unit = divmod(place, own.shape[1])
            named.append(UnitReason(name, unit, step, float(own[step, unit])))
    return sorted(named, key=lambda each: -abs(each.effect))[:_NAMED]
