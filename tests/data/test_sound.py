"""Sounds: the same samples from every kind of file, resampling beside an outside witness, each fault with its place."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from gatework.data.sound import ResamplingStream, read_header, read_sound, sound_seconds, write_sound
from gatework.errors import InputError
from tests.data.sounds import chirp, written
from tests.tolerances import RESAMPLED, ROUNDING, Table, Tolerance, assert_close

RATE = 16_000


def close(got: np.ndarray, expected: np.ndarray, table: Table = ROUNDING) -> None:
    assert got.dtype == np.float32
    assert_close(torch.from_numpy(got), torch.from_numpy(np.asarray(expected, np.float32)), table)


def steps(bits: int) -> Table:
    """To a step of so many bits."""
    return {torch.float32: Tolerance(0.0, 2.0 ** -(bits - 1))}


# Files


@pytest.mark.parametrize(
    ("name", "form", "bits"),
    [
        ("a.wav", {"subtype": "PCM_16"}, 16),
        ("eight.wav", {"subtype": "PCM_U8"}, 8),
        ("twenty_four.wav", {"subtype": "PCM_24"}, 24),
        ("thirty_two.wav", {"subtype": "PCM_32"}, 24),
        ("float.wav", {"subtype": "FLOAT"}, 24),
        ("double.wav", {"subtype": "DOUBLE"}, 24),
        ("a.flac", {}, 16),
        ("a.aiff", {}, 16),
        ("a.mp3", {}, 6),
        ("a.ogg", {}, 4),
    ],
)
def test_every_kind_of_file_gives_the_samples(
    tmp_path: Path, name: str, form: dict[str, str], bits: int
) -> None:
    samples = chirp(RATE)
    path = written(tmp_path / name, samples, **form)
    found = read_sound(path, RATE)
    assert len(found) == len(samples)
    close(found, samples, steps(bits))
    assert sound_seconds(path) == sound_seconds(str(path)) == 0.5
    assert np.array_equal(read_sound(path.read_bytes(), RATE), found)


def test_a_file_is_read_by_what_it_holds_and_not_by_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", chirp(RATE))
    expected = read_sound(path, RATE)
    for name in ("a.mp3", "a.txt", "a"):
        assert np.array_equal(read_sound(path.rename(tmp_path / name), RATE), expected)
        path = tmp_path / name


def test_channels_are_averaged_and_integers_are_shares_of_their_full_scale(tmp_path: Path) -> None:
    stereo = np.stack([chirp(RATE), 0.2 * chirp(RATE)[::-1]], axis=1)
    path = written(tmp_path / "a.wav", stereo, subtype="FLOAT")
    close(read_sound(path, RATE), stereo.mean(axis=1))
    close(read_sound((stereo, RATE), RATE), stereo.mean(axis=1))
    assert read_header(path) == read_header((stereo, RATE)) == (8000, RATE, 2)
    values = np.array([-1.0, 0.0, 0.5])
    for dtype, scale, zero in (("i2", 2**15, 0), ("i4", 2**31, 0), ("u1", 2**7, 2**7)):
        close(read_sound(((values * scale + zero).astype(dtype), RATE), RATE), values)


def test_the_forms_of_a_sound_in_memory(tmp_path: Path) -> None:
    samples = chirp(RATE)
    path = written(tmp_path / "a.wav", samples)
    expected = read_sound(path, RATE)
    for sound in (
        {"path": str(path), "bytes": None},
        {"path": None, "bytes": path.read_bytes()},
        {"array": expected, "sampling_rate": RATE, "path": "a.wav"},
        (torch.from_numpy(expected), RATE),
        (expected.tolist(), np.int64(RATE)),
    ):
        assert np.array_equal(read_sound(sound, RATE), expected)
        assert sound_seconds(sound) == 0.5


def test_silence_and_what_is_too_loud(tmp_path: Path) -> None:
    silent = written(tmp_path / "silent.wav", np.zeros(800))
    assert not read_sound(silent, 8000).any()
    clipped = written(tmp_path / "clipped.wav", np.clip(40 * chirp(RATE), -1, 1))
    for rate in (RATE, 8000):  # where the rate is changed, the filter rings beyond the full scale
        found = read_sound(clipped, rate)
        assert np.abs(found).max() == 1.0
    beyond = written(tmp_path / "beyond.wav", 3 * chirp(RATE), subtype="FLOAT")
    close(read_sound(beyond, RATE), np.clip(3 * chirp(RATE), -1, 1))


def test_a_part_of_a_sound(tmp_path: Path) -> None:
    samples = chirp(RATE)
    path = written(tmp_path / "a.wav", samples, subtype="FLOAT")
    whole = read_sound(path, RATE)
    for sound in (path, (samples, RATE)):
        assert np.array_equal(read_sound(sound, RATE, start=0.1, seconds=0.2), whole[1600:4800])
        assert np.array_equal(read_sound(sound, RATE, start=0.1), whole[1600:])
        assert np.array_equal(
            read_sound(sound, RATE, start=0.4, seconds=0.105), whole[6400:]
        )  # it was rounded
        for start, seconds in ((0.5, 0.1), (-0.1, 0.2), (0.1, 1.0), (0.1, 0.0)):
            with pytest.raises(InputError, match=r"has 0\.50 s, and seconds .* are asked for"):
                read_sound(sound, RATE, start=start, seconds=seconds)


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "AIF", "mp3", "ogg", "opus"])
def test_what_is_written_is_read_again(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    samples = chirp(RATE).astype(np.float32)
    write_sound(path, samples, RATE)
    write_sound(str(path), samples, RATE)  # in the place of the first
    close(read_sound(path, RATE), samples, steps(4 if ending in ("mp3", "ogg", "opus") else 16))
    assert list(tmp_path.iterdir()) == [path]


def test_a_sound_that_cannot_be_written(tmp_path: Path) -> None:
    samples = chirp(RATE)
    cases: list[tuple[str, Any, int, str]] = [
        ("a.txt", samples, RATE, r"ends in '\.txt', which is no kind of sound .* Name it \.wav"),
        ("a", samples, RATE, "ends in ''"),
        ("a.wav", samples * np.nan, RATE, r"a\.wav: sample 0 is nan"),
        ("a.wav", samples, 0, r"a\.wav: the rate is 0"),
        ("a.mp3", samples, 96_000, r"a\.mp3: cannot be written at 96,000 Hz \("),
        ("none/a.wav", samples, RATE, r"a\.wav: cannot be written \(No such file or directory\)"),
    ]
    for name, some, rate, message in cases:
        with pytest.raises(InputError, match=message):
            write_sound(tmp_path / name, some, rate)
    assert list(tmp_path.iterdir()) == []


# Rates


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_is_that_of_an_outside_witness(tmp_path: Path, rate: int) -> None:
    samples = chirp(rate)
    path = written(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    found = read_sound(path, RATE)
    shared = np.gcd(rate, RATE)
    witness = scipy.signal.resample_poly(samples, RATE // shared, rate // shared, window=("kaiser", 14.0))
    count = round(len(samples) * RATE / rate)  # the witness rounds up
    close(found, witness[:count], RESAMPLED)
    same = chirp(RATE)[:count]  # the tone itself, sampled at the other rate
    close(found, same, RESAMPLED)
    with pytest.raises(AssertionError):
        close(found[1:], same[:-1], RESAMPLED)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 96_000])
def test_a_stream_of_pieces_is_the_whole_to_the_bit(rate: int) -> None:
    samples = chirp(rate, 1.0)
    whole = read_sound((samples, rate), RATE)
    chooser = np.random.default_rng(0)
    for longest in (1, 37, 3000) if rate == 8000 else (3000,):
        stream, parts, at = ResamplingStream(rate, RATE), [], 0
        while at < len(samples):
            size = int(chooser.integers(0, longest + 1))
            parts.append(stream.accept(samples[at : at + size]))
            at += size
        assert np.array_equal(np.concatenate([*parts, stream.finish()]), whole)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 96_000])
def test_a_stream_is_kept_and_taken_up_again(rate: int) -> None:
    samples = chirp(rate, 3.0)
    whole = read_sound((samples, rate), RATE)
    stream, parts = ResamplingStream(rate, RATE), []
    cuts = np.linspace(0, len(samples), 14).astype(int)
    for begin, end in itertools.pairwise(cuts):
        parts.append(stream.accept(samples[begin:end]))
        state = stream.state()
        assert len(state["history"]) < 2 * rate
        stream = ResamplingStream(rate, RATE, state)
    close(np.concatenate([*parts, stream.finish()]), whole)


def test_a_long_file_is_read_in_blocks(tmp_path: Path) -> None:
    """Ten minutes at 96 kHz in two channels are 460 MB of float32; what is kept of them at 8 kHz is 19 MB."""
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 96_000, 2, "PCM_U8") as file:
        for _ in range(10):
            file.write(np.zeros((60 * 96_000, 2), np.int16))
    assert sound_seconds(path) == 600
    tracemalloc.start()
    try:
        found = read_sound(path, 8000)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 600 * 8000
    assert most < 60e6


# Faults


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_each_fault_of_a_file_has_its_place_and_its_fix(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.wav", chirp(RATE)).read_bytes()
    flac = written(tmp_path / "whole.flac", chirp(RATE)).read_bytes()
    mp3 = written(tmp_path / "whole.mp3", chirp(RATE, 4.0)).read_bytes()
    streamed = (
        whole[:4] + b"\xff" * 4 + whole[8:40] + b"\xff" * 4 + whole[44:]
    )  # as ffmpeg writes into a pipe
    assert len(read_sound(raw(tmp_path / "streamed.wav", streamed), RATE)) == 8000
    cases = {
        "empty.wav": (b"", "is empty"),
        "none.wav": (whole[:40] + bytes(4), "has no samples"),
        "half.wav": (
            whole[:8000],
            r"is cut short: it has 7,956 of the 16,000 bytes that its header promises",
        ),
        "header.wav": (whole[:20], r"is damaged or cut short \("),
        "noise.wav": (b"RIFF" + bytes(range(256)) * 9, r"is damaged or cut short \("),
        "half.flac": (flac[: len(flac) // 2], "is damaged or cut short"),
        "half.mp3": (mp3[: len(mp3) // 2], r"is cut short: [\d,]+ of the 64,000 samples"),
        "page.wav": (b"<html>not found</html>", "is text, not a sound. Check the path"),
        "voice.wav": (b"\0\0\0 ftypM4A " + bytes(99), "is an MP4 file .* ffmpeg -i voice.wav converted.wav"),
        "a.raw": (bytes(range(256)), "holds raw samples, whose rate no header says"),
        "b.pcm": (bytes(range(256)), "holds raw samples, whose rate no header says"),
        "other.bin": (bytes(range(255, 0, -1)), "is not a sound that can be read"),
    }
    for name, (content, message) in cases.items():
        path = raw(tmp_path / name, content)
        with pytest.raises(InputError, match=f"{name}: {message}") as caught:
            read_sound(path, RATE)
        assert str(caught.value).count("\n") == 0
    with pytest.raises(InputError, match=r"missing\.wav: no such file"):
        read_sound(tmp_path / "missing.wav", RATE)
    with pytest.raises(InputError, match="is a folder"):
        read_sound(tmp_path, RATE)


def test_each_fault_of_samples(tmp_path: Path) -> None:
    wrong = chirp(RATE)
    wrong[5] = np.nan
    path = written(tmp_path / "nan.wav", wrong, subtype="FLOAT")
    with pytest.raises(InputError, match=r"nan\.wav: sample 5 is nan"):
        read_sound(path, RATE)
    cases: list[tuple[Any, str]] = [
        ((chirp(RATE) * 32768, RATE), "has samples up to 16,3.* where 1 is the full scale. Divide them"),
        ((np.zeros((2, 16000)), RATE), "has 16,000 channels .* transpose it"),
        ((np.zeros((2, 2, 2)), RATE), r"is an array of float64 with the shape \(2, 2, 2\)"),
        ((np.array(["a"]), RATE), "is an array of <U1"),
        ((np.zeros(0), RATE), "has no samples"),
        ((np.zeros(9), 0), "the rate is 0, not a whole number of Hz"),
        ((np.zeros(9), 16000.5), r"the rate is 16000\.5"),
        ((np.zeros(9), None), "the rate is None"),
        (np.zeros(9), "is ndarray .* which is no sound"),
        (None, "is NoneType None, which is no sound"),
        ({"path": None, "bytes": None}, "is NoneType None, which is no sound"),
    ]
    for sound, message in cases:
        with pytest.raises(InputError, match=message):
            read_sound(sound, RATE)
    with pytest.raises(InputError, match="row 3: has no samples"):
        read_sound((np.zeros(0), RATE), RATE, where="row 3")
    with pytest.raises(InputError, match="the rate is 5"):
        ResamplingStream(5, RATE)
