"""The nearest training recording by dynamic time warping: the rival of a recogniser of single words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import numpy as np

from gatework.baselines.base import Rival
from gatework.data import Recording, mfcc, recording_seconds
from gatework.data.log_mel import CEPSTRA

__all__ = ["TimeWarping", "warped_distances"]

_TESTED, _TRAINED = (
    32,
    128,
)  # recordings whose pairs are compared at a time: some rows of cells fit into a cache


class TimeWarping(Rival):
    """What was spoken in the training recording that is nearest by dynamic time warping (Sakoe & Chiba 1978).

    Recordings are compared by their 13 mel-frequency cepstral coefficients, by `warped_distances`. It is a good
    recogniser of words that it has heard from the same speaker, and cannot say anything that was never said whole.
    """

    name = "time_warping"
    unit = "seconds"
    most = 1_000  # a word of half a second is compared with them in some 20 ms

    _frames: list[np.ndarray]
    _outputs: list[str]

    def __init__(self, rate: int = 16_000) -> None:
        """`rate`: at which recordings are read, in Hz."""
        self.rate = rate

    def size(self, inputs: Sequence[Recording]) -> int:
        return math.ceil(sum(recording_seconds(inputs)))

    def fit(self, inputs: Sequence[Recording], outputs: Sequence[str]) -> Self:
        """Keep the coefficients of N recordings, and what is spoken in them."""
        self._frames = [self._coefficients(recording) for recording in inputs]
        self._outputs = list(outputs)
        return self

    def predict(self, inputs: Sequence[Recording]) -> list[str]:
        tested = [self._coefficients(recording) for recording in inputs]
        return [self._outputs[index] for index in warped_distances(tested, self._frames).argmin(axis=1)]

    def _coefficients(self, recording: Recording) -> np.ndarray:
        """(T, 13), of at least one frame: those of a recording that is shorter than a frame are 0."""
        found = mfcc(recording.samples(self.rate), self.rate)
        return found if len(found) else np.zeros((1, CEPSTRA), np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        outputs = json.dumps(self._outputs).encode()
        return {
            "frames": np.concatenate(self._frames),
            "lengths": np.asarray([len(frames) for frames in self._frames]),
            "outputs": np.frombuffer(outputs, np.uint8).copy(),
            "rate": np.asarray(self.rate),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        try:
            frames, lengths = arrays["frames"], arrays["lengths"]
            rival = cls(int(arrays["rate"]))
            rival._outputs = json.loads(bytes(arrays["outputs"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"holds no recordings ({error})") from error
        if (
            frames.shape[1:] != (CEPSTRA,)
            or lengths.ndim != 1
            or lengths.dtype.kind != "i"
            or len(lengths) != len(rival._outputs)
            or not len(lengths)
            or lengths.min() < 1
            or lengths.sum() != len(frames)
            or not all(isinstance(output, str) for output in rival._outputs)
        ):
            raise ValueError("holds recordings that do not fit their texts")
        rival._frames = np.split(frames.astype(np.float32), np.cumsum(lengths)[:-1])
        return rival


def warped_distances(tested: Sequence[np.ndarray], trained: Sequence[np.ndarray]) -> np.ndarray:
    """(M, N) float32, how far each of M recordings is from each of N after the best warping of time.

    A path goes from the first pair of frames to the last by steps of one frame in either or in both. Its length is the
    sum of the Euclidean distances of its pairs of frames, and a distance that of the shortest path over T + S, the
    frames of both.

    Args:
        tested: M arrays (T, C), T at least 1.
        trained: N arrays (S, C), S at least 1.
    """
    found = np.empty((len(tested), len(trained)), np.float32)
    for rows in _alike(tested, _TESTED):
        for columns in _alike(trained, _TRAINED):
            some, others = [tested[index] for index in rows], [trained[index] for index in columns]
            found[np.ix_(rows, columns)] = _shortest_paths(some, others)
    lengths = [np.asarray([len(frames) for frames in side], np.float32) for side in (tested, trained)]
    return found / np.add.outer(*lengths)


def _alike(recordings: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """The indices of recordings in groups of neighbours by length, so that little is padded."""
    order = np.argsort([len(frames) for frames in recordings], kind="stable")
    return (order[begin : begin + count] for begin in range(0, len(order), count))


def _shortest_paths(tested: Sequence[np.ndarray], trained: Sequence[np.ndarray]) -> np.ndarray:
    """(B, K) the length of the shortest path of each pair."""
    rows, lengths = _padded(tested)  # (T, B, C)
    columns, ends = _padded(trained)  # (S, K, C)
    # |x - y|² as one product, of (|x|², 1, -2 x) and (1, |y|², y)
    rows = np.concatenate([_squares(rows), np.ones_like(rows[..., :1]), -2 * rows], axis=2)
    columns = np.concatenate([np.ones_like(columns[..., :1]), _squares(columns), columns], axis=2)
    columns = np.ascontiguousarray(columns.transpose(0, 2, 1))  # (S, C + 2, K)
    found = np.empty((len(tested), len(trained)), np.float32)
    every = np.arange(len(trained))
    paths = np.full((len(columns), *found.shape), np.inf, np.float32)  # (S, B, K), to each pair of frames
    before, costs = np.empty_like(paths), np.empty_like(paths)
    for step, row in enumerate(rows):
        np.matmul(row, columns, out=costs)
        np.sqrt(np.maximum(costs, 0, out=costs), out=costs)
        before[0] = paths[0] if step else 0
        np.minimum(paths[1:], paths[:-1], out=before[1:])
        np.add(costs[0], before[0], out=paths[0])
        for place in range(1, len(columns)):
            np.minimum(before[place], paths[place - 1], out=paths[place])
            paths[place] += costs[place]
        for index in np.flatnonzero(lengths == step + 1):
            found[index] = paths[ends - 1, index, every]
    return found


def _squares(frames: np.ndarray) -> np.ndarray:
    """(…, 1) the squared length of each frame, (…, C)."""
    return (frames**2).sum(axis=-1, keepdims=True)


def _padded(recordings: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(T, B, C) float32 with zeros after each recording's end, and (B,) their lengths."""
    lengths = np.asarray([len(frames) for frames in recordings])
    padded = np.zeros((lengths.max(), len(recordings), recordings[0].shape[1]), np.float32)
    for index, frames in enumerate(recordings):
        padded[: len(frames), index] = frames
    return padded, lengths
