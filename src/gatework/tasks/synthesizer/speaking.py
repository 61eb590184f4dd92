"""From frames to what is answered: the times of words, pauses, and a sound's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatework.data import LogMel, sound_of_log_mel, write_sound
from gatework.errors import InputError
from gatework.tasks.synthesizer.network import Spoken
from gatework.tasks.synthesizer.options import SpeechSettings
from gatework.tasks.synthesizer.recorded import MARKS

__all__ = ["FRAME", "check_out", "spoken_words", "with_pauses", "write_speech"]

FRAME = 0.01  # seconds from one frame to the next
_SILENCE = float(np.log(np.finfo(np.float32).eps))  # of a band without energy
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif")


def with_pauses(spoken: Spoken, text: str, pause: float) -> Spoken:
    """What was spoken, with silence of so many seconds after each punctuation mark but the last character."""
    added = round(pause / FRAME)
    marks = [place for place, each in enumerate(text[:-1]) if each in MARKS and text[place + 1] not in MARKS]
    if not added or not marks:
        return spoken
    ends = spoken.durations.cumsum().round().astype(np.int64).clip(0, len(spoken.frames))
    where = np.repeat(ends[marks], added)
    durations = spoken.durations.copy()
    durations[marks] += added
    return Spoken(np.insert(spoken.frames, where, _SILENCE, axis=0), durations)


def spoken_words(text: str, durations: np.ndarray) -> list[dict[str, Any]]:
    """When each word of a text begins and ends, in seconds: its letters and digits, without the marks around them.

    Args:
        text: N characters.
        durations: (N,) frames.
    """
    ends = durations.cumsum() * FRAME
    begins = ends - durations * FRAME
    words: list[dict[str, Any]] = []
    start = 0
    for place in range(len(text) + 1):
        if place == len(text) or text[place].isspace():
            own = [index for index in range(start, place) if text[index].isalnum()]
            if own:
                first, last = own[0], own[-1]
                word = text[first : last + 1]
                words.append(
                    {
                        "word": word,
                        "start": round(float(begins[first]), 3),
                        "end": round(float(ends[last]), 3),
                    }
                )
            start = place + 1
    return words


def check_out(settings: SpeechSettings, texts: int) -> None:
    """Refuse one file for several texts, before any is written.

    Raises:
        InputError: there are several.
    """
    if settings.out is not None and texts > 1 and Path(settings.out).suffix.lower() in _SUFFIXES:
        raise InputError(
            "setting out",
            f"names one file, {settings.out}, for several texts",
            "Give a folder: out=spoken.",
        )


def write_speech(
    spoken: Sequence[Spoken],
    features: LogMel,
    settings: SpeechSettings,
    number: Callable[[], int],
) -> list[str | None]:
    """Write the sound of each text that was spoken: into the file that `out` names, or numbered ones in that folder.

    Returns:
        Their paths; None each where there is no `out`.

    Raises:
        InputError: several texts and one file, or a file that cannot be written.
    """
    if settings.out is None:
        return [None] * len(spoken)
    paths: list[str | None] = []
    for each in spoken:
        own, path = number(), Path(settings.out)
        check_out(settings, own)
        if path.suffix.lower() not in _SUFFIXES:
            path.mkdir(parents=True, exist_ok=True)
            path = path / f"{own:04}.wav"
        samples = sound_of_log_mel(each.frames, features, steps=settings.steps, seed=settings.seed)
        write_sound(path, samples, features.rate)
        paths.append(str(path))
    return paths
