"""What makes training recordings more various: other speeds, noise, loudness, masked features; and trimmed silence.

Whatever is drawn is drawn from the generator that is given: equal generators give equal changes.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError, MissingExtraError

__all__ = [
    "FASTEST",
    "SLOWEST",
    "at_speed",
    "spec_augment",
    "trim_silence",
    "with_gain",
    "with_noise",
    "without_silence",
]

_FRAME, _SHIFT = 0.025, 0.010  # seconds: of the energies by which silence is found
SLOWEST, FASTEST = 0.25, 4.0


def at_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """(N / factor,) float32, a sound (N,) that is played `factor` times as fast, and so much higher (Ko et al. 2015).

    Raises:
        InputError: a factor below 0.25 or beyond 4.
        MissingExtraError: soxr is not installed.
    """
    if not SLOWEST <= factor <= FASTEST:
        raise InputError("speed", f"is {factor}", f"Give a factor from {SLOWEST} to {FASTEST}")
    if factor == 1:
        return samples.astype(np.float32)
    try:
        import soxr
    except ModuleNotFoundError as error:
        raise MissingExtraError("soxr", "speech") from error
    return np.clip(soxr.resample(samples.astype(np.float32), factor, 1.0, "HQ"), -1.0, 1.0)


def with_gain(samples: np.ndarray, decibels: float) -> np.ndarray:
    """(N,) float32, a sound that is so much louder, or softer for negative `decibels`; clipped at the full scale."""
    return np.clip(samples * np.float32(10 ** (decibels / 20)), -1.0, 1.0).astype(np.float32)


def with_noise(
    samples: np.ndarray,
    ratio: float,
    generator: np.random.Generator,
    noise: np.ndarray | None = None,
) -> np.ndarray:
    """(N,) float32, a sound with noise in it, whose power is `ratio` decibels below that of the sound.

    Silence stays as it is.

    Args:
        samples: (N,) in [-1, 1].
        ratio: of signal to noise, in decibels.
        generator: draws white noise, or where a recording of noise begins.
        noise: (K,) a recording of noise at the same rate, which is repeated as often as needed; None: white noise.

    Raises:
        InputError: the recording of noise is empty or silent.
    """
    if noise is None:
        added = generator.standard_normal(len(samples))
    else:
        if not np.any(noise):
            raise InputError("noise", "is empty or silent", "Give a recording of noise")
        begin = int(generator.integers(0, len(noise)))
        added = np.resize(np.roll(noise, -begin), len(samples)).astype(np.float64)
    power, own = _power(samples), _power(added)
    if own > 0:
        added = added * np.sqrt(power / own / 10 ** (ratio / 10))
    return np.clip(samples + added, -1.0, 1.0).astype(np.float32)


def spec_augment(
    features: np.ndarray,
    generator: np.random.Generator,
    *,
    frequency_masks: int = 2,
    bands: int = 27,
    time_masks: int = 2,
    frames: int = 100,
    share: float = 0.2,
) -> np.ndarray:
    """(T, M) features of which some bands and some frames are replaced by the mean of all (SpecAugment).

    Of the three changes of Park et al. 2019 the warping of time is left out, which they find to add little.

    Args:
        features: (T, M), which stay as they are.
        generator: draws how wide each mask is, evenly from 0 to its limit, and where it begins.
        frequency_masks, bands: how many masks of bands, and how many bands one has at most.
        time_masks, frames: how many masks of frames, and how many frames one has at most.
        share: the largest share of the frames that one mask may cover.
    """
    changed = features.copy()
    if not features.size:
        return changed
    fill = features.mean(dtype=np.float64).astype(features.dtype)
    steps, mels = features.shape
    for _ in range(frequency_masks):
        changed[:, _mask(generator, mels, min(bands, mels))] = fill
    for _ in range(time_masks):
        changed[_mask(generator, steps, min(frames, int(share * steps)))] = fill
    return changed


def trim_silence(
    samples: np.ndarray, rate: int, *, below: float = 40.0, margin: float = 0.05
) -> tuple[int, int]:
    """The first sample of a sound that is not silence, and the one after the last: `samples[start:end]` is kept.

    A frame of 25 ms is silent where its power is `below` decibels or more below that of the loudest frame.

    Args:
        samples: (N,).
        rate: in Hz.
        below: see above.
        margin: seconds that are kept before and after.

    Returns:
        (0, 0) where all is silent: every sample is 0.
    """
    size, shift = max(1, round(_FRAME * rate)), max(1, round(_SHIFT * rate))
    padded = np.pad(samples.astype(np.float64) ** 2, (0, max(0, size - len(samples))))
    until = np.concatenate([[0.0], np.cumsum(padded)])
    begins = np.append(np.arange(0, len(padded) - size, shift), len(padded) - size)
    power = until[begins + size] - until[begins]
    if not power.max() > 0:
        return 0, 0
    heard = begins[power > power.max() * 10 ** (-below / 10)]
    spare = round(margin * rate)
    return max(0, int(heard[0]) - spare), min(len(samples), int(heard[-1]) + size + spare)


def without_silence(samples: np.ndarray, rate: int) -> np.ndarray:
    """(N,) without the silence at both ends, as `trim_silence` finds it; where all is silent, all of it."""
    start, end = trim_silence(samples, rate)
    return samples[start:end] if end > start else samples


def _mask(generator: np.random.Generator, length: int, widest: int) -> slice:
    width = int(generator.integers(0, widest + 1))
    begin = int(generator.integers(0, length - width + 1))
    return slice(begin, begin + width)


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
