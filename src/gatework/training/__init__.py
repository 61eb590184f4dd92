"""Training: one plain loop, its options, and the run folder that it leaves."""

from __future__ import annotations

from gatework.training.bookkeeping import Result
from gatework.training.divergence import DivergedError
from gatework.training.loop import fit
from gatework.training.options import TrainingOptions, parse_options
from gatework.training.problem import Problem, StepLoss
from gatework.training.progress import Progress
from gatework.training.random_state import seed_everything
from gatework.training.run_folder import RunFolder

__all__ = [
    "DivergedError",
    "Problem",
    "Progress",
    "Result",
    "RunFolder",
    "StepLoss",
    "TrainingOptions",
    "fit",
    "parse_options",
    "seed_everything",
]
