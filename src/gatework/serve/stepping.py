"""Streams of one run, stepped together by a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor

from gatework.errors import InputError
from gatework.inspect.steps import steps_of_calls
from gatework.layers import record
from gatework.serve.metrics import Metrics
from gatework.serve.sessions import Order, Stream, Streams
from gatework.serve.worker import Worker, failure
from gatework.tasks.base import Task
from gatework.tasks.session import NOTHING, Event, Session

__all__ = ["Stepper"]


class Stepper(Worker):
    """Steps the streams of a run that have something to do and whose clients read, all of them as one batch; those
    whose gates are watched are stepped one by one.
    """

    def __init__(self, name: str, streams: Streams, executor: Executor, metrics: Metrics) -> None:
        super().__init__(name, executor, metrics)
        self._streams = streams
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look again: there is an order, or a client has read."""
        self._wake.set()

    async def _work(self) -> None:
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
            said = await loop.run_in_executor(self._executor, all_stepped, task, streams, orders)
        finally:
            for stream in streams:
                stream.free.set()
        self._metrics.step_streams.labels(self._name).observe(len(streams))
        self._metrics.step_seconds.labels(self._name).observe(time.perf_counter() - began)
        for stream, events in zip(streams, said, strict=True):
            if isinstance(events, InputError):
                stream.say({"kind": "error", "error": str(events)})
            elif isinstance(events, Exception):
                stream.fail(failure(self._name, "go on with a stream", events))
            else:
                stream.say(*events)
            if not stream.speaks:
                stream.say({"kind": "ready"})


def all_stepped(
    task: Task, streams: Sequence[Stream], orders: Sequence[Order]
) -> list[list[Event] | Exception]:
    """The events of each stream after its order, or what it fails by."""
    plain = [
        (stream.session, order) for stream, order in zip(streams, orders, strict=True) if not stream.watched
    ]
    together = iter(stepped(task, [session for session, _ in plain], [order for _, order in plain]))
    return [
        watched(task, stream.session, order) if stream.watched else next(together)
        for stream, order in zip(streams, orders, strict=True)
    ]


def watched(task: Task, session: Session, order: Order) -> list[Event] | Exception:
    """The events of one session, and before them what its layers did: a `gates` event."""
    with record(task.network_) as tape:
        (said,) = stepped(task, [session], [order])
    layers = steps_of_calls(task.network_, tape.calls)
    if isinstance(said, Exception) or not layers:
        return said
    return [{"kind": "gates", "layers": layers}, *said]


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
