"""Streams of one run, stepped together by a thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor

from gatework.errors import InputError
from gatework.serve.metrics import Metrics
from gatework.serve.refusals import Failed
from gatework.serve.sessions import Order, Stream, Streams
from gatework.tasks.base import Task
from gatework.tasks.session import NOTHING, Event, Session

__all__ = ["Stepper"]

_log = logging.getLogger(__name__)


class Stepper:
    """Steps the streams of a run that have something to do and whose clients read, all of them as one batch."""

    def __init__(self, name: str, streams: Streams, executor: Executor, metrics: Metrics) -> None:
        self._name, self._streams, self._executor, self._metrics = name, streams, executor, metrics
        self._wake = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to step."""
        self._work = asyncio.create_task(self._steps(), name=f"gatework-steps-{self._name}")

    async def stop(self) -> None:
        """Step no more."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    def wake(self) -> None:
        """Look again: there is an order, or a client has read."""
        self._wake.set()

    async def _steps(self) -> None:
        while True:
            ready = [stream for stream in self._streams.of_run(self._name) if stream.can_step]
            if not ready:
                self._wake.clear()
                await self._wake.wait()
                continue
            task = ready[0].task  # streams of a run that was loaded anew have another one
            await self._step(task, [stream for stream in ready if stream.task is task])

    async def _step(self, task: Task, streams: Sequence[Stream]) -> None:
        loop = asyncio.get_running_loop()
        orders = [stream.next_order() for stream in streams]
        for stream in streams:
            stream.free.clear()
        began = time.perf_counter()
        try:
            sessions = [stream.session for stream in streams]
            said = await loop.run_in_executor(self._executor, stepped, task, sessions, orders)
        finally:
            for stream in streams:
                stream.free.set()
        self._metrics.step_streams.labels(self._name).observe(len(streams))
        self._metrics.step_seconds.labels(self._name).observe(time.perf_counter() - began)
        for stream, events in zip(streams, said, strict=True):
            if isinstance(events, InputError):
                stream.say({"kind": "error", "error": str(events)})
            elif isinstance(events, Exception):
                _log.error("run %s failed to step a stream", self._name, exc_info=events)
                stream.fail(Failed(f"run {self._name!r} failed. The log of the service says why."))
            else:
                stream.say(*events)
            if not stream.speaks:
                stream.say({"kind": "ready"})


def stepped(
    task: Task, sessions: Sequence[Session], orders: Sequence[Order]
) -> list[list[Event] | Exception]:
    """The events of each session after its order, or what it fails by."""
    try:
        for session, order in zip(sessions, orders, strict=True):
            if order.what == "finish":
                session.finish()
            elif order.what == "reset":
                session.reset()
        items = [order.item if order.what == "feed" else NOTHING for order in orders]
        return [*task.feed_together(sessions, items)]
    except InputError as error:  # nothing has changed
        if len(sessions) == 1:
            return [error]
        middle = len(sessions) // 2
        return [
            *stepped(task, sessions[:middle], orders[:middle]),
            *stepped(task, sessions[middle:], orders[middle:]),
        ]
    except Exception as error:  # who knows what has changed
        return [error for _ in sessions]
