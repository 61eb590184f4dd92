"""What a synthesizer learns from: recordings, their texts, and the characters and speakers in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import Field, field_validator

from gatework.data import LogMel, Recording, without_silence
from gatework.data.spelling import spelled
from gatework.errors import InputError, nearest
from gatework.tasks.artifacts import JsonArtifact

__all__ = ["Alphabet", "RecordedSpeech", "speaker_of", "text_of"]

MARKS = ".!?;:,"


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSpeech:
    """A recording, its text as it is learned, and how its frames are made."""

    recording: Recording
    text: str
    features: LogMel
    trim: bool

    def samples(self, rate: int) -> np.ndarray:
        """(N,) float32 at a rate, without the silence at both ends where that is to be left out."""
        samples = self.recording.samples(rate)
        return without_silence(samples, rate) if self.trim else samples

    def frames(self) -> np.ndarray:
        """(T, M) log-mel frames; of a recording shorter than one frame there is one."""
        samples = self.samples(self.features.rate)
        return self.features.frames(np.pad(samples, (0, max(0, self.features.frame_samples - len(samples)))))


@dataclass(frozen=True, slots=True, eq=False)
class AlignedSpeech:
    """A recording whose text was looked for in it.

    Attributes:
        text: N characters of the alphabet.
        log_mel: (T, M).
        durations: (N,) frames of each character, which sum to T.
        found: whether the text was found; else its characters are all equally long.
    """

    text: str
    log_mel: np.ndarray
    durations: np.ndarray
    found: bool

    def frames(self) -> np.ndarray:
        """(T, M)."""
        return self.log_mel


class Alphabet(JsonArtifact):
    """What can be spoken, and by whom.

    Attributes:
        characters: each once, in order; a space is one of them.
        speakers: their names, those of the most recordings first; empty where recordings name none.
    """

    characters: str = Field(min_length=1)
    speakers: list[str]

    @field_validator("characters", "speakers")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        if len(set(value)) != len(value):
            raise ValueError("it has one of them twice")
        return value

    @field_validator("characters")
    @classmethod
    def _with_a_space(cls, characters: str) -> str:
        if " " not in characters:
            raise ValueError("it has no space")
        return characters

    @classmethod
    def of(cls, recorded: Sequence[RecordedSpeech]) -> Self:
        """Of training recordings."""
        characters = "".join(sorted({" "}.union(*(each.text for each in recorded))))
        named = Counter(each.recording.speaker for each in recorded)
        speakers = [speaker for speaker, _ in named.most_common() if speaker is not None]
        return cls(characters=characters, speakers=speakers)

    def known(self, text: str) -> str:
        """A text without the characters that there are not; a space where none is left."""
        return "".join(each for each in text if each in self.characters) or " "

    def spelled(self, text: str) -> str:
        """A text in these characters.

        Raises:
            InputError: a character can be neither spoken nor spelled out; or there is nothing to speak.
        """
        found = spelled(text, self.characters, where=f"text {text!r:.40}")
        if not any(each.isalnum() for each in found):
            raise InputError(f"text {text!r:.40}", "has nothing to speak", "Give a word.")
        return found

    def ids(self, text: str) -> np.ndarray:
        """(N,) int32 of a text in these characters."""
        places = {character: place for place, character in enumerate(self.characters)}
        return np.array([places[each] for each in text], np.int32)

    def speaker_id(self, speaker: str | None, where: str) -> int:
        """The place of a speaker; of none, and where there are none, 0.

        Raises:
            InputError: there is no such speaker.
        """
        if speaker is None or not self.speakers:
            return 0
        if speaker not in self.speakers:
            raise InputError(where, f"there is no speaker {speaker!r:.40}", nearest(speaker, self.speakers))
        return self.speakers.index(speaker)


def text_of(input: str | Mapping[str, Any]) -> str:
    """The text of an input."""
    return input if isinstance(input, str) else input["text"]


def speaker_of(input: str | Mapping[str, Any]) -> str | None:
    """The speaker that an input names."""
    return None if isinstance(input, str) else input.get("speaker")
