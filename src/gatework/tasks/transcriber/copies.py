"""Copies of the training recordings whose samples are changed: other speeds, and noise behind the voice.

`changes.py` changes a recording's features, anew each time they are read. Here the sound itself is changed, once:
played faster it is higher too, and its speaker another one (Ko et al. 2015, "Audio augmentation for speech
recognition"); noise is what was recorded somewhere.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from gatework.data.recordings import Recording, SoundChange, read_recordings
from gatework.tasks.example_task import Example

__all__ = ["changed_copies"]

_RATIOS = (5.0, 25.0)  # of the sound to the noise, in decibels


def changed_copies(
    examples: Sequence[Example], speeds: Sequence[float], noises: Sequence[str]
) -> list[Example]:
    """A copy of each of N examples, whose inputs are recordings, for each speed, and one with noise if there are any.

    Args:
        speeds: how many times as fast.
        noises: sounds, or folders of sounds; one is drawn for each recording, the same in each training.

    Raises:
        InputError: as `read_recordings`.
    """
    copies = [_copy(each, SoundChange(speed)) for speed in speeds for each in examples]
    recorded = [one for path in noises for one in read_recordings(path, text=False)]
    if recorded:
        draw = random.Random(0)
        for each in examples:
            noise, ratio = draw.choice(recorded), draw.uniform(*_RATIOS)
            copies.append(_copy(each, SoundChange(noise=noise, ratio=ratio, seed=draw.getrandbits(32))))
    return copies


def _copy(example: Example, change: SoundChange) -> Example:
    recording: Recording = example.input
    speaker = recording.speaker
    if speaker is not None and change.speed != 1:
        speaker = f"{speaker} at speed {change.speed:g}"
    return example._replace(input=replace(recording, speaker=speaker, change=change))
