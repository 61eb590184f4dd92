"""What all recordings of a speaker have in common: the mean and the variance of each band.

With the speaker's microphone, room and voice in it, it is what is to be taken out (Viikki & Laurila 1998, "Cepstral
domain segmental feature vector normalization for noise robust speech recognition"); of one short recording it would
hold what is said as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatework.data.recordings import Recording

__all__ = ["PRIOR_FRAMES", "is_spoken_by", "speaker_of", "speaker_statistics"]

PRIOR_FRAMES = 50.0  # that the training data counts for beside what was heard of a speaker


def is_spoken_by(input: Any) -> bool:
    """Whether an input of `predict` is a sound together with its speaker."""
    return isinstance(input, Mapping) and "audio" in input


def speaker_of(input: Any) -> str | None:
    """Who speaks in a recording, or in an input of `predict`; None where it is not known."""
    if isinstance(input, Recording):
        return input.speaker
    return input["speaker"] if is_spoken_by(input) else None


def speaker_statistics(recordings: Sequence[np.ndarray], speakers: Sequence[str | None]) -> list[np.ndarray]:
    """Of each of N recordings what its speaker's frames are like, (2 M + 1,) float32 each: how many there are, the mean
    and the variance of each band. A recording whose speaker is not known has a speaker of its own.

    Args:
        recordings: (T, M) each.
        speakers: N.
    """
    names: list[Any] = [index if name is None else name for index, name in enumerate(speakers)]
    sums: dict[Any, np.ndarray] = {}
    for name, frames in zip(names, recordings, strict=True):
        value = frames.astype(np.float64)
        own = np.concatenate([[len(value)], value.sum(0), np.square(value).sum(0)])
        sums[name] = sums[name] + own if name in sums else own
    known = {}
    for name, total in sums.items():
        count, mean, square = total[0], *np.split(total[1:] / max(total[0], 1), 2)
        known[name] = np.concatenate([[count], mean, np.maximum(square - mean**2, 0)]).astype(np.float32)
    return [known[name] for name in names]
