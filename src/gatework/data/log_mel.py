"""Logarithms of mel-band energies, of a whole sound or as it comes, and mel-frequency cepstral coefficients.

Both are Kaldi's (kaldi-native-fbank): frames of samples less their mean, with pre-emphasis of 0.97 and Povey's window;
triangular bands, equally wide in mel = 1127 ln(1 + f / 700), over the power spectrum. There is no dither, so that equal
samples give equal features. Only frames that lie inside the sound are taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError, MissingExtraError

__all__ = ["CEPSTRA", "FRAME_SHIFT", "PRE_EMPHASIS", "LogMel", "LogMelStream", "cepstra", "mfcc"]

CEPSTRA = 13
FRAME_SHIFT = 0.01  # seconds from the begin of a frame to that of the next, where nothing else is said
_BANDS_OF_CEPSTRA = 23
_LIFTER = 22
PRE_EMPHASIS = 0.97
_BLOCK = 1 << 20  # samples that are given to Kaldi's code at a time


class LogMel(BaseModel):
    """How log-mel features are made of samples: what a run keeps of it, and the making.

    Attributes:
        rate: of the samples, in Hz.
        mels: M, how many bands.
        low, high: from which to which frequency, in Hz; None: up to half of the rate.
        frame, shift: how long a frame is, and from the begin of one to that of the next, in milliseconds.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    rate: int = Field(default=16_000, ge=1_000, le=768_000)
    mels: int = Field(default=80, ge=1, le=1_000)
    low: float = Field(default=20.0, ge=0)
    high: float | None = None
    frame: float = Field(default=25.0, ge=1, le=1_000)
    shift: float = Field(default=1000 * FRAME_SHIFT, ge=1, le=1_000)

    @property
    def frame_samples(self) -> int:
        """How many samples a frame has."""
        return int(self.rate * 0.001 * self.frame)

    @property
    def shift_samples(self) -> int:
        """How many samples lie between the begins of two frames."""
        return int(self.rate * 0.001 * self.shift)

    @property
    def points(self) -> int:
        """Of the transform of a frame: the power of 2 that holds it."""
        return 1 << (self.frame_samples - 1).bit_length()

    def count(self, samples: int) -> int:
        """T, the frames of so many samples."""
        return max(0, (samples - self.frame_samples) // self.shift_samples + 1)

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """(T, M) float32, the natural logarithms of the bands' energies, which are at least 1.2e-7.

        Args:
            samples: (N,) in [-1, 1], at this rate. T is 0 where they are fewer than a frame has.

        Raises:
            InputError: a band that is narrower than the spectrum's lines, or a band's limits that are none.
            MissingExtraError: kaldi-native-fbank is not installed.
        """
        stream = self.stream()
        parts = [stream.accept(samples[at : at + _BLOCK]) for at in range(0, len(samples), _BLOCK)]
        return np.concatenate([*parts, stream.finish()])

    def stream(self, state: Mapping[str, np.ndarray] | None = None) -> LogMelStream:
        """The features of samples as they come; with the state of another stream, what follows after it."""
        return LogMelStream(self, state)

    def window(self) -> np.ndarray:
        """(frame_samples,) float64, Povey's window."""
        angles = 2 * np.pi * np.arange(self.frame_samples) / (self.frame_samples - 1)
        return (0.5 - 0.5 * np.cos(angles)) ** 0.85

    def bands(self) -> np.ndarray:
        """(M, points / 2 + 1) float32, how much of each line of a power spectrum each band has. Raises as `frames`."""
        options = self._options()
        with self._refused():
            return _kaldi().MelBanks(options.mel_opts, options.frame_opts).get_matrix()

    def extractor(self) -> Any:
        """Kaldi's own object. Raises as `frames`."""
        options = self._options()
        with self._refused():
            return _kaldi().OnlineFbank(options)

    def _options(self) -> Any:
        options = _kaldi().FbankOptions()
        options.frame_opts = _frame_options(self.rate, self.frame, self.shift)
        options.mel_opts.num_bins = self.mels
        options.mel_opts.low_freq = self.low
        options.mel_opts.high_freq = self.high or 0.0
        return options

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """What Kaldi's code refuses is an `InputError`."""
        try:
            yield
        except (ValueError, RuntimeError) as error:
            limits = f"from {self.low:g} to {self.high or self.rate / 2:g} Hz at {self.rate:,} Hz"
            reason = str(error).rstrip(".")
            what = f"{self.mels} bands {limits} in frames of {self.frame:g} ms cannot be made ({reason})"
            raise InputError("log-mel features", what, "Give fewer bands, or longer frames") from error


class LogMelStream:
    """The features of samples as they come: to the bit those of all samples together, however they are cut."""

    def __init__(self, features: LogMel, state: Mapping[str, np.ndarray] | None = None) -> None:
        """`LogMel.stream` makes one."""
        self.features = features
        self._extractor = features.extractor()
        self._rest = np.zeros(0, np.float32)  # samples of the frames that are not complete
        self._done = 0
        if state is not None:
            self.accept(state["rest"])

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """(t, M) float32, the frames that the next samples, (n,), complete; t may be 0."""
        samples = np.ascontiguousarray(samples, np.float32)
        self._extractor.accept_waveform(float(self.features.rate), samples)
        found = _ready(self._extractor, self._done)
        self._done += len(found)
        self._rest = np.concatenate([self._rest, samples])[len(found) * self.features.shift_samples :]
        return found

    def finish(self) -> np.ndarray:
        """(t, M) float32, the frames that the end of the samples completes: none, since all lie inside the sound."""
        return np.zeros((0, self.features.mels), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """All that a stream of these features needs to go on from here."""
        return {"rest": self._rest.copy()}


def mfcc(samples: np.ndarray, rate: int) -> np.ndarray:
    """(T, 13) float32, mel-frequency cepstral coefficients (Davis & Mermelstein 1980) of frames of 25 ms every 10 ms.

    They are Kaldi's: of 23 bands from 20 Hz, with the zeroth coefficient and a lifter of 22.

    Args:
        samples: (N,) in [-1, 1].
        rate: in Hz.

    Raises:
        MissingExtraError: kaldi-native-fbank is not installed.
    """
    kaldi = _kaldi()
    options = kaldi.MfccOptions()
    options.frame_opts = _frame_options(rate, 25.0, 10.0)
    options.mel_opts.num_bins = _BANDS_OF_CEPSTRA
    options.num_ceps = CEPSTRA
    options.use_energy = False
    extractor = kaldi.OnlineMfcc(options)
    extractor.accept_waveform(float(rate), np.ascontiguousarray(samples, np.float32))
    return _ready(extractor, 0)


def cepstra(frames: np.ndarray) -> np.ndarray:
    """(T, 13) float32, cepstral coefficients of log-mel frames, (T, M): of M = 23 bands those of `mfcc`.

    The orthonormal cosine transform of each frame, whose coefficient k is multiplied by 1 + 11 sin(k π / 22): without
    this lifter the first few would count for nearly all of the distance of two frames (Juang, Rabiner & Wilpon 1987,
    "On the use of bandpass liftering in speech recognition").
    """
    bands = frames.shape[1]
    order, band = np.arange(CEPSTRA), np.arange(bands)
    table = np.sqrt(2 / bands) * np.cos(np.pi / bands * np.outer(band + 0.5, order))  # (M, 13)
    table[:, 0] /= np.sqrt(2)
    table *= 1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)
    return (frames @ table).astype(np.float32)


def _ready(extractor: Any, done: int) -> np.ndarray:
    """(t, size) the frames that an extractor has beyond the first `done`, which it then forgets."""
    ready = extractor.num_frames_ready
    found = np.empty((ready - done, extractor.dim), np.float32)
    for row, frame in enumerate(range(done, ready)):
        found[row] = extractor.get_frame(frame)
    extractor.pop(ready - done)
    return found


def _frame_options(rate: int, frame: float, shift: float) -> Any:
    options = _kaldi().FrameExtractionOptions()
    options.samp_freq = float(rate)
    options.frame_length_ms, options.frame_shift_ms = frame, shift
    options.dither = 0.0
    options.preemph_coeff = PRE_EMPHASIS
    options.snip_edges = True
    return options


def _kaldi() -> Any:
    try:
        import kaldi_native_fbank
    except ModuleNotFoundError as error:
        raise MissingExtraError("kaldi-native-fbank", "speech") from error
    return kaldi_native_fbank
