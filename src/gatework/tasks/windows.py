"""Things that come one by one, in groups of what is there."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["windows"]

T = TypeVar("T")

FIRST = 64  # things of the first window at most
MOST = 1024  # of any: enough for batches of like lengths
PATIENCE = 0.02  # seconds that the first of a window waits for others


def windows(items: Iterable[T]) -> Iterator[tuple[list[T], BaseException | None]]:
    """Groups of items, in order; an item that comes alone waits no longer than `PATIENCE`.

    A group has `FIRST` items at most. As long as more are there than one holds, each may have twice as many as the
    one before it, up to `MOST`: the first answers come soon, and a long file is answered in large groups.

    The items are read in a thread, which stops when nobody asks for windows any more, at the latest with the item
    that it waits for.

    Returns:
        An iterator over groups, each with what ended the items with it: None, or what they raised.
    """
    arrived: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=MOST)
    stopped = threading.Event()

    def put(kind: str, value: object) -> bool:
        while not stopped.is_set():
            try:
                arrived.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
        except BaseException as error:  # raised again where the windows are asked for
            put("error", error)
        else:
            put("end", None)

    threading.Thread(target=read, name="gatework-inputs", daemon=True).start()
    most = FIRST
    try:
        while True:
            window: list[T] = []
            deadline: float | None = None
            kind = "item"
            value: object = None
            while len(window) < most:
                try:
                    wait = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                    kind, value = arrived.get(timeout=wait)
                except queue.Empty:
                    break
                if kind != "item":
                    break
                window.append(value)  # type: ignore[arg-type]  # an item
                deadline = deadline or time.monotonic() + PATIENCE
            failure = value if kind == "error" else None
            if window or failure is not None:
                yield window, failure  # type: ignore[misc]  # what was raised
            if kind != "item":
                return
            most = min(2 * most, MOST) if len(window) == most else FIRST
    finally:
        stopped.set()
