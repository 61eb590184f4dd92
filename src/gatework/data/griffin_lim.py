"""Sounds of spectra that have no phases: mel energies to a power spectrum, and phases that fit it.

A spectrum of magnitudes alone belongs to no sound as a rule. Griffin & Lim (1984) go back and forth between the sound
whose transform is nearest and its phases with the magnitudes that are wanted; Perraudin et al. (2013) do so with a
momentum, which comes nearer in fewer steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .log_mel import PRE_EMPHASIS, LogMel

__all__ = ["griffin_lim", "power_of_mel", "sound_of_log_mel", "without_emphasis"]

_MOMENTUM = 0.99
_STEPS = 60
_STEPS_OF_POWER = 100
_LEAST = 1e-12
_FLOOR = float(np.finfo(np.float32).eps)  # below which Kaldi takes no logarithm


def sound_of_log_mel(
    frames: np.ndarray, features: LogMel, *, steps: int = _STEPS, seed: int = 0
) -> np.ndarray:
    """(N,) float32 in [-1, 1], a sound with these features, of which `features.count(N)` is T again.

    Features say nothing of a sound's phases, and of its spectrum only the energies of bands: speech is understood, and
    sounds as if it came through a tube. Half a frame at each end is silent.

    Args:
        frames: (T, M) as `features.frames` gives them.
        features: how they were made.
        steps: of `griffin_lim`.
        seed: of the phases at the start: equal arguments give equal sounds.
    """
    if not len(frames):
        return np.zeros(0, np.float32)
    energies = np.maximum(np.exp(frames.astype(np.float64)) - _FLOOR, 0)
    power = power_of_mel(torch.from_numpy(energies), torch.from_numpy(features.bands()))
    window = torch.from_numpy(features.window())
    found = griffin_lim(power.sqrt().T, window, features.shift_samples, steps=steps, seed=seed).numpy()
    found = without_emphasis(found)
    half = features.frame_samples // 2  # from the begin of a frame to its middle, where the transform has it
    padded = np.pad(found, (half, features.frame_samples - half))
    return np.clip(padded, -1, 1).astype(np.float32)


def griffin_lim(
    magnitudes: Tensor,
    window: Tensor,
    shift: int,
    *,
    steps: int = _STEPS,
    momentum: float = _MOMENTUM,
    seed: int = 0,
) -> Tensor:
    """(shift * (T - 1),) a sound whose transform has nearly these magnitudes (Perraudin et al. 2013, algorithm 2).

    With c_0 the magnitudes with phases that are drawn, step n takes t_n, the transform of the sound that is nearest to
    c_(n - 1) with the magnitudes that are wanted, and c_n = t_n + momentum * (t_n - t_(n - 1)).

    Args:
        magnitudes: (P / 2 + 1, T), at least 0, of frames whose middles are at 0, shift, …
        window: (W,), W at most P.
        shift: samples from the middle of one frame to that of the next.
        steps: how often this is done.
        momentum: 0 is Griffin & Lim (1984).
        seed: of the phases at the start.

    Raises:
        ValueError: the magnitudes' first axis does not hold a window.
    """
    points = 2 * (len(magnitudes) - 1)
    if len(window) > points:
        raise ValueError(f"a window of {len(window)} samples is longer than a transform of {points} points")
    window = window.to(magnitudes)
    generator = torch.Generator().manual_seed(seed)
    phases = torch.rand(magnitudes.shape, generator=generator, dtype=torch.float64) * (2 * torch.pi)
    spectrum = torch.polar(magnitudes, phases.to(magnitudes))
    before = spectrum
    length = shift * (magnitudes.shape[1] - 1)

    def sound(of: Tensor) -> Tensor:
        return torch.istft(of, points, shift, len(window), window, length=length)

    for _ in range(steps if length else 0):
        fitting = torch.stft(
            sound(_with_magnitudes(spectrum, magnitudes)),
            points,
            shift,
            len(window),
            window,
            pad_mode="constant",
            return_complex=True,
        )
        spectrum = fitting + momentum * (fitting - before)
        before = fitting
    return sound(_with_magnitudes(spectrum, magnitudes)) if length else magnitudes.new_zeros(0)


def power_of_mel(energies: Tensor, bands: Tensor, steps: int = _STEPS_OF_POWER) -> Tensor:
    """(T, F) a power spectrum, at least 0, whose bands have nearly these energies.

    Of the many it is one near the smooth one from which it is begun: the energies of the bands, evenly spread over
    their lines. It is then multiplied, step by step, so that the squared error never grows (Lee & Seung 2001).

    Args:
        energies: (T, M), at least 0.
        bands: (M, F), at least 0.
        steps: how often.
    """
    bands = bands.to(energies)
    areas = bands.sum(dim=1)
    covered = bands.sum(dim=0)
    power = (energies / areas) @ bands / covered.clamp(min=_LEAST)
    wanted = energies @ bands
    gram = bands.T @ bands
    for _ in range(steps):
        power = power * wanted / (power @ gram).clamp(min=_LEAST)
    return power


def _with_magnitudes(spectrum: Tensor, magnitudes: Tensor) -> Tensor:
    return magnitudes * torch.sgn(spectrum)


def without_emphasis(samples: np.ndarray) -> np.ndarray:
    """(N,) the samples y of which pre-emphasis makes x: y_n = x_n + 0.97 y_(n - 1)."""
    size = (
        2 * len(samples) + 1024
    )  # 0.97^1024 is nothing: what is behind the end does not come round to the begin
    response = 1 - PRE_EMPHASIS * np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    return np.fft.irfft(np.fft.rfft(samples, size) / response, size)[: len(samples)]
