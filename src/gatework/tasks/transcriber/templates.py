"""How near a recording of one word is to the training recordings of each word, by dynamic time warping.

It is what the strong simple rival of a recogniser of single words goes by (`TimeWarping`), and of few recordings it
tells more than a network learns of them: that knows them by heart, and is as sure of others, and often wrong. So the
network says when a word is said, and mostly the templates which one.

Shapes: S steps; B recordings of T frames with M mel bands; K templates, of C cepstral coefficients a frame; L labels
without the blank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Self

import numpy as np
import torch
from torch import Tensor

from gatework.baselines.time_warping import warped_distances
from gatework.data import Tokenizer
from gatework.data.log_mel import CEPSTRA, FRAME_SHIFT, cepstra
from gatework.errors import InputError, RunError
from gatework.tasks.example_task import Example
from gatework.tasks.transcriber.speakers import PRIOR_FRAMES, floor_of, floored
from gatework.tasks.transcriber.transcripts import labels_of_text
from gatework.training import RunFolder

__all__ = [
    "FAR",
    "MOST_SECONDS",
    "NATS",
    "NEIGHBOURS",
    "ORDER",
    "QUIET",
    "WORD",
    "Templates",
    "template_frames",
    "template_labels",
    "with_templates",
]

FILE = "templates.safetensors"
MOST_SECONDS = 1_000  # of templates; a word of half a second is compared with them in some 20 ms
NEIGHBOURS = 3
ORDER = 7  # C above a floor, for speakers who are not known: more would say how high a voice is
QUIET = 30.0  # decibels below the loudest frame of a recording, where its word begins and ends
NATS = 18.0  # that a label loses for each unit, by leaving one of 120 recordings out
WORD = 6.0  # nats that labels win beside the blank where something is as near as a word is
FAR = 2.0  # units, as far as no word is


class Templates:
    """Training recordings of single words: the cepstra of their log-mel frames.

    Attributes:
        frames: K arrays (T, C) float32, T at least 1.
        labels: (K,) int64, the label of each, from 1 on.
        unit: the mean distance of a template to the nearest other one of its label.
        mean: (M,) float32, of all log-mel frames, above their floor, of the recordings that the templates are made of.
    """

    def __init__(
        self, frames: Sequence[np.ndarray], labels: np.ndarray, unit: float, mean: np.ndarray
    ) -> None:
        self.frames, self.labels, self.unit, self.mean = list(frames), labels, unit, mean

    @classmethod
    def of(
        cls,
        recordings: Sequence[np.ndarray],
        labels: np.ndarray,
        speakers: Sequence[np.ndarray] | None = None,
    ) -> Self:
        """Templates made of arrays of log-mel frames, (T, M), and of the label of each; of label 0 there is none.

        Args:
            speakers: of each recording what is known of its speaker, (3 M + 1,), see `speaker_statistics`; None: it
                does not count who speaks.

        Raises:
            InputError: no recording has a label, or they are longer than `MOST_SECONDS`.
        """
        places = np.flatnonzero(labels).tolist()
        seconds = FRAME_SHIFT * sum(len(recordings[place]) for place in places)
        if not len(places) or seconds > MOST_SECONDS:
            what = (
                f"compares each recording with the training data, of which it takes up to {MOST_SECONDS:,} seconds; "
                f"it has {seconds:,.0f}"
            )
            raise InputError("option templates", what, "Give templates=0.")
        some = [recordings[place] for place in places]
        known = None if speakers is None else np.stack([speakers[place] for place in places])
        above = list(map(floored, some, repeat(None) if known is None else known))
        mean = np.concatenate(above).mean(axis=0, dtype=np.float64).astype(np.float32)
        templates = cls([], labels[places].astype(np.int64), 1.0, mean)
        above_floor = known is not None and bool(np.isfinite(known).all())
        templates.frames = templates._comparable(some, known, ORDER if above_floor else CEPSTRA)
        distances = warped_distances(templates.frames, templates.frames)
        np.fill_diagonal(distances, np.inf)
        nearest = np.where(templates.labels[:, None] == templates.labels, distances, np.inf).min(axis=1)
        apart = nearest[np.isfinite(nearest) & (nearest > 0)]
        templates.unit = float(apart.mean()) if len(apart) else 1.0
        return templates

    def nearness(
        self, recordings: Sequence[np.ndarray], count: int, speakers: np.ndarray | None = None
    ) -> np.ndarray:
        """(B, L) float32, minus the distance to each label, as a number of units: it is the mean of that of the label's
        nearest template and of the mean one of its nearest three. A label that has no template is as far away as the
        farthest that has one.

        Args:
            recordings: B arrays of log-mel frames, (T, M).
            count: L.
            speakers: (B, 3 M + 1), what is known of each recording's speaker, if the templates were made so.
        """
        found = np.full((len(recordings), count), np.nan)
        if recordings:
            compared = self._comparable(recordings, speakers, self.frames[0].shape[1])
            distances = warped_distances(compared, self.frames)  # (B, K)
            for label in np.unique(self.labels):
                near = np.sort(distances[:, self.labels == label], axis=1)[:, :NEIGHBOURS]
                found[:, label - 1] = (near[:, 0] + near.mean(axis=1)) / 2
            found = np.where(np.isnan(found), np.nanmax(found, axis=1, keepdims=True), found)
        return (-found / self.unit).astype(np.float32)

    def _comparable(
        self, recordings: Sequence[np.ndarray], speakers: np.ndarray | None, order: int
    ) -> list[np.ndarray]:
        if speakers is None:
            return [template_frames(each, order=order) for each in recordings]
        share = speakers[:, :1] / (speakers[:, :1] + PRIOR_FRAMES)
        levels = (1 - share) * self.mean + share * speakers[:, 1 : len(self.mean) + 1]  # (B, M)
        rows = zip(recordings, levels, speakers, strict=True)
        return [template_frames(each, level, floor_of(speaker), order=order) for each, level, speaker in rows]

    def write(self, run: RunFolder) -> None:
        """Keep them in a run."""
        run.write_tensors(FILE, {name: torch.from_numpy(array) for name, array in self.to_arrays().items()})

    @classmethod
    def read(cls, run: RunFolder, labels: int, mels: int) -> Self:
        """Those that a run keeps, whose network has so many labels and reads so many bands.

        Raises:
            RunError: the file is missing or damaged.
        """
        arrays = {name: tensor.numpy() for name, tensor in run.read_tensors(FILE).items()}
        try:
            return cls.from_arrays(arrays, labels, mels)
        except ValueError as error:
            fix = "Restore the file from a copy, or train the run again."
            raise RunError(str(run.path / FILE), str(error), fix) from error

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it, as arrays to keep."""
        return {
            "frames": np.concatenate(self.frames),
            "lengths": np.asarray([len(each) for each in self.frames]),
            "labels": self.labels,
            "unit": np.asarray(self.unit),
            "mean": self.mean,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], labels: int, mels: int) -> Self:
        """What `to_arrays` gave; of a network that has so many labels and reads so many bands.

        Raises:
            ValueError: for anything else: the file may be a stranger's.
        """
        try:
            names = ("frames", "lengths", "labels", "unit", "mean")
            frames, lengths, own, unit, mean = (arrays[name] for name in names)
        except KeyError as error:
            raise ValueError(f"has no array {error}") from error
        if (
            frames.ndim != 2
            or not 1 <= frames.shape[1] <= CEPSTRA
            or lengths.ndim != 1
            or lengths.shape != own.shape
            or {lengths.dtype.kind, own.dtype.kind} != {"i"}
            or not len(lengths)
            or lengths.min() < 1
            or lengths.sum() != len(frames)
        ):
            raise ValueError("its frames, lengths and labels do not belong together")
        if own.min() < 1 or own.max() > labels:
            raise ValueError(f"its labels are not from 1 to {labels}")
        finite = np.isfinite(frames).all() and np.isfinite(mean).all()
        if unit.shape != () or not 0 < float(unit) < math.inf or mean.shape != (mels,) or not finite:
            raise ValueError(f"its frames, unit and mean of {mels} bands are no finite numbers")
        parts = np.split(frames.astype(np.float32), np.cumsum(lengths)[:-1])
        return cls(parts, own, float(unit), mean.astype(np.float32))


