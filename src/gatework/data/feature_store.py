"""The log-mel features of many recordings in one file, which is memory-mapped: it may be larger than memory.

The file is a line of JSON, padded with spaces; the frames of all recordings, one after another, (F, M) little-endian
float32; and where each recording ends, (N,) int64. It says by a key which recordings and settings it was made from, and
by a digest whether it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .log_mel import LogMel
from .recordings import Recording
from .sound_changes import without_silence
from .tables import file_stamps
from .whole_file import WholeFile

__all__ = ["FeatureStore"]

FORMAT_VERSION = 1
_FORMAT = "gatework features"
_HEADER_BYTES = 512
_BLOCK = 1 << 24


class FeatureStore(Sequence[np.ndarray]):
    """The features of N recordings.

    Attributes:
        frames: (F, M) float32, those of all recordings, one after another; read-only and memory-mapped.
        ends: (N,) int64, where each recording ends.
    """

    def __init__(self, frames: np.ndarray, ends: np.ndarray) -> None:
        """`of` makes one."""
        self.frames, self.ends = frames, ends

    @classmethod
    def of(
        cls,
        recordings: Sequence[Recording],
        features: LogMel,
        path: str | os.PathLike[str],
        tick: Callable[[int], None] | None = None,
        *,
        trim: bool = False,
    ) -> FeatureStore:
        """The features of recordings: the file's, if it holds these very ones whole; else new ones, which it keeps.

        Args:
            recordings: N of them.
            features: how features are made.
            path: the file, in a folder that is there. What is damaged, or was made from something else, is replaced.
            tick: is told after each recording that is read how many are done.
            trim: leave out the silence at both ends of a recording.

        Raises:
            InputError: a recording that cannot be read, or a file that cannot be written.
        """
        path = Path(path)
        key = _key(recordings, features, trim)
        found = cls._opened(path, key)
        if found is None:
            _write(path, key, recordings, features, tick, trim)
            found = cls._opened(path, key)
        if found is None:
            raise OSError(f"{path} was changed by another program as soon as it was written")
        return found

    @classmethod
    def _opened(cls, path: Path, key: str) -> FeatureStore | None:
        """The store of a file; None where there is none of this key that is whole."""
        try:
            with path.open("rb") as file:
                header = _header(file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size)
                if header is None or header["key"] != key or header["sha256"] != _digest(file):
                    return None
        except OSError:  # what cannot be read is made again, and says so if it cannot be written
            return None
        count, mels, recordings = header["frames"], header["mels"], header["recordings"]
        begin = _HEADER_BYTES + count * mels * 4
        ends = np.fromfile(path, "<i8", recordings, offset=begin).astype(np.int64)
        if not count:
            return cls(np.zeros((0, mels), np.float32), ends)
        return cls(np.memmap(path, "<f4", "r", _HEADER_BYTES, (count, mels)).view(np.ndarray), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        """`store[i]` is (T, M), a view of the file; negative i counts from the end."""
        number = range(len(self))[index]
        return self.frames[self.ends[number - 1] if number else 0 : self.ends[number]]


def _write(
    path: Path,
    key: str,
    recordings: Sequence[Recording],
    features: LogMel,
    tick: Callable[[int], None] | None,
    trim: bool,
) -> None:
    ends = np.zeros(len(recordings), "<i8")
    total = 0
    digest = hashlib.sha256()
    with WholeFile(path) as file:
        file.write(b" " * _HEADER_BYTES)
        for index, recording in enumerate(recordings):
            samples = recording.samples(features.rate)
            samples = without_silence(samples, features.rate) if trim else samples
            frames = features.frames(samples).astype("<f4", copy=False)
            total += len(frames)
            ends[index] = total
            digest.update(frames.data)
            file.write(frames.data)
            if tick is not None:
                tick(index + 1)
        digest.update(ends.data)
        file.write(ends.data)
        header = {
            "format": _FORMAT,
            "format_version": FORMAT_VERSION,
            "key": key,
            "frames": total,
            "mels": features.mels,
            "recordings": len(recordings),
            "sha256": digest.hexdigest(),
        }
        file.write(json.dumps(header).encode().ljust(_HEADER_BYTES - 1) + b"\n", at=0)


def _header(line: bytes, size: int) -> Mapping[str, Any] | None:
    """The header of a file of so many bytes; None where it is none, or not of a file of this size."""
    try:
        header = json.loads(line)
        known = (header["format"], header["format_version"]) == (_FORMAT, FORMAT_VERSION)
        right = _HEADER_BYTES + header["frames"] * header["mels"] * 4 + header["recordings"] * 8
    except (ValueError, TypeError, KeyError):
        return None
    return header if known and right == size and header.keys() >= {"key", "sha256"} else None


def _digest(file: Any) -> str:
    """Of all that is left of a file."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _key(recordings: Sequence[Recording], features: LogMel, trim: bool) -> str:
    """A digest of what features are made from: the settings, and of each recording its file as it is, or its bytes."""
    digest = hashlib.sha256(features.model_dump_json().encode() + b" trimmed" * trim)
    for recording in recordings:
        _add_recording(digest, recording)
    return digest.hexdigest()


def _add_recording(digest: Any, recording: Recording) -> None:
    """Add what a recording's samples are made from to a digest."""
    digest.update(f"{recording.start} {recording.seconds} ".encode())
    sound = recording.sound() if callable(recording.sound) else recording.sound
    stamps = file_stamps(sound) if isinstance(sound, str | os.PathLike) else None
    if stamps is not None:
        digest.update(repr(stamps).encode())
    else:
        _add(digest, sound)
    if (change := recording.change) is not None:
        digest.update(f"{change.speed} {change.ratio} {change.seed} ".encode())
        if change.noise is not None:
            _add_recording(digest, change.noise)


def _add(digest: Any, sound: Any) -> None:
    """Add a sound in memory to a digest."""
    if isinstance(sound, Mapping):
        for name in ("array", "sampling_rate", "bytes", "path"):
            _add(digest, sound.get(name))
    elif isinstance(sound, tuple):
        for part in sound:
            _add(digest, part)
    elif isinstance(sound, bytes):
        digest.update(sound)
    elif hasattr(sound, "__array__"):
        array = np.ascontiguousarray(sound)
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    else:
        digest.update(repr(sound).encode())
