"""Phases for magnitudes: nearer with every step, by a transform that is not ours; and sounds of log-mel features."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import scipy.signal
import torch

from gatework.data import LogMel, read_sound
from gatework.data.griffin_lim import griffin_lim, power_of_mel, sound_of_log_mel, without_emphasis
from gatework.data.log_mel import PRE_EMPHASIS
from gatework.metrics.synthesis import mel_cepstral_distortion
from tests.data.sounds import chirp
from tests.tolerances import assert_close

RATE = 16_000
POINTS, SHIFT = 512, 128
WINDOW = scipy.signal.get_window("hann", POINTS)


def vowel(seconds: float = 0.8) -> np.ndarray:
    """A train of pulses whose pitch falls, through three resonances."""
    pitch = np.linspace(140, 100, round(RATE * seconds))
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
    for frequency, width in ((700, 80), (1200, 100), (2600, 150)):
        radius = np.exp(-np.pi * width / RATE)
        pulses = scipy.signal.lfilter(
            [1], [1, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2], pulses
        )
    return 0.5 * pulses / np.abs(pulses).max()


def magnitudes(samples: np.ndarray) -> np.ndarray:
    """By scipy's transform, whose scale is 1 / sum(window)."""
    _, _, spectrum = scipy.signal.stft(
        samples, nperseg=POINTS, noverlap=POINTS - SHIFT, window=WINDOW, padded=False
    )
    return np.abs(spectrum) * WINDOW.sum()


def convergence(wanted: np.ndarray, found: torch.Tensor) -> float:
    """The error of the magnitudes over their norm."""
    return float(np.linalg.norm(magnitudes(found.numpy()) - wanted) / np.linalg.norm(wanted))


def test_magnitudes_are_nearer_with_every_step_and_with_momentum() -> None:
    samples = vowel()[: 90 * SHIFT]
    wanted = magnitudes(samples)
    window = torch.from_numpy(WINDOW)

    def error(steps: int, momentum: float) -> float:
        found = griffin_lim(torch.from_numpy(wanted), window, SHIFT, steps=steps, momentum=momentum)
        assert found.shape == samples.shape
        return convergence(wanted, found)

    plain = [error(steps, 0.0) for steps in (0, 1, 2, 5, 10, 30, 60)]
    assert all(after <= before for before, after in itertools.pairwise(plain))  # Griffin & Lim, theorem
    fast = error(60, 0.99)
    assert fast < 0.8 * plain[-1]
    assert fast < 0.1
    assert convergence(wanted, torch.from_numpy(samples)) < plain[0] / 100  # what is measured can be 0


def test_phases_are_drawn_from_the_seed() -> None:
    wanted = torch.from_numpy(magnitudes(chirp(RATE)[: 20 * SHIFT]))
    window = torch.from_numpy(WINDOW)
    one, same, other = (griffin_lim(wanted, window, SHIFT, steps=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert griffin_lim(wanted[:, :1], window, SHIFT).shape == (0,)
    with pytest.raises(ValueError, match="a window of 512 samples is longer than a transform of 510 points"):
        griffin_lim(wanted[1:], window, SHIFT)


def test_a_power_spectrum_has_the_energies_of_its_bands() -> None:
    features = LogMel(rate=RATE, mels=40)
    bands = torch.from_numpy(features.bands()).double()
    energies = torch.from_numpy(np.exp(features.frames(vowel().astype(np.float32)))).double()[:10]
    errors = []
    for steps in (0, 1, 10, 100, 300):
        power = power_of_mel(energies, bands, steps)
        assert power.min() >= 0
        errors.append(((power @ bands.T - energies).norm() / energies.norm()).item())
    assert all(after <= before for before, after in itertools.pairwise(errors))  # Lee & Seung, theorem 1
    _, least = scipy.optimize.nnls(bands.numpy(), energies[5].numpy())
    assert least < 0.01 * energies[5].norm()  # there is a spectrum with these energies
    assert errors[-1] < 0.02


def test_emphasis_is_taken_back() -> None:
    samples = vowel(0.3)
    emphasised = scipy.signal.lfilter([1, -PRE_EMPHASIS], [1], samples)
    assert_close(torch.from_numpy(without_emphasis(emphasised)), torch.from_numpy(samples))


@pytest.mark.parametrize("features", [LogMel(), LogMel(rate=8000, mels=40, frame=32.0, shift=8.0)])
def test_a_sound_of_features_has_these_features(features: LogMel) -> None:
    samples = vowel()[:: RATE // features.rate].astype(np.float32)
    frames = features.frames(samples)
    found = sound_of_log_mel(frames, features)
    assert found.dtype == np.float32
    assert features.count(len(found)) == len(frames)
    again = features.frames(found)
    (apart,) = mel_cepstral_distortion([again], [frames])
    (noise,) = mel_cepstral_distortion(
        [features.frames(sound_of_log_mel(frames, features, steps=0))], [frames]
    )
    assert apart < 1.0  # decibels
    assert apart < noise / 2
    louder = np.abs(again[5:-5].mean() - frames[5:-5].mean())
    assert louder < 0.3
    assert np.array_equal(found, sound_of_log_mel(frames, features))


def test_features_of_nothing_and_of_silence() -> None:
    features = LogMel()
    assert sound_of_log_mel(np.zeros((0, 80), np.float32), features).shape == (0,)
    silence = sound_of_log_mel(features.frames(np.zeros(4000, np.float32)), features)
    assert features.count(len(silence)) == features.count(4000)
    assert not silence.any()
    assert features.count(len(sound_of_log_mel(features.frames(np.zeros(400, np.float32)), features))) == 1


def test_a_recorded_voice(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("speech_synthesis/kathleen_arctic_a/wavs/arctic_a0110.wav")
    features = LogMel()
    frames = features.frames(read_sound(path, RATE))
    (apart,) = mel_cepstral_distortion([features.frames(sound_of_log_mel(frames, features))], [frames])
    assert apart < 0.6  # decibels; 0.5 was measured
