"""The options of a synthesizer, the settings of its predictions, and a record."""

from __future__ import annotations

from itertools import count
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel

from gatework.tasks.options import (
    MOST_LAYERS,
    MOST_UNITS,
    CellOption,
    PredictionSettings,
    RivalOptions,
)
from gatework.tasks.transcriber.options import HIGHEST_RATE, MOST_BANDS
from gatework.training.options import CommandLine, FollowsData, Inherited

__all__ = [
    "ListeningSettings",
    "SpeakingSettings",
    "SpeechRecord",
    "SpeechSettings",
    "SynthesizerInput",
    "SynthesizerOptions",
    "Text",
]

_MOST_STEPS = 1000


class SynthesizerOptions(RivalOptions):
    """How a synthesizer is made and trained."""

    rate: Inherited[int] = Field(
        16_000,
        ge=4_000,
        le=HIGHEST_RATE,
        description="samples a second that recordings are read at, and that it speaks with",
    )
    mels: Inherited[int] = Field(80, ge=16, le=MOST_BANDS, description="bands of the log-mel features")
    text: Inherited[Literal["lowercase", "as_written"]] = Field(
        "lowercase", description="what is learned of a text: all in lower case, or as it is written"
    )
    speaker: Inherited[str | None] = Field(
        None,
        description="learn from this speaker's recordings alone (none: from all, each voice by its name)",
    )
    trim: Inherited[bool] = Field(True, description="leave out the silence at both ends of a recording")

    aligner: str | None = Field(
        None,
        description="a transcriber's run that says how long each character of a recording is (none: a small one "
        "is trained on the same recordings first)",
    )
    aligner_steps: int = Field(
        1000, ge=1, description="optimiser steps of the transcriber that is trained first"
    )

    batch_tokens: FollowsData[int] = Field(
        6000,
        ge=1,
        description="frames of 10 ms in a batch at most, padding included (auto: 6000, fewer for small data)",
    )
    batch_examples: int | None = Field(
        16, ge=1, description="recordings of a batch at most (none: as many as batch_tokens holds)"
    )
    max_length: int = Field(
        2000, ge=1, description="frames of 10 ms of a recording; longer ones are left out of the training"
    )

    cell: CellOption = Field(
        "gru", description="the recurrent layers' cell, of the catalogue or FILE.py:NAME"
    )
    embedding_size: Inherited[int] = Field(
        64, ge=1, le=MOST_UNITS, description="features of a character before the network reads it"
    )
    channels: Inherited[int] = Field(
        128, ge=1, le=MOST_UNITS, description="of the convolutions over the characters and over the frames"
    )
    hidden_size: Inherited[int] = Field(
        128,
        ge=1,
        le=MOST_UNITS,
        description="units of each direction of the encoder; the decoder has twice as many",
    )
    num_layers: Inherited[int] = Field(1, ge=1, le=MOST_LAYERS, description="recurrent layers of the decoder")
    reduction: Inherited[int] = Field(
        2, ge=1, le=100, description="frames of 10 ms that the decoder gives at a step"
    )

    attention: Inherited[Literal["durations", "location"]] = Field(
        "durations",
        description="how the decoder reads the characters: durations, which are learned from the aligner; location: "
        "attention that finds its own way, without a setting of speed",
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="in the convolutions and at the recurrent layers' inputs"
    )
    prenet_dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="on the frame before, as the decoder reads it: it makes it listen to the text",
    )


class SpeakingSettings(PredictionSettings):
    """How a text is spoken."""

    speaker: str | None = Field(
        None, description="whose voice, where the text names none (none: that of the most recordings)"
    )
    speed: float = Field(1.0, ge=0.25, le=4, description="2: twice as fast as learned; 0.5: half as fast")


class ListeningSettings(SpeakingSettings):
    """How a text is spoken whose frames are scored, and who listens."""

    transcriber: CommandLine[str | None] = Field(
        None,
        description="a transcriber's run that hears what is spoken, and the recordings (none: no words are counted)",
    )


class SpeechSettings(SpeakingSettings):
    """How a text is spoken, and where the sound is written."""

    pause: float = Field(
        0.0, ge=0, le=60, description="seconds of silence more after each of . ! ? ; : and ,"
    )
    out: CommandLine[str | None] = Field(
        None,
        description="the sound file of a text (out.wav, .flac, .ogg, .mp3), or a folder for the numbered files of "
        "several (none: no sound is made)",
    )
    picture: CommandLine[str | None] = Field(
        None,
        description="the file of a picture: the spectrogram with its characters (out.png, .svg, .pdf), or a folder as "
        "for `out`; with the package matplotlib",
    )
    steps: int = Field(
        60, ge=1, le=_MOST_STEPS, description="of the search for the sound's phases (Griffin-Lim)"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of the phases at the start")

    _numbers: Any = PrivateAttr(default_factory=lambda: count(1))

    def next_number(self) -> int:
        """Of the next sound that is written with these settings, from 1."""
        return next(self._numbers)


class Text(BaseModel):
    """A text, and who is to speak it."""

    model_config = ConfigDict(extra="forbid")

    text: str
    speaker: str | None = None


class SynthesizerInput(RootModel[str | Text]):
    """One input of `predict`: a text, or a text and a speaker as `{"text": "…", "speaker": "…"}`."""


class SpokenWord(BaseModel):
    """One word of a text, from `start` to `end` in seconds."""

    word: str
    start: float
    end: float


class SpeechRecord(BaseModel):
    """One output of `predict`."""

    input: str | dict[str, Any]
    output: str | None = Field(description="the path of the sound; null where none was asked for")
    text: str = Field(description="what is spoken: the text in the characters of the alphabet")
    speaker: str | None = Field(description="whose voice it is; null where there is one")
    seconds: float = Field(description="of the sound")
    times: list[SpokenWord]
    warnings: list[str] | None = None
