"""Streams: sessions of clients, put away when their client is gone or idle, and taken up again by token."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gatework.errors import InputError
from gatework.serve.metrics import Metrics
from gatework.serve.options import MIB, ServiceOptions
from gatework.serve.refusals import BadRequest, Elsewhere, Gone, Idle, NotFound, Refusal, Stopping, TooMany
from gatework.serve.requests import read_settings
from gatework.serve.runs import ServedRun
from gatework.tasks.base import Task
from gatework.tasks.session import NOTHING, Event, Session

__all__ = ["AHEAD", "Order", "Stream", "Streams"]

_log = logging.getLogger(__name__)

AHEAD = 64  # events that wait for a client, beyond which its stream is neither stepped nor read
_ORDERS = 8  # orders of a client that wait, beyond which its socket is not read
_EVICTABLE = 1.0  # seconds of idleness after which a stream may be put away for another one
_PATIENCE = 10.0  # seconds that a stream taken up elsewhere may take to be put away


class Order(NamedTuple):
    """What is done in a step: `feed` an item, `finish` the input, `reset`, or `say` what there is still to say."""

    what: str
    item: Any = NOTHING


class Stream:
    """One client's session.

    Attributes:
        name: of the run.
        task: the run as it was when the stream began: it may have been loaded anew since.
        token: by which the stream is taken up again.
        orders: what the client asked and was not done yet.
        events: what was said and not sent yet.
        problem: why the stream has ended by itself; None as long as it has not.
        said: there are events, or a problem.
        room: there is room for events.
        free: no thread steps it.
        gone: it has been put away or closed.
        quiet: it says nothing more of the last item.
        fed: bytes of messages since the input began.
        watched: its client is told what the gates do.
    """

    def __init__(self, name: str, task: Task, session: Session, token: str, events: Sequence[Event]) -> None:
        self.name, self.task, self.session, self.token = name, task, session, token
        self.orders: asyncio.Queue[Order] = asyncio.Queue(_ORDERS)
        self.events: deque[Event] = deque(events)
        self.problem: Refusal | None = None
        self.said, self.room, self.free, self.gone = (asyncio.Event() for _ in range(4))
        self.free.set()
        self.quiet = self.watched = False
        self.fed = 0
        self.last_used = time.monotonic()

    @property
    def speaks(self) -> bool:
        """Whether there is more to say of what was fed."""
        return self.session.pending and not self.quiet

    @property
    def can_step(self) -> bool:
        """Whether a step would do something, and its client reads what is said."""
        has_work = self.speaks or not self.orders.empty()
        return has_work and self.problem is None and self.free.is_set() and len(self.events) < AHEAD

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being done or said."""
        return self.free.is_set() and self.orders.empty() and not self.speaks and not self.events

    def next_order(self) -> Order:
        """What to do in the next step: what is being said is said first."""
        if self.speaks or self.orders.empty():
            return Order("say")
        self.quiet = False
        return self.orders.get_nowait()

    def say(self, *events: Event) -> None:
        """Have events sent."""
        self.events.extend(events)
        self.last_used = time.monotonic()
        self.said.set()

    def fail(self, problem: Refusal) -> None:
        """End the stream, once what was said has been sent."""
        self.problem = self.problem or problem
        self.said.set()


class PutAway(NamedTuple):
    """A stream without a client: what was said and not sent, and where the session stood."""

    name: str
    state: bytes
    events: tuple[Event, ...]

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.state) + sum(len(repr(event)) for event in self.events)


