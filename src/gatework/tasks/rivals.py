"""The rivals of a task: fitted on its training data before the network is trained, and kept in the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gatework.baselines import Rival
from gatework.errors import RunError
from gatework.training import RunFolder

__all__ = ["copy_rivals", "fit_rivals", "read_rivals"]


def fit_rivals(
    rivals: Sequence[Rival],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    run: RunFolder,
    say: Callable[[str], None],
    **further: Any,
) -> None:
    """Fit each rival and write it into the run, unless the run has it or there is more data than it takes.

    Args:
        rivals: new ones.
        inputs, outputs: of the N training examples.
        say: is told how long each fit took, or why there was none.
        further: arguments of their `fit`.
    """
    for rival in rivals:
        if (run.path / _file(rival.name)).exists():
            continue
        size = rival.size(inputs)
        if size > rival.most:
            what = f"the training data has {size:,} {rival.unit}, and it takes up to {rival.most:,}"
            say(f"No baseline {rival.name}: {what}.")
            continue
        start = time.perf_counter()
        arrays = rival.fit(inputs, outputs, **further).to_arrays()
        run.write_tensors(_file(rival.name), {name: torch.from_numpy(a) for name, a in arrays.items()})
        say(f"The baseline {rival.name} is fitted ({time.perf_counter() - start:.0f} s).")


def copy_rivals(kinds: Sequence[type[Rival]], source: RunFolder, run: RunFolder) -> None:
    """Give a run the rivals that another one has, but for those that it has itself; the same training data is meant."""
    for file in (_file(kind.name) for kind in kinds):
        if (source.path / file).exists() and not (run.path / file).exists():
            run.write_tensors(file, source.read_tensors(file))


def read_rivals(kinds: Sequence[type[Rival]], run: RunFolder) -> dict[str, Rival]:
    """The rivals that a run keeps, by name.

    Raises:
        RunError: a file is damaged.
    """
    found: dict[str, Rival] = {}
    for kind in kinds:
        path = run.path / _file(kind.name)
        if not path.exists():
            continue
        arrays = {name: tensor.numpy() for name, tensor in run.read_tensors(path.name).items()}
        try:
            found[kind.name] = kind.from_arrays(arrays)
        except ValueError as error:
            what = " ".join(str(error).split())
            raise RunError(
                str(path), what, "Restore the file from a copy, or train the run again."
            ) from error
    return found


def _file(name: str) -> str:
    return f"rival-{name}.safetensors"
