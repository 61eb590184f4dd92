"""What the classifier reaches on GoEmotions' groups and on spoken digits, beside the linear model.

    python benchmarks/classification.py [--sets goemotions,digits] [--seeds N] [--runs FOLDER]
    python benchmarks/classification.py --sets speed,growth

GoEmotions' sentiment groups: 43,410 comments, four labels of which a comment may have several; macro F1 on the test
data of one run, of the same run without its side path, and of N runs with different seeds that answer together. The
linear rival's probabilities are mixed in, but for the run without side path. The time of all N trainings counts.
Temperatures, thresholds, shares and the checkpoint are chosen on the validation data. Spoken digits: 1,400 recordings
of four speakers as plain sequences of 40 log-mel energies every 10 ms; recordings 0 to 4 of each speaker and digit are
the test data, 5 to 7 the validation data. The data is looked for in $GATEWORK_DATA.

`speed` times a training step and a prediction beside the same network on torch.nn's layers; `growth` an epoch of 1,000,
10,000 and 100,000 comments, and 100,000 predictions by the command line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classification_speed import growth, speeds
from commands import DATA, gatework, write_result
from machine import machine

COMMENTS = DATA / "sentiment" / "goemotions_group"
RECORDINGS = DATA / "speech_recognition" / "fsdd" / "recordings"
BANDS, WINDOW, STEP, RATE = 40, 200, 80, 8000
LARGEST = 256  # of the transform


def goemotions(seeds: int, runs: Path) -> dict[str, Any]:
    """Train N runs with the side path, one without it, and evaluate alone and together."""
    for part in ("train", "dev", "test"):
        shutil.copyfile(COMMENTS / f"{part}.tsv.gz", runs / f"{part}.tsv.gz")
    columns = ("--columns", "text=1,label=2")
    commands, seconds = [], []

    def train(name: str, *options: str) -> None:
        begun = time.monotonic()
        command, shown = gatework(
            "train", "classifier", "train.tsv.gz", "--valid", "dev.tsv.gz", *columns, "--set", "several=true",
            "--epochs", "3", *options, "--out", name, folder=runs,
        )  # fmt: skip
        seconds.append(round(time.monotonic() - begun, 1))
        commands.append(command)
        print(shown)

    def test(*names: str) -> dict[str, Any]:
        command, figures = gatework("evaluate", *names, "test.tsv.gz", *columns, "--json", folder=runs)
        commands.append(command)
        return json.loads(figures)

    names = [f"seed-{seed}" for seed in range(seeds)]
    for seed, name in enumerate(names):
        train(name, "--seed", str(seed), "--set", "mix_rival=true")
    together = sum(seconds)
    train("without-side-path", "--set", "side_path=false", "--set", "rivals=false")
    return {
        "one run": test(names[0]),
        "one run without the side path": test("without-side-path"),
        "runs together": test(*names),
        "seconds of each training": seconds,
        "seconds of the runs together": round(together, 1),
        "commands": commands,
    }


def digits(runs: Path) -> dict[str, Any]:
    """Train on log-mel energies and evaluate."""
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for path in sorted(RECORDINGS.glob("*.wav")):
        digit, _, number = path.stem.split("_")
        part = "test" if int(number) < 5 else "valid" if int(number) < 8 else "train"
        row = {"sequence": np.round(log_mel(path), 3).tolist(), "label": digit}
        parts[part].append(json.dumps(row) + "\n")
    for part, rows in parts.items():
        (runs / f"{part}.jsonl").write_text("".join(rows))
    columns = ("--columns", "sequence=sequence")
    begun = time.monotonic()
    trained, shown = gatework(
        "train", "classifier", "train.jsonl", "--valid", "valid.jsonl", *columns, "--set", "hidden_size=96",
        "--set", "num_layers=2", "--epochs", "25", "--out", "digits", folder=runs,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    print(shown)
    evaluated, figures = gatework("evaluate", "digits", "test.jsonl", *columns, "--json", folder=runs)
    return {
        "test": json.loads(figures),
        "training_seconds": round(seconds, 1),
        "commands": [trained, evaluated],
    }


def log_mel(path: Path) -> np.ndarray:
    """(T, 40) natural logarithms of the energies in bands of equal width on the mel scale, a step every 10 ms."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    wanted = torch.from_numpy(samples.astype(np.float32) / 2**15)
    spectrum = torch.stft(
        wanted, LARGEST, STEP, WINDOW, torch.hann_window(WINDOW), pad_mode="constant", return_complex=True
    )
    places = 1127 * np.log1p(np.arange(LARGEST // 2 + 1) * RATE / LARGEST / 700)
    edges = np.linspace(1127 * np.log1p(60 / 700), places[-1], BANDS + 2)
    rising = (places - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - places) / np.diff(edges)[1:, None]
    bands = torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None).astype(np.float32))
    return (bands @ spectrum.abs().square() + 1e-6).log().T.numpy()


MEASURES: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "goemotions": goemotions,
    "digits": lambda seeds, runs: digits(runs),
    "speed": lambda seeds, runs: speeds(),
    "growth": lambda seeds, runs: growth(runs),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default="goemotions,digits")
    parser.add_argument("--seeds", type=int, default=4, help="runs of GoEmotions that answer together")
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    arguments = parser.parse_args()
    if not COMMENTS.is_dir():
        parser.error(f"there is no data in {COMMENTS}: set GATEWORK_DATA")
    for name in arguments.sets.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            runs = (arguments.runs or Path(temporary)) / name
            runs.mkdir(parents=True)
            result = MEASURES[name](arguments.seeds, runs)
        write_result(f"classification_{name}", {**result, "machine": machine()})


if __name__ == "__main__":
    main()
