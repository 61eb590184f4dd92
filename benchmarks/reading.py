"""What the reader reaches on the half of SQuAD 1.1 that is there, and how fast it is.

    python benchmarks/reading.py [--parts squad,no_answer,speed] [--seeds 0] [--runs FOLDER]

4,961 questions about 24 articles; in the file's order the first 20 articles are trained on, two are validated on, and
the last two are tested: published figures are of trainings on the official 87,599 questions. The options are those of
benchmarks/configs/squad.yaml: between those of two trainings on the first 19 articles that were watched on articles 20
to 22 for two epochs, and not tried there themselves; no test figure was seen before. `no_answer` has the same
questions, a third of each part moved to another article's passage, where they have no answer. `speed` times training
steps beside the same network on torch.nn's layers, and 1,000 answers through the command line. The data is looked for
in $GATEWORK_DATA. A part's result takes the place of the one that it had.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from commands import DATA, HERE, gatework, write_result
from machine import machine

CORPUS = DATA / "machine_comprehension" / "squad11_dev_half" / "dev-v1.1.json.gz"
CONFIG = "squad.yaml"
PARTS = {"train": slice(0, 20), "valid": slice(20, 22), "test": slice(22, 24)}
SHARE_MOVED = 1 / 3
SHOWN = ("exact_match", "f1", "calibration_error")


def write_parts(folder: Path, *, moved: bool) -> None:
    """The articles as train.json, valid.json and test.json; `moved`: with questions that have no answer."""
    with gzip.open(CORPUS, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    for name, part in PARTS.items():
        chosen = articles[part]
        document = {"data": move_questions(chosen) if moved else chosen}
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def move_questions(articles: list[Any]) -> list[Any]:
    """The articles, a third of their questions moved to a paragraph of another one of them and without answers."""
    generator = random.Random(0)
    paragraphs = [
        (number, {"context": paragraph["context"], "qas": []}, paragraph["qas"])
        for number, article in enumerate(articles)
        for paragraph in article["paragraphs"]
    ]
    for number, own, questions in paragraphs:
        for question in questions:
            if generator.random() < SHARE_MOVED:
                _, other, _ = generator.choice([each for each in paragraphs if each[0] != number])
                other["qas"].append(question | {"answers": [], "is_impossible": True})
            else:
                own["qas"].append(question)
    return [{"paragraphs": [own for _, own, _ in paragraphs]}]


def squad(runs: Path, seeds: list[int], *, moved: bool = False) -> dict[str, Any]:
    """Train on the articles, from each seed, and evaluate the runs on the last two, together if there are several."""
    write_parts(runs, moved=moved)
    shutil.copyfile(HERE / "configs" / CONFIG, runs / CONFIG)
    commands, seconds, names = [], [], []
    for seed in seeds:
        names.append(f"run-{seed}")
        rivals = [] if seed == seeds[0] else ["--set", "rivals=false"]
        begun = time.monotonic()
        trained, shown = gatework(
            "train", "reader", "train.json", "--valid", "valid.json", "--config", CONFIG,
            "--set", f"seed={seed}", *rivals, "--threads", "1", "--out", names[-1], folder=runs,
        )  # fmt: skip
        seconds.append(round(time.monotonic() - begun, 1))
        commands.append(trained)
        print(shown)
    command, shown = gatework("evaluate", *names, "test.json", "--json", folder=runs)
    figures = json.loads(shown)
    print({name: figures["model"][name] for name in SHOWN}, figures["baselines"])
    return {
        "config": (HERE / "configs" / CONFIG).read_text(),
        "commands": [*commands, command],
        "training_seconds": seconds,
        "validation": [json.loads((runs / name / "metrics.json").read_text())["model"] for name in names],
        "test": figures,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="squad,no_answer,speed")
    parser.add_argument("--seeds", default="0", help="of the trainings that are evaluated together")
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    arguments = parser.parse_args()
    if not CORPUS.is_file():
        parser.error(f"there is no data in {CORPUS}: set GATEWORK_DATA")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        for part in arguments.parts.split(","):
            runs = (arguments.runs or Path(temporary)) / part
            runs.mkdir(parents=True)
            if part == "speed":
                from reading_speed import speeds

                write_parts(runs, moved=False)
                result = speeds(runs, yaml.safe_load((HERE / "configs" / CONFIG).read_text()))
            else:
                result = squad(runs, seeds, moved=part == "no_answer")
            write_result(f"reading_{part}", result)


if __name__ == "__main__":
    main()
