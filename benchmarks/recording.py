"""What `gw.record` adds to a forward pass of training.

    python benchmarks/recording.py [--seconds 3] [--out benchmarks/results/recording.json]

A layer's forward pass with gradients, alone and while a tape keeps all its gates and states and what is needed for
their gradients, in turns, by the processor's time. Outputs of the two are compared first.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from commands import write_report
from layers import show, timed
from machine import machine
from rich.console import Console
from torch import Tensor

import gatework as gw

CELLS = ("elman", "lstm", "gru", "slstm", "min_gru")
SHAPES = ((100, 32, 128), (100, 32, 512), (20, 64, 256), (400, 4, 64))


def contestants(cell: str, steps: int, rows: int, units: int) -> dict[str, Any]:
    """The forward pass alone and on a tape."""
    torch.manual_seed(0)
    layer, x = gw.Recurrent(cell, units, units), torch.randn(steps, rows, units)

    def alone() -> Tensor:
        output: Tensor = layer(x)[0]
        return output

    def recorded() -> Tensor:
        with gw.record(layer):
            output: Tensor = layer(x)[0]
        return output

    if not torch.equal(alone(), recorded()):
        raise SystemExit(f"{cell} gives another output while it is recorded")
    return {"alone": alone, "recorded": recorded}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, at least")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    gc.disable()  # no collection falls into somebody's sample
    rows: list[dict[str, Any]] = []
    for cell in CELLS:
        for steps, batch, units in SHAPES:
            calls = contestants(cell, steps, batch, units)
            times = timed(calls, options.seconds, idle=False, clock=time.process_time)
            pairs = zip(times["alone"], times["recorded"], strict=True)
            cost = statistics.median(recorded / alone for alone, recorded in pairs) - 1
            rows.append(
                {"cell": cell, "steps": steps, "rows": batch, "units": units}
                | {f"{name} (ms)": statistics.median(own) for name, own in times.items()}
                | {"cost (%)": round(100 * cost, 1)}
            )
            gc.collect()
    show(Console(), "Recording beside a forward pass of training", rows)
    if options.out:
        write_report(options.out, {"machine": machine(), "results": rows})


if __name__ == "__main__":
    main()
