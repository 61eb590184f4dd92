"""How fast the classifier is: beside torch.nn's layers in the same network; and how its costs grow with the data."""

from __future__ import annotations

import gzip
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from commands import DATA
from machine import machine
from tagging_speed import TorchLayer, paired
from torch.nn import functional as F

import gatework as gw
from gatework import cells as catalogue
from gatework.tasks.classifier.inputs import TextInputs, words_of
from gatework.tasks.classifier.network import ClassifierBatch, ClassifierNetwork, TextSide
from gatework.tasks.classifier.options import ClassifierOptions
from gatework.tasks.words import TokenEncoder, WordVocabulary

COMMENTS = DATA / "sentiment" / "goemotions_group"
EXAMPLES = 64
ROWS = (1_000, 10_000, 100_000)


def comments(part: str = "train") -> list[dict[str, Any]]:
    """The rows of a part of GoEmotions, as dicts; the first label of each."""
    lines = gzip.decompress((COMMENTS / f"{part}.tsv.gz").read_bytes()).decode().splitlines()
    cells = [line.split("\t") for line in lines]
    return [{"text": row[0], "label": row[1].split(",")[0]} for row in cells]


def speeds() -> dict[str, Any]:
    """A training step without its update, and a prediction, of 64 comments by the whole network of default sizes."""
    rows = comments()
    options = ClassifierOptions()
    vocabulary = WordVocabulary.learn(
        ([word.text for word in words_of(row["text"])] for row in rows), lowercase=True, min_frequency=2
    )
    inputs = TextInputs(
        vocabulary,
        words_of,
        side_rows=options.side_rows,
        subword_rows=options.subword_rows,
        most=options.max_length,
    )
    labels = sorted({row["label"] for row in rows})
    chosen = random.Random(1).sample(rows, EXAMPLES)
    source, side = inputs.collate([inputs.encode(row["text"]) for row in chosen])
    batch = ClassifierBatch(source, side, torch.tensor([labels.index(row["label"]) for row in chosen]))
    result: dict[str, Any] = {}
    torch.set_num_threads(1)
    for cell in ("lstm", "gru"):

        def network(cell: str) -> ClassifierNetwork:
            torch.manual_seed(0)
            sizes = (
                "embedding_size",
                "hidden_size",
                "num_layers",
                "bidirectional",
                "dropout",
                "subword_rows",
            )
            encoder = TokenEncoder(
                catalogue.get(cell),
                counts=vocabulary.counts,
                character_count=vocabulary.character_count,
                **{name: getattr(options, name) for name in sizes},
            )
            side = TextSide(options.side_rows, len(labels), options.side_dropout)
            return ClassifierNetwork(encoder, len(labels), pooling=options.pooling, side=side, several=False)

        ours, theirs = network(cell), network(cell)
        theirs.encoder.recurrent = TorchLayer(theirs.encoder.recurrent)
        with torch.no_grad():
            one, other = (each.eval()(batch) for each in (ours, theirs))
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        result[cell] = {
            "prediction": paired(*(answer(each.eval(), batch) for each in (ours, theirs))),
            "training": paired(*(step(each.train(), batch) for each in (ours, theirs))),
        }
    return {**result, "threads": 1, "machine": machine()}


def step(network: ClassifierNetwork, batch: ClassifierBatch) -> Callable[[], object]:
    def call() -> None:
        network.zero_grad()  # as training does: no gradient is added to that of another step
        F.cross_entropy(network(batch), batch.targets, reduction="sum").backward()

    return call


def answer(network: ClassifierNetwork, batch: ClassifierBatch) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return network(batch)

    return call


def growth(runs: Path) -> dict[str, Any]:
    """Seconds of an epoch at 1,000, 10,000 and 100,000 rows; seconds and memory of 100,000 predictions by the command
    line.
    """
    rows = comments()
    many = (rows * 3)[: ROWS[-1]]
    epochs = {}
    for count in ROWS:
        options = {
            "epochs": 1,
            "batch_tokens": 3000,
            "learning_rate": 0.002,
            "rivals": False,
            "device": "cpu",
        }
        begun = time.monotonic()
        model = gw.Classifier(**options, select_by="loss").fit(
            many[:count], valid=rows[:500], out=runs / str(count)
        )
        records = [record for record in model.result_.history if record["kind"] == "train"]
        epochs[str(count)] = {
            "training_seconds": round(model.result_.seconds, 2),
            "seconds_in_all": round(time.monotonic() - begun, 2),
            "steps": records[-1]["step"],
        }
    inputs = runs / "inputs.txt"
    inputs.write_text("".join(row["text"] + "\n" for row in many))
    begun = time.monotonic()
    command = [sys.executable, "-m", "gatework", "predict", str(runs / "10000"), str(inputs)]
    with (runs / "outputs.jsonl").open("w") as outputs:
        subprocess.run(command, stdout=outputs, check=True)
    seconds = time.monotonic() - begun
    answered = sum(1 for line in (runs / "outputs.jsonl").open() if json.loads(line)["output"])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "epochs": epochs,
        "prediction": {
            "lines": answered,
            "seconds": round(seconds, 1),
            "peak_mib": round(peak),
            "command": "gatework predict RUN inputs.txt > outputs.jsonl",
        },
        "machine": machine(),
    }
