from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gatework import tasks
from gatework.tasks.language_model import LanguageModel
from gatework.tasks.transcriber import Transcriber
from tests.contracts.task_examples import EXAMPLES, SPEECH

WORDS = (
    "the cat sat on a mat",
    "a dog ran to the cat",
    "the dog sat",
    "a cat and a dog ate the fish on the mat",
)


def sentences(count: int, seed: int = 0) -> str:
    chooser = random.Random(seed)
    return "".join(f"{chooser.choice(WORDS)}.\n" for _ in range(count))


SMALL = {
    "hidden_size": 24,
    "num_layers": 1,
    "embedding_size": 12,
    "batch_size": 4,
    "bptt": 16,
    "ngram_order": 3,
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(sentences(300))
    return path


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """A small model of characters that has learned a little; tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return LanguageModel(**SMALL, epochs=2, learning_rate=0.01).fit(corpus, out=out)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`finished(name)` is the folder of a finished run of a task at its smallest; tests must not change it."""
    runs: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in runs:
            out = tmp_path_factory.mktemp("finished") / name
            some = EXAMPLES[name]
            tasks.get(name)(**some.options).fit(some.rows, valid=some.valid, out=out)
            runs[name] = out
        return runs[name]

    return run


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    """A run that hears as one speaks: trained until it says something. It writes a letter for each
    word. Tests must not change it."""
    rows = [{**row, "text": " ".join(word[0] for word in row["text"].split())} for row in SPEECH]
    options = {
        **EXAMPLES["transcriber"].options,
        "bidirectional": False,
        "hidden_size": 24,
        "num_layers": 1,
        "channels": 8,
    }
    options |= dict.fromkeys(("dropout", "noise", "frequency_gaps", "time_gaps"), 0)
    options |= {"max_steps": None, "epochs": 60, "validate_every": 180, "learning_rate": 0.01}
    out = tmp_path_factory.mktemp("listener") / "run"
    return Transcriber(**options).fit(rows, valid=rows[:6], out=out)
