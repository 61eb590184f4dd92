"""What the language model reaches in a given time, through the public command line alone.

    python benchmarks/language_model.py [tiny-shakespeare] [wikitext-2] [--max-minutes M] [--runs FOLDER]

tiny shakespeare: characters, the first 90 % for training, the last 10 % for validation.
WikiText-2: words, its own splits; perplexity a word, of validation and test.

The options are those of benchmarks/configs. Each result goes to benchmarks/results, with the commands that
made it, the machine, the versions and the commit. The data is looked for in $GATEWORK_DATA.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from commands import DATA, HERE, gatework, write_result
from machine import machine

TEXTS = DATA / "language_modelling"


class Corpus(NamedTuple):
    """Files by split, made in a folder; and the figure that is aimed at."""

    train: Path
    valid: Path
    test: Path | None


def tiny_shakespeare(folder: Path) -> Corpus:
    text = gzip.decompress((TEXTS / "tinyshakespeare" / "input.txt.gz").read_bytes()).decode()
    cut = int(len(text) * 0.9)
    corpus = Corpus(folder / "train.txt", folder / "valid.txt", None)
    corpus.train.write_text(text[:cut])
    corpus.valid.write_text(text[cut:])
    return corpus


def wikitext_2(folder: Path) -> Corpus:
    parts = [
        shutil.copy(TEXTS / "wikitext-2" / f"{part}.txt.gz", folder) for part in ("train", "valid", "test")
    ]
    return Corpus(*map(Path, parts))


CORPORA = {"tiny-shakespeare": tiny_shakespeare, "wikitext-2": wikitext_2}


def measure(name: str, runs: Path, max_minutes: float | None) -> dict[str, Any]:
    """Train on one corpus and evaluate on its other splits."""
    stem = name.replace("-", "_")
    folder = runs / stem
    folder.mkdir(parents=True)
    corpus = CORPORA[name](folder)
    config = f"{stem}.yaml"
    shutil.copyfile(HERE / "configs" / config, folder / config)
    limit = [] if max_minutes is None else ["--max-minutes", str(max_minutes)]
    begun = time.monotonic()
    command, shown = gatework(
        "train", "language-model", corpus.train.name, "--valid", corpus.valid.name,
        "--config", config, *limit, "--out", "run", folder=folder,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    print(shown)
    commands, figures = [command], {}
    for split, file in (("valid", corpus.valid), ("test", corpus.test)):
        if file is None:
            continue
        command, shown = gatework("evaluate", "run", file.name, "--json", folder=folder)
        commands.append(command)
        figures[split] = json.loads(shown)
        print(split, json.dumps(figures[split]))
    history = [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()]
    return {
        "benchmark": f"language_model {name}",
        "commands": commands,
        "config": (HERE / "configs" / config).read_text(),
        "figures": figures,
        "training_seconds": round(seconds, 1),
        "validations": [record for record in history if record.get("kind") == "validation"],
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="*", help=f"{', '.join(CORPORA)}; all by default")
    parser.add_argument(
        "--max-minutes", type=float, help="instead of the config's, for a trial: nothing is kept"
    )
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    arguments = parser.parse_args()
    for name in arguments.corpora or CORPORA:
        if name not in CORPORA:
            parser.error(f"there is no corpus {name}: {', '.join(CORPORA)}")
    if not TEXTS.is_dir():
        parser.error(f"there is no data in {TEXTS}: set GATEWORK_DATA")
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.corpora or CORPORA:
            result = measure(name, arguments.runs or Path(temporary), arguments.max_minutes)
            if arguments.max_minutes is None:
                write_result(f"language_model_{name.replace('-', '_')}", result)


if __name__ == "__main__":
    main()
