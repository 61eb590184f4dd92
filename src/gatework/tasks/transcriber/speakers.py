"""What all recordings of a speaker have in common: the mean and the variance of each band, and a floor below speech.

With the speaker's microphone, room and voice in it, it is what is to be taken out (Viikki & Laurila 1998, "Cepstral
domain segmental feature vector normalization for noise robust speech recognition"); of one short recording it would
hold what is said as well.

The logarithm makes much of what is soft, and how soft a pause is, or a band without speech, is the room's doing. A
floor so many decibels below a band's loud frames makes the pauses of all speakers alike.

Shapes: T frames, M mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatework.data.recordings import Recording

__all__ = ["PRIOR_FRAMES", "floor_of", "floored", "is_spoken_by", "speaker_of", "speaker_statistics"]

_LOUD = 95  # percentile of a band's frames that is called its loudness
_LOUD_FRAMES = 100_000  # about so many frames of a speaker tell how loud they are

PRIOR_FRAMES = 50.0  # that the training data counts for beside what was heard of a speaker


def is_spoken_by(input: Any) -> bool:
    """Whether an input of `predict` is a sound together with its speaker."""
    return isinstance(input, Mapping) and "audio" in input


def speaker_of(input: Any) -> str | None:
    """Who speaks in a recording, or in an input of `predict`; None where it is not known."""
    if isinstance(input, Recording):
        return input.speaker
    return input["speaker"] if is_spoken_by(input) else None


def speaker_statistics(
    recordings: Sequence[np.ndarray], speakers: Sequence[str | None], dynamic_range: float | None = None
) -> list[np.ndarray]:
    """Of each of N recordings what its speaker's frames are like, (3 M + 1,) float32 each: how many there are; of each
    band the mean and the variance, above its floor; and the floor, in nats. A recording whose speaker is not known has
    a speaker of its own.

    Args:
        recordings: (T, M) each.
        speakers: N.
        dynamic_range: how many decibels the floor of a band is below what 5 % of its frames exceed; None: the floor is
            minus infinity.
    """
    names: list[Any] = [index if name is None else name for index, name in enumerate(speakers)]
    own: dict[Any, list[np.ndarray]] = {}
    for name, frames in zip(names, recordings, strict=True):
        own.setdefault(name, []).append(frames)
    known = {name: _statistics(some, dynamic_range) for name, some in own.items()}
    return [known[name] for name in names]


def floor_of(speaker: np.ndarray) -> np.ndarray:
    """(M,), of what `speaker_statistics` says of a speaker, (3 M + 1,)."""
    return speaker[-(len(speaker) // 3) :]


def floored(frames: np.ndarray, speaker: np.ndarray | None) -> np.ndarray:
    """Log-mel frames, (T, M), with the power of their speaker's floor added to each band.

    Args:
        speaker: (3 M + 1,), see `speaker_statistics`; None: nothing is added.
    """
    return frames if speaker is None else np.logaddexp(frames, floor_of(speaker))


def _statistics(recordings: Sequence[np.ndarray], dynamic_range: float | None) -> np.ndarray:
    """Of one speaker's recordings, (T, M) each, see `speaker_statistics`."""
    count, bands = sum(map(len, recordings)), recordings[0].shape[1]
    floor = np.full(bands, -np.inf, np.float32)
    if not count:
        return np.concatenate([np.zeros(2 * bands + 1, np.float32), floor])
    if dynamic_range is not None:
        some = np.concatenate([each[:: 1 + count // _LOUD_FRAMES] for each in recordings])
        floor = (np.percentile(some, _LOUD, axis=0) - math.log(10) / 10 * dynamic_range).astype(np.float32)
    total = square = np.zeros(bands)
    for each in recordings:
        value = np.logaddexp(each, floor).astype(np.float64)
        total, square = total + value.sum(0), square + np.square(value).sum(0)
    mean = total / count
    variance = np.maximum(square / count - mean**2, 0)
    return np.concatenate([[count], mean, variance, floor]).astype(np.float32)
