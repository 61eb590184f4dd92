"""What speed must not cost, and what it is for: accuracy after 1,000 steps, peak memory, and a language model's pace.

python benchmarks/layer_quality.py [--seeds 20] [--rounds 9] [--out benchmarks/results/layer_quality.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from commands import write_report
from machine import machine
from torch import Tensor
from torch.nn import functional

import gatework as gw

# Trains a layer for some steps in a process of its own and prints by how much its memory grew at most (MB).
MEMORY = """
import sys, torch, gatework as gw
torch.set_num_threads(2)
backend, kind, rows, steps, hidden = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024
x = torch.randn(steps, rows, hidden)
small = torch.randn(3, 2, 8)
layer, warm = getattr(gw, kind)(hidden, hidden), getattr(gw, kind)(8, 8)
with gw.backend(backend):
    warm(small)[0].sum().backward()  # libraries and compiled code are there
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak so far, compiling among it, is forgotten
    before = memory("VmRSS")
    for _ in range(4):
        layer(x)[0].sum().backward()
        layer.zero_grad()
print(memory("VmHWM") - before)
"""


def accuracy(seeds: int) -> dict[str, Any]:
    """The largest error of the last of 1,000 steps against float64, median over seeds."""
    errors: dict[str, list[float]] = {"llvm": [], "torch": []}
    for seed in range(seeds):
        torch.manual_seed(seed)
        layer, x = gw.LSTM(32, 96), torch.randn(1000, 2, 32)
        with torch.no_grad():
            with gw.backend("eager"):
                reference = gw.LSTM(32, 96, dtype=torch.float64)
                reference.load_state_dict(layer.state_dict())
                expected = reference(x.double())[0]
            for name, own in errors.items():
                with gw.backend(name):
                    own.append((layer(x)[0].double() - expected).abs().max().item())
    medians = {name: statistics.median(own) for name, own in errors.items()}
    return {**medians, "ratio": medians["llvm"] / medians["torch"]}


def memory() -> list[dict[str, Any]]:
    """Peak memory of training, beyond what was there before, in MB."""
    found = []
    for kind, rows, steps, hidden in (("LSTM", 32, 200, 256), ("GRU", 32, 200, 256), ("LSTM", 64, 50, 512)):
        entry: dict[str, Any] = {"layer": kind, "rows": rows, "steps": steps, "hidden": hidden}
        for backend in ("llvm", "torch"):
            command = [sys.executable, "-c", MEMORY, backend, kind, str(rows), str(steps), str(hidden)]
            entry[backend] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        found.append(entry | {"ratio": entry["llvm"] / entry["torch"]})
    return found


class LanguageModel(torch.nn.Module):
    """Embedding, two recurrent layers, softmax: the shape of benchmarks/configs/tiny_shakespeare.yaml."""

    def __init__(self, recurrent: Any, linear: Any) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(65, 64)
        self.recurrent = recurrent(64, 384, 2, dropout=0.2)
        self.output = linear(384, 65)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        hidden = functional.dropout(self.recurrent(self.embedding(inputs))[0], 0.2)
        return functional.cross_entropy(self.output(hidden).flatten(0, 1), targets.flatten())


def pace(rounds: int) -> list[dict[str, Any]]:
    """Tokens a second of training with AdamW, T = 128, B = 32, in turns."""
    found = []
    for kind in ("LSTM", "GRU"):
        models = {
            "llvm": LanguageModel(getattr(gw, kind), gw.Linear),
            "torch": LanguageModel(getattr(torch.nn, kind), torch.nn.Linear),
        }
        optimisers = {name: torch.optim.AdamW(m.parameters(), fused=True) for name, m in models.items()}
        text = torch.randint(0, 65, (129, 32))
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds + 1):
            for name, model in models.items():
                start = time.perf_counter()
                model(text[:-1], text[1:]).backward()
                optimisers[name].step()
                optimisers[name].zero_grad()
                times[name].append(time.perf_counter() - start)
        rates = {name: 128 * 32 / statistics.median(own[1:]) for name, own in times.items()}
        found.append({"layer": kind, **rates, "ratio": rates["llvm"] / rates["torch"]})
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    report = {
        "machine": machine(),
        "accuracy": accuracy(options.seeds),
        "memory": memory(),
        "pace": pace(options.rounds),
    }
    print(json.dumps(report, indent=1))
    if options.out:
        write_report(options.out, report)


if __name__ == "__main__":
    main()
