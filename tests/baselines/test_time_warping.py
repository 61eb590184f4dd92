"""Dynamic time warping beside all paths counted one by one, and the recogniser of single words that is made of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from gatework.baselines import TimeWarping
from gatework.baselines.time_warping import warped_distances
from gatework.data import Recording, mfcc
from tests.data.sounds import chirp
from tests.tolerances import PREDICTIONS, assert_close

RATE = 8000


def shortest(one: np.ndarray, other: np.ndarray) -> float:
    """The distance by its definition, over every path."""

    @cache
    def until(row: int, column: int) -> float:
        cost = float(np.linalg.norm(one[row] - other[column]))
        before = [
            until(row - up, column - left)
            for up, left in ((1, 0), (0, 1), (1, 1))
            if row >= up and column >= left
        ]
        return cost + min(before, default=0.0)

    return until(len(one) - 1, len(other) - 1) / (len(one) + len(other))


def test_the_distance_is_that_of_the_shortest_path() -> None:
    generator = np.random.default_rng(0)
    sides = [
        [
            generator.standard_normal((int(size), 3)).astype(np.float32)
            for size in generator.integers(1, 8, count)
        ]
        for count in (33, 129)  # more than are compared at a time
    ]
    found = warped_distances(*sides)
    expected = np.array([[shortest(one, other) for other in sides[1]] for one in sides[0]], np.float32)
    assert_close(torch.from_numpy(found), torch.from_numpy(expected), PREDICTIONS)


def word(top: float, seconds: float, loud: float = 1.0) -> Recording:
    return Recording(f"{top} Hz", (loud * chirp(RATE, seconds, top), RATE), None)


def test_a_word_is_known_at_another_speed() -> None:
    tops = [500.0, 1500.0, 3000.0]
    rival = TimeWarping(RATE)
    inputs = [word(top, 0.5) for top in tops]
    assert rival.size(inputs) == 2  # seconds and a half
    rival.fit(inputs, ["low", "middle", "high"])
    slower = [word(top, seconds) for top in tops for seconds in (0.4, 0.7)]
    assert rival.predict(slower) == ["low", "low", "middle", "middle", "high", "high"]
    kept = TimeWarping.from_arrays(rival.to_arrays())
    assert kept.rate == RATE
    assert kept.predict(slower) == rival.predict(slower)
    shorter_than_a_frame = word(500.0, 0.01)
    assert rival.predict([shorter_than_a_frame])[0] in ("low", "middle", "high")


def test_arrays_that_are_none_of_its_own() -> None:
    arrays = TimeWarping(RATE).fit([word(500.0, 0.1), word(900.0, 0.1)], ["a", "b"]).to_arrays()
    cases = [
        {"outputs": np.frombuffer(b'["a"]', np.uint8)},
        {"outputs": np.frombuffer(b"[1, 2]", np.uint8)},
        {"outputs": np.frombuffer(b"nothing", np.uint8)},
        {"lengths": arrays["lengths"] + 1},
        {"lengths": np.array([0, len(arrays["frames"])])},
        {"lengths": arrays["lengths"] + 0.0},
        {"frames": arrays["frames"][:, :5]},
    ]
    for case in cases:
        with pytest.raises(ValueError):
            TimeWarping.from_arrays(arrays | case)
    for name in arrays:
        with pytest.raises(ValueError, match=name):
            TimeWarping.from_arrays({key: array for key, array in arrays.items() if key != name})


def test_spoken_digits_of_known_speakers(shared_data: Callable[[str], Path]) -> None:
    """A fifth of the official split, which has 99.5 %."""
    folder = shared_data("speech_recognition/fsdd/recordings")
    names = [path.stem.split("_") for path in sorted(folder.glob("*.wav"))]

    def some(first: int, last: int) -> tuple[list[Recording], list[str]]:
        chosen = [name for name in names if first <= int(name[2]) <= last]
        paths = [str(folder / f"{'_'.join(name)}.wav") for name in chosen]
        return [Recording(path, path, None) for path in paths], [name[0] for name in chosen]

    rival = TimeWarping(RATE).fit(*some(5, 9))
    inputs, digits = some(0, 1)
    right = np.mean([output == digit for output, digit in zip(rival.predict(inputs), digits, strict=True)])
    assert right > 0.95
    assert mfcc(inputs[0].samples(RATE), RATE).shape[1] == 13
