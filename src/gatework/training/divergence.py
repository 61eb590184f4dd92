"""Gradients that explode, and losses that are no number any more."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from gatework.errors import InputError

NORM_WINDOW = 100  # steps whose median norm is the usual one
MIN_NORMS = 20  # norms to have seen before anything is called unusual
EXPLOSION = 10.0  # times the usual norm
WARNING_INTERVAL = 200  # steps between two warnings


class DivergedError(InputError):
    """The loss or the gradient norm is not finite any more; the training stopped.

    Args:
        step: the optimizer step, counted from 1.
        loss: the mean loss of that step.
        norm: the gradient norm before clipping.
        checkpoint: the last good checkpoint, which stays as it is; None where there was none yet.
        learning_rate: the rate of that step.
    """

    def __init__(
        self, step: int, loss: float, norm: float, checkpoint: Path | None, learning_rate: float
    ) -> None:
        self.step, self.loss, self.norm = step, loss, norm
        self.checkpoint, self.learning_rate = checkpoint, learning_rate
        if checkpoint:
            kept, again = f"the last good checkpoint is {checkpoint}", "go on with resume=True"
        else:
            kept, again = "there was no checkpoint before it", "start anew"
        super().__init__(
            f"step {step}",
            f"training diverged: the loss is {loss:.4g} and the gradient norm {norm:.4g}; {kept}",
            f"Lower learning_rate (it was {learning_rate:.3g}) or clip_norm and {again}.",
        )

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, float, float, Path | None, float]]:  # type: ignore[override]
        return type(self), (self.step, self.loss, self.norm, self.checkpoint, self.learning_rate)


def usual_norm(recent: Sequence[float]) -> float | None:
    """The median of recent gradient norms; None before enough of them were seen."""
    return statistics.median(recent) if len(recent) >= MIN_NORMS else None


def is_explosion(norm: float, usual: float | None, clip_norm: float) -> bool:
    """Whether `norm` is many times the usual one, and above the norm from which gradients are scaled down (0: none)."""
    return usual is not None and norm > EXPLOSION * usual > 0 and norm > clip_norm
