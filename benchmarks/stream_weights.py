"""A stream's step at batch 1 with weights in fewer bits: its time, and what the rounding costs a word language model.

    python benchmarks/stream_weights.py [--hidden 256,512,1024] [--threads 1,2] [--seconds 2]
                                        [--run RUN --text FILE] [--out FILE]

Time: `layer.stream(weights=…)` beside torch's LSTM, and beside what `quantize_dynamic` of torch.ao makes of it, which
has weights of 8 bits as well and rounds each step's input besides. All take turns; every contestant is first compared
with the float64 reference.

Perplexity: of a trained word language model, on a text, with the recurrent weights as they are read back from each
storage. That a stream computes with these, but for the inputs that int8 rounds to 16 bits, is checked on numbers drawn
at random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from layers import show, timed
from machine import machine
from rich.console import Console
from torch import nn

import gatework as gw
from gatework.backends.storage import STORAGES, Storage, stored

ASKED = {"of full": 2.0, "of quantize_dynamic": 1.5}
PERPLEXITY = 1.01  # of the full weights' at most
OFF = 0.1  # of an output's largest entry, where weights are rounded: the check is that nothing is wrong
FIRST = 500  # steps on which the stream is compared


def quantized(layer: nn.LSTM) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.ao is to be replaced
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {nn.LSTM}, dtype=torch.qint8)[0]


def step_times(hidden: int, threads: int, seconds: float) -> dict[str, Any]:
    """Microseconds of a step of each contestant, and the ratios that are asked for."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layer, theirs, x = gw.LSTM(hidden, hidden), nn.LSTM(hidden, hidden), torch.randn(1, hidden)
    theirs.load_state_dict(layer.state_dict())
    with gw.backend("llvm"):
        streams = {name: layer.stream(weights=name) for name in STORAGES}
    calls: dict[str, Any] = {name: partial(stream.step, x) for name, stream in streams.items()}

    def carried(module: Any) -> Any:
        state: list[Any] = [None]

        def call() -> torch.Tensor:
            with torch.no_grad():
                output, state[0] = module(x[None], state[0])
            return output[0]

        return call

    calls |= {"torch": carried(theirs), "quantize_dynamic": carried(quantized(theirs))}
    with gw.backend("eager"), torch.no_grad():
        expected = layer.double()(x.double().expand(5, 1, hidden))[0][-1]
    for name, call in calls.items():
        for _ in range(5):
            got = call()
        if not (got - expected).abs().max() <= OFF * expected.abs().max():
            raise SystemExit(f"{name} is wrong: its fifth step differs by {(got - expected).abs().max():.1e}")
    times = {name: statistics.median(own) * 1e3 for name, own in timed(calls, seconds).items()}
    ratios = {"of full": times["full"] / times["int8"]}
    ratios["of quantize_dynamic"] = times["quantize_dynamic"] / times["int8"]
    met = hidden < 512 or all(ratios[name] >= asked for name, asked in ASKED.items())
    return {"hidden": hidden, "threads": threads, **times, **ratios, "met": met}


def perplexities(run: Path, text: Path) -> list[dict[str, Any]]:
    """Of a language model on a text, by storage."""
    model = gw.load(run)
    recurrent = model.network_.recurrent
    whole = {name: value.detach().clone() for name, value in recurrent.named_parameters()}
    found, streams = [], {}
    for storage in STORAGES:
        with torch.no_grad():
            for name, value in recurrent.named_parameters():
                value.copy_(whole[name])
            streams[storage] = recurrent.stream(weights=storage)
            for name, value in recurrent.named_parameters():
                if name.startswith("weight_"):
                    value.copy_(stored(whole[name], storage))
        check_stream(recurrent, streams[storage], storage)
        figures = model.evaluate(text)["model"]
        over = figures["perplexity"] / found[0]["perplexity"] if found else 1.0
        found.append({"weights": storage, **figures, "of full": over, "met": over <= PERPLEXITY})
    return found


def check_stream(recurrent: gw.Recurrent, stream: Any, storage: Storage) -> None:
    x = torch.randn(FIRST, 1, recurrent.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, _ = recurrent.eval()(x)
    got = torch.stack([stream.step(step).clone() for step in x])
    if not (got - expected).abs().max() <= 1e-4 * expected.abs().max():
        raise SystemExit(f"the stream with weights={storage!r} does not compute with the weights it should")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", default="256,512,1024")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    console, result = Console(), {"machine": machine(), "times": [], "perplexities": []}
    for threads in map(int, arguments.threads.split(",")):
        for hidden in map(int, arguments.hidden.split(",")):
            result["times"].append(step_times(hidden, threads, arguments.seconds))
    show(console, "a step, microseconds", result["times"])
    if arguments.run is not None:
        result["perplexities"] = perplexities(arguments.run, arguments.text)
        show(console, "perplexity a word", result["perplexities"])
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
