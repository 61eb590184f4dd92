"""Models as people write them in plain torch, before and after `gw.replace`: forward and training.

    python benchmarks/models.py [--models CRNN,DPRNN] [--threads 1,2] [--isa avx2] [--seconds 2] [--out FILE]

The models stand in `user_models.py`. Outputs and gradients of both are compared before anything is timed, without
dropout; then both take turns, and a ratio is the time before over the time after. Training is a forward pass, a loss
and a backward pass; the optimiser's step is the same for both and left out.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import isa
import torch
from commands import write_report
from layers import TOLERANCE, geometric_mean, show, timed
from machine import machine
from rich.console import Console
from torch import Tensor, nn
from user_models import MODELS

import gatework as gw

ASKED = 1.0  # times torch's speed, at least


def step(model: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    """Forward and backward; gives the output."""
    for parameter in model.parameters():
        parameter.grad = None
    output: Tensor = model(*inputs)
    output.square().mean().backward()
    return output


def check(name: str, before: nn.Module, after: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Refuses a replaced model with other numbers: its output, and the gradient of every weight."""
    before.eval(), after.eval()
    pairs = [("output", step(before, inputs).detach(), step(after, inputs).detach())]
    for (label, theirs), ours in zip(before.named_parameters(), after.parameters(), strict=True):
        assert theirs.grad is not None
        assert ours.grad is not None, label
        pairs.append((f"gradient of {label}", theirs.grad, ours.grad))
    for label, theirs, ours in pairs:
        difference = ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12)).item()
        if not difference <= TOLERANCE:  # NaN is refused too
            raise SystemExit(f"{name} is wrong after gw.replace: its {label} differs by {difference:.1e}")
    before.train(), after.train()


def measure(name: str, threads: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of a model before and after `gw.replace`, and their ratio, forward and training."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    make, draw = MODELS[name]
    before, inputs = make(), draw()
    after = gw.replace(copy.deepcopy(before))
    check(name, before, after, inputs)
    pair, idle = {"before": before, "after": after}, threads > 1

    def forward(model: nn.Module) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                output: Tensor = model(*inputs)
            return output

        return run

    training = timed(
        {each: lambda model=model: step(model, inputs) for each, model in pair.items()}, seconds, idle=idle
    )
    for model in pair.values():
        model.eval()
    times = {
        "forward": timed({each: forward(model) for each, model in pair.items()}, seconds, idle=idle),
        "training": training,
    }
    found: dict[str, Any] = {"model": name, "threads": threads}
    for mode, own in times.items():
        medians = {each: statistics.median(values) for each, values in own.items()}
        turns = zip(own["before"], own["after"], strict=True)
        found[mode] = medians | {"ratio": statistics.median(one / other for one, other in turns)}
    return found


def rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line of the table for each model and number of threads, and the geometric means."""
    lines = [
        {
            "model": each["model"],
            "threads": each["threads"],
            "forward": each["forward"]["ratio"],
            "training": each["training"]["ratio"],
        }
        for each in results
    ]
    for threads in sorted({each["threads"] for each in results}):
        own = [line for line in lines if line["threads"] == threads]
        means = {mode: geometric_mean(line[mode] for line in own) for mode in ("forward", "training")}
        lines.append({"model": "geometric mean", "threads": threads, **means})
    return [line | {"met": min(line["forward"], line["training"]) >= ASKED} for line in lines]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", help="names, with commas between; all by default")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--isa", choices=isa.NAMES, help="instruction set; by default the widest")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, at least")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    isa.start_at(options.isa)
    names = options.models.split(",") if options.models else list(MODELS)
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"there is no model {unknown[0]!r}. Known: {', '.join(MODELS)}")
    gc.disable()  # no collection falls into somebody's sample
    here, console = machine(), Console()
    results = []
    for threads in map(int, options.threads.split(",")):
        for name in names:
            found = measure(name, threads, options.seconds)
            results.append(found)
            said = (
                f"{mode} {found[mode]['ratio']:.2f} ({found[mode]['after']:.2f} ms)"
                for mode in ("forward", "training")
            )
            console.print(f"{name}, threads {threads}: {', '.join(said)}", highlight=False, soft_wrap=True)
            gc.collect()
    on = f"{here['cpu']} (family {here['family']}, model {here['model']}), {here['isa']}"
    show(console, f"torch's time over that after gw.replace, on {on}", rows(results))
    if options.out:
        write_report(options.out, {"machine": here, "results": results, "summary": rows(results)})


if __name__ == "__main__":
    main()
