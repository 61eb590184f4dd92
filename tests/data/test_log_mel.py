"""Log-mel features: a formula of our own, whole and in pieces to the bit, and settings that give none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gatework.data.log_mel import LogMel, mfcc
from gatework.errors import InputError
from tests.tolerances import LOG_MEL, assert_close


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Samples of some loudness at every frequency, over a constant."""
    return (0.02 + 0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def bands(features: LogMel, lines: int) -> np.ndarray:
    """(lines, M) the weights of the triangular bands at the lines of the spectrum."""

    def mel(frequency: np.ndarray) -> np.ndarray:
        return 1127 * np.log(1 + frequency / 700)

    high = features.high or features.rate / 2
    edges = np.linspace(mel(np.asarray(features.low)), mel(np.asarray(high)), features.mels + 2)
    at = mel(np.arange(lines) * features.rate / (2 * (lines - 1)))[:, None]
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None)
    weights[-1] = 0  # Kaldi leaves the line at half of the rate out
    return weights


def witness(features: LogMel, samples: np.ndarray) -> np.ndarray:
    """(T, M) log-mel features by torch.stft's definition, in float64."""
    size = features.frame_samples
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size)[
        :: features.shift_samples
    ]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))) ** 0.85
    points = 1 << (size - 1).bit_length()
    power = np.abs(np.fft.rfft((frames - 0.97 * before) * window, points)) ** 2
    return np.log(np.maximum(power @ bands(features, points // 2 + 1), np.finfo(np.float32).eps))


@pytest.mark.parametrize(
    "features",
    [
        LogMel(),
        LogMel(rate=8000, mels=40),
        LogMel(rate=22050, mels=23, low=100.0, high=9000.0, frame=32.0, shift=12.5),
    ],
)
def test_the_features_are_those_of_a_formula(features: LogMel) -> None:
    samples = noise(2 * features.rate)
    found = features.frames(samples)
    assert found.dtype == np.float32
    assert found.shape == (features.count(len(samples)), features.mels)
    assert_close(torch.from_numpy(found), torch.from_numpy(witness(features, samples)).float(), LOG_MEL)
    wrong = witness(features.model_copy(update={"low": features.low + 5}), samples)
    with pytest.raises(AssertionError):
        assert_close(torch.from_numpy(found), torch.from_numpy(wrong).float(), LOG_MEL)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_pieces_give_the_features_of_the_whole_to_the_bit(rate: int) -> None:
    features = LogMel(rate=rate, mels=40)
    samples = noise(rate)
    whole = features.frames(samples)
    chooser = np.random.default_rng(1)
    pieces = (3 * features.frame_samples, features.shift_samples // 2, *([2] if rate == 8000 else []))
    for longest in pieces:
        stream, parts, at = features.stream(), [], 0
        while at < len(samples):
            size = int(chooser.integers(0, longest + 1))
            parts.append(stream.accept(samples[at : at + size]))
            at += size
            if chooser.random() < 0.1:  # a state that is kept and taken up again
                stream = features.stream(stream.state())
        parts.append(stream.finish())
        assert np.array_equal(np.concatenate(parts), whole)


def test_the_count_of_frames() -> None:
    features = LogMel()
    samples = noise(1000)
    for size in (0, 1, 399, 400, 559, 560, 1000):
        assert len(features.frames(samples[:size])) == features.count(size)
    assert [features.count(size) for size in (0, 399, 400, 559, 560)] == [0, 0, 1, 1, 2]
    assert features.frames(np.zeros(0, np.float32)).shape == (0, 80)


def test_silence_and_full_scale_are_finite() -> None:
    silence = LogMel().frames(np.zeros(1600, np.float32))
    assert np.unique(silence).tolist() == [np.log(np.finfo(np.float32).eps)]
    square = np.sign(np.sin(np.arange(1600))).astype(np.float32)  # clipped as hard as can be
    assert np.isfinite(LogMel().frames(square)).all()


def test_the_settings_are_kept_as_json() -> None:
    features = LogMel(rate=8000, mels=40, high=3800.0)
    assert LogMel.model_validate_json(features.model_dump_json()) == features


@pytest.mark.parametrize("settings", [{"mels": 128}, {"low": 7000.0, "high": 100.0}, {"high": 9000.0}])
def test_bands_that_cannot_be_made(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"log-mel features: \d+ bands from .* cannot be made"):
        LogMel(**settings).frames(noise(1600))


def test_cepstral_coefficients_of_a_louder_sound_differ_in_the_first_alone() -> None:
    samples = noise(8000)
    quiet, loud = (torch.from_numpy(mfcc(samples * factor, 8000)) for factor in (0.5, 1.0))
    assert quiet.shape == (98, 13)
    assert_close(quiet[:, 1:], loud[:, 1:], LOG_MEL)
    gain = float(2 * np.log(2) * np.sqrt(23))  # of each of 23 logarithms, by the orthonormal cosine transform
    assert_close(loud[:, 0] - quiet[:, 0], torch.full((98,), gain), LOG_MEL)
