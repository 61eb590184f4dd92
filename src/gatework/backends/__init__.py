"""Graphs to numbers: the eager reference, torch's fused operators, and the engine."""

from gatework.backends.pieces import run_pieces
from gatework.backends.program import Backend, MemoryValue, SequenceInput, SequenceOutput
from gatework.backends.selection import BACKENDS, BackendError, Choice, backend, choose, linear_choice

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendError",
    "Choice",
    "MemoryValue",
    "SequenceInput",
    "SequenceOutput",
    "backend",
    "choose",
    "linear_choice",
    "run_pieces",
]
