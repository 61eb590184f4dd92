"""What works on a run for as long as the service is there."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from concurrent.futures import Executor

from gatework.serve.metrics import Metrics
from gatework.serve.refusals import Failed

__all__ = ["Worker", "failure"]

_log = logging.getLogger(__name__)


class Worker(ABC):
    """One task of the event loop, which has its work done by a thread. `start` is called in the loop.

    Args:
        name: of the run. executor: its threads.
    """

    def __init__(self, name: str, executor: Executor, metrics: Metrics) -> None:
        self._name, self._executor, self._metrics = name, executor, metrics
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._work(), name=f"gatework-{type(self).__name__}-{self._name}")

    async def stop(self) -> None:
        """Work no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abstractmethod
    async def _work(self) -> None:
        """What there is to do, again and again."""


def failure(name: str, what: str, error: Exception) -> Failed:
    """What a client is told of a fault of a run, which the log says more of.

    Args:
        name: of the run. what: it failed to do.
    """
    _log.error("run %s failed to %s", name, what, exc_info=error)
    return Failed(f"run {name!r} failed to {what}. The log of the service says why.")
