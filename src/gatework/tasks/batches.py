"""Inputs of like lengths answered together, the answers in the inputs' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["BATCH", "answer_in_batches", "padded"]

BATCH = 64  # inputs that the network reads together

Answer = TypeVar("Answer")


def answer_in_batches(
    lengths: Sequence[int], answer: Callable[[list[int]], Sequence[Answer]]
) -> list[Answer]:
    """One answer for each of N inputs, in their order.

    Args:
        lengths: (N,), of the inputs: those of like lengths are answered together.
        answer: for the indices of at most `BATCH` inputs, as many answers.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    answers: dict[int, Answer] = {}
    for begin in range(0, len(order), BATCH):
        some = order[begin : begin + BATCH]
        answers |= zip(some, answer(some), strict=True)
    return [answers[index] for index in range(len(lengths))]


def padded(sequences: Sequence[Sequence[int] | np.ndarray], padding: int) -> tuple[Tensor, Tensor]:
    """B sequences of ids side by side: (T, B), padded at their ends, and their lengths, (B,)."""
    lengths = torch.tensor([len(ids) for ids in sequences])
    table = np.full((max(map(len, sequences)), len(sequences)), padding, dtype=np.int64)
    for row, ids in enumerate(sequences):
        table[: len(ids), row] = ids
    return torch.from_numpy(table), lengths
