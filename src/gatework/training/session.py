"""One call of `fit` between its steps: what is due at a position, checkpoints, the beginning and the end."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch

from gatework.errors import RunError
from gatework.training.callbacks import Listeners
from gatework.training.checkpoint import Checkpoint, Checkpoints, NonFiniteError, load, pack_rank
from gatework.training.estimate import seconds_a_step
from gatework.training.interruption import Interruption
from gatework.training.options import TrainingOptions, changed_options, with_new_names
from gatework.training.problem import Problem, judges_start
from gatework.training.processes import Processes
from gatework.training.progress import Progress
from gatework.training.records import PendingStep, Recorder
from gatework.training.run_folder import RunFolder
from gatework.training.state import TrainingState
from gatework.training.stopping import (
    Stopped,
    budget_done,
    budget_share,
    epochs_done,
    on_target,
    out_of_patience,
    spent,
    steps_left,
)
from gatework.training.tensorboard import TensorBoard
from gatework.training.validation import Validator, next_learning_rate, validation_due

WORTH_A_WORD = 100  # steps of a training whose time is estimated before it begins


@dataclass(frozen=True)
class Result:
    """How a training ended.

    stopped: its budget of epochs or steps is done, its minutes are over, a validation reached the target, the
        validations stopped getting better, a callback asked for the end, or someone asked it to stop (then the
        weights are the current ones, and it goes on with resume).
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


