"""What is not speech: noise alone as training and validation data, and how sure a transcript must be.

Shapes: T frames, B rows of a batch, M mel bands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatework.tasks.artifacts import JsonArtifact
from gatework.tasks.transcriber.changes import smooth_curve
from gatework.tasks.transcriber.network import SoundBatch

__all__ = ["Rejection", "best_rejection", "with_noise_alone"]

_SHAKEN = 0.4  # nats, the deviation of a band of noise from frame to frame
_LEVELS = (-1.0, 6.0)  # nats below the mean of the row's frames
_HUM, _WIDTH = 4.0, 1.5  # nats that a hum rises above the noise, and its width in bands
_MOST_LOST = 0.02  # share of right transcripts that a threshold may reject
_SPARED = 0.05  # share of noises that may be heard if that makes the threshold lower


class Rejection(JsonArtifact):
    """Which transcripts are taken for noise; chosen on the validation data.

    Attributes:
        least_confidence: the geometric mean of a segment's labels' probabilities below which nothing was said.
        kept: share of the validation data's right transcripts that are kept.
        rejected: share of noises, made from the validation data, in which nothing is heard.
    """

    least_confidence: float = Field(default=0.0, ge=0, le=1)
    kept: float = Field(default=1.0, ge=0, le=1)
    rejected: float = Field(default=0.0, ge=0, le=1)


def with_noise_alone(batch: SoundBatch, share: float) -> SoundBatch:
    """A batch in which nothing is said in some rows: noise with the mean spectrum of the row, with any other, or a hum.

    Args:
        share: the probability of a row to be one of them; they have no labels then.
    """
    frames = batch.frames
    rows, bands = frames.shape[1:]
    chosen = (torch.rand(rows) < share).to(frames.device)
    inside = torch.arange(len(frames), device=frames.device)[:, None] < batch.lengths
    mean = (frames * inside[:, :, None]).sum(0) / batch.lengths.clamp(min=1)[:, None]  # (B, M)
    level = mean.mean(1, keepdim=True) - _uniform(rows, *_LEVELS).to(frames)
    curve = level + smooth_curve(rows, bands).to(frames)
    place = torch.arange(bands) - torch.rand(rows, 1) * bands
    hum = level + (_HUM * torch.exp(-((place / _WIDTH) ** 2))).to(frames)
    kinds = torch.stack([mean, curve, hum])[torch.randint(3, (rows,)), torch.arange(rows)]
    noise = (kinds + _SHAKEN * torch.randn(frames.shape).to(frames)) * inside[:, :, None]
    counts, least = batch.counts, batch.least
    return batch._replace(
        frames=torch.where(chosen[:, None], noise, frames),
        counts=None if counts is None else counts * ~chosen.to(counts.device),
        least=None if least is None else least * ~chosen.to(least.device),
    )


def best_rejection(right: Sequence[float], noise: Sequence[float | None]) -> Rejection:
    """The threshold that tells transcripts that are right from noise.

    It is a low one: a few noises like speech would take it to where right transcripts of other recordings are, though
    it loses none of these.

    Args:
        right: confidences of right transcripts.
        noise: of what is heard in noises, None where nothing is.
    """
    kept, heard = np.array(right or [1.0]), np.array([value for value in noise if value is not None])
    found = []
    for least in sorted({0.0, *np.nextafter(heard, 2.0).clip(max=1.0).tolist()}):
        share = float((kept >= least).mean())
        out = 1 - float((heard >= least).sum()) / max(len(noise), 1)
        if share >= 1 - _MOST_LOST:
            found.append(Rejection(least_confidence=least, kept=share, rejected=out))
    best = max(found, key=lambda each: each.kept + each.rejected)
    return next(each for each in found if each.rejected >= best.rejected - _SPARED)


def _uniform(rows: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(rows, 1)
