from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from gatework import tasks
from gatework.serve.app import Service
from gatework.serve.options import ServiceOptions
from gatework.serve.runs import ServedRuns
from tests.contracts.task_examples import EXAMPLES
from tests.serve.running import running


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`run_of(task)` is the folder of a finished run at its smallest; tests must not change it."""
    folder = tmp_path_factory.mktemp("served")

    def find(name: str) -> Path:
        out = folder / name
        if not out.exists():
            example = EXAMPLES[name]
            tasks.get(name)(**example.options).fit(example.rows, valid=example.valid, out=out)
        return out

    return find


@pytest.fixture(scope="session")
def service(run_of: Callable[[str], Path]) -> Service:
    """A language model, a translator and a forecaster within small limits."""
    runs = [run_of(name) for name in ("language-model", "translator", "forecaster")]
    limits = ServiceOptions(body=0.25, bodies=1.0, characters=2000, inputs=8, numbers=5000, tokens=100)
    return Service(ServedRuns.load(runs), limits)


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[httpx.Client]:
    with running(service) as client:
        yield client
