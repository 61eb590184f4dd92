"""A file that is there whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import InputError

__all__ = ["WholeFile"]


class WholeFile:
    """A binary file that takes its path's place once all of it is written, and is nowhere if that fails.

    >>> with WholeFile(path) as file:
    ...     file.write(b"all of it")

    Every method raises `InputError` where the disk is full or the folder may not be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")

    def __enter__(self) -> Self:
        try:  # with the mode of any new file, where tempfile shuts all but its owner out
            self._file = self._temporary.open("xb")
        except OSError as error:
            raise self._cannot_write(error) from error
        return self

    def write(self, data: bytes | memoryview, at: int | None = None) -> None:
        """Write bytes at the end or, where `at` is given, over those that begin there; then the end is after them."""
        try:
            if at is not None:
                self._file.seek(at)
            self._file.write(data)
        except OSError as error:
            raise self._cannot_write(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if kind is None:
                os.replace(self._temporary, self.path)
        except OSError as failed:
            raise self._cannot_write(failed) from failed
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _cannot_write(self, error: OSError) -> InputError:
        what = f"cannot be written ({error.strerror})"
        return InputError(str(self.path), what, "Free some space, or choose another folder")
