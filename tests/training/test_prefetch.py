"""Reading ahead: the same batches in the same order, made in one thread, and a resume to the bit."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gatework.training.prefetch import read_batches
from tests.training.problems import TinyProblem
from tests.training.test_loop import Heard, interrupt, train, untimed


class Made(Sequence[int]):
    """Batches that say when and where each was made; one of them may fail."""

    def __init__(self, count: int, fails: int | None = None) -> None:
        self.count, self.fails = count, fails
        self.made: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        self.made.append((index, threading.current_thread().name))
        if index == self.fails:
            raise OSError("the disk is gone")
        return 10 * index


class Lazy(TinyProblem):
    """Batches that are made when they are asked for."""

    def batches(self, epoch: int, rank: int, world: int) -> Sequence[Any]:
        whole = super().batches(epoch, rank, world)

        class Batches(Sequence[Any]):
            def __len__(self) -> int:
                return len(whole)

            def __getitem__(self, index: Any) -> Any:
                return tuple(part.clone() for part in whole[index])

        return Batches()


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(("count", "start"), [(5, 0), (5, 3), (5, 4), (5, 5), (1, 0), (0, 0)])
def test_every_batch_once_in_order(ahead: bool, count: int, start: int) -> None:
    batches = Made(count)
    assert list(read_batches(batches, start, ahead=ahead)) == [10 * i for i in range(start, count)]
    assert [index for index, _ in batches.made] == list(range(start, count))


def test_one_batch_ahead_in_one_thread_and_no_further() -> None:
    batches = Made(6)
    reading = read_batches(batches, 0, ahead=True)
    for index in range(4):
        assert next(reading) == 10 * index
        deadline = time.monotonic() + 30
        while len(batches.made) < index + 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert [number for number, _ in batches.made] == list(range(index + 2))
    reading.close()
    names = {name for _, name in batches.made}
    assert len(names) == 1
    assert names != {threading.current_thread().name}
    assert not [thread for thread in threading.enumerate() if thread.name in names]  # gone with the generator
    without = Made(6)
    list(read_batches(without, 0, ahead=False))
    assert {name for _, name in without.made} == {threading.current_thread().name}


@pytest.mark.parametrize("ahead", [False, True])
def test_a_failure_is_raised_at_its_batch_with_its_traceback(ahead: bool) -> None:
    batches = Made(6, fails=2)
    seen: list[int] = []
    with pytest.raises(OSError, match="the disk is gone") as caught:
        seen.extend(read_batches(batches, 0, ahead=ahead))
    assert "__getitem__" in "".join(traceback.format_exception(caught.value))
    reading = read_batches(batches, 0, ahead=ahead)
    assert (next(reading), next(reading)) == (0, 10)  # those before it are used first
    with pytest.raises(OSError, match="the disk is gone"):
        next(reading)


@pytest.mark.parametrize("stop", [7, 39, 45])
def test_training_is_the_same_to_the_bit_and_resumes(stop: int, tmp_path: Path) -> None:
    plain, one = train(tmp_path / "plain", Lazy(dropout=0.2))
    ahead, other = train(tmp_path / "ahead", Lazy(dropout=0.2), read_ahead=True)
    train(tmp_path / "parts", Lazy(dropout=0.2), heard=Heard(stop, interrupt()), read_ahead=True)
    rest, resumed = train(tmp_path / "parts", Lazy(seed=5, dropout=0.2), resume=True, read_ahead=True)
    assert untimed(ahead.history) == untimed(plain.history) == untimed(rest.history)
    for problem in (other, resumed):
        for a, b in zip(one.model.state_dict().values(), problem.model.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_a_failing_batch_ends_the_training(tmp_path: Path) -> None:
    class Failing(Lazy):
        def batches(self, epoch: int, rank: int, world: int) -> Sequence[Any]:
            return Made(9, fails=0)

    with pytest.raises(OSError, match="the disk is gone"):
        train(tmp_path / "run", Failing(), read_ahead=True)
    assert not [t for t in threading.enumerate() if t.name.startswith("gatework-read-ahead")]
