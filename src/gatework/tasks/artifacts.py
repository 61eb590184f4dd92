"""What a run keeps beside its weights: cells, tokenizers, label sets, baselines, each a JSON file of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gatework.errors import InputError, RunError
from gatework.training import RunFolder

__all__ = ["Artifact", "Artifacts", "JsonArtifact"]


class Artifact(Protocol):
    """A value that a run keeps as JSON."""

    def to_json(self) -> str:
        """The file's text."""


T = TypeVar("T")
A = TypeVar("A", bound=Artifact)
A_co = TypeVar("A_co", bound=Artifact, covariant=True)


class First(Protocol):
    """What the main process makes and the others then read: `Processes.first`."""

    def __call__(self, make: Callable[[], T], read: Callable[[], T]) -> T: ...


class _Kind(Protocol[A_co]):
    """A class of artifacts."""

    def from_json(self, text: str, /) -> A_co:
        """What `to_json` wrote. Raises `ValueError` for anything else: the file may be a stranger's."""


class JsonArtifact(BaseModel):
    """A few named values, checked by their types."""

    model_config = ConfigDict(frozen=True, strict=True)

    def to_json(self) -> str:
        return json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


class Artifacts:
    """The artifacts of one run, by file.

    Args:
        run: the run's folder.
        first: `Processes.first` of those that train together. None for a finished run: everything is there to be
            read.
        parent: the folder of the run that this one is started from.
    """

    def __init__(
        self, run: RunFolder, *, first: First | None = None, parent: RunFolder | None = None
    ) -> None:
        self._run, self._parent, self._first = run, parent, first
        self.shared: dict[str, Artifact] = {}  # of `get`, by file: what runs from one another have in common

    @property
    def finished(self) -> bool:
        """Whether the run is whole: then nothing is made."""
        return self._first is None

    @property
    def where(self) -> str:
        """The run's folder, for messages."""
        return str(self._run.path)

    @property
    def parent(self) -> RunFolder | None:
        """The folder of the run that this one is started from."""
        return self._parent

    def first(self, make: Callable[[], T], read: Callable[[], T]) -> T:
        """What the main process makes and writes; others wait for this call and then read it."""
        return read() if self._first is None else self._first(make, read)

    def get(
        self, file: str, kind: _Kind[A], make: Callable[[], A], extend: Callable[[A], A] | None = None
    ) -> A:
        """The artifact that the run keeps, else the parent run's, else a new one; from now on the run keeps it.

        Args:
            file: its name in the run's folder.
            kind: its class.
            make: makes a new one from the training data; not called for a finished run.
            extend: makes this run's of the parent run's; None: it is taken as it is.

        Raises:
            RunError: the file is damaged, or missing in a finished run.
        """
        self.shared[file] = value = self._get(file, kind, make, extend)
        return value

    def _get(
        self, file: str, kind: _Kind[A], make: Callable[[], A], extend: Callable[[A], A] | None = None
    ) -> A:
        if self._first is None:
            return self.read(file, kind)

        def made() -> A:
            if (self._run.path / file).exists():
                return self.read(file, kind)
            if self._parent is not None and (self._parent.path / file).exists():
                value = _read(self._parent, file, kind)
                value = value if extend is None else extend(value)
            else:
                value = make()
            self._run.write_text(file, value.to_json())
            return value

        return self._first(made, lambda: self.read(file, kind))

    def own(self, file: str, kind: _Kind[A], make: Callable[[], A]) -> A:
        """As `get`, but never the parent run's: for what describes this run's own training data."""
        return Artifacts(self._run, first=self._first)._get(file, kind, make)

    def renew(self, file: str, kind: _Kind[A], make: Callable[[], A]) -> A:
        """As `own`, but made anew by each call on a run that is not finished: for what follows from the weights."""

        def made() -> A:
            value = make()
            self._run.write_text(file, value.to_json())
            return value

        return self.first(made, lambda: self.read(file, kind))

    def read(self, file: str, kind: _Kind[A]) -> A:
        """An artifact that the run keeps.

        Raises:
            RunError: the file is missing or damaged.
        """
        return _read(self._run, file, kind)


def _read(run: RunFolder, file: str, kind: _Kind[A]) -> A:
    text = run.read_text(file)
    try:
        return kind.from_json(text)
    except ValueError as error:
        what = error.what if isinstance(error, InputError) else str(error)
        fix = "Restore the file from a copy, or train the run again."
        raise RunError(str(run.path / file), " ".join(what.split()), fix) from error
