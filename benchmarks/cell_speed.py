"""Cells of the catalogue on one core beside torch.nn.LSTM of the same size, forward and training.

    python benchmarks/cell_speed.py [--sizes 64x200,256x100] [--isa avx512|avx2|sse2] [--out FILE]

A size is units x steps; the input is as wide as the state. Outputs and the gradient of the input are compared with
the float64 reference first, then all take turns. A cell whose state meets no matrix product runs as one elementwise
loop, so that its time is that of its products of the input: an IndRNN has one of them, a minGRU two, an LSTM four, and
four of its state. `products` counts them. Times are those of the processor, the best of many turns: one thread does all
work, and what other programs do lengthens them little.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import isa
import torch
from commands import write_report
from layers import TOLERANCE, show, timed
from machine import machine
from rich.console import Console
from torch import Tensor, nn

import gatework as gw

CELLS = "lstm,gru,janet,mogrifier_lstm,co_rnn,lem,slstm,ind_rnn,min_gru,min_lstm,sru,rg_lru,lru,hgrn"


def products(layer: gw.Recurrent) -> float:
    """Products of a step of units by units numbers; a smaller block is a part of one."""
    weights = (value for name, value in layer.named_parameters() if name.startswith("weight_"))
    return sum(value.numel() for value in weights if value.dim() == 2) / layer.hidden_size**2


def calls(layer: nn.Module, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What is timed, by mode; each returns what is compared."""
    read = x.clone().requires_grad_()
    seed = torch.ones(*x.shape[:2], layer.hidden_size, dtype=x.dtype)

    def forward() -> Tensor:
        with torch.no_grad():
            output: Tensor = layer(x)[0]
        return output

    def training() -> Tensor:
        for tensor in (read, *layer.parameters()):
            tensor.grad = None
        layer(read)[0].backward(seed)
        return read.grad

    return {"forward": forward, "training": training}


def check(layer: gw.Recurrent, x: Tensor) -> None:
    """Refuses a layer whose results are not the float64 reference's."""
    witness = calls(copy.deepcopy(layer).double(), x.double())
    for mode, own in calls(layer, x).items():
        with gw.backend("eager"):
            expected = witness[mode]()
        if not (own() - expected).abs().max() <= TOLERANCE * expected.abs().max():
            raise SystemExit(f"{layer.cell.name} is wrong: its {mode} differs from the reference's")


def measure(cells: Sequence[str], units: int, steps: int, rows: int, seconds: float) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    x = torch.randn(steps, rows, units)
    contestants = {"torch": calls(nn.LSTM(units, units), x)}
    counted = {}
    for cell in cells:
        layer = gw.Recurrent(cell, units, units)
        check(layer, x[:4, :2])
        counted[cell] = products(layer)
        contestants[cell] = calls(layer, x)
    found = []
    for mode in ("forward", "training"):
        times = timed(
            {name: own[mode] for name, own in contestants.items()},
            seconds,
            idle=False,
            clock=time.process_time,
        )
        best = {name: min(own) for name, own in times.items()}
        for cell in cells:
            found.append(
                {
                    "cell": cell,
                    "units": units,
                    "steps": steps,
                    "rows": rows,
                    "mode": mode,
                    "ms": best[cell],
                    "torch_lstm_ms": best["torch"],
                    "torch_lstm_over_it": best["torch"] / best[cell],
                    "products": counted[cell],
                }
            )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", default=CELLS)
    parser.add_argument("--sizes", default="64x200,128x100,256x100,512x50")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each size and mode, at least")
    parser.add_argument("--isa", choices=isa.NAMES, help="instruction set; by default the widest")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    isa.start_at(options.isa)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for size in options.sizes.split(","):
        units, steps = (int(part) for part in size.split("x"))
        found = measure(options.cells.split(","), units, steps, options.rows, options.seconds)
        show(Console(), f"{units} units, {steps} steps, {options.rows} rows", found)
        rows += found
    if options.out:
        write_report(options.out, {"machine": machine(), "results": rows})


if __name__ == "__main__":
    main()
