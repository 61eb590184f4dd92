"""Training: one plain loop, its options, and the run folder that it leaves."""

from __future__ import annotations

from gatework.training.callbacks import Callback, Record
from gatework.training.divergence import DivergedError
from gatework.training.loop import fit
from gatework.training.options import TrainingOptions, parse_options
from gatework.training.problem import (
    ExampleProblem,
    ParameterGroup,
    Problem,
    StepLoss,
    StreamProblem,
    Totals,
    total_loss,
)
from gatework.training.progress import Progress
from gatework.training.random_state import seed_everything
from gatework.training.run_folder import RunFolder
from gatework.training.session import Result

__all__ = [
    "Callback",
    "DivergedError",
    "ExampleProblem",
    "ParameterGroup",
    "Problem",
    "Progress",
    "Record",
    "Result",
    "RunFolder",
    "StepLoss",
    "StreamProblem",
    "Totals",
    "TrainingOptions",
    "fit",
    "parse_options",
    "seed_everything",
    "total_loss",
]
