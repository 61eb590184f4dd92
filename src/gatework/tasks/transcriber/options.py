"""The options of a transcriber, the settings of its predictions, and a record."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, model_validator

from gatework.data.sound_changes import FASTEST, SLOWEST
from gatework.tasks.options import (
    MOST_HYPOTHESES,
    MOST_LAYERS,
    MOST_UNITS,
    CellOption,
    PredictionSettings,
    RivalOptions,
)
from gatework.tasks.transcriber.network import STRIDES, NormalizationName
from gatework.training.options import CommandLine, FollowsData, Inherited

__all__ = [
    "HIGHEST_RATE",
    "MOST_BANDS",
    "TranscriberInput",
    "TranscriberOptions",
    "TranscriptRecord",
    "TranscriptSettings",
]

MOST_BANDS = 512
HIGHEST_RATE = 192_000


def _check_stride(stride: int) -> int:
    if stride not in STRIDES:
        raise ValueError(f"it is one of {', '.join(map(str, STRIDES))}")
    return stride


class TranscriberOptions(RivalOptions):
    """How a transcriber is made and trained."""

    rate: Inherited[int] = Field(
        16_000,
        ge=4_000,
        le=HIGHEST_RATE,
        description="samples a second that sounds are read at, whatever they have (8000 for telephone speech)",
    )
    mels: Inherited[int] = Field(80, ge=8, le=MOST_BANDS, description="bands of the log-mel features")
    text: Inherited[Literal["words", "lowercase", "as_written"]] = Field(
        "words",
        description="what is learned of a transcript, and scored: its words in lower case without punctuation, all of "
        "its text in lower case, or the text as it is written",
    )
    tokenizer: Inherited[Literal["character", "bpe", "word"]] = Field(
        "character", description="what a label is; word: for few words, none of which is then misspelt"
    )
    vocabulary_size: Inherited[int | None] = Field(
        None, ge=2, description="labels at most, the most frequent ones (none: all; bpe: 4000)"
    )
    min_frequency: Inherited[int] = Field(1, ge=1, description="rarer labels are unknown, and never said")

    batch_tokens: FollowsData[int] = Field(
        6000,
        ge=1,
        description="frames of 10 ms in a batch at most, padding included (auto: 6000, fewer for small data)",
    )
    batch_examples: int | None = Field(
        32, ge=1, description="recordings of a batch at most (none: as many as batch_tokens holds)"
    )
    max_length: int = Field(
        3000, ge=1, description="frames of 10 ms of a recording; longer ones are left out of the training"
    )

    cell: CellOption = Field(
        "gru", description="the recurrent layers' cell, of the catalogue or FILE.py:NAME"
    )
    normalization: Inherited[NormalizationName] = Field(
        "recording",
        description="the mean that is taken from each band: of the whole recording; speaker: of all recordings of its "
        "speaker that are given together, and their deviation (column speaker); running: of what was heard so far, as "
        "a stream needs; training: of the training data",
    )
    dynamic_range: Inherited[float | None] = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="with normalization=speaker: decibels from a band's loud frames, in all recordings of the speaker, "
        "down to a floor that is added to each frame, so that the noise of rooms and microphones does not tell "
        "speakers apart (none: no floor; 25 where speakers are to be heard who are not in the training data)",
    )
    channels: Inherited[int] = Field(16, ge=1, le=MOST_UNITS, description="of the front's convolutions")
    stride: Inherited[Annotated[int, AfterValidator(_check_stride)]] = Field(
        2,
        description="frames of 10 ms that become one step of the recurrent layers: 1, 2 or 4, which is for sentences",
    )
    hidden_size: Inherited[int] = Field(128, ge=1, le=MOST_UNITS, description="units of each direction")
    num_layers: Inherited[int] = Field(2, ge=1, le=MOST_LAYERS, description="recurrent layers")
    bidirectional: Inherited[bool] = Field(
        True,
        description="read in both directions; false, with normalization=running: it can hear as one speaks",
    )

    templates: Inherited[float] = Field(
        0.0,
        ge=0,
        lt=1,
        description="weight of the training recordings in telling words apart: how near a recording is to those of "
        "each word, by dynamic time warping (0: the network alone; 0.9 for few recordings of single words, with "
        "tokenizer=word; they are at most 1,000 seconds)",
    )
    attention: Inherited[float] = Field(
        0.0,
        ge=0,
        lt=1,
        description="weight of an attention decoder beside CTC, in the loss and in the search (0: there is none; 0.3 "
        "for sentences); it needs whole recordings",
    )

    flat_start: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the training's steps in which where a label is said is not yet left to the network: at "
        "first all places count alike, and ever more those that it holds for likely (0.4 with bidirectional=false, "
        "without which such a network settles on saying all at the beginning, before it has heard it)",
    )
    dropout: float = Field(
        0.3, ge=0, lt=1, description="at the recurrent layers' inputs and outputs, one mask a recording"
    )
    speed: float = Field(
        0.1, ge=0, lt=1, description="training changes a recording's speed by up to this share"
    )
    warp: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="training moves the frequencies by up to this share, as another speaker's",
    )
    noise: float = Field(
        0.3, ge=0, le=1, description="share of the recordings to which training adds steady noise"
    )
    speeds: tuple[Annotated[float, Field(ge=SLOWEST, le=FASTEST)], ...] = Field(
        (),
        description="training also reads each recording so many times as fast, and so much higher, as another "
        "speaker's: 0.9,1.1",
    )
    noises: tuple[str, ...] = Field(
        (),
        description="sounds or folders of sounds in which nothing is said: training also reads each recording with "
        "one of them, 5 to 25 dB softer, behind it",
    )
    coloration: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="training adds a smooth curve of this deviation to the normalised bands, as another microphone",
    )
    noise_alone: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="share of the recordings in whose place training hears noise in which nothing is said",
    )
    frequency_gaps: int = Field(2, ge=0, le=100, description="runs of bands that training blanks out")
    frequency_gap: int = Field(8, ge=0, le=MOST_BANDS, description="bands of such a run at most")
    time_gaps: int = Field(1, ge=0, le=100, description="runs of frames that training blanks out")
    time_gap: int = Field(
        10,
        ge=0,
        le=10_000,
        description="frames of 10 ms of such a run at most, and a quarter of the recording",
    )

    select_by: Literal["wer", "cer", "loss"] = Field(
        "wer",
        description="the figure of the validations that picks the checkpoint and is compared with `target`",
    )

    @model_validator(mode="after")
    def _check_floor(self) -> Self:
        if self.dynamic_range is not None and self.normalization != "speaker":
            raise ValueError(
                "dynamic_range is of normalization=speaker: the others know of no speaker's loud frames"
            )
        return self


class TranscriptSettings(PredictionSettings):
    """How a recording is transcribed."""

    beam: int = Field(
        8, ge=1, le=MOST_HYPOTHESES, description="label sequences that the search keeps; 1: greedy"
    )
    alternatives: int = Field(
        1, ge=1, le=MOST_HYPOTHESES, description="transcripts to show, best first, at most beam"
    )
    hotwords: tuple[str, ...] = Field(
        (), description="words to be expected, such as names: a,b,…; a word of several has spaces"
    )
    hotword_weight: float = Field(
        1.5, allow_inf_nan=False, description="nats that a character of a hotword adds to a text"
    )
    language_model: CommandLine[str | None] = Field(
        None, description="a language model's run, whose log-probability of a text is added"
    )
    language_weight: float = Field(
        0.5,
        ge=0,
        allow_inf_nan=False,
        description="what the language model's log-probabilities are multiplied by",
    )
    word_bonus: float = Field(
        0.5, allow_inf_nan=False, description="with a language model: nats that each word adds to a text"
    )
    pause: float = Field(
        0.5,
        gt=0,
        allow_inf_nan=False,
        description="seconds in which nothing is said, after which what was said is searched and final",
    )
    reject: bool = Field(
        True,
        description="nothing is said where a transcript is less sure than the validation data's right ones",
    )
    times: bool = Field(True, description="also say when each word begins and ends, and how sure it is")

    def pause_steps(self, seconds: float) -> int:
        """A pause in steps of so many seconds."""
        return max(1, round(self.pause / seconds))

    @model_validator(mode="after")
    def _check_beam(self) -> Self:
        if self.alternatives > self.beam:
            raise ValueError(f"alternatives is at most beam, which is {self.beam}, not {self.alternatives}")
        return self


class SoundArray(BaseModel):
    """Samples in [-1, 1], or a file's bytes or path, as `datasets.Audio` has them."""

    model_config = ConfigDict(extra="forbid")

    array: Any = Field(None, description="samples, (N,) or (N, channels)")
    sampling_rate: int | None = Field(None, description="of `array`, in Hz")
    path: str | None = None
    bytes: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.array is None and self.path is None and self.bytes is None:
            raise ValueError("it has neither array, bytes nor path")
        if self.array is not None and self.sampling_rate is None:
            raise ValueError("array needs its sampling_rate")
        return self


