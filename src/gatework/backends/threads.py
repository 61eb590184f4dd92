"""Sharing work among torch's own threads.

torch brings an OpenMP library whose threads wait for its operators; using the same ones spares a second pool that
would fight them. It is GNU's on Linux, and LLVM's on macOS and Windows, where none of this has been tried; LLVM's is
tested on Linux. Where no library is found, and in a forked child, programs run on the calling thread.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True  # the parent's threads are not in the child, and the library does not know


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


_WHERE = ("lib", "../torch.libs", "bin")  # folders beside torch's own
_NAMES = ("libgomp*.so*", "libomp*.dylib", "libiomp5*.dylib", "libiomp5md.dll", "libomp*.dll")


class _Ident(ctypes.Structure):
    """What LLVM's library wants to know of the place in a source that it is called from."""

    _fields_ = (*((f"field_{n}", ctypes.c_int32) for n in range(4)), ("source", ctypes.c_char_p))


_LLVM = "__kmpc_global_thread_num", "__kmpc_push_num_threads", "__kmpc_fork_call"
_IDENT = _Ident(0, 2, 0, 0, b";gatework;team;0;0;;")


class Library:
    """An OpenMP library.

    Attributes:
        entry: the function of a driver that its threads call.
    """

    def __init__(self, library: ctypes.CDLL, *, gnu: bool) -> None:
        self._library = library
        self.entry = "task" if gnu else "microtask"
        self.parallel = self._gnu if gnu else self._llvm
        if gnu:
            library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            library.GOMP_parallel.restype = None
        else:
            self._thread, self._ask, self._fork = map(self.function, _LLVM)
            self._thread.argtypes = [ctypes.c_void_p]
            self._ask.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
            self._fork.argtypes = [
                ctypes.c_void_p,
                ctypes.c_int32,
                ctypes.c_void_p,
            ]  # and what the entry is given
            self._ask.restype = self._fork.restype = None

    def _gnu(self, entry: int, data: int, size: int) -> None:
        self._library.GOMP_parallel(entry, data, size, 0)

    def _llvm(self, entry: int, data: int, size: int) -> None:
        place = ctypes.byref(_IDENT)
        self._ask(place, self._thread(place), size)
        self._fork(place, 1, entry, ctypes.c_void_p(data))

    def function(self, name: str) -> Any:
        """One of OpenMP's own functions."""
        return getattr(self._library, name)


@cache  # two first calls at once find the same library
def openmp() -> Library | None:
    """The OpenMP library that torch has loaded."""
    folder = Path(torch.__file__).parent
    for path in [path for where in _WHERE for name in _NAMES for path in (folder / where).glob(name)]:
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for gnu, needed in ((True, "GOMP_parallel"), (False, _LLVM[-1])):
            if hasattr(library, needed):
                return Library(library, gnu=gnu)
    return None


def entry() -> str:
    """The function of a driver that the library's threads call."""
    library = openmp()
    return library.entry if library else "task"


def most() -> int:
    """Threads that may share the work: torch's number, where they can be had."""
    return 1 if _forked or openmp() is None else torch.get_num_threads()


def run_team(task: int, alone: Callable[[int], None], data: int, size: int) -> None:
    """Calls a driver's entry, `task`, with `data` in so many threads at once, or `alone(data)` in this one."""
    library = openmp() if size > 1 else None
    if library is None:
        alone(data)
    else:
        library.parallel(task, data, size)


_PLAIN = ctypes.CFUNCTYPE(ctypes.c_int)
_nobody = {"omp_get_thread_num": _PLAIN(lambda: 0), "omp_get_num_threads": _PLAIN(lambda: 1)}


def symbols() -> dict[str, int]:
    """Addresses of what a task calls; stand-ins where there is no library, and so no team."""
    library = openmp()
    return {
        name: ctypes.cast(library.function(name) if library else stand_in, ctypes.c_void_p).value or 0
        for name, stand_in in _nobody.items()
    }


class alone:
    """A context in which torch's operators, called by this Python thread, take no team.

    OpenMP and MKL each have a number of threads that is the calling thread's own; `torch.set_num_threads` would set
    the whole process's.
    """

    def __enter__(self) -> None:
        self._openmp, self._mkl = _limits()
        self._before = torch.get_num_threads()  # torch sets up the thread at the first such call
        self._openmp(1)
        self._mkl_before = self._mkl(1)

    def __exit__(self, *exception: object) -> None:
        self._mkl(self._mkl_before)
        self._openmp(self._before)


_Limit = Callable[[int], int]


@cache
def _limits() -> tuple[_Limit, _Limit]:
    """Functions that set the calling thread's number of threads, of OpenMP and of MKL; MKL's returns the one before."""
    absent: _Limit = lambda number: 0  # noqa: E731
    library = openmp()
    torch_library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    # PyDLL keeps the interpreter's lock: the call is shorter than giving it up.
    mkl = ctypes.PyDLL(str(torch_library)) if torch_library.exists() else None
    own = absent if library is None else library.function("omp_set_num_threads")
    return own, getattr(mkl, "MKL_Set_Num_Threads_Local", absent)
