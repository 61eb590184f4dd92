"""One process trains a run at a time; the others learn which one does.

The lock is the operating system's, on a file of the run's folder (`flock`, by filelock, which torch brings). The system
takes it back when its process ends, however that happens. A lock is therefore never left over, a new process that got
the number of an old one is not taken for it, and a training that was killed on one machine of a cluster goes on on
another one, which a file that only names its process could not tell from a training that still runs there. NFS, SMB and
the cluster file systems hand such locks on between machines, unless they were mounted without; on a file system that
has no locks the training says so, and goes on without one. The process and its host stand in the file for messages
alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from gatework.errors import RunError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
PATIENCE = 0.5  # seconds: whoever looks at a lock holds it for a moment


class Trainer(BaseModel):
    """The content of the file: the process that trains, and its machine."""

    process: int
    host: str

    def __str__(self) -> str:
        return f"process {self.process}" + ("" if self.host == platform.node() else f" on host {self.host}")


class RunLock:
    """The lock of one run's folder; whoever holds it trains.

    Args:
        path: the lock's file, in a folder that is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path, timeout=PATIENCE, thread_local=False)

    def acquire(self, run: Path) -> None:
        """Take the lock, or hold it once more, and write down who has it.

        Raises:
            RunError: another process, or another thread of this one, trains `run`.
            OSError: the folder cannot be written, or its disk is full.
        """
        try:
            self._lock.acquire()
        except Timeout:
            trainer = _read(self.path) or "another process"
            raise RunError(
                str(run), f"is being trained by {trainer}", "Wait for its end, or stop it first."
            ) from None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            what = f"{run} lies on a file system that has no locks ({error})"
            print(f"warning: {what}: see to it that nothing else trains this run", file=sys.stderr)
            return
        if self._lock.lock_counter > 1:
            return
        mine = Trainer(process=os.getpid(), host=platform.node())
        try:
            self.path.write_text(mine.model_dump_json() + "\n", encoding="utf-8")
        except PermissionError:
            pass  # Windows lets nobody touch a locked file
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back: what was acquired twice is held until it is released twice."""
        if self._lock.lock_counter == 1:
            with contextlib.suppress(PermissionError):
                self.path.unlink(missing_ok=True)
        self._lock.release()


def trainer_of(path: Path) -> Trainer | None:
    """Who holds the lock of this file, or None. Where the lock cannot be tried, its file is believed."""
    if not path.exists():
        return None
    lock = FileLock(path, blocking=False, thread_local=False)
    with contextlib.suppress(Timeout, OSError, NotImplementedError), lock:
        return None
    return _read(path) or Trainer(process=0, host="unknown")


def _read(path: Path) -> Trainer | None:
    try:
        return Trainer.model_validate_json(path.read_text(encoding="utf-8"), strict=True)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
