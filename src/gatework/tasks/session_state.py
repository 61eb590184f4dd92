"""Where a session stands, as bytes: arrays by name, what else is known as JSON, and whose weights made them."""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from gatework.errors import InputError, RunError

__all__ = ["SessionState", "damaged", "read_saved", "weights_digest"]

_ENTRY, _DIGEST = "session", "sha256"  # of the file's metadata
_LENGTH = 8  # bytes of a safetensors file that say how long its header is

_digests: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


class SessionState(NamedTuple):
    """Arrays by name, and what else is known of a session, as JSON has it.

    `array` and `value` read one of them, and refuse what is not as it should be with one sentence.
    """

    arrays: Mapping[str, np.ndarray]
    known: Mapping[str, Any]

    def array(self, name: str, shape: tuple[int | None, ...], kind: str = "f") -> np.ndarray:
        """A copy of an array.

        Args:
            shape: None where an axis has any length.
            kind: of its numbers, as NumPy's dtypes have it.

        Raises:
            InputError: it is missing, or of another shape or kind.
        """
        found = self.arrays.get(name)
        fits = found is not None and found.dtype.kind == kind and len(found.shape) == len(shape)
        if not fits or any(
            size not in (None, own) for size, own in zip(shape, cast("Any", found).shape, strict=True)
        ):
            raise damaged()
        return cast("np.ndarray", found).copy()

    def part(self, prefix: str) -> SessionState:
        """The arrays whose names begin with a prefix, without it."""
        arrays = {n.removeprefix(prefix): array for n, array in self.arrays.items() if n.startswith(prefix)}
        return SessionState(arrays, self.known)

    def value(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """One of the known values.

        Raises:
            InputError: it is missing, or of another type.
        """
        found = self.known.get(name)
        if not isinstance(found, kind):
            raise damaged()
        return found

    def to_bytes(self) -> bytes:
        """A safetensors file."""
        arrays = {name: np.array(array, order="C") for name, array in self.arrays.items()}
        known = json.dumps(self.known, allow_nan=False)
        return save(arrays, {_ENTRY: known, _DIGEST: _digest(arrays, known)})

    @classmethod
    def of_bytes(cls, data: Any) -> SessionState:
        """What `to_bytes` gave.

        Raises:
            InputError: it is none, or damaged.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            what = f"is {type(data).__name__}, and a session's state is bytes"
            raise InputError("state", what, "Give what `session.state()` gave.")
        data = bytes(data)
        try:
            arrays = load(data)
            length = int.from_bytes(data[:_LENGTH], "little")
            metadata = json.loads(data[_LENGTH : _LENGTH + length])["__metadata__"]
            text, digest = metadata[_ENTRY], metadata[_DIGEST]
            known = json.loads(text)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            what = f"is no state of a session, or is cut off or damaged ({error})"
            raise InputError("state", what, "Give all the bytes that `session.state()` gave.") from error
        if digest != _digest(arrays, text) or not isinstance(known, dict):
            raise damaged()
        return cls(arrays, known)


def read_saved(path: str | os.PathLike[str]) -> bytes:
    """What `Session.save` wrote to a file.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise RunError(os.fspath(path), what, "Give a file that a session's `save` wrote.") from error


def damaged() -> InputError:
    """What is said of a state that is not as it was written."""
    return InputError("state", "is damaged", "Take another copy.")


def weights_digest(network: nn.Module) -> str:
    """A digest of all weights of a trained network, which stay as they are: it is made once."""
    if network not in _digests:
        found = hashlib.sha256()
        for name, value in sorted(network.state_dict().items()):
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
        _digests[network] = found.hexdigest()
    return _digests[network]


def _digest(arrays: Mapping[str, np.ndarray], known: str) -> str:
    found = hashlib.sha256(known.encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()
