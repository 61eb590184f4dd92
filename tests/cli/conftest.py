from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gatework.cli import main

SMALL = ["--set", "hidden_size=16", "--set", "num_layers=1", "--set", "batch_size=4", "--set", "steps=16"]
SMALL += ["--set", "ngram_order=3"]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are not cut to the width of the terminal in which the tests were started."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def gatework(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process: exit code, what it printed, what it complained of."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chooser = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(
        "".join(f"{chooser.choice(['the cat sat', 'a dog ran', 'dogs bark'])}.\n" for _ in range(200))
    )
    return path


@pytest.fixture(scope="session")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run; tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "language-model", str(corpus), "--out", str(out), "--epochs", "2", *SMALL]) == 0
    return out
