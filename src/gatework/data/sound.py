"""Sounds of any file, rate and channel count, as samples of one channel at one rate.

Files are read by libsndfile (soundfile), which goes by what a file holds and not by its name: WAV, FLAC, MP3, Ogg
Vorbis, Opus, AIFF and others. Rates are converted by soxr at its high quality. A file is read in blocks: one of them
is in memory at the file's own rate.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..errors import InputError, MissingExtraError
from .files import check_file
from .whole_file import WholeFile

__all__ = [
    "ResamplingStream",
    "Sound",
    "SoundHeader",
    "mono",
    "read_header",
    "read_sound",
    "sound_seconds",
    "write_sound",
]

# A path; a file's bytes; (samples, rate); or a dict as `datasets.Audio` gives it, of `array` and `sampling_rate`, or of
# `path` and `bytes`.
Sound: TypeAlias = "str | os.PathLike[str] | bytes | tuple[Any, int] | Mapping[str, Any]"

_BLOCK = 1 << 16  # frames that are read at a time
_LOWEST, _HIGHEST = 1_000, 768_000  # Hz
_LOUDEST = 16.0  # beyond this, numbers that are no integers are not shares of the full scale
_MOST_CHANNELS = 64
_WARM_UP = 0.5  # seconds: no filter of soxr's high quality is longer
_UNKNOWN_LENGTH = (
    0x7FFF0000  # a length from here on stands in the header of a file that was written to a pipe
)
_CUT_SHORT = re.compile(r"^\s*(?:data|SSND|Riff size) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_OTHER_FORMATS = (
    (4, b"ftyp", "is an MP4 file (M4A, AAC)"),
    (0, b"\x1a\x45\xdf\xa3", "is a Matroska or WebM file"),
    (0, b"\x30\x26\xb2\x75", "is a Windows Media file"),
    (0, b"#!AMR", "is an AMR file"),
)
_RAW = (".raw", ".pcm", ".s16", ".s16le", ".f32")
_AGAIN = "Copy or record it again, or take it out"


class SoundHeader(NamedTuple):
    """What a file's header says.

    Attributes:
        frames: samples of each channel.
        rate: of each channel, in Hz.
        channels: how many.
    """

    frames: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return self.frames / self.rate


class ResamplingStream:
    """Samples at one rate, chunk by chunk, to samples at another: the same to the bit however they are cut.

    The filter looks ahead: the last outputs are given by `finish`. Samples that are at the right rate already are given
    as they are.
    """

    def __init__(self, source_rate: int, rate: int, state: Mapping[str, np.ndarray] | None = None) -> None:
        """Begin a stream, or take one up.

        Args:
            source_rate, rate: of what is accepted and of what is given, in Hz.
            state: of another stream with these rates. The outputs after it are then the same to a rounding of float32:
                the filter is begun anew on the last half second before it.

        Raises:
            InputError: a rate below 1 kHz or beyond 768 kHz.
        """
        for name, value in (("source_rate", source_rate), ("rate", rate)):
            _check_rate(name, value)
        self.source_rate, self.rate = source_rate, rate
        shared = gcd(source_rate, rate)
        self._period = (
            source_rate // shared,
            rate // shared,
        )  # inputs and outputs after which all is as at the start
        self._history, self._given = np.zeros(0, np.float32), 0  # since a multiple of the period
        self._early, self._skip = np.zeros(0, np.float32), 0
        self._filter = None if source_rate == rate else self._new_filter()
        if state is not None and self._filter is not None:
            self._history, self._given = state["history"].astype(np.float32), int(state["given"])
            again = self._filter.resample_chunk(self._history)
            self._early, self._skip = again[self._given :], max(0, self._given - len(again))

    def accept(self, samples: np.ndarray) -> np.ndarray:
        """(n,) float32, the outputs that are certain now, of which there may be none.

        Args:
            samples: the next ones, as `mono` takes them.

        Raises:
            InputError: as `mono`.
        """
        samples = mono(samples)
        if self._filter is None:
            return samples
        self._history = np.concatenate([self._history, samples])
        given = self._handed_out(self._filter.resample_chunk(samples))
        self._forget()
        return given

    def finish(self) -> np.ndarray:
        """(n,) float32, the last outputs; nothing is accepted after it."""
        if self._filter is None:
            return np.zeros(0, np.float32)
        return self._handed_out(self._filter.resample_chunk(np.zeros(0, np.float32), last=True))

    def state(self) -> dict[str, np.ndarray]:
        """All that a stream of these rates needs to go on from here."""
        return {"history": self._history.copy(), "given": np.asarray(self._given)}

    def _new_filter(self) -> Any:
        try:
            import soxr
        except ModuleNotFoundError as error:
            raise MissingExtraError("soxr", "speech") from error
        return soxr.ResampleStream(self.source_rate, self.rate, 1, "float32", "HQ")

    def _handed_out(self, found: np.ndarray) -> np.ndarray:
        dropped = min(self._skip, len(found))
        self._skip -= dropped
        found = np.concatenate([self._early, found[dropped:]])
        self._early = self._early[:0]
        self._given += len(found)
        return np.clip(found, -1.0, 1.0)  # a filter rings beyond the full scale

    def _forget(self) -> None:
        """Drop whole periods of the history that no filter reaches back to."""
        inputs, outputs = self._period
        spare = len(self._history) - int(_WARM_UP * self.source_rate)
        if spare > len(self._history) // 2:
            periods = min(spare // inputs, self._given // outputs)
            self._history = self._history[periods * inputs :]
            self._given -= periods * outputs


def read_sound(
    source: Sound,
    rate: int,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    where: str | None = None,
) -> np.ndarray:
    """A sound's samples, (N,) float32: the mean of its channels, in [-1, 1], at `rate`.

    Integers are shares of their full scale, whatever their width; numbers beyond the full scale are clipped.

    Args:
        source: see `Sound`; samples are (N,) or (N, channels).
        rate: in Hz.
        start: where to begin, in seconds from the sound's beginning.
        seconds: how much of it; None: all.
        where: the source, for messages; None: its path.

    Raises:
        InputError: a file that is missing, empty, damaged, cut short or no sound; samples that are no numbers, not
            finite, or beyond any full scale; a part that lies outside the sound.
        MissingExtraError: soundfile or soxr is not installed.
    """
    source, where = _resolved(source, where)
    _check_rate(where, rate)
    if isinstance(source, tuple):
        samples, source_rate = source
        _check_rate(where, source_rate)
        begin, end = _part(where, SoundHeader(len(samples), source_rate, 1), start, seconds)
        return _at_rate([samples[begin:end]], source_rate, rate, where)
    with _opened(source, where) as (file, header):
        begin, end = _part(where, header, start, seconds)
        return _at_rate(_blocks(file, where, begin, end), header.rate, rate, where)


def sound_seconds(source: Sound, where: str | None = None) -> float:
    """How long a sound is; of a file no more than its header is read. Raises as `read_header`."""
    return read_header(source, where).seconds


def read_header(source: Sound, where: str | None = None) -> SoundHeader:
    """The header of a sound, or what it would be of samples.

    Raises:
        InputError: a file that is missing, empty, damaged, cut short or no sound.
        MissingExtraError: soundfile is not installed.
    """
    source, where = _resolved(source, where)
    if isinstance(source, tuple):
        samples, rate = source
        return SoundHeader(len(samples), rate, 1 if np.ndim(samples) == 1 else samples.shape[1])
    with _opened(source, where) as (_, header):
        return header


def write_sound(path: str | os.PathLike[str], samples: np.ndarray, rate: int) -> None:
    """Write a sound of one channel, in 16 bits where its kind of file has a choice; it is there whole or not at all.

    Args:
        path: its ending says which kind: `.wav`, `.flac`, `.ogg`, `.mp3` and others that libsndfile writes.
        samples: as `mono` takes them; beyond the full scale they are clipped.
        rate: in Hz.

    Raises:
        InputError: an ending of no kind that can be written, samples that are none, or a file that cannot be written.
        MissingExtraError: soundfile is not installed.
    """
    path = Path(path)
    soundfile = _soundfile()
    _check_rate(str(path), rate)
    kind = {"AIF": "AIFF", "OPUS": "OGG"}.get(ending := path.suffix[1:].upper(), ending)
    if kind not in soundfile.available_formats():
        what = f"ends in {path.suffix!r}, which is no kind of sound that can be written"
        raise InputError(str(path), what, "Name it .wav, .flac, .ogg or .mp3")
    subtype = "PCM_16" if soundfile.check_format(kind, "PCM_16") else None
    samples = mono(samples, str(path))
    content = io.BytesIO()
    try:
        soundfile.write(content, samples, rate, "OPUS" if ending == "OPUS" else subtype, format=kind)
    except soundfile.LibsndfileError as error:
        what = f"cannot be written at {rate:,} Hz ({error.error_string.rstrip('.')})"
        raise InputError(str(path), what, "Take another rate, or .wav") from error
    with WholeFile(path) as file:
        file.write(content.getbuffer())


def mono(samples: Any, where: str = "sound") -> np.ndarray:
    """The mean of the channels of samples (N,) or (N, channels), as (N,) float32 in [-1, 1].

    Raises:
        InputError: samples that are no numbers, not finite, beyond any full scale, or of another shape.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf":
        what = f"is an array of {samples.dtype} with the shape {samples.shape}"
        raise InputError(where, what, "Give numbers, as (samples,) or (samples, channels)")
    if samples.ndim == 2 and samples.shape[1] > _MOST_CHANNELS:
        what = f"has {samples.shape[1]:,} channels (its shape is {samples.shape})"
        raise InputError(where, what, "Give (samples, channels): transpose it")
    if samples.dtype.kind in "iu":
        samples = _of_full_scale(samples)
    samples = np.ascontiguousarray(samples, np.float32)
    if samples.ndim == 2:
        samples = sum(samples.T, np.float32(0)) / np.float32(
            samples.shape[1]
        )  # quicker than a mean over an axis of 2
    peak = np.abs(samples).max(initial=0.0)
    if not np.isfinite(peak):
        index = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise InputError(where, f"sample {index:,} is {samples[index]}", _AGAIN)
    if peak > _LOUDEST:
        what = f"has samples up to {peak:,.0f} where 1 is the full scale"
        raise InputError(where, what, "Divide them by their full scale (32768 for 16 bits)")
    return np.clip(samples, -1.0, 1.0)


