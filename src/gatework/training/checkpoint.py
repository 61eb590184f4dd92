"""Checkpoints: everything that a training needs to go on to the bit, as safetensors and JSON.

```
checkpoints/step-000001200-validated/
  model.safetensors                  weights and buffers, tied ones once
  optimiser.safetensors              moments
  rank-0.safetensors, …              random states and carry of each process
  validated-000001000.safetensors    weights of a validation that is still needed: the best, and those to
                                     average. A hard link to the file of the checkpoint it came from
  state.json                         position, decisions, options, and the SHA-256 of the files above
```

A checkpoint is written into a folder with a temporary name, flushed to the disk, and renamed; an old one is
renamed before it is deleted. A folder called step-… is therefore whole, whenever the process was killed, and
it is never replaced: a position that was saved and then validated is saved again, as step-…-validated.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from gatework.errors import RunError
from gatework.training import files, nested, random_state
from gatework.training.optimizers import load_optimizer_tensors, optimizer_tensors
from gatework.training.run_folder import CHECKPOINTS, HISTORY, RunFolder
from gatework.training.state import TrainingState

FORMAT_VERSION = 1
_FOLDER = re.compile(r"step-(\d{9,})(-validated)?")
_CARRY = "carry."


class Manifest(BaseModel):
    """state.json."""

    model_config = ConfigDict(extra="forbid")

    format_version: int
    state: TrainingState
    options: dict[str, Any]
    sha256: dict[str, str]


class Checkpoint(NamedTuple):
    """A verified checkpoint on the disk."""

    path: Path
    manifest: Manifest


class Checkpoints:
    """The checkpoints of a run: `save` adds one and deletes the oldest, `latest` finds the last good one."""

    def __init__(self, run: RunFolder, keep: int) -> None:
        self.run = run
        self.keep = keep
        self.path = run.path / CHECKPOINTS
        if run.writes:
            self.path.mkdir(parents=True, exist_ok=True)
        self.last: Checkpoint | None = None  # the last good one: saved, or resumed from

    def save(
        self,
        state: TrainingState,
        options: Mapping[str, Any],
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        ranks: Sequence[bytes],
    ) -> None:
        """Write a checkpoint of a state whose tensors are all finite. On the main process only.

        Args:
            ranks: what `pack_rank` made on each process.

        Raises:
            NonFiniteError: a weight or a moment is NaN or infinite. Nothing is written.
            InputError: the disk is full. Earlier checkpoints stay.
        """
        moments = {name: t.detach().contiguous() for name, t in optimizer_tensors(optimizer).items()}
        check_finite({**model.state_dict(), **moments})
        name = f"step-{state.step:09d}" + ("-validated" if state.validated_at == state.step else "")
        need = sum(t.numel() * t.element_size() for t in (*model.state_dict().values(), *moments.values()))
        with files.disk_errors(self.path / name, need):
            if (self.run.path / HISTORY).exists():
                files.sync(self.run.path / HISTORY)
            temporary = self.path / (files.TEMPORARY + name)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            try:
                hashes = self._fill(temporary, state, model, moments, ranks)
                manifest = Manifest(
                    format_version=FORMAT_VERSION, state=state, options=dict(options), sha256=hashes
                )
                text = json.dumps(manifest.model_dump(), indent=2, allow_nan=False)
                (temporary / "state.json").write_text(text + "\n", encoding="utf-8")
                files.sync(temporary / "state.json")
                files.sync(temporary)
                self._delete(self.path / name)  # there only where it was damaged, and passed over
                os.rename(temporary, self.path / name)
                files.sync(self.path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        self.last = Checkpoint(self.path / name, manifest.model_copy(deep=True))
        for path in self._folders()[self.keep :]:
            self._delete(path)

    def _fill(
        self,
        folder: Path,
        state: TrainingState,
        model: torch.nn.Module,
        moments: dict[str, Tensor],
        ranks: Sequence[bytes],
    ) -> dict[str, str]:
        # Written in place: nobody looks into the folder before it is renamed.
        files.fill(folder / "model.safetensors", lambda path: files.fill_model(path, model))
        files.fill(folder / "optimiser.safetensors", lambda path: safetensors.torch.save_file(moments, path))
        for rank, data in enumerate(ranks):
            (folder / f"rank-{rank}.safetensors").write_bytes(data)
        hashes = {}
        for path in sorted(folder.iterdir()):
            files.sync(path)
            hashes[path.name] = files.sha256(path)
        for step in needed(state):
            name = validated_name(step)
            if step == state.step:
                source, digest = folder / "model.safetensors", hashes["model.safetensors"]
            elif self.last is not None:
                source, digest = self.last.path / name, self.last.manifest.sha256[name]
            else:
                raise RuntimeError(f"step {step} was validated, but no checkpoint holds its weights")
            _link(source, folder / name)
            hashes[name] = digest
        return hashes

    def _folders(self) -> list[Path]:
        """The folders of the checkpoints, the newest first."""
        found = [(_FOLDER.fullmatch(path.name), path) for path in self.path.iterdir()]
        ordered = sorted(((int(m[1]), m[2] is not None, path) for m, path in found if m), reverse=True)
        return [path for _, _, path in ordered]

    def _delete(self, path: Path) -> None:
        if not path.exists():
            return
        condemned = path.with_name(f"{files.TEMPORARY}deleted-{path.name}")
        shutil.rmtree(condemned, ignore_errors=True)
        os.rename(path, condemned)
        shutil.rmtree(condemned)

    def any(self) -> bool:
        """Whether there is a checkpoint, good or not."""
        return bool(self._folders())

    def sweep(self) -> None:
        """Delete what a killed training left half written."""
        for folder in (self.path, self.run.path):
            for path in folder.glob(files.TEMPORARY + "*"):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def latest(self) -> tuple[Checkpoint | None, list[RunError]]:
        """(the newest checkpoint that verifies, what was wrong with newer ones).

        Raises:
            RunError: there are checkpoints, and none of them verifies.
        """
        damaged: list[RunError] = []
        for path in self._folders():
            try:
                self.last = Checkpoint(path, _verify(path))
            except RunError as error:
                damaged.append(error)
                continue
            return self.last, damaged
        if damaged:
            raise damaged[0]
        return None, damaged


class StoppedWeights(NamedTuple):
    """Weights of a training that was stopped: their file in the run's folder, their step, the validation's figures."""

    file: str
    step: int
    figures: dict[str, float | None]


def stopped_weights(run: RunFolder, which: Literal["best", "last"]) -> StoppedWeights:
    """The weights of the best validation so far (the last ones, where nothing was validated yet), or the last ones.

    Raises:
        RunError: the run holds no checkpoint that verifies.
    """
    folder = run.path / CHECKPOINTS
    latest = Checkpoints(run, keep=1).latest()[0] if folder.is_dir() else None
    if latest is None:
        raise RunError(str(run.path), "holds no checkpoint", "Train it first, with resume=True.")
    state = latest.manifest.state
    where = f"{CHECKPOINTS}/{latest.path.name}"
    if which == "best" and state.best_at is not None:
        return StoppedWeights(f"{where}/{validated_name(state.best_at)}", state.best_at, state.best)
    return StoppedWeights(f"{where}/model.safetensors", state.step, {})


class NonFiniteError(ValueError):
    """A tensor that was to be saved holds NaN or infinity; `name` says which."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} is not finite")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise `NonFiniteError` for the first floating tensor with NaN or infinity in it."""
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()]
    if not names:
        return
    finite = torch.stack([torch.isfinite(tensors[name]).all().cpu() for name in names]).tolist()
    for name, good in zip(names, finite, strict=True):
        if not good:
            raise NonFiniteError(name)


def needed(state: TrainingState) -> list[int]:
    """The steps whose validated weights the training may still want."""
    best = [] if state.best_at is None else [state.best_at]
    return sorted({*best, *state.validated})


def validated_name(step: int) -> str:
    """The file of a checkpoint that holds the weights validated at `step`."""
    return f"validated-{step:09d}.safetensors"


def pack_rank(carry: Any) -> bytes:
    """This process's carry and random states, as the bytes of a safetensors file."""
    values, tensors = random_state.capture()
    structure, leaves = nested.flatten(carry)
    for index, leaf in enumerate(leaves):
        # A copy each: the parts of a carry may be views of one tensor, which safetensors refuses.
        tensors[f"{_CARRY}{index}"] = leaf.detach().cpu().contiguous().clone()
    return safetensors.torch.save(tensors, {"random": json.dumps(values), "carry": json.dumps(structure)})


