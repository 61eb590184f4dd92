"""What the reader reaches in answer mode on bAbI's odd tasks, with 1,000 questions each and without supporting facts.

    python benchmarks/reading_babi.py --choose [--only 1,3,…] [--seeds 2] [--workers 2] [--runs FOLDER]
    python benchmarks/reading_babi.py [--only 1,3,…] [--workers 2] [--runs FOLDER]

Each task by itself, as in its paper. A tenth of the training stories validate. `--choose` trains a network with each of
SETTINGS and each seed, until one has no error on them, and keeps in `results/reading_babi_choices.json` what each had
on them; no test file is read. Without it the setting and the seed of the least validation loss are trained, and what
they give is tested; the gates of a story of task 3's test are drawn to `results/reading_babi_gates.svg`. Tasks are
trained side by side, a thread each; with `--runs`, runs that are there are not trained again. A task's result takes the
place of the one that it had. `exact_match` is accuracy: a list is right as a whole.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import re
import shlex
import shutil
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from commands import DATA, HERE, gatework, write_result
from machine import machine

import gatework as gw
from gatework.inspect import draw_gates

NAME = "reading_babi"
FIGURES = ("accuracy", "logistic_regression", "most_common", "published_lstm")
FOLDER = DATA / "machine_comprehension" / "babi_en_1k"
HELD_BACK = 10  # every tenth story of the training data validates
DRAWN, DRAWN_FACTS = 3, 14  # of which task a story is drawn, and its facts at most
TASKS = (3, 19, 15, 5, 7, 17, 9, 13, 11, 1)  # the longest trainings first
OPTIONS = (
    "mode=answer", "hidden_size=50", "num_layers=2", "batch_examples=32", "batch_tokens=60000", "max_length=3000",
    "learning_rate=0.005", "max_steps=4000", "validate_every=100", "patience=15", "target=0.003",
)  # fmt: skip
SETTINGS = (
    ("exchange=asked", "dropout=0.1"),
    ("exchange=asked", "dropout=0", "max_steps=6000", "patience=40"),
    ("exchange=all", "dropout=0"),
    ("exchange=none", "dropout=0.3"),
    ("exchange=all", "dropout=0.1"),
)
PUBLISHED_LSTM = {1: 50, 3: 20, 5: 70, 7: 49, 9: 64, 11: 72, 13: 94, 15: 21, 17: 51, 19: 8}  # SOURCE.md
CHOICES = HERE / "results" / f"{NAME}_choices.json"
Setting = Sequence[str]
_WRITING = threading.Lock()
Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choose", action="store_true", help="find each task's setting on validation data")
    parser.add_argument("--only", default=",".join(map(str, TASKS)), help="tasks by number")
    parser.add_argument("--seeds", type=int, default=1, help="with --choose: trainings of a setting at most")
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side")
    parser.add_argument("--runs", type=Path, help="where to keep the runs; else they are removed")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        parser.error(f"there is no data in {FOLDER}: set GATEWORK_DATA")
    numbers = [number for number in TASKS if str(number) in arguments.only.split(",")]
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.workers) as pool:
        runs = (arguments.runs or Path(temporary)).resolve()
        runs.mkdir(parents=True, exist_ok=True)
        here = machine()
        for number in numbers:
            _split(runs, number)
        if arguments.choose:
            jobs = itertools.product(range(arguments.seeds), SETTINGS, numbers)
            for _ in pool.map(lambda job: _try(runs, here, *job), jobs):
                pass
        else:
            for number, result in zip(
                numbers, pool.map(lambda each: _task(runs, here, each), numbers), strict=True
            ):
                keep(number, result)


def choices() -> Result:
    """What was tried so far, by task."""
    return json.loads(CHOICES.read_text())["tasks"] if CHOICES.exists() else {}


def _try(runs: Path, here: Result, seed: int, setting: Setting, number: int) -> None:
    """A training with a setting and a seed, unless one of this task has no error yet."""
    task = f"qa{number}"
    if any(each["validation"]["exact_match"] == 1 for each in choices().get(task, [])):
        return
    training = _train(runs, number, setting, seed)
    with _WRITING:
        tasks = choices()
        tried = [each for each in tasks.get(task, []) if each["run"] != training["run"]]
        tasks[task] = sorted([*tried, training], key=lambda each: each["validation"]["loss"])
        print(task, *setting, f"seed={seed}", training["seconds"], training["validation"], flush=True)
        write_result(CHOICES.stem, {"machine": here, "tasks": tasks})


def keep(number: int, result: Result) -> None:
    """A task's result among the others', and their means."""
    path = HERE / "results" / f"{NAME}.json"
    known = json.loads(path.read_text())["tasks"] if path.exists() else {}
    tasks = {**known, f"qa{number}": result}
    tasks = {name: tasks[name] for name in sorted(tasks, key=lambda name: int(name[2:]))}
    means = {name: round(sum(each[name] for each in tasks.values()) / len(tasks), 4) for name in FIGURES}
    seconds = sum(each["training"]["seconds"] for each in tasks.values())
    print(f"mean of {len(tasks)} tasks: {means}", flush=True)
    write_result(
        NAME,
        {"tasks_counted": len(tasks), "mean": means, "training_seconds": round(seconds, 1), "tasks": tasks},
    )


def _task(runs: Path, here: Result, number: int) -> Result:
    """One task's figures."""
    (source,) = FOLDER.glob(f"qa{number}_*_test.txt.gz")
    test = shutil.copy(source, runs)  # a command in a result names no folder of this machine
    best, *others = choices()[f"qa{number}"]
    training = _train(runs, number, best["setting"], best["seed"])
    command, shown = gatework(
        "evaluate", training["run"], Path(test).name, "--json", "--threads", "1", folder=runs
    )
    figures = json.loads(shown)
    baselines = {name: each["exact_match"] for name, each in figures["baselines"].items()}
    result = {
        "accuracy": figures["model"]["exact_match"],
        **baselines,
        "published_lstm": PUBLISHED_LSTM[number] / 100,
        "test": {"command": command, "model": figures["model"], "intervals": figures["intervals"]},
        "training": training,
        "settings_tried": 1 + len(others),
        "machine": here,
    }
    print(f"qa{number}", {name: result[name] for name in FIGURES}, flush=True)
    if number == DRAWN:
        _draw(runs / training["run"], source)
    return result