class TrainingSession:
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
        listeners: Listeners,
    ) -> None:
        self.problem, self.options, self.run = problem, options, run
        self.processes, self.optimizer, self.progress = processes, optimizer, progress
        self.interruption, self.listeners = interruption, listeners
        self.state = TrainingState(world=processes.world)
        self.checkpoints = Checkpoints(run, options.keep_checkpoints)
        self.recorder = Recorder(run, self.state, self.checkpoints, progress, listeners, options.clip_norm)
        self.validator = Validator(problem, options, self.state, processes, self.recorder)
        self.started = time.monotonic()
        self.saved: tuple[int, int | None] | None = None  # step and last validation of the last checkpoint
        self.saved_seconds = 0.0  # seconds trained then

    def __enter__(self) -> TrainingSession:
        if self.processes.is_main:
            self.checkpoints.sweep()
            if self.options.tensorboard:
                self.recorder.tensorboard = TensorBoard(self.run.path, self.state.step)
        self.progress.begin(budget_share(self.options, self.state))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.end()
        if self.recorder.tensorboard is not None:
            self.recorder.tensorboard.close()

    # -- steps

    def say_how_long(self, model: torch.nn.Module) -> None:
        """Say how many steps are left and about how many minutes they take, where that is worth a word."""
        batches = self.problem.batches(self.state.epoch, self.processes.rank, self.processes.world)
        steps = steps_left(self.options, self.state, len(batches))
        if steps is None or steps < WORTH_A_WORD:
            return
        minutes = steps * seconds_a_step(self.problem, model, batches, self.processes) / 60
        limit = self.options.max_minutes
        bound = "" if limit is None else f", {limit:g} minutes at most"
        self.progress.say(f"{steps:,} steps, about {_minutes(minutes)} without validations{bound}")

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

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return next_learning_rate(self.options, self.state)

    def epochs_done(self) -> float:
        """The position in epochs, exactly."""
        return epochs_done(self.state)

    def step_done(self, step: PendingStep, carry: Any) -> Stopped | None:
        """Note a step, and do whatever is due after it. Returns why to stop, or None to go on."""
        self.recorder.note(step)
        self.state.advance()
        self.progress.tick(budget_share(self.options, self.state), self.state.step)
        return self.pause(carry)

    def judge_start(self, carry: Any) -> None:
        """Validate the weights before the first step, where the problem takes them for a candidate."""
        if judges_start(self.problem) and self.state.step == 0 and self.state.validated_at is None:
            self.validator.validate()
            self.save(carry)

    def pause(self, carry: Any) -> Stopped | None:
        """Whatever is due at the current position: record, validation, checkpoint, stop.

        Everything follows from the position and the state, so that a training that was resumed here does
        what the interrupted one had still to do.
        """
        state, options = self.state, self.options
        every = options.checkpoint_every
        record_due = state.step % options.record_every == 0
        checkpoint_due = every is not None and state.step % every == 0
        validate = validation_due(options, state)
        due = record_due or validate or checkpoint_due
        if self.processes.world > 1 and not (due or budget_done(options, state)):
            return None  # the processes agree on clock and interruption at these steps only
        interrupted = self._agree()
        stopped = budget_done(options, state)
        if record_due or validate or stopped is not None:
            self.recorder.record()
            stopped = stopped or self._asked()
        validate |= stopped is not None and state.validated_at != state.step
        if interrupted:
            self.save(carry)
            return "interrupted"
        if validate:
            self.validator.validate()
            self.save(carry)
            interrupted = self._agree()
            stopped = stopped or self._asked()
        elif checkpoint_due or state.seconds - self.saved_seconds >= 60 * options.checkpoint_minutes:
            self.save(carry)
        if on_target(options, self.validator.headline, state):
            return "target"
        if stopped is not None:
            return stopped
        if out_of_patience(options, state):
            return "early"
        return "interrupted" if interrupted else None

    def say_nothing_is_left(self, stopped: Stopped) -> None:
        """Say why a training that goes on ends before its first step."""
        if stopped != "interrupted":
            self.progress.say(f"nothing is left to train: {spent(self.options, stopped)}")

    def _agree(self) -> bool:
        seconds = time.monotonic() - self.started
        interrupted, self.state.seconds = self.processes.agree(self.interruption.requested, seconds)
        return interrupted

    def _asked(self) -> Stopped | None:
        stop, _ = self.processes.agree(self.listeners.stop, 0.0)
        return "callback" if stop else None

    # -- checkpoints

    def save(self, carry: Any) -> None:
        """Save a checkpoint of the current position, unless there is one.

        Raises:
            DivergedError: a loss or norm since the last record, a weight or a moment is not finite.
            InputError: the disk is full.
        """
        position = self.state.step, self.state.validated_at
        if position in (self.saved, (0, None)):
            return
        self.recorder.flush()
        with self.recorder.untimed():
            ranks = self.processes.gather_bytes(pack_rank(carry))
            if self.processes.is_main:
                options = self.options.model_dump(mode="json")
                try:
                    self.checkpoints.save(self.state, options, self.problem.model, self.optimizer, ranks)
                except NonFiniteError as error:
                    norm = self.state.norms[-1]
                    raise self.recorder.diverged(
                        self.state.step, math.nan, norm, self.learning_rate()
                    ) from error
            self.processes.wait()
        self.saved, self.saved_seconds = position, self.state.seconds

    def begin(self, resume: bool) -> Any:
        """Begin at the beginning, in a run that holds no training yet, or go on; returns the carry."""
        if resume:
            return self._resume()
        if self.processes.is_main and (self.checkpoints.any() or self.run.read_history()):
            raise RunError(
                str(self.run.path),
                "holds a training already",
                "Go on with resume=True, or give another folder: out=RUN.",
            )
        return None

    def _resume(self) -> Any:
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
        self.state.take_over(latest.manifest.state)
        self.run.truncate_history(self.state.records)
        self.started = time.monotonic() - self.state.seconds
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
        try:
            before = with_new_names(type(self.options), checkpoint.manifest.options)
        except ValueError as error:
            raise RunError(str(checkpoint.path), f"is damaged ({error})", "Delete its folder.") from error
        now = self.options.model_dump(mode="json")
        for name in changed_options(where, type(self.options), before, now, refused=("never",)):
            self.progress.say(f"resumes with {name}={now[name]} (it was {before[name]})")

    # -- the end

    def conclude(self, stopped: Stopped) -> Result:
        """Put the weights that the run keeps into the model and model.safetensors, unless interrupted."""
        averaged = False
        if stopped != "interrupted":
            averaged = self.validator.keep_best(self.checkpoints)
            self.run.write_model(self.problem.model)
        state = self.state
        self.listeners.tell(
            {
                "kind": "end",
                "stopped": stopped,
                "step": state.step,
                "epoch": self.recorder.epoch,
                "seconds": state.seconds,
            }
        )
        return Result(
            stopped=stopped,
            steps=state.step,
            epochs=self.recorder.epoch,
            seconds=state.seconds,
            best=state.best,
            best_at=state.best_at,
            averaged=averaged,
            history=self.run.read_history() if self.processes.is_main else [],
        )


def _minutes(minutes: float) -> str:
    if minutes < 1:
        return "a minute or less"
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"
