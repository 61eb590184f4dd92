"""Changes of sounds: how fast, how loud and how noisy they are then, what is masked and what is trimmed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gatework.data.sound_changes import at_speed, spec_augment, trim_silence, with_gain, with_noise
from gatework.errors import InputError
from tests.data.sounds import chirp
from tests.tolerances import PREDICTIONS, RESAMPLED, ROUNDING, assert_close, close_to

RATE = 16_000


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal.astype(float) ** 2) / np.mean(noise.astype(float) ** 2)))


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1, 2.0])
def test_a_tone_that_is_played_faster_is_higher(factor: float) -> None:
    time = np.arange(RATE) / RATE
    fade = np.minimum(1, 20 * np.minimum(time, 1 - time))
    tone = fade * np.sin(2 * np.pi * 440 * time) / 2
    found = at_speed(tone, factor)
    assert len(found) == round(RATE / factor)
    at = np.arange(len(found)) * factor / RATE
    expected = np.minimum(1, 20 * np.minimum(at, 1 - at)) * np.sin(2 * np.pi * 440 * at) / 2
    assert_close(torch.from_numpy(found), torch.from_numpy(expected).float(), RESAMPLED)
    for wrong in (0.1, 5.0, float("nan")):
        with pytest.raises(InputError, match=f"speed: is {wrong}"):
            at_speed(tone, wrong)


def test_a_gain_in_decibels() -> None:
    samples = chirp(RATE).astype(np.float32)
    softer = with_gain(samples, -6.0)
    assert decibels(samples, softer) == close_to(6.0)
    assert softer.dtype == np.float32
    assert np.abs(with_gain(samples, 40.0)).max() == 1


def test_noise_has_the_power_that_is_asked_for() -> None:
    samples = 0.2 * chirp(RATE).astype(np.float32)
    recorded = generator(1).standard_normal(1000)
    for noise in (None, recorded):
        for ratio in (0.0, 10.0, 30.0):
            found = with_noise(samples, ratio, generator(), noise)
            assert decibels(samples, found - samples) == close_to(ratio, table=PREDICTIONS)
            assert np.array_equal(found, with_noise(samples, ratio, generator(), noise))
            assert not np.array_equal(found, with_noise(samples, ratio, generator(1), noise))
    silence = np.zeros(800, np.float32)
    assert np.array_equal(with_noise(silence, 10.0, generator()), silence)
    assert len(with_noise(silence[:0], 10.0, generator())) == 0
    for wrong in (silence, silence[:0]):
        with pytest.raises(InputError, match="noise: is empty or silent"):
            with_noise(samples, 10.0, generator(), wrong)


def test_masks_cover_whole_bands_and_whole_frames() -> None:
    features = generator().standard_normal((200, 40)).astype(np.float32)
    fill = features.mean()
    widths = []
    for seed in range(60):
        changed = spec_augment(
            features, generator(seed), frequency_masks=1, bands=10, time_masks=1, frames=30
        )
        masked = changed != features
        assert np.unique(changed[masked]).size <= 1
        assert_close(torch.from_numpy(changed[masked]), torch.full((masked.sum(),), float(fill)), ROUNDING)
        bands, frames = masked.all(axis=0), masked.all(axis=1)
        assert np.array_equal(masked, bands[None, :] | frames[:, None])
        for covered in (bands, frames):
            assert np.count_nonzero(np.diff(covered.astype(int), prepend=0) == 1) <= 1  # one run
        widths.append((bands.sum(), frames.sum()))
        assert np.array_equal(
            changed,
            spec_augment(features, generator(seed), frequency_masks=1, bands=10, time_masks=1, frames=30),
        )
    assert np.max(widths, axis=0).tolist() == [10, 30]
    assert np.min(widths, axis=0).tolist() == [0, 0]
    wide = [spec_augment(features, generator(seed), frequency_masks=0, frames=500) for seed in range(60)]
    assert max((one != features).all(axis=1).sum() for one in wide) <= 80  # two masks of a fifth
    assert spec_augment(features[:0], generator()).shape == (0, 40)


def test_silence_is_trimmed_at_both_ends() -> None:
    loud = chirp(RATE)
    hiss = 1e-4 * generator().standard_normal(8000)
    samples = np.concatenate([hiss, loud, 0 * loud, loud, hiss[:3000]])
    start, end = trim_silence(samples, RATE, margin=0.0)
    assert 8000 - 400 < start < 8000 + 800  # a frame has 400 samples, and a chirp swells
    assert 32_000 - 800 < end < 32_000 + 400
    wider = trim_silence(samples, RATE)
    assert wider == (start - 800, end + 800)
    assert trim_silence(loud, RATE, margin=9.0) == (0, len(loud))
    assert trim_silence(np.zeros(8000), RATE) == (0, 0)
    assert trim_silence(np.zeros(0), RATE) == (0, 0)
    assert trim_silence(np.ones(10), RATE) == (0, 10)
    more = trim_silence(samples, RATE, below=90.0, margin=0.0)
    assert more == (0, len(samples))