def _of_full_scale(samples: np.ndarray) -> np.ndarray:
    """Integers as shares of their type's full scale; unsigned ones have their zero in the middle."""
    half = np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    shares = samples.astype(np.float32) / half
    return shares - np.float32(1.0) if samples.dtype.kind == "u" else shares


def _check_rate(where: str, rate: int) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not _LOWEST <= rate <= _HIGHEST:
        what = f"the rate is {rate!r}, not a whole number of Hz from {_LOWEST:,} to {_HIGHEST:,}"
        raise InputError(where, what, "Give the samples a second: 16000")


@contextlib.contextmanager
def _placed(where: str) -> Iterator[None]:
    """An error in samples names the sound that they are of."""
    try:
        yield
    except InputError as error:
        raise InputError(where, error.what, error.fix) from error


def _resolved(source: Any, where: str | None) -> tuple[Path | bytes | tuple[np.ndarray, int], str]:
    """A source as a path, bytes, or samples and their rate, and what it is called."""
    if isinstance(source, Mapping):
        if source.get("array") is not None:
            source = source["array"], source.get("sampling_rate")
        elif source.get("bytes") is not None:
            where = where or source.get("path")
            source = source["bytes"]
        else:
            source = source.get("path")
    if isinstance(source, str | os.PathLike):
        return Path(source), where or str(source)
    where = where or "sound"
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), where
    if isinstance(source, tuple) and len(source) == 2:
        samples, rate = np.asarray(source[0]), source[1]
        if not samples.size:
            raise InputError(where, "has no samples", _AGAIN)
        return (np.atleast_1d(samples), rate), where
    what = f"is {type(source).__name__} {source!r:.40}, which is no sound"
    raise InputError(where, what, "Give a path, (samples, rate), or a file's bytes")


