"""What the engine makes once may be asked for by several threads at once, as in a web service."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Lock
from time import sleep

import pytest

from gatework.backends.compiled.once import made_once
from tests.conftest import ROOT


def first_calls(threads: int, first: int, cache: Path) -> list[str]:
    """A digest of every result, in one order whatever the first call is."""
    command = [sys.executable, "-m", "tests.backends.llvm.first_calls", str(threads), str(first)]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"GATEWORK_CACHE": str(cache)}
    )
    assert ended.returncode == 0, ended.stderr
    return sorted(ended.stdout.splitlines())


def test_first_calls_of_four_threads_at_once_give_the_bits_of_one_thread(tmp_path: Path) -> None:
    expected = first_calls(1, 0, tmp_path / "one")
    assert len(expected) == 12
    for first in (0, 6):  # which layers make the very first calls
        assert first_calls(4, first, tmp_path / str(first)) == expected


def test_what_is_made_once_is_made_by_one_thread_at_a_time_and_is_one_object() -> None:
    inside, most, made = [0], [0], []
    counting, together = Lock(), Barrier(8)

    @made_once(maxsize=4)
    def make(key: int) -> object:
        with counting:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        sleep(0.02)
        with counting:
            inside[0] -= 1
        made.append(key)
        return object()

    def ask(number: int) -> tuple[object, object]:
        together.wait()
        return make(number % 2), outer(number % 2)

    @made_once(maxsize=4)
    def outer(key: int) -> object:  # one builder asks for another's
        return make(key)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert most == [1]
    assert sorted(made) == [0, 1]
    assert {a is b for a, b in found} == {True}
    assert len({id(a) for a, _ in found}) == 2


def test_what_is_made_once_is_forgotten_for_newer_things_and_when_a_builder_fails() -> None:
    made: list[int] = []

    @made_once(maxsize=2)
    def make(key: int) -> int:
        made.append(key)
        if key < 0:
            raise ValueError(key)
        return key

    for key in (1, 2, 3, 3, 1):
        assert make(key) == key
    assert made == [1, 2, 3, 1]
    for _ in range(2):
        with pytest.raises(ValueError, match="-1"):
            make(-1)
    make.cache_clear()
    assert make(1) == 1
    assert made == [1, 2, 3, 1, -1, -1, 1]
