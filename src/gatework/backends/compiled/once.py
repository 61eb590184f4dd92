"""What is made once in a process: by one thread at a time, under one lock.

LLVM's global context, its table of symbols and the driver that programs are linked with belong to the process.
Several Python threads may make first calls at once, and whatever one of them makes can ask for something else that is
made once: hence one re-entrant lock for all of it. A thing that is there already is found without the lock.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, ParamSpec, TypeVar, cast

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

LOCK = threading.RLock()
"""Held by whoever makes something once."""

if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that another thread held
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


class MadeOnce(Generic[Arguments, Result]):
    """A function of positional, hashable arguments whose results are kept.

    Two caches work together. `lru_cache` finds what is there without a lock, but lets two threads that miss at the
    same moment both call the function: so it asks `_make`, which holds the lock and keeps the results too.
    """

    def __init__(self, function: Callable[Arguments, Result], maxsize: int | None) -> None:
        self.__doc__ = function.__doc__
        self._function: Callable[..., Result] = function
        self._maxsize = maxsize
        self._made: OrderedDict[tuple[Any, ...], Result] = OrderedDict()
        self._find: Callable[..., Any] = lru_cache(maxsize=maxsize)(self._make)

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return cast(Result, self._find(*args, **kwargs))

    def _make(self, *args: Any) -> Result:
        with LOCK:
            if args in self._made:
                self._made.move_to_end(args)
                return self._made[args]
            result = self._made[args] = self._function(*args)
            if self._maxsize is not None and len(self._made) > self._maxsize:
                self._made.popitem(last=False)
            return result

    def cache_clear(self) -> None:
        """Forgets everything: the next calls make it again."""
        with LOCK:
            self._made.clear()
            self._find = lru_cache(maxsize=self._maxsize)(self._make)


def made_once(
    maxsize: int | None = None,
) -> Callable[[Callable[Arguments, Result]], MadeOnce[Arguments, Result]]:
    """A decorator in `lru_cache`'s place for functions that several threads may call at once.

    Args:
        maxsize: results kept, the oldest forgotten first; None for all of them.
    """
    return lambda function: MadeOnce(function, maxsize)