def _soundfile() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise MissingExtraError("soundfile", "speech") from error
    return soundfile


@contextlib.contextmanager
def _opened(source: Path | bytes, where: str) -> Iterator[tuple[Any, SoundHeader]]:
    """A file, open to be read, and its header; what libsndfile raises inside is an `InputError`."""
    soundfile = _soundfile()
    with _placed(where):
        begin = _first_bytes(source)
    if not begin:
        raise InputError(where, "is empty", _AGAIN)
    if isinstance(source, Path) and source.suffix.lower() == ".raw":
        raise _not_a_sound(source, where, begin, "there is no header")
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            header = SoundHeader(file.frames, file.samplerate, file.channels)
            _check_header(where, header, file.extra_info)
            yield file, header
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        if begin[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM", b"RF64"):
            raise InputError(where, f"is damaged or cut short ({reason})", _AGAIN) from error
        raise _not_a_sound(source, where, begin, reason) from error


def _first_bytes(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:64]
    check_file(source)
    with source.open("rb") as file:
        return file.read(64)


def _check_header(where: str, header: SoundHeader, log: str) -> None:
    for promised, there in _CUT_SHORT.findall(log):
        if int(there) + 1 < int(promised) < _UNKNOWN_LENGTH:
            share = f"{int(there):,} of the {int(promised):,} bytes that its header promises"
            raise InputError(where, f"is cut short: it has {share}", _AGAIN)
    if header.frames == 0:
        raise InputError(where, "has no samples", _AGAIN)
    _check_rate(where, header.rate)


def _not_a_sound(source: Path | bytes, where: str, begin: bytes, reason: str) -> InputError:
    name = source.name if isinstance(source, Path) else "FILE"
    fix = f"Convert it to WAV or FLAC: ffmpeg -i {name} converted.wav"
    for place, magic, what in _OTHER_FORMATS:
        if begin[place:].startswith(magic):
            return InputError(where, f"{what}, which is not read", fix)
    if isinstance(source, Path) and source.suffix.lower() in _RAW:
        fix = f"Convert it: ffmpeg -f s16le -ar 16000 -ac 1 -i {name} converted.wav, with its own rate"
        return InputError(where, "holds raw samples, whose rate no header says", fix)
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in begin):
        return InputError(where, "is text, not a sound", "Check the path, or fetch the file again")
    return InputError(where, f"is not a sound that can be read ({reason})", fix)


