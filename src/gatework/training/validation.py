"""Validations: when one is due, whether it is the best so far, and the weights that the run keeps in the end."""

from __future__ import annotations

import math

import torch

from gatework.training import averaging, files, random_state
from gatework.training.checkpoint import Checkpoints, validated_name
from gatework.training.options import TrainingOptions
from gatework.training.problem import LOSS, Problem, headline_of, search_of
from gatework.training.processes import Processes
from gatework.training.records import Recorder
from gatework.training.schedules import learning_rate
from gatework.training.state import TrainingState
from gatework.training.stopping import budget_share


def validation_due(options: TrainingOptions, state: TrainingState) -> bool:
    """Whether the current position is to be validated, and was not yet."""
    every = options.validate_every
    due = state.batch == 0 if every is None else state.step % every == 0
    return due and state.step > 0 and state.validated_at != state.step


def next_learning_rate(options: TrainingOptions, state: TrainingState) -> float:
    """The learning rate of the step after this position; plateaus of the validations lower it."""
    return learning_rate(options, budget_share(options, state, steps=1), state.plateau_share)


class Validator:
    """The validations of one training, on one process.

    Attributes:
        state: the training's, in which the best validation is kept.
        headline: the figure that picks the checkpoint.
        notes: what each validation's record says beside its figures.
    """

    def __init__(
        self,
        problem: Problem,
        options: TrainingOptions,
        state: TrainingState,
        processes: Processes,
        recorder: Recorder,
    ) -> None:
        self.problem, self.options, self.state = problem, options, state
        self.processes, self.recorder = processes, recorder
        self.headline = headline_of(problem)
        search = search_of(problem)
        self.notes = {"search": search} if search else {}

    def validate(self) -> None:
        """Validate the current weights, and note whether they are the best so far.

        Raises:
            DivergedError: the validation loss is not finite.
        """
        state, options = self.state, self.options
        figures = self._figures()
        improved = state.best_at is None or self._better(figures)
        state.validated_at = state.step
        if improved:
            state.best_at, state.best = state.step, {name: files.finite(x) for name, x in figures.items()}
            state.since_best = state.since_plateau = 0
        else:
            state.since_best += 1
            state.since_plateau += 1
            if options.schedule == "plateau" and state.since_plateau >= options.plateau_patience:
                lowered = state.plateau_share * options.plateau_factor
                state.plateau_share = max(lowered, options.min_lr_ratio)
                state.since_plateau = 0
        if options.average_last >= 2:
            state.validated = [*state.validated, state.step][-options.average_last :]
        self.recorder.add_figures("validation", figures, best=improved, **self.notes)

    def keep_best(self, checkpoints: Checkpoints) -> bool:
        """Load the best validated weights, or the mean of the last ones where that is better; which?"""
        state, model, main = self.state, self.problem.model, self.processes.is_main
        folder = checkpoints.last.path if checkpoints.last else checkpoints.run.path
        averaged = False
        if len(state.validated) >= 2:
            if main:
                paths = [folder / validated_name(step) for step in state.validated]
                # Not strict: of tied weights the file, and so the mean, holds one name only.
                model.load_state_dict(averaging.mean_of_models(paths), strict=False)
            figures = self._figures()
            averaged = self._better(figures)
            self.recorder.add_figures(
                "average", figures, states=len(state.validated), best=averaged, **self.notes
            )
            if averaged:
                state.best = {name: files.finite(value) for name, value in figures.items()}
                state.best_at = state.step
        if main and not averaged and state.best_at is not None:
            files.read_model(folder / validated_name(state.best_at), model)
        self.processes.share_weights(model)
        return averaged

    def _better(self, figures: dict[str, float]) -> bool:
        """Whether figures are better than the best ones so far: by the headline, and of equals by the loss."""
        best = self.state.best
        if self.headline.merit(figures) == self.headline.merit(best):
            return LOSS.better(figures, best)
        return self.headline.better(figures, best)

    def _figures(self) -> dict[str, float]:
        """The problem's figures. The main process validates; the others wait for its loss and headline."""
        figures: dict[str, float] = {}
        names = tuple(dict.fromkeys(("loss", self.headline.name)))
        with self.recorder.untimed():
            if self.processes.is_main:
                model = self.problem.model
                model.eval()
                # Random numbers drawn by a validation must not change the training after it.
                with random_state.preserved(), torch.no_grad(), self.processes.accelerator.autocast():
                    figures = {name: float(x) for name, x in self.problem.validate(model).items()}
                model.train()
                for name in names:
                    if name not in figures:
                        raise ValueError(f"validate() must give a {name!r}, it gave {sorted(figures)}")
            values = self.processes.from_main([figures.get(name, math.nan) for name in names])
            if not self.processes.is_main:
                figures = dict(zip(names, values, strict=True))
        if not math.isfinite(figures["loss"]):
            norm = self.state.norms[-1] if self.state.norms else math.nan
            rate = next_learning_rate(self.options, self.state)
            raise self.recorder.diverged(self.state.step, figures["loss"], norm, rate)
        return figures
