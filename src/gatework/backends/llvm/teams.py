"""When threads share the work of a call, and how: the constants, in one place.

A team costs its waking and its barriers, whatever the work is. Time of one thread over that of two, best of some
hundred calls in float32 on two cores of an AMD EPYC of the third generation (AVX2). Other processes used the cores as
well, which delays a barrier: the bounds below are lower than these figures alone would ask for.

| multiplications | 75,000 | 200,000 | 400,000 | 800,000 | 1,600,000 | 3,000,000 |
|---|---|---|---|---|---|---|
| linear map, 32 rows | | 0.84 | 0.92 | 1.03 | 1.31 | |
| LSTM of 48 units, 10 steps | | 0.70 | 0.79 | 0.81 | 0.76 | 1.39 |
| a stream's step, LSTM, 1 row | 0.59 | 1.0 | 1.3 | 1.5 | 1.5 | |
"""

from __future__ import annotations

from typing import Literal

Work = Literal["sequence", "step", "linear"]

WORTH_A_TEAM: dict[Work, int] = {
    "sequence": 800_000,  # a layer's pass: a barrier where a sequence ends, and its packing shared
    "step": 300_000,  # of a stream or a search: weights are packed already, threads share the units
    "linear": 400_000,  # one product
}
"""Multiplications of a call below which waking other threads costs more than their help."""

FORWARD_ROWS = 16
"""Rows of a batch for each thread up to which threads share a step's units rather than its rows: each then finds its
part of the weights in its own cache, and waits for the others at every stage."""

BACKWARD_ROWS, BACKWARD_WEIGHTS = 1, 300_000
"""The same for backward, which has two stages a step and large products besides, from so many weights on."""


def team(work: Work, multiplications: int, most: int) -> int:
    """Threads that share a call's work.

    Args:
        most: threads that may.
    """
    return most if multiplications >= WORTH_A_TEAM[work] else 1
