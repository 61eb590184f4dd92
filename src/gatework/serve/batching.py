"""Inputs of many requests answered together, by one thread a run."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from gatework.errors import InputError
from gatework.serve.metrics import Metrics
from gatework.serve.options import ServiceOptions
from gatework.serve.refusals import BadRequest, Overdue, Refusal, Stopping, TooMany
from gatework.serve.requests import Asked
from gatework.serve.runs import ServedRun
from gatework.serve.worker import Worker, failure
from gatework.tasks.base import Task

__all__ = ["Batcher"]


class Waiting:
    """An input whose answer is awaited."""

    __slots__ = ("answer", "asked", "key")

    def __init__(self, asked: Asked, key: str, answer: asyncio.Future[dict[str, Any]]) -> None:
        self.asked, self.key, self.answer = asked, key, answer


class Batcher(Worker):
    """Answers a run's inputs in batches: of what waits, the inputs with equal settings.

    An input that finds the run idle waits `options.wait` milliseconds for others where the batch before was of several:
    one client by itself does not wait. While a batch is computed the next one gathers, and waits no longer. `stop` is
    called once nothing more is asked.
    """

    def __init__(self, run: ServedRun, options: ServiceOptions, executor: Executor, metrics: Metrics) -> None:
        super().__init__(run.name, executor, metrics)
        self._run, self._options = run, options
        self._waiting: deque[Waiting] = deque()
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._alone = True  # whether the last batch was of one input

    async def stop(self) -> None:
        """Answer no more; what waits still is told so."""
        await super().stop()
        for each in self._waiting:
            if not each.answer.done():
                each.answer.set_exception(Stopping("the service is being stopped. Ask again in a moment."))
        self._waiting.clear()

    async def answer(self, asked: Sequence[Asked]) -> list[dict[str, Any]]:
        """The records of inputs, in order.

        Raises:
            BadRequest: the run cannot answer one of them, and says why.
            TooMany: too many wait already.
            Overdue: the time is over.
            Gone: the run has been removed.
        """
        _ = self._run.task  # or it is gone
        if len(self._waiting) + len(asked) > self._options.queue:
            raise TooMany(
                f"run {self._run.name!r}: {len(self._waiting):,} inputs wait already. Ask again in a moment."
            )
        loop = asyncio.get_running_loop()
        own = [Waiting(each, repr(sorted(each.settings.items())), loop.create_future()) for each in asked]
        self._waiting.extend(own)
        self._metrics.waiting.labels(self._run.name).set(len(self._waiting))
        self._arrived.set()
        if len(self._waiting) >= self._options.batch:
            self._full.set()
        try:
            async with asyncio.timeout(self._options.timeout):
                return [await each.answer for each in own]
        except TimeoutError:
            raise Overdue(
                f"run {self._run.name!r}: no answer within {self._options.timeout:g} s. Ask for less at once."
            ) from None
        finally:
            for each in own:
                each.answer.cancel()  # whoever asked is gone: nobody computes it, if it has not begun
                if each.answer.done() and not each.answer.cancelled():
                    each.answer.exception()  # seen

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                await self._gather()
            batch = self._take()
            if not batch:
                continue
            self._alone = len(batch) == 1
            items = [each.asked.input for each in batch]
            began = time.perf_counter()
            try:
                answers = await loop.run_in_executor(
                    self._executor, _answers, self._run, items, batch[0].asked.settings
                )
            except Exception as error:  # whatever it is, the next batch is answered
                answers = [error for _ in batch]
            self._note(len(batch), time.perf_counter() - began)
            for each, answer in zip(batch, answers, strict=True):
                self._give(each, answer)

    async def _gather(self) -> None:
        """Wait for further inputs, no longer than the first one may."""
        if self._alone or self._options.wait <= 0 or len(self._waiting) >= self._options.batch:
            return
        self._full.clear()
        try:
            async with asyncio.timeout(self._options.wait / 1000):
                await self._full.wait()
        except TimeoutError:
            pass  # a batch that is not full is answered

    def _take(self) -> list[Waiting]:
        """The next batch: the first input, and what has its settings. Inputs that nobody waits for are dropped."""
        there = [each for each in self._waiting if not each.answer.done()]
        batch = [each for each in there if each.key == there[0].key][: self._options.batch]
        taken = set(map(id, batch))
        self._waiting = deque(each for each in there if id(each) not in taken)
        self._metrics.waiting.labels(self._run.name).set(len(self._waiting))
        return batch

    def _note(self, inputs: int, seconds: float) -> None:
        name = self._run.name
        self._metrics.inputs.labels(name).inc(inputs)
        self._metrics.batch_inputs.labels(name).observe(inputs)
        self._metrics.batch_seconds.labels(name).observe(seconds)

    def _give(self, waiting: Waiting, answer: dict[str, Any] | Exception) -> None:
        if waiting.answer.done():
            return
        if isinstance(answer, Refusal):
            waiting.answer.set_exception(answer)
        elif isinstance(answer, InputError):
            waiting.answer.set_exception(BadRequest(str(answer)))
        elif isinstance(answer, Exception):
            self._metrics.failures.labels(self._run.name).inc()
            waiting.answer.set_exception(failure(self._run.name, "answer", answer))
        else:
            waiting.answer.set_result(answer)


def _answers(
    run: ServedRun, items: Sequence[Any], settings: Mapping[str, Any]
) -> list[dict[str, Any] | Exception]:
    return answers_apart(run.task, items, settings)


def answers_apart(
    task: Task, items: Sequence[Any], settings: Mapping[str, Any]
) -> list[dict[str, Any] | Exception]:
    """The records of items, or what each one fails by: one that fails takes no other with it.

    Items that cannot be answered together are halved until the faulty ones stand alone.
    """
    try:
        return [_without_input(record) for record in task.predict_sent(items, **settings)]
    except Exception as error:
        if len(items) == 1:
            return [error]
    middle = len(items) // 2
    return [
        *answers_apart(task, items[:middle], settings),
        *answers_apart(task, items[middle:], settings),
    ]


def _without_input(record: dict[str, Any]) -> dict[str, Any]:
    """A record without its input, which the client has."""
    return {name: value for name, value in record.items() if name != "input"}