class Streams:
    """The streams of a service, within its limits."""

    def __init__(self, options: ServiceOptions, metrics: Metrics) -> None:
        self._options, self._metrics = options, metrics
        self._streams: dict[str, Stream] = {}
        self._away: OrderedDict[str, PutAway] = OrderedDict()
        self._held = 0
        self._opening = 0

    def of_run(self, name: str) -> list[Stream]:
        """The streams of a run."""
        return [stream for stream in self._streams.values() if stream.name == name]

    def admit(self) -> None:
        """Make room for one more.

        Raises:
            TooMany: there are as many as are allowed, and none of them is idle.
        """
        there = [stream for stream in self._streams.values() if stream.problem is None]
        if len(there) + self._opening < self._options.sessions:
            return
        now = time.monotonic()
        idle = [stream for stream in there if stream.is_idle and now - stream.last_used > _EVICTABLE]
        if not idle:
            raise TooMany(f"{len(there):,} streams are open, and none is idle. Come again in a moment.")
        longest = min(idle, key=lambda stream: stream.last_used)
        longest.fail(Idle("others came while this stream was idle. Its token takes it up again."))

    async def open(
        self,
        run: ServedRun,
        settings: Mapping[str, Any],
        token: str | None = None,
        rate: int | None = None,
    ) -> Stream:
        """A new stream, or with a token the one that was put away.

        Args:
            rate: of the samples that will be fed, in Hz; None: that of the run, if it hears sound.

        Raises:
            NotFound: there is none of this token.
            BadRequest: a wrong setting.
            Gone: the run is another one now.
        """
        self._opening += 1
        try:
            away = None if token is None else await self._taken_up(run.name, token)
            task = run.task
            chosen = read_settings(settings, task, self._options)
            if rate is not None:
                chosen["rate"] = rate
            try:
                if away is None:
                    session = await asyncio.to_thread(task.session, **chosen)
                else:
                    session = await asyncio.to_thread(task.session, state=away.state, **chosen)
            except InputError as error:
                if away is None:
                    raise BadRequest(f"open: {error}") from None
                raise Gone(f"the stream cannot go on: {error.what}. Begin another one.") from None
            token = token or secrets.token_urlsafe(24)
            stream = Stream(run.name, task, session, token, () if away is None else away.events)
            self._streams[token] = stream
            self._metrics.sessions.set(len(self._streams))
            return stream
        finally:
            self._opening -= 1

    async def close(self, stream: Stream, *, keep: bool) -> None:
        """Take a stream from those that are stepped; with `keep` it can be taken up again."""
        try:
            await stream.free.wait()
            if keep and self._options.kept > 0:
                state = await asyncio.to_thread(stream.session.state)
                self._keep(stream.token, PutAway(stream.name, state, tuple(stream.events)))
        except InputError as error:
            _log.error("run %s: a stream cannot be put away: %s", stream.name, error)
        finally:
            self._streams.pop(stream.token, None)
            stream.session.close()
            stream.gone.set()
            self._metrics.sessions.set(len(self._streams))

    async def drain(self, seconds: float) -> None:
        """End every stream, once it has said what it has begun to say, or when the time is over."""
        deadline = time.monotonic() + seconds
        while self._streams:
            late = time.monotonic() > deadline
            for stream in list(self._streams.values()):
                if late or stream.is_idle:
                    stream.fail(Stopping("the service is being stopped."))
            if late:
                return
            await asyncio.sleep(0.05)

    async def _taken_up(self, name: str, token: str) -> PutAway:
        there = self._streams.get(token)
        if there is not None:  # whose client is gone, and nobody has noticed yet
            there.fail(Elsewhere("this stream was taken up elsewhere."))
            try:
                async with asyncio.timeout(_PATIENCE):
                    await there.gone.wait()
            except TimeoutError:
                raise TooMany(
                    "this stream is still being stepped elsewhere. Come again in a moment."
                ) from None
        away = self._away.pop(token, None)
        if away is None or away.name != name:
            raise NotFound("there is no stream of this token: it was closed, or put away too long ago.")
        self._count(-away.size)
        return away

    def _keep(self, token: str, away: PutAway) -> None:
        self._away[token] = away
        self._count(away.size)
        while self._held > self._options.kept * MIB:
            _, oldest = self._away.popitem(last=False)
            self._count(-oldest.size)

    def _count(self, size: int) -> None:
        self._held += size
        self._metrics.put_away.set(self._held)
