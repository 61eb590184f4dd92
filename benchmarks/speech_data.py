"""The spoken digits of FSDD as manifests, and strings of them that are joined from recordings, with their times."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatework.data.sound import read_sound, write_sound

__all__ = ["RATE", "Digit", "all_digits", "joined", "truth_of", "write_manifest"]

RATE = 8000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHORTEST, LONGEST = 3, 7  # digits of a string
PAUSE = (0.05, 0.6)  # seconds between two digits
QUIET = 32 * RATE // 1000  # samples
BELOW, ABOVE = (
    35,
    6,
)  # decibels below a recording's loudest 10 ms, and above its quietest 32 ms, where a word is heard


class Digit(NamedTuple):
    """A recording of one digit."""

    path: Path
    text: str
    speaker: str
    index: int


def all_digits(folder: Path) -> list[Digit]:
    """Every recording of FSDD's folder, whose files are named {digit}_{speaker}_{index}.wav."""
    found = []
    for path in sorted(folder.glob("*.wav")):
        digit, speaker, index = path.stem.split("_")
        found.append(Digit(path, WORDS[int(digit)], speaker, int(index)))
    return found


def write_manifest(path: Path, digits: Iterable[Digit]) -> None:
    """A table with the columns audio, text and speaker."""
    rows = [f"{each.path}\t{each.text}\t{each.speaker}\n" for each in digits]
    path.write_text("audio\ttext\tspeaker\n" + "".join(rows))


def joined(
    digits: Sequence[Digit],
    count: int,
    folder: Path,
    seed: int,
    *,
    shortest: int = SHORTEST,
    pauses: tuple[float, float] = PAUSE,
    around: bool = True,
) -> list[Digit]:
    """Strings of 3 to 7 digits of one speaker, with pauses of random length between them, and `around` them too.

    Of a recording what is heard is taken, without the silence around it: that is when its word begins and ends. A pause
    is noise that sounds as the quietest 32 ms of the recordings beside it do. The times of the words, in seconds, are
    written beside each sound as JSON.
    """
    generator = random.Random(seed)
    noise = np.random.default_rng(seed)
    by_speaker: dict[str, list[Digit]] = {}
    for each in digits:
        by_speaker.setdefault(each.speaker, []).append(each)
    whole = {each.path: read_sound(each.path, RATE) for each in digits}
    sounds = {path: _heard(samples) for path, samples in whole.items()}
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        speaker = generator.choice(sorted(by_speaker))
        chosen = generator.choices(by_speaker[speaker], k=generator.randint(shortest, LONGEST))
        quiet = sorted((_quietest(whole[each.path]) for each in chosen), key=np.std)[len(chosen) // 2]
        parts, times, length = [], [], 0

        def pause() -> np.ndarray:
            size = round(generator.uniform(*pauses) * RATE)
            return _like(quiet, size, noise)  # noqa: B023  # called at once

        for each in chosen:
            before = pause() if around or parts else np.zeros(0, np.float32)
            begin = length + len(before)
            length = begin + len(sounds[each.path])
            parts += [before, sounds[each.path]]
            times.append({"word": each.text, "start": begin / RATE, "end": length / RATE})
        path = folder / f"{number:05}.wav"
        write_sound(path, np.concatenate([*parts, pause()] if around else parts), RATE)
        path.with_suffix(".json").write_text(json.dumps(times))
        made.append(Digit(path, " ".join(each.text for each in chosen), speaker, number))
    return made


def truth_of(path: Path) -> list[dict[str, float]]:
    """When the words of a joined string begin and end, in seconds."""
    return json.loads(path.with_suffix(".json").read_text())


def _heard(samples: np.ndarray) -> np.ndarray:
    """A recording from its first to its last 10 ms that are heard."""
    size = RATE // 100
    loud = _levels(samples, size)
    least = max(loud.max() * 10 ** (-BELOW / 20), _quietest(samples).std() * 10 ** (ABOVE / 20))
    heard = np.flatnonzero(loud >= min(least, loud.max()))
    return samples[int(heard[0]) * size : (int(heard[-1]) + 1) * size]


def _quietest(samples: np.ndarray) -> np.ndarray:
    """The quietest 32 ms of a recording."""
    start = int(_levels(samples, QUIET).argmin()) * QUIET
    return samples[start : start + QUIET]


def _like(quiet: np.ndarray, size: int, noise: np.random.Generator) -> np.ndarray:
    """So many samples of noise with the spectrum of some others, and as loud."""
    spectrum = np.abs(np.fft.rfft((quiet - quiet.mean()) * np.hanning(len(quiet))))
    drawn = np.fft.rfft(noise.normal(size=size))
    places = np.linspace(0, len(spectrum) - 1, len(drawn))
    made = np.fft.irfft(drawn * np.interp(places, np.arange(len(spectrum)), spectrum), size)
    return (made * quiet.std() / max(made.std(), 1e-12)).astype(np.float32)


def _levels(samples: np.ndarray, size: int) -> np.ndarray:
    """The deviation of each frame of so many samples."""
    return samples[: len(samples) // size * size].reshape(-1, size).std(1)
