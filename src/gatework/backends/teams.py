"""When threads share the work of a call, and how: the constants, in one place.

A team costs its waking and its barriers, whatever the work is, and on a machine with other busy processes a team waits
for whichever of its threads has no processor. Small work is therefore done by the thread that calls. Time of one thread
over that of two, best of some hundred calls in float32 on two cores of an AMD EPYC of the third generation (AVX2).
Other processes used the cores as well, which delays a barrier: the bounds below are lower than these figures alone
would ask for.

| multiplications | 75,000 | 200,000 | 400,000 | 800,000 | 1,600,000 | 3,000,000 |
|---|---|---|---|---|---|---|
| linear map, 32 rows | | 0.84 | 0.92 | 1.03 | 1.31 | |
| LSTM of 48 units, 10 steps | | 0.70 | 0.79 | 0.81 | 0.76 | 1.39 |
| a stream's step, LSTM, 1 row | 0.59 | 1.0 | 1.3 | 1.5 | 1.5 | |
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NewType

import torch

from gatework.backends import threads

Work = Literal["sequence", "step", "product", "logits", "copy", "elementwise", "update"]

WORTH_A_TEAM: dict[Work, int] = {
    "sequence": 800_000,  # multiplications of a layer's pass: a barrier where a sequence ends, its packing shared
    "step": 300_000,  # multiplications of a stream's step: weights are packed already, threads share the units
    "product": 400_000,  # multiplications of one product
    "logits": 32_768,  # entries of a softmax's table, of which each costs an exponential
    "copy": 200_000,  # numbers that are packed, or brought into another order
    "elementwise": 32_768,  # elements of one of torch's operators, which itself would take a team for 100 of them
    "update": 500_000,  # numbers of an optimizer's step, in which torch wakes a team for every parameter
}
"""Work of a call below which waking other threads costs more than their help."""

FORWARD_ROWS = 16
"""Rows of a batch for each thread up to which threads share a step's units rather than its rows: each then finds its
part of the weights in its own cache, and waits for the others at every stage."""

BACKWARD_ROWS, BACKWARD_WEIGHTS = 1, 300_000
"""The same for backward, which has two stages a step and large products besides, from so many weights on."""

Team = NewType("Team", int)
"""Threads that share a call's work: `team` alone makes one of a size."""

CALLER = Team(1)
"""The thread that calls, by itself."""


def team(work: Work, size: int, most: int | None = None) -> Team:
    """Threads that share a call's work.

    Args:
        size: of the work, in the unit of its kind (`WORTH_A_TEAM`).
        most: threads that may; torch's number if left out.
    """
    if size < WORTH_A_TEAM[work]:
        return CALLER
    return Team(threads.most() if most is None else most)


def by_size(work: Work, size: int) -> AbstractContextManager[None]:
    """A context in which torch's own operators take no team, where the work is small.

    It changes the number of threads of the calling thread only: other Python threads keep theirs.
    """
    if torch.compiler.is_compiling() or size >= WORTH_A_TEAM[work] or threads.most() == 1:
        return nullcontext()
    return threads.alone()
