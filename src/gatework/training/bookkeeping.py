"""What the loop notes, decides and saves between steps: records, validations, checkpoints, the stop."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gatework.errors import RunError
from gatework.training import averaging, files, random_state
from gatework.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    NonFiniteError,
    load,
    pack_rank,
    validated_name,
)
from gatework.training.divergence import PAUSE, WINDOW, DivergedError, is_explosion, usual_norm
from gatework.training.interruption import Interruption
from gatework.training.options import TrainingOptions, option_rules, with_new_names
from gatework.training.problem import Problem
from gatework.training.processes import Processes
from gatework.training.progress import Progress
from gatework.training.run_folder import RunFolder
from gatework.training.schedules import learning_rate
from gatework.training.state import TrainingState, Window
from gatework.training.tensorboard import TensorBoard

Stopped = Literal["finished", "max_minutes", "early", "interrupted"]


@dataclass(frozen=True)
class Result:
    """How a training ended.

    stopped: its budget of epochs or steps is done, its minutes are over, the loss stopped falling, or
        someone asked it to stop (then the weights are the current ones, and it goes on with resume).
    best: the figures of the weights that the run keeps; empty where nothing was validated yet.
    best_at: the step they are from; with `averaged`, the last step of the mean.
    history: the records of history.jsonl.
    """

    stopped: Stopped
    steps: int
    epochs: float
    seconds: float
    best: dict[str, float | None]
    best_at: int | None
    averaged: bool
    history: list[dict[str, Any]] = field(repr=False)


class PendingStep(NamedTuple):
    """The figures of one optimizer step, as tensors on the device: the loss and its parts as sums over `count`."""

    total: Tensor
    count: Tensor | int  # type: ignore[assignment]  # shadows tuple.count
    parts: Mapping[str, Tensor]
    norm: Tensor
    learning_rate: float


class Training:
    """The state of one call of `fit`, on one process. A context: it opens and closes what shows it."""

    def __init__(
        self,
        problem: Problem,
        options: TrainingOptions,
        run: RunFolder,
        processes: Processes,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        interruption: Interruption,
    ) -> None:
        self.problem, self.options, self.run = problem, options, run
        self.processes, self.optimizer, self.progress = processes, optimizer, progress
        self.interruption = interruption
        self.state = TrainingState(world=processes.world)
        self.checkpoints = Checkpoints(run, options.keep_checkpoints)
        self.tensorboard: TensorBoard | None = None
        # Steps whose loss and norm still lie on the device: read all at once, at the next record.
        self.pending: list[PendingStep] = []
        self.started = time.monotonic()
        self.saved: tuple[int, int | None] | None = None  # step and last validation of the last checkpoint
        self.saved_seconds = 0.0  # seconds trained then
        self.timed_from, self.timed_items = self.started, 0.0

    def __enter__(self) -> Training:
        if self.processes.is_main:
            self.checkpoints.sweep()
            if self.options.tensorboard:
                self.tensorboard = TensorBoard(self.run.path, self.state.step)
        self.progress.begin(self.share())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.end()
        if self.tensorboard is not None:
            self.tensorboard.close()

    # -- progress and learning rate

    def epoch_batches(self) -> Sequence[Any]:
        """The batches of the current epoch."""
        state = self.state
        batches = self.problem.batches(state.epoch, self.processes.rank, self.processes.world)
        self.processes.check_equal(len(batches), "batches")
        if not batches:
            raise ValueError(f"epoch {state.epoch} has no batches")
        if state.batch and state.batches != len(batches):
            raise RunError(
                str(self.run.path),
                f"cannot be resumed on other data: an epoch had {state.batches} batches, now {len(batches)}",
                "Give the data and options that the run was started with.",
            )
        state.batches = len(batches)
        return batches

    def share(self, steps: int = 0) -> float:
        """How much of the budget is done, in [0, 1], `steps` steps from now."""
        options, state, shares = self.options, self.state, [0.0]
        if options.epoch_budget is not None:
            within = (state.batch + steps) / state.batches if state.batches else 0.0
            shares.append((state.epoch + within) / options.epoch_budget)
        if options.max_steps is not None:
            shares.append((state.step + steps) / options.max_steps)
        if options.max_minutes is not None:
            shares.append(state.seconds / (60 * options.max_minutes))
        return min(max(shares), 1.0)

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.options, self.share(steps=1), self.state.plateau_share)

    def epochs_done(self) -> float:
        """The position in epochs, exactly."""
        state = self.state
        return state.epoch + (state.batch / state.batches if state.batches else 0.0)

    def _budget_done(self) -> Stopped | None:
        options, state = self.options, self.state
        if options.epoch_budget is not None and state.epoch >= options.epoch_budget:
            return "finished"
        if options.max_steps is not None and state.step >= options.max_steps:
            return "finished"
        if options.max_minutes is not None and state.seconds >= 60 * options.max_minutes and state.step > 0:
            return "max_minutes"
        return None

    # -- between steps

    def step_done(self, step: PendingStep, carry: Any) -> Stopped | None:
        """Note a step, and do whatever is due after it. Returns why to stop, or None to go on."""
        self.pending.append(step)
        self.state.advance()
        self.progress.tick(self.share(), self.state.step)
        return self.pause(carry)

    def pause(self, carry: Any) -> Stopped | None:
        """Whatever is due at the current position: record, validation, checkpoint, stop.

        Everything follows from the position and the state, so that a training that was resumed here does
        what the interrupted one had still to do.
        """
        state, options = self.state, self.options
        record_due = state.step % options.record_every == 0
        validation_due, checkpoint_due = self._validation_due(), self._checkpoint_due()
        due = record_due or validation_due or checkpoint_due
        if self.processes.world > 1 and not (due or self._budget_done()):
            return None  # the processes agree on clock and interruption at these steps only
        interrupted = self._agree()
        stopped = self._budget_done()
        validation_due |= stopped is not None and state.validated_at != state.step

        if record_due or validation_due:
            self.record()
        if interrupted:
            self.save(carry)
            return "interrupted"
        if validation_due:
            self.validate()
            self.save(carry)
            interrupted = self._agree()
        elif checkpoint_due or state.seconds - self.saved_seconds >= 60 * options.checkpoint_minutes:
            self.save(carry)
        if stopped is not None:
            return stopped
        if options.patience and state.since_best >= options.patience:
            return "early"
        return "interrupted" if interrupted else None

    def _agree(self) -> bool:
        seconds = time.monotonic() - self.started
        interrupted, self.state.seconds = self.processes.agree(self.interruption.requested, seconds)
        return interrupted

    def _validation_due(self) -> bool:
        state, every = self.state, self.options.validate_every
        due = state.batch == 0 if every is None else state.step % every == 0
        return due and state.step > 0 and state.validated_at != state.step

    def _checkpoint_due(self) -> bool:
        every = self.options.checkpoint_every
        return every is not None and self.state.step % every == 0

    # -- records

    def flush(self) -> None:
        """Read the pending steps' figures from the device, and look at each.

        Raises:
            DivergedError: a loss or a norm is not finite.
        """
        if not self.pending:
            return
        state, window = self.state, self.state.window
        totals = torch.stack([step.total for step in self.pending]).tolist()
        norms = torch.stack([step.norm for step in self.pending]).tolist()
        pending, self.pending = self.pending, []
        first = state.step - len(pending) + 1
        for number, total, norm, step in zip(itertools.count(first), totals, norms, pending, strict=False):
            count = float(step.count)
            loss = total / count
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self._diverged(number, loss, norm, step.learning_rate)
            if is_explosion(norm, state.usual_norm):
                self._warn(number, norm)
            state.norms.append(norm)
            window.steps += 1
            window.total += total
            window.count += count
            window.norm += norm
            window.highest_norm = max(window.highest_norm, norm)
            self.timed_items += count
            window.learning_rate = step.learning_rate
        for name in dict.fromkeys(name for step in pending for name in step.parts):
            for value in torch.stack([step.parts[name] for step in pending if name in step.parts]).tolist():
                window.parts[name] = window.parts.get(name, 0.0) + value

    def _warn(self, step: int, norm: float) -> None:
        state = self.state
        if state.usual_norm is None or (state.warned_at is not None and step < state.warned_at + PAUSE):
            return
        state.warned_at = step
        self._add({"kind": "warning", "step": step, "gradient_norm": norm, "usual_norm": state.usual_norm})
        self.progress.say(
            f"warning: the gradient norm exploded at step {step}: {norm:.3g}, "
            f"{norm / state.usual_norm:.0f} times the usual {state.usual_norm:.3g}"
        )

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
                "epoch": self._epoch(),
                "loss": window.total / window.count,
                **parts,
                "learning_rate": window.learning_rate,
                "gradient_norm": window.norm / window.steps,
                "highest_gradient_norm": window.highest_norm,
                "items_per_second": self.timed_items / max(now - self.timed_from, 1e-9),
                "seconds": self.state.seconds,
            }
        )
        self.state.window = Window()
        # Here and not at each flush: records come at the same steps whenever checkpoints are saved.
        self.state.norms = self.state.norms[-WINDOW:]
        self.state.usual_norm = usual_norm(self.state.norms)
        self.timed_from, self.timed_items = now, 0.0

    def _epoch(self) -> float:
        return round(self.epochs_done(), 4)

    def _add(self, record: dict[str, Any]) -> None:
        self.run.append_history(record)
        self.state.records += 1
        self.progress.record(record)
        if self.tensorboard is not None:
            self.tensorboard.record(record)

    def _diverged(self, step: int, loss: float, norm: float, rate: float) -> DivergedError:
        last = self.checkpoints.last
        return DivergedError(step, loss, norm, last.path if last else None, rate)

    # -- validations

    def validate(self) -> None:
        """Validate the current weights, and note whether they are the best so far.

        Raises:
            DivergedError: the validation loss is not finite.
        """
        state, options = self.state, self.options
        figures = self._figures()
        improved = state.best_at is None or _objective(figures) < _objective(state.best)
        state.validated_at = state.step
        if improved:
            state.best_at, state.best = state.step, {name: files.finite(x) for name, x in figures.items()}
            state.since_best = state.since_plateau = 0
        else:
            state.since_best += 1
            state.since_plateau += 1
            if options.schedule == "plateau" and state.since_plateau >= options.plateau_patience:
                state.plateau_share = max(state.plateau_share * options.plateau_factor, options.min_lr_ratio)
                state.since_plateau = 0
        if options.average_last >= 2:
            state.validated = [*state.validated, state.step][-options.average_last :]
        self._add_figures("validation", figures, best=improved)

    def _figures(self) -> dict[str, float]:
        """The problem's figures. The main process validates; the others wait for its loss."""
        figures = {"loss": math.nan}
        with self._untimed():
            if self.processes.is_main:
                model = self.problem.model
                model.eval()
                # Random numbers drawn by a validation must not change the training after it.
                with random_state.preserved(), torch.no_grad(), self.processes.accelerator.autocast():
                    figures = {name: float(x) for name, x in self.problem.validate(model).items()}
                model.train()
                if "loss" not in figures:
                    raise ValueError(f"validate() must give a 'loss', it gave {sorted(figures)}")
            loss, objective = self.processes.from_main([figures["loss"], _objective(figures)])
            if not self.processes.is_main:
                figures = {"loss": loss, "objective": objective}
        if not math.isfinite(figures["loss"]):
            norm = self.state.norms[-1] if self.state.norms else math.nan
            raise self._diverged(self.state.step, figures["loss"], norm, self.learning_rate())
        return figures

    def _add_figures(self, kind: str, figures: dict[str, float], **notes: Any) -> None:
        self._add(
            {
                **{name: files.finite(value) for name, value in figures.items()},
                "kind": kind,
                "step": self.state.step,
                "epoch": self._epoch(),
                "seconds": self.state.seconds,
                **notes,
            }
        )

    @contextlib.contextmanager
    def _untimed(self) -> Iterator[None]:
        """What happens inside does not count towards the training's speed."""
        start = time.monotonic()
        yield
        self.timed_from += time.monotonic() - start

    # -- checkpoints

    def save(self, carry: Any) -> None:
        """Save a checkpoint of the current position, unless there is one.

        Raises:
            DivergedError: a loss or norm since the last record, a weight or a moment is not finite.
            InputError: the disk is full.
        """
        position = self.state.step, self.state.validated_at
        if self.saved == position or self.state.step == 0:
            return
        self.flush()
        with self._untimed():
            ranks = self.processes.gather_bytes(pack_rank(carry))
            if self.processes.is_main:
                options = self.options.model_dump(mode="json")
                try:
                    self.checkpoints.save(self.state, options, self.problem.model, self.optimizer, ranks)
                except NonFiniteError as error:
                    norm = self.state.norms[-1]
                    raise self._diverged(self.state.step, math.nan, norm, self.learning_rate()) from error
            self.processes.wait()
        self.saved, self.saved_seconds = position, self.state.seconds

    def begin(self, resume: bool) -> Any:
        """Begin at the beginning, in a run that holds no training yet, or go on; returns the carry."""
        if resume:
            return self.resume()
        if self.processes.is_main and (self.checkpoints.any() or self.run.read_history()):
            raise RunError(
                str(self.run.path), "holds a training already", "Go on with --resume, or give another --out."
            )
        return None

    def resume(self) -> Any:
        """Go on from the last good checkpoint; returns the carry. From the start where there is none."""
        latest, damaged = self.checkpoints.latest()
        for error in damaged:
            self.progress.say(f"warning: a checkpoint was passed over: {error}")
        if latest is None:
            self.run.truncate_history(0)
            self.progress.say(f"{self.run.path} holds no checkpoint yet: the training starts anew")
            return None
        self._compare(latest)
        carry = load(latest, self.problem.model, self.optimizer, self.processes.rank, self.processes.device)
        self.state = latest.manifest.state.model_copy(deep=True)
        self.run.truncate_history(self.state.records)
        self.timed_from = time.monotonic()
        self.started = self.timed_from - self.state.seconds
        self.saved = self.state.step, self.state.validated_at
        self.saved_seconds = self.state.seconds
        self.progress.say(f"resumes at step {self.state.step} from {latest.path}")
        return carry

    def _compare(self, checkpoint: Checkpoint) -> None:
        """Refuse what a resumed training cannot change, and say what it does change."""
        where, world = str(self.run.path), checkpoint.manifest.state.world
        if world != self.processes.world:
            raise RunError(
                where,
                f"was trained by {world} processes and cannot be resumed by {self.processes.world}",
                f"Start {world}: accelerate launch --num_processes {world}, or torchrun --nproc_per_node {world}.",
            )
        before = with_new_names(type(self.options), checkpoint.manifest.options)
        now = self.options.model_dump(mode="json")
        for name in now:
            if name not in before or before[name] == now[name]:
                continue
            if option_rules(type(self.options), name).resume == "never":
                raise RunError(
                    where,
                    f"was started with {name}={before[name]} and cannot be resumed with {now[name]}",
                    "Give the option that it was started with, or train a new run.",
                )
            self.progress.say(f"resumes with {name}={now[name]} (it was {before[name]})")

    # -- the end

    def conclude(self, stopped: Stopped) -> Result:
        """Put the weights that the run keeps into the model and model.safetensors, unless interrupted."""
        averaged = False
        if stopped != "interrupted":
            averaged = self._keep_best()
            self.run.write_model(self.problem.model)
        state = self.state
        return Result(
            stopped=stopped,
            steps=state.step,
            epochs=self._epoch(),
            seconds=state.seconds,
            best=state.best,
            best_at=state.best_at,
            averaged=averaged,
            history=self.run.read_history() if self.processes.is_main else [],
        )

    def _keep_best(self) -> bool:
        """Load the best validated weights, or the mean of the last ones where that is better; which?"""
        state, model, main = self.state, self.problem.model, self.processes.is_main
        folder = self.checkpoints.last.path if self.checkpoints.last else self.run.path
        averaged = False
        if len(state.validated) >= 2:
            if main:
                paths = [folder / validated_name(step) for step in state.validated]
                # Not strict: of tied weights the file, and so the mean, holds one name only.
                model.load_state_dict(averaging.mean_of_models(paths), strict=False)
            figures = self._figures()
            averaged = _objective(figures) < _objective(state.best)
            self._add_figures("average", figures, states=len(state.validated), best=averaged)
            if averaged:
                state.best = {name: files.finite(value) for name, value in figures.items()}
                state.best_at = state.step
        if main and not averaged and state.best_at is not None:
            files.read_model(folder / validated_name(state.best_at), model)
        self.processes.share_weights(model)
        return averaged


def _objective(figures: Mapping[str, float | None]) -> float:
    """What is to be lowest: the problem's objective, or the loss where it has none."""
    value = figures.get("objective", figures.get("loss"))
    return math.inf if value is None else value
