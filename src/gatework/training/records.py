"""What a training writes down: its steps as records of history.jsonl, on the screen and for TensorBoard."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatework.training import files
from gatework.training.callbacks import Listeners
from gatework.training.checkpoint import Checkpoints
from gatework.training.divergence import (
    NORM_WINDOW,
    WARNING_INTERVAL,
    DivergedError,
    is_explosion,
    usual_norm,
)
from gatework.training.progress import Progress
from gatework.training.run_folder import RunFolder
from gatework.training.state import TrainingState, Window
from gatework.training.stopping import epochs_done
from gatework.training.tensorboard import TensorBoard


class PendingStep(NamedTuple):
    """The figures of one optimizer step, as tensors on the device: the loss and its parts as sums over `count`."""

    total: Tensor
    count: Tensor | int  # type: ignore[assignment]  # shadows tuple.count
    parts: Mapping[str, Tensor]
    norm: Tensor
    learning_rate: float


class Recorder:
    """The records of one training, on one process.

    Attributes:
        state: the training's, in which sums since the last record and recent norms are kept.
        tensorboard: where records are shown too, once it is opened.
    """

    def __init__(
        self,
        run: RunFolder,
        state: TrainingState,
        checkpoints: Checkpoints,
        progress: Progress,
        listeners: Listeners,
        clip_norm: float,
    ) -> None:
        self.run, self.state, self.checkpoints, self.progress = run, state, checkpoints, progress
        self.listeners, self.clip_norm = listeners, clip_norm
        self.tensorboard: TensorBoard | None = None
        # Steps whose loss and norm still lie on the device: read all at once, at the next record.
        self._pending: list[PendingStep] = []
        self._timed_from, self._timed_items = time.monotonic(), 0.0

    def note(self, step: PendingStep) -> None:
        """Note a step, whose figures are read later: reading one would make the host wait."""
        self._pending.append(step)

    def flush(self) -> None:
        """Read the pending steps' figures from the device, and look at each.

        Raises:
            DivergedError: a loss or a norm is not finite.
        """
        if not self._pending:
            return
        state, window = self.state, self.state.window
        totals = torch.stack([step.total for step in self._pending]).tolist()
        norms = torch.stack([step.norm for step in self._pending]).tolist()
        pending, self._pending = self._pending, []
        first = state.step - len(pending) + 1
        for number, total, norm, step in zip(itertools.count(first), totals, norms, pending, strict=False):
            count = float(step.count)
            loss = total / count
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self.diverged(number, loss, norm, step.learning_rate)
            if is_explosion(norm, state.usual_norm, self.clip_norm):
                self._warn(number, norm)
            state.norms.append(norm)
            window.steps += 1
            window.total += total
            window.count += count
            window.norm += norm
            window.highest_norm = max(window.highest_norm, norm)
            self._timed_items += count
            window.learning_rate = step.learning_rate
        for name in dict.fromkeys(name for step in pending for name in step.parts):
            for value in torch.stack([step.parts[name] for step in pending if name in step.parts]).tolist():
                window.parts[name] = window.parts.get(name, 0.0) + value

    def record(self) -> None:
        """Write what happened since the last record to history.jsonl."""
        self.flush()
        window = self.state.window
        if window.steps == 0:
            return
        now = time.monotonic()
        means = {name: files.finite(value / window.count) for name, value in window.parts.items()}
        parts = {"parts": means} if means else {}
        self._add(
            {
                "kind": "train",
                "step": self.state.step,
                "epoch": self.epoch,
                "loss": window.total / window.count,
                **parts,
                "learning_rate": window.learning_rate,
                "gradient_norm": window.norm / window.steps,
                "highest_gradient_norm": window.highest_norm,
                "items_per_second": self._timed_items / max(now - self._timed_from, 1e-9),
                "seconds": self.state.seconds,
            }
        )
        self.state.window = Window()
        # Here and not at each flush: records come at the same steps whenever checkpoints are saved.
        self.state.norms = self.state.norms[-NORM_WINDOW:]
        self.state.usual_norm = usual_norm(self.state.norms)
        self._timed_from, self._timed_items = now, 0.0

    def add_figures(self, kind: str, figures: Mapping[str, float], **notes: Any) -> None:
        """Write the figures of a validation."""
        self._add(
            {
                **{name: files.finite(value) for name, value in figures.items()},
                "kind": kind,
                "step": self.state.step,
                "epoch": self.epoch,
                "seconds": self.state.seconds,
                **notes,
            }
        )

    @property
    def epoch(self) -> float:
        """The position in epochs, rounded for people."""
        return round(epochs_done(self.state), 4)

    def diverged(self, step: int, loss: float, norm: float, rate: float) -> DivergedError:
        """The error of a training whose numbers are none any more; it names the last good checkpoint."""
        last = self.checkpoints.last
        return DivergedError(step, loss, norm, last.path if last else None, rate)

    @contextlib.contextmanager
    def untimed(self) -> Iterator[None]:
        """What happens inside does not count towards the training's speed."""
        start = time.monotonic()
        yield
        self._timed_from += time.monotonic() - start

    def _warn(self, step: int, norm: float) -> None:
        state = self.state
        recently = state.warned_at is not None and step < state.warned_at + WARNING_INTERVAL
        if state.usual_norm is None or recently:
            return
        state.warned_at = step
        self._add({"kind": "warning", "step": step, "gradient_norm": norm, "usual_norm": state.usual_norm})
        self.progress.say(
            f"warning: the gradient norm exploded at step {step}: {norm:.3g}, "
            f"{norm / state.usual_norm:.0f} times the usual {state.usual_norm:.3g}"
        )

    def _add(self, record: dict[str, Any]) -> None:
        self.run.append_history(record)
        self.state.records += 1
        self.progress.record(record)
        if self.tensorboard is not None:
            self.tensorboard.record(record)
        self.listeners.tell(record)
