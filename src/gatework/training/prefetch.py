"""Batches in order, the next one made in a thread of its own while the last one trains."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")

__all__ = ["read_batches"]


def read_batches(batches: Sequence[Batch], start: int, *, ahead: bool) -> Generator[Batch]:
    """`batches[start]`, `batches[start + 1]`, …, to the end.

    A batch is a function of its index, so that it is the same whoever makes it, and a training that stops between
    two batches goes on with the next one, whether it was made already or not.

    Args:
        ahead: while batch i is used, batch i + 1 is made in one thread. What that raises is raised here, with the
            thread's traceback, when batch i + 1 is asked for. The generator's end waits for the thread.
    """
    if not ahead or start >= len(batches):
        for index in range(start, len(batches)):
            yield batches[index]
        return
    with ThreadPoolExecutor(1, thread_name_prefix="gatework-read-ahead") as thread:
        upcoming = thread.submit(batches.__getitem__, start)
        for index in range(start + 1, len(batches)):
            batch = upcoming.result()
            upcoming = thread.submit(batches.__getitem__, index)
            yield batch
        yield upcoming.result()
