"""The training loop: `fit` is the loop itself, `TrainingSession` what it notes, decides and saves between steps."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from gatework.backends import by_size
from gatework.training.callbacks import Callback, Listeners
from gatework.training.interruption import Interruption
from gatework.training.nested import detach, to_device
from gatework.training.optimizers import (
    build_optimizer,
    clip_gradients,
    drop_frozen_gradients,
    set_learning_rate,
)
from gatework.training.options import TrainingOptions
from gatework.training.prefetch import read_batches
from gatework.training.problem import Problem, groups_of
from gatework.training.processes import Processes
from gatework.training.progress import Progress, SilentProgress, default_progress
from gatework.training.random_state import seed_everything
from gatework.training.records import PendingStep
from gatework.training.run_folder import RunFolder
from gatework.training.session import Result, TrainingSession
from gatework.training.stopping import Stopped

__all__ = ["Result", "Stopped", "fit"]


def fit(
    problem: Problem,
    options: TrainingOptions,
    run: RunFolder,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    processes: Processes | None = None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train `problem.model`, leaving checkpoints, history and the weights in `run`.

    Unless it is interrupted, the training ends with the best validated weights in the model and in
    model.safetensors: those of the validation with the lowest loss, or, with `average_last`, the mean of
    the last validated states where that validates better still.

    On the CPU a training that was killed and resumed ends with the weights, to the bit, of one that was not
    (for budgets in steps or epochs, the same number of processes and threads, and the same options).

    Args:
        problem: model, batches and loss.
        options: how to train.
        run: a folder from `RunFolder.create`.
        resume: go on from the run's last good checkpoint; from the start where there is none yet.
        progress: whom to tell; by default a bar on a terminal, else lines on stderr.
        processes: those that train together; made from the options where None.
        callbacks: called with each record, at last one of kind `end`; see `Callback`.

    Raises:
        DivergedError: the loss or the gradient norm is not finite.
        InputError: the disk is full, or the options do not fit the machine or the checkpoint.
        RunError: no checkpoint verifies, or another process trains the run.
    """
    processes = processes or Processes(options)
    if run.writes != processes.is_main:
        raise ValueError(f"{run} is not the folder that RunFolder.create gave this process")
    if progress is None or not processes.is_main:
        progress = default_progress() if processes.is_main else SilentProgress()
    seed_everything(options.seed + processes.rank)
    problem.model.to(processes.device).train()
    optimizer = build_optimizer(problem.model, options, groups_of(problem))
    parameters = [parameter for parameter in problem.model.parameters() if parameter.requires_grad]
    numbers = sum(parameter.numel() for parameter in parameters)

    with run.locked(), Interruption() as interruption, processes.wrapped(problem.model) as model:
        listeners = Listeners(callbacks if processes.is_main else ())
        session = TrainingSession(
            problem, options, run, processes, optimizer, progress, interruption, listeners
        )
        carry: Any = session.begin(resume)
        with session:
            session.say_how_long(model)
            session.judge_start(carry)
            stopped = session.pause(carry)
            if stopped is not None:
                session.say_nothing_is_left(stopped)
            while stopped is None:
                batches = session.epoch_batches()
                if session.state.batch == 0:
                    carry = problem.initial_carry(processes.rank, processes.world)
                    carry = to_device(carry, processes.device)
                reading = read_batches(batches, session.state.batch, ahead=options.read_ahead)
                with contextlib.closing(reading):
                    for batch in reading:
                        learning_rate = session.learning_rate()
                        set_learning_rate(optimizer, learning_rate)
                        with processes.autocast():
                            step = problem.loss(model, to_device(batch, processes.device), carry)
                        total, count, parts = processes.summed(step)
                        # Several processes: their gradients are averaged, hence the factor.
                        processes.backward(step.total * (processes.world / count))
                        drop_frozen_gradients(optimizer, session.epochs_done())
                        norm = clip_gradients(parameters, options.clip_norm)
                        with by_size("update", numbers):
                            optimizer.step()
                        optimizer.zero_grad()
                        carry = detach(step.carry)  # gradients end at the batch's first step
                        stopped = session.step_done(
                            PendingStep(total, count, parts, norm, learning_rate), carry
                        )
                        if stopped is not None:
                            break
            return session.conclude(stopped)
