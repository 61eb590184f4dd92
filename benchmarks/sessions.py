"""Many sessions stepped as one batch, beside the same sessions one at a time.

    python benchmarks/sessions.py [--sessions 1000] [--tasks language-model,…] [--out benchmarks/results/sessions.json]

Small runs of each task are trained on made-up data. Their sessions are fed the same, alone and together, and must say
the same (numbers within 1e-4; drawn tokens and tags equal) before anything is timed. Then one at a time (some of them,
each for some steps) and all together take turns; `ratio` is the median, over the turns, of the microseconds a step of a
session takes alone over those it takes together.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import write_report
from layers import show
from machine import machine
from rich.console import Console

import gatework as gw
from gatework.tasks.base import Task
from gatework.tasks.session import NOTHING, Session

ALONE = 40  # sessions that are stepped one at a time in a turn
STEPS = 10  # of each session in a turn
TURNS = 5
WORDS = ["go", "to", "new", "york", "oslo", "rome", "bern", "please", "now", "by", "train"]
CITIES = {"york": "I-city", "new": "B-city", "oslo": "B-city", "rome": "B-city", "bern": "B-city"}


def sentences(count: int, seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    return [[draw.choice(WORDS) for _ in range(12)] for _ in range(count)]


def language_model(folder: Path) -> Task:
    """One LSTM layer of 128 units over characters."""
    rows = [{"text": " ".join(words) + "."} for words in sentences(400, 0)]
    options = {"hidden_size": 128, "num_layers": 1, "max_steps": 60, "ngram_order": 2, "device": "cpu"}
    return gw.LanguageModel(**options).fit(rows, valid=rows[:20], out=folder / "lm")


def tagger(folder: Path, *, side_path: bool) -> Task:
    """One GRU layer of 64 units, with a linear model of hashed features beside it or without."""
    rows = [
        {"tokens": words, "tags": [CITIES.get(word, "O") for word in words]} for words in sentences(300, 1)
    ]
    rows = [{**row, "tags": well_formed(row["tags"])} for row in rows]
    options = {
        "hidden_size": 64,
        "bidirectional": False,
        "crf": False,
        "learn_label": False,
        "side_path": side_path,
    }
    return gw.Tagger(**options, rivals=False, max_steps=30, device="cpu").fit(rows, valid=rows[:30])


def well_formed(tags: Sequence[str]) -> list[str]:
    """I- after its own B- alone."""
    before = ["O", *tags[:-1]]
    return [
        "B-city" if tag == "I-city" and last == "O" else tag for last, tag in zip(before, tags, strict=True)
    ]


def classifier(folder: Path) -> Task:
    """One GRU layer of 64 units over words, pooled by attention and the maximum."""
    rows = [{"text": " ".join(words), "label": words[0]} for words in sentences(400, 2)]
    options = {
        "hidden_size": 64,
        "bidirectional": False,
        "side_path": False,
        "rivals": False,
        "max_steps": 30,
    }
    return gw.Classifier(**options, device="cpu").fit(rows, valid=rows[:40])


def forecaster(folder: Path) -> Task:
    """The default network, a horizon of 12 steps."""
    values = np.cumsum(np.random.default_rng(0).normal(size=600)) + 10 * np.sin(np.arange(600) / 2)
    options = {"horizon": 12, "season": 12, "window": 48, "max_steps": 20, "device": "cpu"}
    return gw.Forecaster(**options).fit({"target": values.tolist()})


def texts(count: int) -> Iterator[list[Any]]:
    """The prompt of each session, and nothing more: each step is a token."""
    yield [" ".join(words[:3]) for words in sentences(count, 3)]
    while True:
        yield [NOTHING] * count


def words(count: int) -> Iterator[list[Any]]:
    """The next word of each session."""
    draw = random.Random(4)
    while True:
        yield [draw.choice(WORDS) for _ in range(count)]


def numbers(count: int) -> Iterator[list[Any]]:
    """The next value of each session's series."""
    draw = np.random.default_rng(5)
    values = draw.normal(size=count)
    while True:
        values = values + draw.normal(size=count)
        yield values.tolist()


Source = Callable[[int], Iterator[list[Any]]]
KINDS: dict[str, tuple[Callable[[Path], Task], Source, dict[str, Any]]] = {
    "language-model": (language_model, texts, {"length": 100_000, "temperature": 0.7}),
    "tagger": (lambda folder: tagger(folder, side_path=False), words, {}),
    "tagger, side path": (lambda folder: tagger(folder, side_path=True), words, {}),
    "classifier": (classifier, words, {}),
    "forecaster": (forecaster, numbers, {}),
}


def step_alone(session: Session, item: Any) -> list[dict[str, Any]]:
    """What a session says next of an item, by itself."""
    events = session.rest() if item is NOTHING else session.feed(item)
    return [next(events)]


def same(one: Any, other: Any) -> bool:
    """Equal, numbers within 1e-4 of each other."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-4 * max(1.0, abs(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def check(task: Task, feed: Iterator[list[Any]], settings: dict[str, Any], count: int) -> None:
    """Refuses sessions that say something else together than alone."""
    alone, together = ([task.session(**settings) for _ in range(count)] for _ in range(2))
    for _ in range(8):
        items = next(feed)
        expected = [step_alone(session, item) for session, item in zip(alone, items, strict=True)]
        if not same(task.feed_together(together, items), expected):
            raise SystemExit(f"{task.name} is wrong: its sessions say something else together than alone")


def measure(
    task: Task, source: Callable[[int], Iterator[list[Any]]], settings: dict[str, Any], count: int
) -> dict[str, Any]:
    """Microseconds of a session's step, alone and together, in turns."""
    check(task, source(20), settings, 20)
    few, many = ([task.session(**settings) for _ in range(size)] for size in (ALONE, count))
    feeds = source(ALONE), source(count)
    for _ in range(3):
        for session, item in zip(few, next(feeds[0]), strict=True):
            step_alone(session, item)
        task.feed_together(many, next(feeds[1]))
    alone, together = [], []
    for _ in range(TURNS):
        items = [next(feeds[0]) for _ in range(STEPS)]
        begun = time.perf_counter()
        for place, session in enumerate(few):
            for own in items:
                step_alone(session, own[place])
        alone.append(1e6 * (time.perf_counter() - begun) / (ALONE * STEPS))
        items = [next(feeds[1]) for _ in range(STEPS)]
        begun = time.perf_counter()
        for own in items:
            task.feed_together(many, own)
        together.append(1e6 * (time.perf_counter() - begun) / (count * STEPS))
    ratio = statistics.median(one / other for one, other in zip(alone, together, strict=True))
    return {
        "alone_us": statistics.median(alone),
        "together_us": statistics.median(together),
        "steps_per_second_together": round(1e6 / statistics.median(together)),
        "ratio": ratio,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--tasks", default=",".join(name for name in KINDS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about, rows = machine(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in (
            part for part in KINDS if part in options.tasks.split(",") or options.tasks == ",".join(KINDS)
        ):
            make, source, settings = KINDS[name]
            found = measure(make(Path(folder)), source, settings, options.sessions)
            rows.append({"task": name, "sessions": options.sessions, **found})
            show(Console(), "Sessions, alone and together", rows[-1:])
    if options.out:
        write_report(options.out, {"machine": about, "results": rows})


if __name__ == "__main__":
    main()
