"""Every JSON file of a finished run of every task, damaged anywhere: `RunError` in one line, or it still works."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatework import tasks
from gatework.errors import RunError
from gatework.training import RunFolder
from tests.contracts.task_contract import one_line, places
from tests.contracts.task_examples import EXAMPLES

TRIES = 24  # damaged copies a file
DELETED = object()
VALUES = [None, [], {}, "x", "", True, -1, 0, 1.5, 1e300, 10**12, 10**30, -(10**30), [[]], {"x": 1}, DELETED]
CONSTANTS = ["NaN", "Infinity", "-Infinity", "9" * 5000, "[" * 5000]
MARK = "put something here"


def damaged(text: str, seed: int) -> Iterator[str]:
    """JSON texts with one value of another kind or size, with one less, with what JSON does not have."""
    value = json.loads(text)
    generator = random.Random(seed)
    every = list(places(value))
    # Values that stand high up decide most: of a large file's deep ones few are tried.
    high = [path for path in every if len(path) <= 3]
    chosen = generator.choices(high, k=TRIES)
    for path in [*chosen, *generator.choices(every, k=TRIES // 3)]:
        other = generator.choice([*VALUES, *CONSTANTS] if path in chosen else VALUES)
        changed = copy.deepcopy({"": value})
        holder: Any = changed
        for step in path[:-1]:
            holder = holder[step]
        if other is DELETED:
            del holder[path[-1]]
            yield json.dumps(changed.get(""))
        elif other in CONSTANTS:
            holder[path[-1]] = MARK
            yield json.dumps(changed[""]).replace(f'"{MARK}"', other)
        else:
            holder[path[-1]] = other
            yield json.dumps(changed[""])


def test_the_damage_is_damage() -> None:
    texts = list(damaged('{"a": [1, {"b": "c"}], "d": 2.5}', 0))
    assert len(set(texts)) > 15
    assert any("NaN" in text for text in texts)
    assert any('"d"' not in text for text in texts)


@pytest.mark.parametrize("name", tasks.names())
def test_a_damaged_file_is_an_error_in_one_line_or_harmless(
    name: str, finished: Callable[[str], Path], tmp_path: Path
) -> None:
    some, run = EXAMPLES[name], tmp_path / "run"
    shutil.copytree(finished(name), run)
    shutil.rmtree(run / "checkpoints")
    outcomes = {"refused": 0, "harmless": 0}
    for file in sorted(run.iterdir()):
        content = file.read_bytes()
        if file.suffix not in (".json", ".jsonl") and file.name != "COMPLETE":
            continue
        text = content.decode().splitlines()[0] if file.suffix == ".jsonl" else content.decode()
        for number, other in enumerate(damaged(text, len(text))):
            file.write_text(other + "\n")
            if file.name != "COMPLETE":
                RunFolder(run).complete()
            try:
                model = tasks.load(run)
                model.predict(some.inputs, **some.settings)
                model.evaluate(some.valid)
                outcomes["harmless"] += 1
            except RunError as error:
                one_line(error)
                outcomes["refused"] += 1
            except Exception as error:
                raise AssertionError(f"{file.name}, number {number}: {other:.2000}") from error
        file.write_bytes(content)
        RunFolder(run).complete()
    assert min(outcomes.values()) > 10, outcomes


@pytest.mark.parametrize("name", tasks.names())
def test_a_damaged_checkpoint_is_an_error_or_harmless(
    name: str, finished: Callable[[str], Path], tmp_path: Path
) -> None:
    some, run = EXAMPLES[name], tmp_path / "run"
    folder = finished(name)
    outcomes = {"refused": 0, "harmless": 0}
    state = max(folder.glob("checkpoints/*/state.json"))
    text = state.read_text()
    for number, other in enumerate(list(damaged(text, 7))):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(folder, run)
        for other_checkpoint in {*(run / "checkpoints").iterdir()} - {run / state.relative_to(folder).parent}:
            shutil.rmtree(other_checkpoint)
        (run / state.relative_to(folder)).write_text(other)
        try:
            tasks.get(name)(max_steps=11).fit(some.rows, valid=some.valid, out=run, resume=True)
            outcomes["harmless"] += 1
        except RunError as error:
            one_line(error)
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"state.json, number {number}: {other:.2000}") from error
    assert outcomes["refused"] > 5, outcomes
