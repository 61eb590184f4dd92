"""Where a stream of a trained run stands, as a file: arrays by name, and whose network made them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from gatework.errors import InputError
from gatework.training import files

__all__ = ["StoredStream", "read_stream", "weights_digest", "write_stream"]

_ENTRY = "stream"  # of the file's metadata


class StoredStream(NamedTuple):
    """Arrays by name, and what else is known of a stream, as JSON has it."""

    arrays: dict[str, np.ndarray]
    known: dict[str, Any]


def write_stream(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], known: Mapping[str, Any]
) -> None:
    """Write a stream's state to a safetensors file."""
    tensors = {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
    files.write_tensors(Path(path), tensors, {_ENTRY: json.dumps(known)})


def read_stream(path: str | os.PathLike[str]) -> StoredStream:
    """What `write_stream` wrote.

    Raises:
        RunError: the file is missing or damaged.
        InputError: it is no state of a stream.
    """
    tensors, metadata = files.read_tensors(Path(path)), files.read_metadata(Path(path))
    try:
        known = dict(json.loads(metadata[_ENTRY]))
    except (KeyError, ValueError, TypeError) as error:
        fix = "Give a file that a stream's `save` wrote."
        raise InputError(os.fspath(path), "is no state of a stream", fix) from error
    return StoredStream({name: tensor.numpy() for name, tensor in tensors.items()}, known)


def weights_digest(network: nn.Module) -> str:
    """A digest of all weights: a state is of a stream of this very network."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().numpy().tobytes())
    return found.hexdigest()