def _draw(run: Path, test: Path) -> None:
    """The gates of the first short story whose question is answered right."""
    model, facts = gw.load(run), []
    for line in gzip.decompress(test.read_bytes()).decode().splitlines():
        number, told = line.split(" ", 1)
        if number == "1":
            facts = []
        if "\t" not in told:
            facts.append(told)
            continue
        question, answer, _ = told.split("\t")
        if len(facts) > DRAWN_FACTS:
            continue
        (record,) = model.predict({"context": facts, "question": question.strip()})
        if record["output"] == answer:
            rows = [fact["gates"] for fact in record["sentences"]]
            picture = HERE / "results" / f"{NAME}_gates.svg"
            draw_gates(facts, rows, picture, title=f"{question.strip()} {answer}")
            return
    print(f"{test.name}: no story of at most {DRAWN_FACTS} facts is answered right: none is drawn")


def _train(runs: Path, number: int, setting: Setting, seed: int) -> Result:
    """One training; its validation figures."""
    train, valid = _split_names(number)
    options = dict(each.split("=") for each in (*OPTIONS, *setting, f"seed={seed}"))
    out = f"qa{number}-{options['exchange']}-{options['dropout']}-{seed}"
    settings = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    arguments = ["train", "reader", train, "--valid", valid, "--out", out, "--threads", "1", *settings]
    if not (runs / out / "COMPLETE").exists():
        shutil.rmtree(runs / out, ignore_errors=True)
        gatework(*arguments, folder=runs)
    metrics = json.loads((runs / out / "metrics.json").read_text())
    history = (runs / out / "history.jsonl").read_text().splitlines()
    return {
        "run": out,
        "setting": list(setting),
        "seed": seed,
        "command": shlex.join(["gatework", *arguments]),
        "seconds": round(json.loads(history[-1])["seconds"], 1),
        "validation": {name: metrics["model"][name] for name in ("exact_match", "loss")},
    }


def _split_names(number: int) -> tuple[str, str]:
    return f"qa{number}-train.txt", f"qa{number}-valid.txt"


def _split(runs: Path, number: int) -> None:
    """Files of the stories to train on and of those that validate: questions of one story are never in both."""
    (source,) = FOLDER.glob(f"qa{number}_*_train.txt.gz")
    stories = re.split(r"^(?=1 )", gzip.decompress(source.read_bytes()).decode(), flags=re.MULTILINE)[1:]
    order = list(range(len(stories)))
    random.Random(0).shuffle(order)
    held = {*order[: len(stories) // HELD_BACK]}
    for name, wanted in zip(_split_names(number), (False, True), strict=True):
        told = [story for index, story in enumerate(stories) if (index in held) == wanted]
        (runs / name).write_text("".join(told))


if __name__ == "__main__":
    main()
