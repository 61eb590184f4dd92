"""How fast the reader is: training steps beside torch.nn's layers in the same network, and 1,000 answers."""

from __future__ import annotations

import copy
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from commands import gatework
from machine import machine
from tagging_speed import TorchLayer, paired

import gatework as gw
from gatework.data import length_batches
from gatework.data.questions import read_questions
from gatework.tasks.artifacts import Artifacts
from gatework.tasks.reader.span_mode import SpanMode
from gatework.tasks.reader.span_network import SpanNetwork

BATCHES = 20  # drawn from an epoch
ANSWERS = 1000


def speeds(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Steps of an epoch with each cell; and answers, with the run that a step of training makes.

    Args:
        folder: with train.json, valid.json and test.json.
        config: the options of the reader.
    """
    torch.set_num_threads(1)
    result: dict[str, Any] = {cell: steps(folder, config | {"cell": cell}) for cell in ("gru", "lstm")}
    return result | {"answers": answers(folder, config), "machine": machine()}


def steps(folder: Path, config: dict[str, Any]) -> dict[str, float]:
    """Training steps, their optimiser's among them, on batches of the training articles."""
    data = str(folder / "train.json")
    model = gw.Reader(**config | {"max_steps": 1, "rivals": False, "device": "cpu"})
    model.fit(data, valid=str(folder / "valid.json"))
    mode = SpanMode(model.options_, print)
    mode.learn((), Artifacts(model.run_))
    rows = [
        mode.encode({"context": each.context, "question": each.question}, each.answers)
        for each in read_questions(data, {})
    ]
    lengths = [(len(row["words"]),) for row in rows]
    indices = length_batches(lengths, model.options_.batch_tokens, seed=0)[:BATCHES]
    batches = [mode.collate([rows[index] for index in some]) for some in indices]
    ours = model.network_
    theirs = copy.deepcopy(ours)
    theirs.encoder.recurrent = TorchLayer(theirs.encoder.recurrent)
    theirs.reading, theirs.modelling = TorchLayer(theirs.reading), TorchLayer(theirs.modelling)
    with torch.no_grad():
        for one, other in zip(ours.eval()(batches[0]), theirs.eval()(batches[0]), strict=True):
            torch.testing.assert_close(one.exp(), other.exp(), rtol=1e-3, atol=1e-5)

    def step(network: SpanNetwork) -> Callable[[], object]:
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        order = itertools.cycle(batches)

        def call() -> None:
            optimizer.zero_grad()
            loss = mode.loss(network, next(order))
            (loss.total / loss.count).backward()
            optimizer.step()

        return call

    return paired(step(ours), step(theirs), rounds=BATCHES)


def answers(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The time of 1,000 answers through the command line, the loading of the run among it."""
    run = folder / "speed-run"
    model = gw.Reader(**config | {"max_steps": 1, "rivals": False, "device": "cpu"})
    model.fit(str(folder / "train.json"), valid=str(folder / "valid.json"), out=run)
    questions = itertools.islice(read_questions(str(folder / "train.json"), {}), ANSWERS)
    asked = [{"context": each.context, "question": each.question} for each in questions]
    (folder / "asked.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked), encoding="utf-8")
    begun = time.perf_counter()
    command, printed = gatework("predict", run.name, "asked.jsonl", "--threads", "2", folder=folder)
    seconds = time.perf_counter() - begun
    return {"command": command, "answers": printed.count("\n"), "seconds": round(seconds, 2)}
