"""An input that is told piece by piece, and what a run says of it as soon as it is known: one type for all tasks."""

from __future__ import annotations

import gc
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from gatework.errors import InputError
from gatework.tasks.session_state import SessionState, weights_digest
from gatework.training import files

if TYPE_CHECKING:
    import os

__all__ = ["NOTHING", "Event", "Session", "check_owner", "last_records", "record_of", "step_together"]

Event = dict[str, Any]

_numbers = itertools.count()


class _Nothing(Enum):
    NOTHING = "nothing"


NOTHING = _Nothing.NOTHING
"""In the place of a session's item in `Task.feed_together`: nothing is fed, the session goes on with what it says."""


class Session(ABC):
    """A text, a conversation, a sentence, a series or a recording that is not all there yet; made by `task.session`.

    `feed` reads an item at once, and gives what is to say of it, event by event, made while the events are asked for:
    dicts that JSON can hold, of the `kind`

    - `piece`: the next piece of an output that does not change any more;
    - `partial`: the output so far, which may change; the next one replaces it;
    - `final`: a part of the output that nothing later changes;
    - `record`: what `predict` gives, of all there is.

    The numbers are those of `predict`. An item may be fed before all events of the last one were read: what was not
    said yet is given up, and whoever still reads the old events is refused. A session may be used by several threads:
    each call is whole before another one begins. All sessions of a run share its weights; a session holds its states.

    Attributes:
        task: its name.
        network: the run's.
        settings: how it answers.
    """

    def __init__(self, task: str, network: nn.Module, settings: Any) -> None:
        self.task, self.network, self.settings = task, network, settings
        self._lock = threading.RLock()
        self._number = next(_numbers)  # in whose order the locks of several are taken
        self._feeds = 0
        self._closed = self._ended = False
        self._events: list[Event] = []  # that are known and were not given yet
        self._begin()

    def feed(self, item: Any) -> Iterator[Event]:
        """Read an item, and give what is said of it.

        Args:
            item: a text, an utterance, a word, a step of a series, samples: as the task's own session says.

        Raises:
            InputError: it is none; nothing has changed then. From the iterator: something else was fed since.
        """
        with self._lock:
            type(self)._feed([self], [self._checked(item)])
            return self._all_events(self._feeds)

    def check(self, item: Any) -> None:
        """Raise what `feed` would raise of an item, and change nothing.

        Raises:
            InputError: it is no item of this session, or the session is closed.
        """
        self._checked(item)

    def finish(self) -> Iterator[Event]:
        """The input has ended: what there is still to say. What is fed next begins another input.

        Raises:
            InputError: the session is closed. From the iterator: something else was fed since.
        """
        with self._lock:
            self._check_open()
            self._feeds += 1
            if not self._ended:
                self._ended = True
                self._end()
            return self._all_events(self._feeds)

    def rest(self) -> Iterator[Event]:
        """What was not said yet of what was fed: where events were left, or a state was taken up."""
        with self._lock:
            self._check_open()
            return self._all_events(self._feeds)

    def reset(self) -> None:
        """Forget what was fed, and begin another input."""
        with self._lock:
            self._check_open()
            self._feeds += 1
            self._start_anew()

    @property
    def pending(self) -> bool:
        """Whether there is more to say of what was fed."""
        return bool(self._events) or self._unsaid

    def state(self) -> bytes:
        """Where the session stands, as a safetensors file: `task.session(state=…)` goes on from there, in another
        process too, with the same numbers.

        Raises:
            InputError: the session is closed.
        """
        with self._lock, torch.inference_mode():
            self._check_open()
            known = {
                "task": self.task,
                "weights": weights_digest(self.network),
                "settings": self._known_settings(),
                "events": self._events,
                "ended": self._ended,
                **self._known(),
            }
            return SessionState(self._arrays(), known).to_bytes()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state()` to a file."""
        files.write_bytes(Path(path), self.state())

    def close(self) -> None:
        """Let go of what the session holds; it cannot be used any more."""
        with self._lock:
            if not self._closed:
                self._start_anew()
                self._closed = True
                self._feeds += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def go_on(self, state: SessionState) -> None:
        """Stand where a state says. Called by `task.session`, before the first item.

        Raises:
            InputError: the state is damaged.
        """
        self._events = list(state.value("events", list))
        self._ended = state.value("ended", bool)
        self._restore(state)

    # What a task's session writes

    @abstractmethod
    def _begin(self) -> None:
        """Stand before the first item."""

    @abstractmethod
    def _read(self, item: Any) -> Any:
        """An item, checked, as `_absorb` takes it.

        Raises:
            InputError: it is none.
        """

    @classmethod
    @abstractmethod
    def _absorb(cls, sessions: Sequence[Any], items: Sequence[Any]) -> None:
        """Read an item in each of some sessions of one run, and add what is known at once to their `_events`."""

    @property
    def _unsaid(self) -> bool:
        """Whether `_say` has something to say."""
        return False

    @classmethod
    def _say(cls, sessions: Sequence[Any]) -> None:
        """Take one step of what each of some sessions of one run has to say, and add it to their `_events`."""
        raise NotImplementedError(f"{cls.__name__} says what it has to say when it is fed")

    def _end(self) -> None:  # noqa: B027  # most know nothing more at the end
        """Add what is known of the whole input to `_events`."""

    def _arrays(self) -> dict[str, np.ndarray]:
        """What `_restore` takes."""
        return {}

    def _known(self) -> dict[str, Any]:
        """What `_restore` takes, as JSON has it."""
        return {}

    def _known_settings(self) -> dict[str, Any]:
        """The settings, as JSON has them."""
        found: dict[str, Any] = self.settings.model_dump(mode="json")
        return found

    @abstractmethod
    def _restore(self, state: SessionState) -> None:
        """Stand where `_arrays` and `_known` said.

        Raises:
            InputError: they are damaged.
        """

    # One step

    @classmethod
    def _feed(cls, sessions: Sequence[Session], items: Sequence[Any]) -> None:
        """Read an item, as `_read` gave it, in each of some sessions, which are locked."""
        for session in sessions:
            session._feeds += 1
            if session._ended:
                session._start_anew()
            session._events.clear()
        if sessions:
            with torch.inference_mode():
                cls._absorb(sessions, items)

    @classmethod
    def _step(cls, sessions: Sequence[Session]) -> list[list[Event]]:
        """What each of some sessions, which are locked, has to say next; an empty list where there is nothing."""
        speaking = [session for session in sessions if not session._events and session._unsaid]
        if speaking:
            with torch.inference_mode():
                cls._say(speaking)
        said = [session._events for session in sessions]
        for session in sessions:
            session._events = []
        return said

    def _all_events(self, feeds: int) -> Iterator[Event]:
        while True:
            with self._lock:
                if self._feeds != feeds:
                    what = "was fed, ended or closed before all that it had to say of the last item was read"
                    fix = "Read all events first, or give each thread a session of its own."
                    raise InputError("session", what, fix)
                if not self.pending:
                    return
                events = type(self)._step([self])[0]
            yield from events

    def _start_anew(self) -> None:
        self._ended, self._events = False, []
        self._begin()

    def _checked(self, item: Any) -> Any:
        """An item as `_absorb` takes it."""
        self._check_open()
        return self._read(item)

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("session", "is closed", "Ask for another: task.session().")


def step_together(sessions: Sequence[Session], items: Sequence[Any]) -> list[list[Event]]:
    """One step of many sessions of one run; see `Task.feed_together`."""
    if len(items) != len(sessions):
        what = f"are {len(items):,}, and there are {len(sessions):,} sessions"
        raise InputError("items", what, "Give one for each session, NOTHING where none is fed.")
    if len(set(map(id, sessions))) < len(sessions):
        raise InputError("sessions", "has one of them twice", "Give each once.")
    if not sessions:
        return []
    kind, ordered = type(sessions[0]), sorted(sessions, key=_number)
    for session in ordered:
        session._lock.acquire()
    try:
        for session in sessions:
            session._check_open()
        with _without_collector():
            fed = [place for place, item in enumerate(items) if item is not NOTHING]
            kind._feed(
                [sessions[place] for place in fed], [_item(sessions[place], items, place) for place in fed]
            )
            return kind._step(sessions)
    finally:
        for session in ordered:
            session._lock.release()


@contextmanager
def _without_collector() -> Iterator[None]:
    """Put garbage collection off, while inside: events hold no cycles, and of many sessions there are so many at once
    that all objects of the process would be looked through again and again, for as long as the steps themselves take.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def last_records(sessions: Sequence[Session], items: Sequence[Any]) -> list[dict[str, Any]]:
    """What `predict` gives of an item each: sessions of one run are fed and stepped together until all have said it."""
    records: list[dict[str, Any]] = [{} for _ in sessions]
    places = list(range(len(sessions)))
    while places:
        for place, events in zip(places, step_together([sessions[p] for p in places], items), strict=True):
            if events and events[-1]["kind"] == "record":
                records[place] = record_of(events[-1])
        places = [place for place in places if sessions[place].pending]
        items = [NOTHING] * len(places)
    return records


def record_of(event: Event) -> dict[str, Any]:
    """What a `record` event says."""
    return {name: value for name, value in event.items() if name != "kind"}


def _item(session: Session, items: Sequence[Any], place: int) -> Any:
    """An item of several, as `_absorb` takes it."""
    try:
        return session._read(items[place])
    except InputError as error:
        raise InputError(f"item {place + 1}: {error.where}", error.what, error.fix) from error


def _number(session: Session) -> int:
    return session._number


def check_owner(state: SessionState, task: str, network: nn.Module) -> None:
    """Refuse a state that is not of this task and these weights.

    Raises:
        InputError: it is not.
    """
    if state.known.get("task") != task:
        what = f"is of a {state.known.get('task')}'s session, and this is a {task}'s"
    elif state.known.get("weights") != weights_digest(network):
        what = "is of a session of another run, or of other weights"
    else:
        return
    raise InputError("state", what, "Give one of this run's own sessions.")
