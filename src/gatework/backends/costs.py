"""The cost table: how many times as long torch's fused operators take as the engine, by shape.

A table is measured for each instruction set (`benchmarks/costs.py`: float32, two cores, at most 50 steps, input =
hidden) and committed, so that `auto` takes the same backend, and gives the same bits, at every call and on every
machine of a kind. A machine for which `gatework bench tune` has measured a table of its own keeps it beside the
engine's machine code and reads it instead: the choice then stays the same until it is tuned again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from gatework.backends.compiled.once import made_once
from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.llvm.codegen.target import Target
from gatework.backends.llvm.runtime.native import cache_folders
from gatework.backends.processor import identity, table_name

SLOWER = 0.9  # below this the engine is left for torch
NEAREST = {"sse2": "avx2", "neon": "avx2"}
"""Instruction sets without a committed table, and the one whose table is read for each."""

REPAID_STEP = {"avx512": (5_000_000, 500_000)}
"""Multiplications of a single step from which the engine's call is repaid, in inference and in training, by instruction
set; `REPAID_ELSEWHERE` on every other.

A step brings a block of its weights into order before it multiplies them, and torch's library does not: with registers
of 64 bytes its products of few rows are the quicker ones. Time of torch's operator over the engine's in inference, on
one thread, medians of paired turns of ten steps:

| LSTM, rows x inputs x units | 8x40x128 | 4x192x256 | 8x192x256 | 16x192x256 | 24x192x256 | 8x256x512 | 16x256x512 |
|---|---|---|---|---|---|---|---|
| Intel Xeon (Sapphire Rapids), AVX-512 | 0.9 | 0.8 | 0.9 | 1.0 | 1.0 | 1.1 | 1.1 |
"""
REPAID_ELSEWHERE = 250_000, 500_000

Row = tuple[int, int, float, float]
"""B, H, and torch's time over the engine's: forward, and training."""


@dataclass(frozen=True)
class CostTable:
    """Ratios by the kind of torch's operator, and which table they are, in words."""

    called: str
    ratios: Mapping[str, tuple[Row, ...]]


@made_once()
def cost_table() -> CostTable:
    """The table that `auto` reads: this machine's own, else the committed one of its instruction set or the nearest."""
    target = engine_target.host()
    for folder in cache_folders():
        own = _read(folder / table_name(target), target)
        if own is not None:
            return CostTable("this machine's own cost table", own)
    isa = target.isa
    tables = json.loads(files("gatework.backends").joinpath("costs.json").read_text("utf-8"))["tables"]
    called = f"the cost table of {isa}" if isa in tables else f"the cost table of {NEAREST[isa]}, near {isa}"
    ratios = tables[isa if isa in tables else NEAREST[isa]]["ratios"]
    return CostTable(
        called, {kind: tuple((b, h, f, t) for b, h, f, t in rows) for kind, rows in ratios.items()}
    )


@lru_cache(maxsize=4096)
def advantage(kind: str, rows: int, hidden: int, training: bool) -> float:
    """Torch's time over the engine's, at the measured shape that is nearest.

    Args:
        kind: of torch's operator: `lstm`, `gru`, `rnn_tanh` or `rnn_relu`.
        rows: B
        hidden: H
    """
    measured = cost_table().ratios["rnn" if kind.startswith("rnn") else kind]

    def distance(row: Row) -> float:
        return abs(math.log(max(rows, 1) / row[0])) + abs(math.log(hidden / row[1]))

    nearest = min(measured, key=distance)
    return nearest[3] if training else nearest[2]


def repaid_from(training: bool) -> int:
    """Multiplications of a single step from which the engine's call is repaid on this machine."""
    return REPAID_STEP.get(engine_target.host().isa, REPAID_ELSEWHERE)[training]


def _read(path: Path, target: Target) -> Mapping[str, tuple[Row, ...]] | None:
    """The ratios of a machine's own table; None where there is none, and, with a warning, where it cannot serve."""
    try:
        text = path.read_bytes()
        from gatework.backends.tuned_table import TunedTable

        return TunedTable.read(text, identity(target)).rows()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        print(
            f"warning: {path} is left unread: {error}. The committed cost table serves; `gatework bench tune` measures "
            "this machine's own anew.",
            file=sys.stderr,
        )
        return None
