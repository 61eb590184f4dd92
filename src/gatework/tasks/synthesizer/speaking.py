"""From frames to what is answered: the times of words, pauses, and a sound's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gatework.data import LogMel, sound_of_log_mel, write_sound
from gatework.data.log_mel import FRAME_SHIFT
from gatework.errors import InputError
from gatework.inspect import draw_speech
from gatework.tasks.synthesizer.network import Spoken
from gatework.tasks.synthesizer.options import SpeechSettings
from gatework.tasks.synthesizer.recorded import MARKS

__all__ = ["check_files", "spoken_words", "with_pauses", "write_speech"]

_SILENCE = float(np.log(np.finfo(np.float32).eps))  # of a band without energy
_FILES = {  # by setting, the endings of a file's name: anything else is a folder
    "out": (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif"),
    "picture": (".png", ".svg", ".pdf"),
}


def with_pauses(spoken: Spoken, text: str, pause: float) -> Spoken:
    """What was spoken, with silence of so many seconds after each punctuation mark but the last character."""
    added = round(pause / FRAME_SHIFT)
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
    ends = durations.cumsum() * FRAME_SHIFT
    begins = ends - durations * FRAME_SHIFT
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


def check_files(settings: SpeechSettings, texts: int) -> None:
    """Refuse one file for several texts, before any is written.

    Raises:
        InputError: there are several.
    """
    for name, suffixes in _FILES.items():
        given = getattr(settings, name)
        if given is not None and texts > 1 and Path(given).suffix.lower() in suffixes:
            what = f"names one file, {given}, for several texts"
            raise InputError(f"setting {name}", what, f"Give a folder: {name}=spoken.")


def write_speech(
    spoken: Spoken, text: str, features: LogMel, settings: SpeechSettings, number: int
) -> str | None:
    """Write the sound of a text that was spoken, and its picture, where the settings ask for them.

    Args:
        number: of the text among those that are spoken with these settings, from 1.

    Returns:
        The sound's path; None where there is no `out`.

    Raises:
        InputError: several texts and one file, or a file that cannot be written.
        MissingExtraError: matplotlib is not installed, and there is to be a picture.
    """
    check_files(settings, number)
    sound, picture = (_path(settings, name, number) for name in _FILES)
    if sound is not None:
        samples = sound_of_log_mel(spoken.frames, features, steps=settings.steps, seed=settings.seed)
        write_sound(sound, samples, features.rate)
    if picture is not None:
        draw_speech(spoken.frames, text, spoken.durations.tolist(), picture, title=text)
    return None if sound is None else str(sound)


def _path(settings: SpeechSettings, name: str, number: int) -> Path | None:
    """The file that a setting names, or the numbered one in its folder."""
    given, suffixes = getattr(settings, name), _FILES[name]
    if given is None or Path(given).suffix.lower() in suffixes:
        return None if given is None else Path(given)
    folder = Path(given)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{number:04}{suffixes[0]}"