class SentSound(BaseModel):
    """One sound that is sent from elsewhere: a file's content, or samples; never the path of a file."""

    model_config = ConfigDict(extra="forbid")

    bytes: str | None = Field(None, description="a sound file (WAV, FLAC, Ogg, MP3) in base64")
    array: list[float] | list[list[float]] | None = Field(
        None, description="samples in [-1, 1], (N,) or (N, channels)"
    )
    sampling_rate: int | None = Field(None, ge=1, le=HIGHEST_RATE, description="of `array`, in Hz")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.array is None) == (self.bytes is None):
            raise ValueError("it has one of array and bytes")
        if (self.array is None) != (self.sampling_rate is None):
            raise ValueError("array needs its sampling_rate, bytes have none")
        return self


class SpokenBy(BaseModel):
    """A sound, and who speaks in it: with `normalization=speaker` sounds of one speaker are normalised together."""

    model_config = ConfigDict(extra="forbid")

    audio: str | SoundArray
    speaker: str | None


class TranscriberInput(RootModel[str | SoundArray | SpokenBy]):
    """One input of `predict`: the path of a sound, or its samples as `{"array": […], "sampling_rate": 16000}`; or a
    dict of such an `audio` and its `speaker`.
    """


class Word(BaseModel):
    """One word of a transcript, from `start` to `end` in seconds."""

    word: str
    start: float
    end: float
    confidence: float = Field(description="the geometric mean of its labels' probabilities where they are")


class Alternative(BaseModel):
    text: str
    probability: float


class TranscriptRecord(BaseModel):
    """One output of `predict`."""

    input: str | dict[str, Any]
    output: str = Field(description="the transcript")
    probability: float = Field(description="of the transcript's labels, all ways of saying them together")
    seconds: float = Field(description="of the recording")
    times: list[Word] | None = None
    alternatives: list[Alternative] | None = None
    rejected: bool | None = Field(None, description="whether something was heard and taken for noise")
