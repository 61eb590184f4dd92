"""What each process of test_several_processes.py runs: every registered task, in folders below the one given."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.distributed

from gatework import tasks
from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.training import RunFolder, TrainingOptions, files
from gatework.training.processes import Processes
from tests.contracts.task_examples import EXAMPLES

RANK = int(os.environ["RANK"])
PAUSE = 0.1  # seconds


def main(folder: Path) -> None:
    """Leaves each process's weights as NAME-rank-R.safetensors and what was refused as refused-R.txt."""
    slow_down_the_main_process()
    with slow_other_process():
        for name in tasks.names():
            train(name, folder)
        restarted(folder)
    refused = []
    for name in tasks.names():
        try:
            tasks.get(name)(**EXAMPLES[name].options).fit(EXAMPLES[name].rows)
        except InputError as error:
            refused.append(str(error))
    (folder / f"refused-{RANK}.txt").write_text("\n".join(refused))
    waits_for_this_very_call(folder)
    a_failure_is_everyones(folder)


def train(name: str, folder: Path) -> None:
    some = EXAMPLES[name]
    options = {**some.options, "validate_every": 3, "record_every": 2}
    first = tasks.get(name)(**options).fit(some.rows, valid=some.valid, out=folder / name)
    # Held back by each process for itself, stopped in the middle, gone on with.
    part = tasks.get(name)(**options)
    interrupt_at_step(4)
    part.fit(some.rows, out=folder / f"{name}-parts", from_run=folder / name)
    assert part.result_.stopped == "interrupted", part.result_
    whole = tasks.get(name)(**options).fit(some.rows, out=folder / f"{name}-parts", resume=True)
    assert whole.result_.stopped == "finished", whole.result_
    for suffix, model in (("", first), ("-parts", whole)):
        files.write_model(folder / f"{name}{suffix}-rank-{RANK}.safetensors", model.network_)


def restarted(folder: Path) -> None:
    """Several trainings, one after the other, of which the best is kept."""
    some = EXAMPLES["classifier"]
    best = tasks.get("classifier")(**{**some.options, "max_steps": 2, "restarts": 2})
    best.fit(some.rows, valid=some.valid, out=folder / "restarts")
    files.write_model(folder / f"restarts-rank-{RANK}.safetensors", best.network_)


def slow_down_the_main_process() -> None:
    """Whoever reads too early what the main process writes finds nothing, or the half of it."""
    write = RunFolder.write_text

    def slow(self: RunFolder, name: str, text: str) -> None:
        time.sleep(PAUSE)
        write(self, name, text)

    def learn(*arguments: Any, **given: Any) -> Tokenizer:
        raise AssertionError("only the main process learns from the data")

    if RANK == 0:
        RunFolder.write_text = slow  # type: ignore[method-assign]
    else:
        Tokenizer.train = learn  # type: ignore[method-assign]


@contextlib.contextmanager
def slow_other_process() -> Iterator[None]:
    """Whoever asks the disk what is to be done, and not the main process, finds what that has made already."""
    from_main, wait = Processes.from_main, Processes.wait

    def late(self: Processes, values: list[float]) -> list[float]:
        values = from_main(self, values)
        time.sleep(PAUSE)
        return values

    def late_again(self: Processes) -> None:
        wait(self)
        time.sleep(PAUSE)

    if RANK == 1:
        Processes.from_main, Processes.wait = late, late_again  # type: ignore[method-assign]
    yield
    Processes.from_main, Processes.wait = from_main, wait  # type: ignore[method-assign]


def interrupt_at_step(step: int) -> None:
    """Ctrl-C on the second process alone."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    if RANK == 1:
        left = iter(range(step))

        def press(*arguments: Any) -> None:
            if next(left, None) is None:
                handle.remove()
                os.kill(os.getpid(), signal.SIGINT)

        handle = register_optimizer_step_pre_hook(press)


def waits_for_this_very_call(folder: Path) -> None:
    """A file of an earlier call is there already; the other process reads the one of this call."""
    processes, file = Processes(TrainingOptions(device="cpu")), folder / "made"
    for turn in range(3):

        def make(turn: int = turn) -> str:
            time.sleep(0.2)
            file.write_text(str(turn))
            return "made"

        assert processes.first(make, file.read_text) == ("made" if RANK == 0 else str(turn))


def a_failure_is_everyones(folder: Path) -> None:
    processes = Processes(TrainingOptions(device="cpu"))

    def make() -> None:
        raise InputError("the main one's own", "message", "Fix.")

    try:
        processes.first(make, lambda: None)
    except InputError as error:
        (folder / f"failed-{RANK}.txt").write_text(str(error))


def note_whether_the_group_is_left(file: Path) -> None:
    """What is registered first runs last."""
    atexit.register(lambda: file.write_text(str(not torch.distributed.is_initialized())))


if __name__ == "__main__":
    note_whether_the_group_is_left(Path(sys.argv[1]) / f"left-{RANK}.txt")
    main(Path(sys.argv[1]))
