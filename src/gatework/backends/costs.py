"""The cost table: how many times as long torch's fused operators take as the engine, by shape.

Measured by `gatework bench layers` (float32, two cores, T = 50, input = hidden) and committed, so that `auto`
takes the same backend, and gives the same bits, at every call and on every machine of a kind.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from importlib.resources import files

SLOWER = 0.9  # below this the engine is left for torch


@lru_cache(maxsize=1)
def _table() -> dict[str, list[tuple[int, int, float, float]]]:
    text = files("gatework.backends").joinpath("costs.json").read_text("utf-8")
    return {kind: [(b, h, f, t) for b, h, f, t in rows] for kind, rows in json.loads(text)["ratios"].items()}


@lru_cache(maxsize=4096)
def advantage(kind: str, rows: int, hidden: int, training: bool) -> float:
    """Torch's time over the engine's, at the measured shape that is nearest.

    Args:
        kind: of torch's operator: `lstm`, `gru`, `rnn_tanh` or `rnn_relu`.
        rows: B
        hidden: H
    """
    measured = _table()["rnn" if kind.startswith("rnn") else kind]

    def distance(row: tuple[int, int, float, float]) -> float:
        return abs(math.log(max(rows, 1) / row[0])) + abs(math.log(hidden / row[1]))

    nearest = min(measured, key=distance)
    return nearest[3] if training else nearest[2]
