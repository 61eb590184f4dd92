"""Files that are replaced whole: written under a temporary name, flushed to the disk, then renamed.

A reader therefore sees the old file or the new one, never a part, whenever the process was killed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor

from gatework.errors import InputError, RunError

Schema = TypeVar("Schema", bound=BaseModel)

TEMPORARY = ".writing-"  # the prefix of names that no reader looks at
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def disk_errors(path: Path, need: int) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into an `InputError` that names `path` and the bytes needed.

    safetensors reports the operating system's errors as `SafetensorError` with the number in its text.
    """
    try:
        yield
    except OSError as error:
        full, reason = error.errno in _FULL, error.strerror or str(error)
        raise _disk_error(path, need, full, reason) from error
    except SafetensorError as error:
        full = any(f"os error {number}" in str(error) for number in _FULL)
        raise _disk_error(path, need, full, str(error)) from error


def _disk_error(path: Path, need: int, full: bool, reason: str) -> InputError:
    if not full:
        return InputError(str(path), f"cannot be written ({reason})", "Check the folder and its permissions.")
    free = shutil.disk_usage(next(p for p in path.absolute().parents if p.exists())).free
    return InputError(
        str(path),
        f"the disk is full: {size(need)} are needed, {size(free)} are free",
        "Free some space and go on with resume=True: from the last checkpoint, if there is one already.",
    )


def size(count: int) -> str:
    """A number of bytes for people: `'12.3 MB'`."""
    for unit, bytes_of_it in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= 0.1 * bytes_of_it:
            return f"{count / bytes_of_it:.1f} {unit}"
    return f"{count} bytes"


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, need: int, write: Callable[[Path], None]) -> None:
    """Write `path` whole: `write` fills a temporary file beside it, which then takes its name."""
    temporary = path.with_name(TEMPORARY + path.name)
    with disk_errors(path, need):
        try:
            fill(temporary, write)
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def fill(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file, and give it the mode of any new file here: safetensors shuts all but its owner out."""
    path.touch()
    mode = path.stat().st_mode
    write(path)
    path.chmod(mode)


def write_text(path: Path, text: str) -> None:
    """Replace a UTF-8 text file."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file with `data`."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    replace(path, len(data), write)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file. NaN and infinity are no JSON and raise `ValueError`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Replace a safetensors file. The tensors share no memory; see `write_model` for tied weights."""
    ready = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    need = sum(tensor.numel() * tensor.element_size() for tensor in ready.values())
    replace(path, need, lambda temporary: save_file(ready, temporary, metadata=dict(metadata or {})))


def write_model(path: Path, model: torch.nn.Module) -> None:
    """Replace a safetensors file with a module's parameters and buffers; tied weights are stored once."""
    need = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    replace(path, need, lambda temporary: fill_model(temporary, model))


def fill_model(path: Path, model: torch.nn.Module) -> None:
    """Write what `write_model` writes, in place."""
    save_model(cast("torch.nn.Module", _Apart(model)), str(path))


class _Apart:
    """A model as safetensors writes and reads it: its tensors with memory of their own, tied ones together.

    safetensors takes no tensor that is a part of a larger block, as cuDNN's layers keep their parameters.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self.load_state_dict = model.load_state_dict

    def state_dict(self) -> dict[str, Tensor]:
        copies: dict[object, Tensor] = {}
        found = {}
        for name, tensor in self._model.state_dict().items():
            if tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
                place = tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()
                if place not in copies:
                    copies[place] = torch.empty_like(tensor, device="cpu").copy_(tensor)
                tensor = copies[place]
            found[name] = tensor
        return found


def read_text(path: Path) -> str:
    """A UTF-8 file's text; `RunError` where it is missing or is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(path, f"is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error


def read_json(path: Path) -> Any:
    """A JSON file's value; `RunError` where it is missing or does not parse."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path) -> Any:
    """The value of a JSON text that came from `path`; NaN and infinities are no JSON."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"is not JSON ({error})") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def read_typed(path: Path, schema: type[Schema]) -> Schema:
    """A JSON file's value as a model; `RunError` where it is missing, does not parse or is of another shape."""
    text = read_text(path)
    parse_json(text, path)
    return _typed(lambda: schema.model_validate_json(text, strict=True), path)


def typed(value: Any, path: Path, schema: type[Schema]) -> Schema:
    """A value that was read from `path` as a model; `RunError` where it is of another shape."""
    return _typed(lambda: schema.model_validate(value, strict=True), path)


def _typed(validate: Callable[[], Schema], path: Path) -> Schema:
    try:
        return validate()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its value"
        raise _damaged(path, f"is damaged ({where}: {first['msg']})") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file's tensors, on the CPU; `RunError` where it is missing or does not parse."""
    with _parsing(path):
        return load_file(path)


def read_metadata(path: Path) -> dict[str, str]:
    """A safetensors file's metadata. Reads the header only, and so checks that the file parses."""
    with _parsing(path), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def read_model(path: Path, model: torch.nn.Module) -> None:
    """Load what `write_model` wrote into `model`; `RunError` where names or shapes are not the model's."""
    with _parsing(path):
        try:
            load_model(cast("torch.nn.Module", _Apart(model)), path)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise _damaged(path, f"does not fit the model ({' '.join(lines[1:3]) or lines[0]})") from error


def check_fit(path: Path, model: torch.nn.Module) -> None:
    """Compare names and shapes of a file's tensors with a model's, which may be on the meta device.

    A file from a stranger can name any size: what does not fit is refused before memory is spent on it.

    Raises:
        RunError: the file lacks a tensor, or holds one more, or one of another shape.
    """
    with _parsing(path), safe_open(path, framework="pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    names: dict[int, list[str]] = {}  # of each tensor: tied ones are stored under one of their names
    expected = {}
    for name, tensor in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        names.setdefault(id(tensor), []).append(name)
        expected[name] = tuple(tensor.shape)
    kept = model.state_dict().keys()
    for alike in names.values():
        if kept & set(alike) and not stored.keys() & set(alike):
            raise _damaged(path, f"does not fit the model (it lacks {alike[0]})")
    for name, shape in stored.items():
        if name not in kept:
            raise _damaged(path, f"does not fit the model (which has no {name})")
        if shape != expected.get(name, shape):
            raise _damaged(
                path, f"does not fit the model ({name} is {shape}, and should be {expected[name]})"
            )


@contextlib.contextmanager
def _parsing(path: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise _damaged(path, f"is not safetensors ({error})") from error
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror or error})") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error


def _damaged(path: Path, what: str) -> RunError:
    return RunError(str(path), what, "Restore the file from a copy, or train the run again.")


def finite(value: float) -> float | None:
    """`value`, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
