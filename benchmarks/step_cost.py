"""The fixed cost of a training step on the CPU: what Python and autograd take, whatever the sizes.

    python benchmarks/step_cost.py [--seconds 2] [--out benchmarks/results/step_cost.json]

A layer of 4 units over 2 steps of one row has next to no arithmetic: the microseconds of its forward pass, and of
forward and backward, are the fixed cost. torch.nn's layer and the native calls alone, without Python and autograd
around them, take turns with it. Gradients are compared with torch.nn's first.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from commands import write_report
from layers import TOLERANCE, show, timed
from machine import machine
from rich.console import Console
from torch import Tensor

import gatework as gw

KINDS = ("LSTM", "GRU")
UNITS, STEPS = 4, 2


def contestants(kind: str) -> dict[str, dict[str, Callable[[], Any]]]:
    """What is timed, by mode: forward without gradients, forward with them, forward and backward, and a whole step."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(UNITS, UNITS)
    ours = gw.replace(getattr(torch.nn, kind)(UNITS, UNITS))
    ours.load_state_dict(theirs.state_dict())
    x, seed = torch.randn(STEPS, 1, UNITS), torch.ones(STEPS, 1, UNITS)
    modes: dict[str, dict[str, Callable[[], Any]]] = {}
    gradients = {}
    for name, layer in (("gatework", ours), ("torch", theirs)):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.0, foreach=True)

        def inference(layer: Any = layer) -> Tensor:
            with torch.no_grad():
                output: Tensor = layer(x)[0]
            return output

        def forward(layer: Any = layer) -> Tensor:
            output: Tensor = layer(x)[0]
            return output

        def both(layer: Any = layer) -> None:
            for parameter in layer.parameters():
                parameter.grad = None
            layer(x)[0].backward(seed)

        def step(layer: Any = layer, optimizer: Any = optimizer) -> None:
            both(layer)
            optimizer.step()

        both()
        gradients[name] = [parameter.grad for parameter in layer.parameters()]
        for mode, call in (
            ("inference", inference),
            ("forward", forward),
            ("backward too", both),
            ("step", step),
        ):
            modes.setdefault(mode, {})[name] = call
    for own, other in zip(*gradients.values(), strict=True):
        if not (own - other).abs().max() <= TOLERANCE * other.abs().max():
            raise SystemExit(f"{kind} is wrong: its gradients differ from torch.nn's")
    return modes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, at least")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    gc.disable()  # no collection falls into somebody's sample
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for mode, calls in contestants(kind).items():
            times = timed(calls, options.seconds, idle=False)
            best = {f"{name} (us)": min(own) * 1e3 for name, own in times.items()}
            pairs = zip(times["torch"], times["gatework"], strict=True)
            ratio = statistics.median(one / other for one, other in pairs)
            rows.append({"layer": kind, "mode": mode, **best, "torch over gatework": ratio})
    show(Console(), "The fixed cost of a call", rows)
    if options.out:
        write_report(options.out, {"machine": machine(), "results": rows})


if __name__ == "__main__":
    main()
