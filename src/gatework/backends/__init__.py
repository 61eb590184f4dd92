"""Graphs to numbers: the eager reference, torch's fused operators, and the engine."""

from gatework.backends.pieces import run_pieces
from gatework.backends.program import (
    Backend,
    CellStep,
    ChainOperator,
    DenseBackend,
    MemoryValue,
    Request,
    SequenceInput,
    SequenceOutput,
    StackCall,
    StackSnapshot,
    StepOperator,
    Stepper,
)
from gatework.backends.selection import (
    BACKENDS,
    BackendError,
    Choice,
    asked,
    backend,
    choose,
    linear_choice,
    result_memory,
)
from gatework.backends.teams import by_size

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendError",
    "CellStep",
    "ChainOperator",
    "Choice",
    "DenseBackend",
    "MemoryValue",
    "Request",
    "SequenceInput",
    "SequenceOutput",
    "StackCall",
    "StackSnapshot",
    "StepOperator",
    "Stepper",
    "asked",
    "backend",
    "by_size",
    "choose",
    "linear_choice",
    "result_memory",
    "run_pieces",
]
