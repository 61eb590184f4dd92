"""`Batch`: a run as a callable on batches of a table, for engines that bring their own processes and machines."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatework.data import is_frame
from gatework.errors import InputError, RunError
from gatework.tasks.registry import load
from gatework.training.run_folder import COMPLETE, RunFolder

if TYPE_CHECKING:
    from gatework.tasks.base import Task

__all__ = ["Batch"]


class Batch:
    """Predictions of a run for batches of a table, as further columns of them.

    It is called with a batch as the engines give it, and answers with one of the same kind: a pandas DataFrame, an
    Arrow table, a dict of columns (Ray Data's), a batch of `datasets.map` (which is given the new columns alone), or an
    iterator of DataFrames (Spark's `mapInPandas`).

    An instance travels to other processes as the run's path and the settings. Each process loads the run from there
    once, and refuses it where its files are others than when the instance was made. A call is thread-safe.

    Args:
        run, more: folders of runs, of several the ensemble; every process must find them there.
        columns: the table's own names of the task's columns.
        fields: of the records of `predict`, those that become columns.
        device: where it predicts, as for `load`.
        settings: fields of the task's `Settings`.

    Raises:
        RunError: a folder is no finished run.
        InputError: a wrong setting.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        *more: str | os.PathLike[str],
        columns: Mapping[str, Any] | None = None,
        fields: Sequence[str] = ("output",),
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        self.runs = tuple(str(Path(folder).absolute()) for folder in (run, *more))
        self.columns = dict(columns or {})
        self.fields = tuple(fields)
        self.device = device
        self.settings = settings
        if not self.fields or isinstance(fields, str):
            raise InputError(
                "fields", f"cannot be {fields!r}", 'Name some of a record\'s: fields=["output"].'
            )
        self.digests = tuple(map(_digest, self.runs))
        self._begin()
        self.task.settings(**settings)

    def _begin(self) -> None:
        self._task: Task | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_task", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __repr__(self) -> str:
        return f"Batch({', '.join(map(repr, self.runs))})"

    @property
    def task(self) -> Task:
        """The trained task, loaded by this process when it is first needed.

        Raises:
            RunError: a run has changed since this was made, or cannot be found.
        """
        with self._lock:
            if self._task is None:
                for folder, digest in zip(self.runs, self.digests, strict=True):
                    if _digest(folder) != digest:
                        what = "has changed since its predictions were asked for"
                        raise RunError(folder, what, "Make a new gatework.Batch of it.")
                self._task = load(*self.runs, device=self.device)
            return self._task

    def __call__(self, batch: Any) -> Any:
        """The batch with a column for each of `fields`.

        Raises:
            InputError: something that is no batch of a table, a cell that is no input, a column that is there already.
        """
        if isinstance(batch, Iterator):
            return map(self._answered, batch)
        return self._answered(batch)

    def _answered(self, batch: Any) -> Any:
        if is_frame(batch):
            names = list(batch.columns if hasattr(batch, "assign") else batch.column_names)
            added = self._predicted(batch, names)
            if hasattr(batch, "assign"):  # pandas
                return batch.assign(**added)
            for name, values in added.items():
                batch = batch.append_column(name, [values])
            return batch
        if not isinstance(batch, Mapping):
            what = f"is a {type(batch).__name__}, and no batch of a table"
            raise InputError("batch", what, "Give a DataFrame, an Arrow table or a dict of columns.")
        table = {name: _listed(name, batch[name]) for name in batch}
        added = self._predicted(table, list(table))
        # A dict is Ray's, which keeps what is returned; any other mapping that of `datasets.map`, which adds it.
        return {**batch, **added} if isinstance(batch, dict) else added

    def _predicted(self, table: Any, names: Sequence[str]) -> dict[str, list[Any]]:
        """The new columns of a table."""
        for name in self.fields:
            if name in names:
                what = f"has a column {name!r} already"
                raise InputError("batch", what, "Rename it: the answer is written under this name.")
        records = self.task.predict(table, columns=self.columns, **self.settings)
        return {name: [self._field(record, name) for record in records] for name in self.fields}

    def _field(self, record: Mapping[str, Any], name: str) -> Any:
        if name not in record:
            what = f"names {name!r}, and a record of {self.task.name} has {', '.join(record)}"
            raise InputError("fields", what, "Name some of these.")
        return record[name]


def _digest(folder: str) -> str:
    """Of the file that holds the digests of a run's files."""
    if not RunFolder(folder, writes=False).is_complete:
        RunFolder.open(folder)  # says what is wrong
    return hashlib.sha256((Path(folder) / COMPLETE).read_bytes()).hexdigest()


def _listed(name: str, cells: Any) -> list[Any]:
    """A column's cells as Python has them."""
    if isinstance(cells, str | bytes) or not hasattr(cells, "__len__"):
        what = f"has {cells!r:.40} in the column {name!r}: one row, and no batch"
        raise InputError("batch", what, "Call it with several rows: datasets.map(…, batched=True).")
    return list(cells.tolist() if hasattr(cells, "tolist") else cells)
