"""When a training ends: its budgets, its target, the patience with its validations, and somebody's request."""

from __future__ import annotations

from typing import Literal

from gatework.metrics.figure import Figure
from gatework.training.options import TrainingOptions
from gatework.training.state import TrainingState

Stopped = Literal["finished", "max_minutes", "target", "early", "callback", "interrupted"]


def epochs_done(state: TrainingState) -> float:
    """The position in epochs, exactly."""
    return state.epoch + (state.batch / state.batches if state.batches else 0.0)


def budget_share(options: TrainingOptions, state: TrainingState, steps: int = 0) -> float:
    """How much of the budget is done, in [0, 1], `steps` steps from now."""
    shares = [0.0]
    if options.epoch_budget is not None:
        within = (state.batch + steps) / state.batches if state.batches else 0.0
        shares.append((state.epoch + within) / options.epoch_budget)
    if options.max_steps is not None:
        shares.append((state.step + steps) / options.max_steps)
    if options.max_minutes is not None:
        shares.append(state.seconds / (60 * options.max_minutes))
    return min(max(shares), 1.0)


def budget_done(options: TrainingOptions, state: TrainingState) -> Stopped | None:
    """Which budget is done, if one is."""
    if options.epoch_budget is not None and state.epoch >= options.epoch_budget:
        return "finished"
    if options.max_steps is not None and state.step >= options.max_steps:
        return "finished"
    if options.max_minutes is not None and state.seconds >= 60 * options.max_minutes and state.step > 0:
        return "max_minutes"
    return None


def steps_left(options: TrainingOptions, state: TrainingState, batches: int) -> int | None:
    """Steps until the budgets of epochs and steps are done; None where only minutes count.

    Args:
        batches: steps of an epoch.
    """
    ends = []
    if options.epoch_budget is not None:
        ends.append((options.epoch_budget - state.epoch) * batches - state.batch)
    if options.max_steps is not None:
        ends.append(options.max_steps - state.step)
    return max(min(ends), 0) if ends else None


def on_target(options: TrainingOptions, headline: Figure, state: TrainingState) -> bool:
    """Whether the best validation so far is as good as was asked for."""
    return (
        options.target is not None
        and state.best_at is not None
        and headline.reaches(state.best, options.target)
    )


def out_of_patience(options: TrainingOptions, state: TrainingState) -> bool:
    """Whether too many validations in a row were no better than the best."""
    return options.patience > 0 and state.since_best >= options.patience


def spent(options: TrainingOptions, stopped: Stopped) -> str:
    """What a training has used up that stopped by itself, and so cannot go on."""
    if stopped == "early":
        return (
            f"patience={options.patience} validations have passed without a better one. Give more patience."
        )
    budgets = {
        "epochs": options.epoch_budget,
        "max_steps": options.max_steps,
        "max_minutes": options.max_minutes,
    }
    given = [f"{name}={value}" for name, value in budgets.items() if value is not None]
    return f"{' and '.join(given)} is done. Give more of it to go on."