def with_templates(scores: Tensor, nearness: Tensor, weight: float) -> Tensor:
    """Log-probabilities of steps, (S, B, L + 1), in which the templates have a say, as much as `weight` says.

    Which label it is: its logarithm is (1 - weight) times the network's and `weight` times the templates'. Whether
    there is any: what is as near as a word, and no noise, makes labels likelier beside the blank.

    Args:
        nearness: (B, L), see `Templates.nearness`.
    """
    said = scores[..., 1:].logsumexp(-1, keepdim=True)  # the log-probability of any label
    word = (nearness.amax(-1, keepdim=True) + FAR).clamp(0, 1)  # (B, 1)
    both = (1 - weight) * scores[..., 1:] + weight * NATS * nearness
    labels = said + weight * WORD * word + both.log_softmax(-1)
    return torch.cat([scores[..., :1], labels], dim=-1).log_softmax(-1)


def template_labels(examples: Sequence[Example], tokenizer: Tokenizer) -> np.ndarray:
    """(N,) int64, the label of the only word of each of N transcripts; 0 where there is none, or it is unknown.

    Raises:
        InputError: labels are no words, or a transcript has several.
    """
    if tokenizer.kind != "word":
        what = f"adds to the scores of whole words, and a label is a {tokenizer.kind}"
        raise InputError("option templates", what, "Give tokenizer=word, or templates=0.")
    labels = np.zeros(len(examples), np.int64)
    for place, each in enumerate(examples):
        known = labels_of_text(each.output, tokenizer)
        if " " in each.output or len(known) > 1:
            what = f"is said in one recording ({each.output!r}), and templates compare recordings of single words"
            raise InputError(each.where, what, "Give recordings of one word each, or templates=0.")
        labels[place] = sum(known)
    return labels


def template_frames(
    frames: np.ndarray,
    level: np.ndarray | None = None,
    floor: np.ndarray | None = None,
    *,
    order: int = CEPSTRA,
) -> np.ndarray:
    """(T', C), the first cepstra of log-mel frames, (T, M), from the first to the last that is at most `QUIET` decibels
    softer than the loudest: the silence around a word tells nothing of it, and every step of a path over silence
    counts. The zeroth coefficient is taken less its largest: how loud somebody speaks is not what they say. Of a
    recording that is shorter than a frame it is one frame of zeros.

    Args:
        level: (M,), what is taken from each frame.
        floor: (M,), what is added to each frame before, as power.
        order: C.
    """
    if not len(frames):
        return np.zeros((1, order), np.float32)
    loud = np.logaddexp.reduce(frames, axis=1)
    heard = np.flatnonzero(loud >= loud.max() - QUIET * math.log(10) / 10)
    part = frames[heard[0] : heard[-1] + 1]
    part = part if floor is None else np.logaddexp(part, floor)
    found = np.ascontiguousarray(cepstra(part if level is None else part - level)[:, :order])
    found[:, 0] -= found[:, 0].max()
    return found
