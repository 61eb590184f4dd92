"""Why a network says what it says: the past steps and units that carried an output, verified by leaving them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gatework.inspect.gradient_flow import in_eval
from gatework.layers import Tape, record

__all__ = ["Influence", "influence"]


@dataclass(frozen=True)
class Influence:
    """What carried an output.

    Attributes:
        value: (B,) the output of each row.
        units: (T, B, size) by state, "l0.h": by how much the output would fall, to first order, if the unit had stayed
            as it was at that step.
        steps: (T, B): `units` summed over the states and units of every layer: of the whole step.
    """

    value: Tensor
    units: Mapping[str, Tensor]
    steps: Tensor
    _answer: Callable[[Tensor], Tensor]

    def without(self, steps: Tensor) -> Tensor:
        """(B,) the output with steps left out, which is what the influence says beforehand.

        Args:
            steps: (T, B) booleans: true where every state of a row stays as it was.
        """
        return self._answer(steps)

    def most(self, count: int) -> Tensor:
        """(T, B) booleans: of each row the steps whose absence would change its output most, in either direction."""
        order = self.steps.abs().topk(min(count, len(self.steps)), dim=0).indices
        return torch.zeros_like(self.steps, dtype=torch.bool).scatter(0, order, value=True)


def influence(
    module: nn.Module,
    input: Tensor,
    output: Callable[[Any], Tensor],
    *,
    batch_first: bool = False,
    **call: Any,
) -> Influence:
    """Measures which past steps and units carried an output.

    Each state of each recurrent layer is mixed, at every step, with what it was before, by a weight of 0; the gradient
    of the output in that weight is the effect of leaving the unit out at that step, to first order, everything that it
    would have led to included. The module runs in eval mode, and stays as it is.

    Args:
        module: a `gw.Recurrent`, or a module with some inside that read the input's steps.
        input: its first argument, (T, B, ·), or (B, T, ·) if batch_first.
        output: of what the module returns, (B,): the number of each row that is to be explained, which depends on that
            row alone.
        call: further arguments of the call.

    Raises:
        ValueError: the output is not one number a row, or no recurrent layer read so many steps.
    """
    rows, steps = (input.shape[0], input.shape[1]) if batch_first else (input.shape[1], input.shape[0])
    return influence_of(module, lambda: output(module(input, **call)), (steps, rows))


def influence_of(
    module: nn.Module,
    answer: Callable[[], Tensor],
    shape: tuple[int, int],
    *,
    inside: nn.Module | None = None,
    at: float = 0.0,
) -> Influence:
    """As `influence`, of what `answer` gives when it calls the module.

    Args:
        answer: gives (B,), each number dependent on its own row alone.
        shape: the steps and rows, (T, B), that are explained.
        inside: the part of the module whose steps they are; the whole by default.
        at: how much of every step is left out where the gradient is taken.
    """
    steps, rows = shape

    def run(leave_out: Tensor) -> tuple[Tensor, Tape]:
        with in_eval(module), record(inside or module, (), leave_out=leave_out) as tape:
            value = answer()
        if tuple(value.shape) != (rows,):
            raise ValueError(f"the output has shape {tuple(value.shape)}: give one number a row, ({rows},).")
        return value, tape

    def without(leave_out: Tensor) -> Tensor:
        with torch.no_grad():
            return run(leave_out)[0]

    with torch.enable_grad():
        value, tape = run(torch.full((steps, rows), at))
        layers = [layer for each in tape.calls for layer in each.layers.values()]
        if all(skip is None for layer in layers for skip in layer.skips.values()):
            raise ValueError(
                f"no recurrent layer inside {type(module).__name__} read {steps} steps of {rows} rows."
            )
        units = {name: -effect.detach() for name, effect in tape.left_out(value.sum()).items()}
    total = torch.stack([effect.sum(-1) for effect in units.values()]).sum(0)
    return Influence(value.detach() if at == 0 else without(torch.zeros(steps, rows)), units, total, without)
