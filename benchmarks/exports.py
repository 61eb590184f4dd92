"""Exports built and run: sizes of code, weights and memory for each target, and a step's time beside the stream's.

    python benchmarks/exports.py [--units 128] [--out benchmarks/results/exports.json]

Each network is exported for every target, its example is built and run, and its outputs are compared with the layer's
first. A step is timed on this machine alone (`native`, x86_64-linux-gnu, WebAssembly in Node): the emulated targets of
qemu say nothing of time. C program, Node and stream take turns, and the best of each is told. ONNX's time is that of a
sequence of 100 steps and one row, by a Scan and by ONNX's own operator, on one thread of ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from torch import Tensor, nn

import gatework as gw
from gatework.export.files import ExportOptions
from gatework.export.layer import part_files
from gatework.export.maps import Maps
from gatework.export.network import Network, array_of, network
from gatework.export.onnx.checking import session
from gatework.export.onnx.model import ModelWriter, state_names

TOLERANCE = 1e-5  # of outputs: sums in another order
STEPS = 8
BUILT = {  # how each target's example is built and run
    "native": (["gcc", "-O2"], []),
    "x86_64-linux-gnu": (["gcc", "-O2"], []),
    "aarch64-linux-gnu": (["aarch64-linux-gnu-gcc", "-O2", "-static"], ["qemu-aarch64"]),
    "armv7-linux-gnueabihf": (["arm-linux-gnueabihf-gcc", "-O2", "-static"], ["qemu-arm"]),
    "thumbv7em-none-eabihf": (["arm-linux-gnueabihf-gcc", "-O2", "-static", "-mthumb"], ["qemu-arm"]),
}
TIMED = ("native", "x86_64-linux-gnu")
CLOCK = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "model.h"
int main(void) {
    static float x[MODEL_INPUT], state[MODEL_STATE], output[MODEL_OUTPUT], scratch[MODEL_SCRATCH];
    double best = 1e9;
    model_start(state);
    for (int round = 0; round < 20; round++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int k = 0; k < 200; k++) model_step(x, state, output, scratch);
        clock_gettime(CLOCK_MONOTONIC, &b);
        double took = ((b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) * 1e-9) / 200;
        if (took < best) best = took;
    }
    printf("%.9g\\n", best);
}
"""
NODE = """
import { pathToFileURL } from "node:url";
const { model } = await (await import(pathToFileURL(process.argv[1]))).load();
const stream = model.stream(), x = new Float32Array(model.about.input);
let best = 1e9;
for (let round = 0; round < 20; round++) {
  const before = performance.now();
  for (let k = 0; k < 200; k++) stream.step(x);
  best = Math.min(best, (performance.now() - before) / 200);
}
console.log(best / 1000);
"""


@gw.cell
def users_own(x: Any, h: Any, memory: Any) -> Any:
    """A cell of a user's own: two time scales and a scalar gate."""
    write = gw.hard_sigmoid(gw.linear("write", x, h, size=1))
    memory = 0.9 * memory + 0.1 * gw.softsign(gw.linear("fast", x, write * memory))
    return gw.tanh(gw.layer_norm("out", memory)), memory


def networks(units: int) -> dict[str, tuple[Network, Tensor | None]]:
    """What is exported, and the memory of what attends."""
    torch.manual_seed(0)
    single = {
        "lstm": gw.LSTM(units, units),
        "layer_norm_lstm": gw.Recurrent("layer_norm_lstm", units, units),
        "users_own": gw.Recurrent(users_own, units, units),
        "two_layers": gw.GRU(units, units, 2),
        "encoder": gw.GRU(units, units, bidirectional=True),
    }
    found: dict[str, tuple[Network, Tensor | None]] = {
        name: (network(layer.eval(), "model"), None) for name, layer in single.items()
    }
    decoder = gw.Recurrent("bahdanau_gru", units, units, sizes={"memory_size": 2 * units}).eval()
    readout, softmax = nn.Linear(4 * units, units), nn.Linear(units, 1000)
    maps = Maps({"output": units, "context": 2 * units, "x": units})
    hidden = maps.linear([maps.read(each) for each in ("output", "context", "x")], *weights(readout))
    head = maps.cell("head", {"output": maps.linear([maps.apply("tanh", hidden)], *weights(softmax))})
    found["decoder"] = network(decoder, "model", head=head), torch.randn(12, 1, 2 * units)
    return found


