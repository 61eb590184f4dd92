"""Graphs to numbers: the eager reference, and torch's fused operators."""

from gatework.backends.program import Backend, MemoryValue, SequenceInput, SequenceOutput
from gatework.backends.selection import BACKENDS, BackendError, Choice, backend, choose

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
]
