"""What the tagger reaches on SNIPS: intents and slots, with and without each of its parts, and how fast it is.

    python benchmarks/tagging.py [--variants whole,no_crf,…] [--seeds 0,1,2,3] [--epochs N] [--runs FOLDER]
    python benchmarks/tagging.py --speed

13,084 sentences to train, 700 to validate, 700 to test; slot F1 as conlleval counts it, the share of intents and of
whole sentences that are right. The options are those of benchmarks/configs/snips.yaml, chosen on the validation
sentences; a variant changes what `VARIANTS` says, and `together` is the ensemble of the whole model's seeds. A result
takes the place of the one that the same variant and seed had. A training has one thread, so that two runs of this file
may share two cores. The data is looked for in $GATEWORK_DATA.

`--speed` times a training step and a prediction beside the same network on torch.nn's layers, the CRF beside a loop
over time in torch, and a stream word by word.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from commands import DATA, HERE, gatework, write_result
from machine import machine

CORPUS = DATA / "tagging_nlu" / "snips"
CONFIG = "snips.yaml"
VARIANTS: dict[str, list[str]] = {
    "whole": [],
    "no_crf": ["crf=false"],
    "no_side_path": ["side_path=false", "span_lists=false"],
    "no_span_lists": ["span_lists=false"],
    "no_characters": ["character_size=0", "subword_rows=0"],
    "no_replacement": ["replaced_copies=0"],
    "words_alone": [
        "crf=false",
        "side_path=false",
        "span_lists=false",
        "character_size=0",
        "subword_rows=0",
        "replaced_copies=0",
    ],
}
SHOWN = ("span_f1", "label_accuracy", "sentence_accuracy")


def measure(variant: str, seed: int, epochs: int | None, runs: Path) -> dict[str, Any]:
    """Train one variant from one seed, and evaluate it on the test sentences."""
    shutil.copyfile(HERE / "configs" / CONFIG, runs / CONFIG)
    for part in ("train", "valid", "test"):
        shutil.copytree(CORPUS / part, runs / part, dirs_exist_ok=True)
    out = f"{variant}-{seed}"
    changes = [*VARIANTS[variant], f"seed={seed}"] + ([f"epochs={epochs}"] if epochs else [])
    changes += [] if (variant, seed) == ("whole", 0) else ["rivals=false"]
    flags = [part for change in changes for part in ("--set", change)]
    begun = time.monotonic()
    trained, shown = gatework(
        "train", "tagger", "train", "--valid", "valid",
        "--config", CONFIG, *flags, "--threads", "1", "--out", out, folder=runs,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    print(shown)
    return {"training_seconds": round(seconds, 1), **evaluated(variant, [out], runs, trained), "seed": seed}


def evaluated(variant: str, names: list[str], runs: Path, *commands: str) -> dict[str, Any]:
    """The figures of a run, or of several as one, on the test sentences."""
    command, shown = gatework("evaluate", *names, "test", "--json", folder=runs)
    figures = json.loads(shown)
    print(variant, names, {name: figures["model"][name] for name in SHOWN})
    validated = (
        json.loads((runs / names[0] / "metrics.json").read_text())["model"] if len(names) == 1 else None
    )
    return {
        "variant": variant,
        "commands": [*commands, command],
        "validation": validated,
        "test": figures,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument(
        "--seeds", default="0,1,2,3", help="of the whole model; the variants have the first one"
    )
    parser.add_argument("--epochs", type=int, help="instead of the configuration's")
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed:
        from tagging_speed import speeds

        write_result("tagging_speed", speeds())
        return
    if not CORPUS.is_dir():
        parser.error(f"there is no data in {CORPUS}: set GATEWORK_DATA")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or Path(temporary)
        runs.mkdir(exist_ok=True)
        for variant in arguments.variants.split(","):
            for seed in seeds if variant == "whole" else seeds[:1]:
                keep(measure(variant, seed, arguments.epochs, runs))
        names = [f"whole-{seed}" for seed in seeds]
        if len(names) > 1 and all((runs / name).is_dir() for name in names):
            keep({**evaluated("together", names, runs), "seed": 0})


def keep(result: dict[str, Any]) -> None:
    """Write a result beside those that are there, also by another process that measures."""
    path = HERE / "results" / "tagging_snips.json"
    kept = json.loads(path.read_text())["results"] if path.exists() else []
    results = {(each["variant"], each["seed"]): each for each in [*kept, result]}
    config = (HERE / "configs" / CONFIG).read_text()
    write_result("tagging_snips", {"config": config, "results": list(results.values())})


if __name__ == "__main__":
    main()
