"""Copy, reverse and sort: what attention solves, and one fixed vector does not.

    python benchmarks/toy_sequences.py [--tasks copy,reverse,sort] [--decoders bahdanau_gru,gru] [--longest 30]
                                       [--symbols 10]

Sequences of so many symbols, up to `longest` of them; both decoders train on the same 40,000 pairs for the same steps,
and are tested on 500 unseen sequences of more than half that length. A result takes the place of the one of the same
task, decoder and sizes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from commands import HERE, gatework, write_result
from machine import machine

SYMBOLS = "abcdefghijklmnopqrstuvwxyz"
TASKS = {"copy": list, "reverse": lambda s: s[::-1], "sort": sorted}
NAMED = ("task", "decoder", "symbols", "longest")
OPTIONS = {
    "tokenizer": "word",
    "hidden_size": 128,
    "embedding_size": 64,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "batch_tokens": 2000,
    "learning_rate": 0.003,
    "select_by": "loss",
    "max_steps": 3000,
    "validate_every": 500,
}


def write_pairs(
    path: Path, task: str, symbols: int, count: int, shortest: int, longest: int, seed: int
) -> None:
    chooser = random.Random(seed)
    with path.open("w") as file:
        file.write("source\ttarget\n")
        for _ in range(count):
            source = chooser.choices(SYMBOLS[:symbols], k=chooser.randint(shortest, longest))
            file.write(f"{' '.join(source)}\t{' '.join(TASKS[task](source))}\n")


def measure(task: str, decoder: str, symbols: int, longest: int, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True)
    write_pairs(folder / "train.tsv", task, symbols, 40_000, 1, longest, seed=1)
    write_pairs(folder / "valid.tsv", task, symbols, 300, 1, longest, seed=2)
    write_pairs(folder / "test.tsv", task, symbols, 500, longest // 2 + 1, longest, seed=3)
    settings = [part for name, value in OPTIONS.items() for part in ("--set", f"{name}={value}")]
    trained, _ = gatework(
        "train", "translator", "train.tsv", "--valid", "valid.tsv", "--out", "run",
        "--set", f"decoder_cell={decoder}", *settings, folder=folder,
    )  # fmt: skip
    evaluated, shown = gatework("evaluate", "run", "test.tsv", "--json", folder=folder)
    model = json.loads(shown)["model"]
    print(
        task, decoder, f"exact {model['exact_match']:.3f}, perplexity {model['perplexity']:.3f}", flush=True
    )
    sizes = {"symbols": symbols, "longest": longest}
    return {
        "task": task,
        "decoder": decoder,
        **sizes,
        "commands": [trained, evaluated],
        "model": model,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--decoders", default="bahdanau_gru,gru")
    parser.add_argument("--longest", type=int, default=30)
    parser.add_argument("--symbols", type=int, default=10)
    arguments = parser.parse_args()
    path = HERE / "results" / "toy_sequences.json"
    kept = json.loads(path.read_text())["results"] if path.exists() else []
    results = {tuple(result[name] for name in NAMED): result for result in kept}
    with tempfile.TemporaryDirectory() as temporary:
        for task in arguments.tasks.split(","):
            for decoder in arguments.decoders.split(","):
                folder = Path(temporary) / task / decoder
                result = measure(task, decoder, arguments.symbols, arguments.longest, folder)
                results[tuple(result[name] for name in NAMED)] = result
    write_result("toy_sequences", {"results": list(results.values())})


if __name__ == "__main__":
    main()
