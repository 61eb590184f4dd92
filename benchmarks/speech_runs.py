"""Transcribers of spoken digits: the options of each part of a benchmark, and their training and testing by the public
commands.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands import DATA, HERE, gatework
from speech_data import Digit, write_manifest

__all__ = ["CHANGES", "CONFIG", "RECORDINGS", "Result", "configured", "evaluate", "train", "train_on_strings"]

RECORDINGS = DATA / "speech_recognition" / "fsdd" / "recordings"
CONFIG = "fsdd.yaml"
# An unknown speaker asks for more changes of the known ones, and a network that learns less of them.
OTHERS = ["hidden_size=48", "channels=12", "dropout=0.3", "speed=0.15", "warp=0.15", "noise=0.3", "epochs=60"]
# part or variant -> options beside the configuration's
CHANGES: dict[str, list[str]] = {
    "words": [],
    "characters": ["tokenizer=character", "epochs=90"],
    "speaker": [*OTHERS, "coloration=0.5"],
    "recording": [*OTHERS, "normalization=recording"],
    "shorter": [*OTHERS, "coloration=0.5", "max_steps=660", "validate_every=330"],
    "floor": [*OTHERS, "coloration=0.5", "dynamic_range=25"],
    "wider": [*OTHERS, "coloration=0.5", "dynamic_range=25", "warp=0.25", "speed=0.25"],
    "copies": [*OTHERS, "coloration=0.5", "speeds=0.85,1.15", "epochs=10", "validate_every=50"],
    "strings": ["epochs=15", "average_last=3"],
    "few": ["epochs=400", "batch_tokens=600", "validate_every=100", "templates=0.9"],
    "streaming": ["bidirectional=false", "normalization=running"],
}
Result = dict[str, Any]


def configured(folder: Path) -> Path:
    """A folder for runs, which has the options that all have in common."""
    runs = folder.resolve()
    runs.mkdir(exist_ok=True, parents=True)
    shutil.copyfile(HERE / "configs" / CONFIG, runs / CONFIG)
    return runs


def train(
    runs: Path,
    out: str,
    kind: str,
    train: Sequence[Digit],
    valid: Sequence[Digit],
    *further: str,
    start: str | None = None,
) -> Result:
    """Train a run on manifests, from another run's weights if one is named; what was typed, and what it cost."""
    shutil.rmtree(runs / out, ignore_errors=True)
    write_manifest(runs / f"{out}-train.tsv", train)
    write_manifest(runs / f"{out}-valid.tsv", valid)
    flags = [part for change in [*CHANGES[kind], *further] for part in ("--set", change)]
    flags += [] if start is None else ["--from", start]
    before, begun, load = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), os.getloadavg()[0]
    command, shown = gatework(
        "train", "transcriber", f"{out}-train.tsv", "--valid", f"{out}-valid.tsv",
        "--config", CONFIG, *flags, "--threads", "1", "--out", out, folder=runs,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(shown)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "trained_with": command,
        "cpu_seconds": round(spent, 1),
        "wall_seconds": round(time.monotonic() - begun, 1),
        "load_before": load,
        "validation": json.loads((runs / out / "metrics.json").read_text())["model"],
    }


def evaluate(runs: Path, names: Sequence[str], test: Sequence[Digit]) -> Result:
    """The figures of a run, or of several as one; something is said in every recording, so that none is rejected."""
    table = f"{names[0]}-test.tsv"
    write_manifest(runs / table, test)
    flags = ["--set", "reject=false", "--json", "--threads", "1"]
    command, shown = gatework("evaluate", *names, table, *flags, folder=runs)
    figures = json.loads(shown)
    print(names, {name: round(value, 4) for name, value in figures["model"].items()})
    return {"evaluated_with": command, "test": figures}


def train_on_strings(
    runs: Path,
    out: str,
    kind: str,
    singles: tuple[Sequence[Digit], Sequence[Digit]],
    strings: tuple[Sequence[Digit], Sequence[Digit]],
    *further: str,
) -> Result:
    """Train a run on single digits, and another from its weights on strings: from strings alone little is learned.

    Args:
        singles, strings: for training and for validation.
    """
    start = f"{out}-digits"
    result: Result = {"started_from": train(runs, start, kind, *singles, *further)}
    return result | train(runs, out, kind, *strings, *CHANGES["strings"], *further, start=start)
