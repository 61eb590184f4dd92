"""A finished run that is to go on, as it was: what a refusal on the way gives back."""

from __future__ import annotations

from typing import NamedTuple, Self

from gatework.training.run_folder import CHECKPOINTS, HISTORY, RunConfig, RunFolder, is_passing

__all__ = ["WholeRun"]


class WholeRun(NamedTuple):
    """A finished run before its training goes on: a refusal on the way leaves it as it was.

    checkpoints: the names of their folders. history: the content of history.jsonl.
    """

    config: RunConfig
    checkpoints: frozenset[str]
    history: bytes

    @classmethod
    def of(cls, run: RunFolder, config: RunConfig) -> Self:
        history = run.path / HISTORY
        return cls(config, _checkpoints(run), history.read_bytes() if history.exists() else b"")

    def unchanged(self, run: RunFolder) -> bool:
        """Whether no step was kept since."""
        return _checkpoints(run) == self.checkpoints

    def restore(self, run: RunFolder) -> None:
        """Take back what was written since, and call the run finished again."""
        run.write_config(self.config)
        run.write_text(HISTORY, self.history.decode())
        run.complete()


def _checkpoints(run: RunFolder) -> frozenset[str]:
    folder = run.path / CHECKPOINTS
    return (
        frozenset(path.name for path in folder.iterdir() if not is_passing(path))
        if folder.is_dir()
        else frozenset()
    )