def _part(where: str, header: SoundHeader, start: float, seconds: float | None) -> tuple[int, int]:
    """The first frame of a part, and the one after its last."""
    begin = round(start * header.rate)
    end = header.frames if seconds is None else begin + round(seconds * header.rate)
    slack = header.rate // 10  # manifests round
    if not 0 <= begin < min(end, header.frames) or end > header.frames + slack:
        what = f"has {header.seconds:.2f} s, and seconds {start:.2f} to {end / header.rate:.2f} are asked for"
        raise InputError(where, what, "Mend the manifest's start and duration")
    return begin, min(end, header.frames)


def _at_rate(blocks: Iterable[np.ndarray], source_rate: int, rate: int, where: str) -> np.ndarray:
    stream = ResamplingStream(source_rate, rate)
    with _placed(where):
        return np.concatenate([*map(stream.accept, blocks), stream.finish()])


def _blocks(file: Any, where: str, begin: int, end: int) -> Iterator[np.ndarray]:
    """The frames of a part of a file, in blocks (n, channels)."""
    if begin:
        file.seek(begin)
    at = begin
    while at < end:
        block = file.read(min(_BLOCK, end - at), dtype="float32", always_2d=True)
        if not len(block):
            break
        at += len(block)
        yield block
    if end - at > max(end - begin, 40_960) // 10:  # the length of an MP3 is not known to the frame
        what = f"is cut short: {at:,} of the {end:,} samples that its header promises can be read"
        raise InputError(where, what, _AGAIN)
