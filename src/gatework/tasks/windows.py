"""Things that come one by one, in groups of what is there."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["windows"]

T = TypeVar("T")

MOST = 64  # things of a window
PATIENCE = 0.02  # seconds that the first of a window waits for others


def windows(items: Iterable[T]) -> Iterator[tuple[list[T], BaseException | None]]:
    """Groups of up to `MOST` items, in order; an item that comes alone waits no longer than `PATIENCE`.

    The items are read in a thread, which stops when nobody asks for windows any more, at the latest with the item
    that it waits for.

    Returns:
        An iterator over groups, each with what ended the items with it: None, or what they raised.
    """
    arrived: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=2 * MOST)
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
    try:
        while True:
            window: list[T] = []
            deadline: float | None = None
            kind = "item"
            value: object = None
            while len(window) < MOST:
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
    finally:
        stopped.set()
