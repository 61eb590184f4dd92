"""Sharing work among torch's own threads.

torch brings an OpenMP library whose threads wait for its operators; using the same ones spares a second pool
that would fight them. Where it is not found (other platforms), and in a forked child, programs run on the
calling thread.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True  # the parent's threads are not in the child, and the library does not know


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache  # two first calls at once find the same library
def openmp() -> ctypes.CDLL | None:
    """The OpenMP library that torch has loaded, if it is GNU's."""
    folder = Path(torch.__file__).parent
    for path in [*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")]:
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        if hasattr(library, "GOMP_parallel"):
            library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            library.GOMP_parallel.restype = None
            return library
    return None


def most() -> int:
    """Threads that may share the work: torch's number, where they can be had."""
    return 1 if _forked or openmp() is None else torch.get_num_threads()


def run_team(task: int, alone: Callable[[int], None], data: int, size: int) -> None:
    """Calls `task(data)` in so many threads at once, or `alone(data)` in this one."""
    library = openmp() if size > 1 else None
    if library is None:
        alone(data)
    else:
        library.GOMP_parallel(task, data, size, 0)


_PLAIN = ctypes.CFUNCTYPE(ctypes.c_int)
_nobody = {"omp_get_thread_num": _PLAIN(lambda: 0), "omp_get_num_threads": _PLAIN(lambda: 1)}


def symbols() -> dict[str, int]:
    """Addresses of what a task calls; stand-ins where there is no library, and so no team."""
    library = openmp()
    return {
        name: ctypes.cast(getattr(library, name) if library else stand_in, ctypes.c_void_p).value or 0
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
    own = absent if library is None else library.omp_set_num_threads
    return own, getattr(mkl, "MKL_Set_Num_Threads_Local", absent)
