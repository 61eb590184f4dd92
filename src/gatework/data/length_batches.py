"""Batches of examples of like lengths, so that little of a batch is padding."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, islice

__all__ = ["length_batches"]

_POOL = 50  # batches whose examples are sorted among themselves


def length_batches(
    lengths: Sequence[tuple[int, ...]],
    tokens: int,
    *,
    seed: int,
    examples: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> list[list[int]]:
    """The indices of every batch of an epoch, in a random order.

    Examples are shuffled, sorted by length within pools of some fifty batches, and cut so that no batch holds more
    than `tokens`, padding included, on its longer side; then the batches are shuffled.

    Args:
        lengths: of each example, of each of its sides.
        tokens: at most so many a batch; an example longer than that is a batch by itself.
        seed: of the order; the same gives the same batches.
        examples: at most so many a batch; None: as many as their tokens allow.
        rank, world: this process and how many there are: each gets its own batches, as many as every other.
    """
    order = list(range(len(lengths)))
    generator = random.Random(seed)
    generator.shuffle(order)
    total = sum(max(lengths[index]) for index in order)
    usual = tokens * len(order) / max(total, 1)  # examples of a batch
    pool = max(1, round(_POOL * (usual if examples is None else min(usual, examples))))
    batches: list[list[int]] = []
    for begin in range(0, len(order), pool):
        some = sorted(order[begin : begin + pool], key=lambda index: lengths[index][::-1])
        batch: list[int] = []
        longest = 0
        for index in some:
            longest = max(longest, *lengths[index])
            if batch and (longest * (len(batch) + 1) > tokens or len(batch) == examples):
                batches.append(batch)
                batch, longest = [], max(lengths[index])
            batch.append(index)
        batches.append(batch)
    generator.shuffle(batches)
    again = islice(cycle(batches), -len(batches) % world)  # so that every process takes as many steps
    return [*batches, *again][rank::world]