def weights(layer: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    return array_of(layer.weight), array_of(layer.bias)


def expected(made: Network, x: Tensor, memory: Tensor | None) -> Tensor:
    from gatework.export.reference import expected as of

    rows = 1
    start = made.layer.initial_state(rows)
    values, _ = of(
        made,
        x,
        lengths=torch.tensor([len(x)]),
        states=start if isinstance(start, tuple) else (start,),
        inputs={},
        memories={} if memory is None else {"memory": memory},
        memory_lengths={},
        int8=False,
    )
    return values["output"][:, 0].detach()


def text(*rows: Tensor) -> str:
    return "".join(" ".join(f"{value:.9g}" for value in row.flatten().tolist()) + "\n" for row in rows)


def run(*command: str | Path, given: str = "") -> str:
    done = subprocess.run([str(part) for part in command], input=given, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr[-800:]}")
    return done.stdout


def built(folder: Path, target: str, source: str = "main.c") -> list[str | Path]:
    compiler, emulator = BUILT[target]
    if target == "thumbv7em-none-eabihf":  # which processors it is for, that a Linux program is not
        run("arm-linux-gnueabihf-objcopy", "-R", ".ARM.attributes", folder / "model.o")
    run(*compiler, folder / source, folder / "model.o", "-o", folder / "program")
    return [*emulator, folder / "program"]


def checked(name: str, target: str, printed: str, wanted: Tensor) -> float:
    got = torch.tensor([[float(value) for value in line.split()] for line in printed.splitlines()])
    error = float(((got - wanted).abs() / wanted.abs().clamp(min=1)).max())
    if not error <= TOLERANCE:
        raise SystemExit(f"{name} for {target} is wrong by {error:.1e}")
    return error


def of_target(
    name: str, made: Network, memory: Tensor | None, target: str, weights: str, folder: Path
) -> dict[str, Any]:
    """Sizes and error of an export, and its step's seconds where they can be measured."""
    x = torch.randn(STEPS, 1, made.stack.input_size)
    given = [] if memory is None else [torch.tensor(float(len(memory))), *memory]
    given += [torch.tensor(float(STEPS))] if made.stack.bidirectional else []
    exported = part_files([made], "c", ExportOptions(target=target, weights=weights)).written(folder, {})  # type: ignore[arg-type]
    record: dict[str, Any] = {
        "network": name,
        "target": target,
        "weights": weights,
        "parameters": made.parameters,
        "code_bytes": exported.code_bytes,
        "data_bytes": exported.data_bytes,
        "memory_bytes": exported.memory_bytes,
    }
    if weights == "float32":
        record["error"] = checked(
            name, target, run(*built(folder, target), given=text(*given, *x)), expected(made, x, memory)
        )
    if target in TIMED and memory is None and not made.stack.bidirectional:
        (folder / "clock.c").write_text(CLOCK)
        record["step_seconds"] = timed(built(folder, target, "clock.c"), made, weights)
    return record


def timed(program: list[str | Path], made: Network, weights: str) -> dict[str, float]:
    """Seconds of a step of a program, and of the layer's stream, in turns."""
    stream = made.layer.stream(weights="full" if weights == "float32" else "int8")
    x = torch.zeros(1, made.stack.input_size)
    best = {"export": float("inf"), "stream": float("inf")}
    for _ in range(5):
        best["export"] = min(best["export"], float(run(*program)))
        best["stream"] = min(best["stream"], seconds_of(lambda: stream.step(x)))
    return best


def seconds_of(call: Callable[[], Any], calls: int = 200, rounds: int = 10) -> float:
    best = float("inf")
    for _ in range(rounds):
        before = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - before) / calls)
    return best


def of_wasm(name: str, made: Network, weights: str, folder: Path) -> dict[str, Any]:
    exported = part_files([made], "wasm", ExportOptions(weights=weights)).written(folder, {})  # type: ignore[arg-type]
    record: dict[str, Any] = {
        "network": name,
        "target": "wasm32",
        "weights": weights,
        "code_bytes": exported.code_bytes,
        "data_bytes": exported.data_bytes,
        "memory_bytes": exported.memory_bytes,
    }
    if not made.stack.bidirectional and not made.graph.inputs_of_kind("memory"):
        program: list[str | Path] = ["node", "--input-type=module", "-e", NODE, "--", folder / "model.mjs"]
        record["step_seconds"] = timed(program, made, weights)
    return record


def of_onnx(name: str, made: Network, steps: int = 100) -> dict[str, Any]:
    """Seconds of a sequence by a Scan, and by ONNX's own operator where there is one."""
    x = np.random.default_rng(0).standard_normal((steps, 1, made.stack.input_size)).astype(np.float32)
    feeds = {"x": x, "lengths": np.array([steps])}
    feeds |= {state.name: np.zeros((1, state.units or 1), np.float32) for state in state_names(made)}
    runners = {"scan": session(ModelWriter(made, step=False, int8=False, native=False).made())}
    own = ModelWriter(made, step=False, int8=False)
    if own.native:
        runners["own"] = session(own.made())
    best = dict.fromkeys(runners, float("inf"))
    for _ in range(5):
        for each, runner in runners.items():
            best[each] = min(best[each], seconds_of(lambda runner=runner: runner.run(None, feeds), 3, 3))
    return {"network": name, "target": "onnx", "steps": steps, "sequence_seconds": best}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    targets = [
        target for target, (compiler, emulator) in BUILT.items() if shutil.which([*compiler, *emulator][0])
    ]
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (made, memory) in networks(arguments.units).items():
            cases = [(target, weights) for weights in ("float32", "int8") for target in targets]
            for target, weights in cases:
                if weights == "int8" and target not in ("native", "thumbv7em-none-eabihf"):
                    continue
                records.append(
                    of_target(
                        name, made, memory, target, weights, Path(folder) / f"{name}-{target}-{weights}"
                    )
                )
            records.append(of_wasm(name, made, "float32", Path(folder) / f"{name}-wasm"))
            if name in ("lstm", "layer_norm_lstm", "users_own", "two_layers"):
                records.append(of_onnx(name, made))
            for record in records[-len(targets) - 4 :]:
                if record["network"] == name:
                    print(json.dumps(record), file=sys.stderr)
    result = {"machine": machine(), "units": arguments.units, "records": records}
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
