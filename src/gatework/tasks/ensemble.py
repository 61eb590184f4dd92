"""Several trained runs as one: the mean of their probabilities, with the life of a run."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import nn

from gatework.errors import InputError, RunError
from gatework.tasks.lifecycle import Lifecycle
from gatework.tasks.restarts import RestartLifecycle
from gatework.training import RunFolder
from gatework.training.run_folder import CONFIG, MODEL, RunConfig

__all__ = ["EnsembleLifecycle"]


class EnsembleLifecycle(RestartLifecycle):
    """The part of a task that knows of runs that answer together. `Task` says what the attributes are."""

    ensemble_options: ClassVar[tuple[str, ...]] = ()

    def ensemble(self, *others: Self) -> Self:
        """This run and others of its task as one, by the mean of their probabilities.

        The result predicts, evaluates, is saved and loaded as a run is; it has no `metrics_` and is not trained. Its
        baselines, and what else is not the network's, are those of the first run.

        Raises:
            InputError: one is of another task, has other tokens or labels, or is on another device.
        """
        self._check_fitted()
        for other in others:
            self._check_kind(other)
        members = [member for run in (self, *others) for member in run.members_ or (run,)]
        for member in members:
            self._check_alike(member)
        joint = copy.copy(self)
        joint.members_, joint.metrics_ = tuple(members), {}
        joint.network_ = self._joined([member.network_ for member in members]).eval()
        joint._settle_together()
        return joint

    together = ensemble  # its first name

    @classmethod
    def restore(cls, run: RunFolder, weights: str = MODEL) -> Self:
        names = run.read_config().members
        if not names:
            return super().restore(run, weights)
        first, *others = [cls._member(run, name) for name in names]
        try:
            return first.ensemble(*others)
        except InputError as error:
            raise RunError(str(run.path), error.what, "Restore it from a copy.") from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Copy the trained run, without its checkpoints, into a new folder; of an ensemble each run into one inside.

        Raises:
            RunError: the folder holds something already.
        """
        if not self.members_:
            super().save(folder)
            return
        target = RunFolder.create(folder)
        members = {str(number): member for number, member in enumerate(self.members_, start=1)}
        for name, member in members.items():
            member.save(target.path / name)
        target.write_config(RunConfig(task=self.name, members=list(members)))
        target.complete()

    # What a task writes

    @abstractmethod
    def _joined(self, networks: Sequence[nn.Module]) -> nn.Module:
        """Trained networks as one, of the mean of their probabilities: for figures and predictions, in their stead."""

    def _settle_together(self) -> None:  # many tasks choose nothing
        """Take what `members_` chose on their validation data together, in place of the first one's choice."""

    # Members

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network_.parameters()).device

    def _check_kind(self, other: object) -> None:
        if type(other) is not type(self):
            kind = f"a {other.name}" if isinstance(other, Lifecycle) else f"{other!r:.40}"
            raise InputError("ensemble", f"one is {kind}, not a {self.name}", "Give runs of one task.")

    def _check_alike(self, other: Self) -> None:
        other._check_fitted()
        paths = f"{other.run_.path} and {self.run_.path}"
        for file, learned in self.learned_.items():
            own = other.learned_.get(file)  # none where an option says that nothing is learned
            if own is None or own.to_json() != learned.to_json():
                fix = "Train the runs on the same data; only their seeds and networks may differ."
                raise InputError("ensemble", f"the {file} of {paths} differ", fix)
        for option in self.ensemble_options:
            values = getattr(other.options_, option), getattr(self.options_, option)
            if values[0] != values[1]:
                what = f"the {option} of {paths} differ ({values[0]} and {values[1]})"
                raise InputError("ensemble", what, "Give runs that read their inputs alike.")
        if other.device != self.device:
            what = f"{paths} are on two devices ({other.device} and {self.device})"
            raise InputError("ensemble", what, "Load the runs on one device.")

    @classmethod
    def _member(cls, ensemble: RunFolder, name: str) -> Self:
        """A run of an ensemble's folder, which may be a stranger's."""
        if name != Path(name).name or name == ".." or "\0" in name:
            what = f"names {name!r:.40} as one of its runs"
            raise RunError(str(ensemble.path / CONFIG), what, "Restore it from a copy.")
        run = RunFolder.open(ensemble.path / name)
        config = run.read_config()
        if config.task != cls.name or config.members:
            kind = "an ensemble" if config.members else f"a {config.task}"
            raise RunError(str(run.path), f"is {kind}, not a {cls.name}", "Restore it from a copy.")
        return cls.restore(run)

    def _load_parent(self, folder: str | os.PathLike[str]) -> Lifecycle:
        parent = super()._load_parent(folder)
        if parent.members_:
            raise RunError(str(folder), "is an ensemble", "Start from one of its runs.")
        return parent