def unpack_rank(path: Path, device: torch.device) -> Any:
    """Restore the random states of a rank-… file, and return its carry on `device`."""
    metadata, tensors = files.read_metadata(path), files.read_tensors(path)
    try:
        carry_names = sorted(
            (name for name in tensors if name.startswith(_CARRY)), key=lambda name: int(name[len(_CARRY) :])
        )
        # Cloned: what was read is mapped from the file, which is deleted while the training goes on.
        leaves = [tensors[name].clone().to(device) for name in carry_names]
        carry = nested.unflatten(json.loads(metadata["carry"]), leaves)
        random_state.restore(json.loads(metadata["random"]), tensors)
    except (LookupError, ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise RunError(str(path), f"is damaged ({error})", "Delete this checkpoint's folder.") from error
    return carry


def load(
    checkpoint: Checkpoint,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    rank: int,
    device: torch.device,
) -> Any:
    """Take over weights, moments and random states; returns the carry of process `rank`."""
    files.read_model(checkpoint.path / "model.safetensors", model)
    path = checkpoint.path / "optimiser.safetensors"
    try:
        load_optimizer_tensors(optimizer, files.read_tensors(path))
    except (KeyError, ValueError, RuntimeError) as error:
        raise RunError(str(path), f"does not fit the optimizer ({error})", "Delete its folder.") from error
    return unpack_rank(checkpoint.path / f"rank-{rank}.safetensors", device)


def _verify(path: Path) -> Manifest:
    file = path / "state.json"
    value = files.read_json(file)
    version = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise RunError(
            str(file),
            f"is of format {version}, this version reads up to {FORMAT_VERSION}",
            "Upgrade with: pip install --upgrade gatework.",
        )
    manifest = files.read_typed(file, Manifest)
    state = manifest.state
    expected = {"model.safetensors", "optimiser.safetensors"}
    expected |= {f"rank-{rank}.safetensors" for rank in range(state.world)}
    expected |= {validated_name(step) for step in needed(state)}
    if set(manifest.sha256) != expected:
        raise RunError(str(file), "does not list the files of its state", "Delete this checkpoint's folder.")
    for name, digest in manifest.sha256.items():
        if files.sha256(path / name) != digest:
            raise RunError(
                str(path / name), "was changed since it was written", "Delete this checkpoint's folder."
            )
    return manifest


def _link(source: Path, target: Path) -> None:
    """A second name for a file that is never changed; a copy where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.copyfile(source, target)
        files.sync(target)
