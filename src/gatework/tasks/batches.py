"""Inputs of like lengths answered together, the answers in the inputs' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["BATCH", "answer_in_batches", "inside_of", "padded", "side_by_side"]

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


def side_by_side(sequences: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """B sequences of vectors, (T, size) each its own T, as (T, B, size) float32, zeros past their ends, and their
    lengths, (B,). T is at least 1."""
    lengths = [len(each) for each in sequences]
    table = np.zeros((max(1, *lengths), len(sequences), sequences[0].shape[1]), np.float32)
    for row, (each, length) in enumerate(zip(sequences, lengths, strict=True)):
        table[:length, row] = each
    return torch.from_numpy(table), torch.tensor(lengths)


def inside_of(value: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, 1) of a value (T, B, …): 1 for the steps that a row has, 0 past its end."""
    steps = torch.arange(len(value), device=value.device)[:, None]
    return (steps < lengths.to(value.device))[:, :, None].to(value.dtype)
