"""Baselines of synthetic speech: the mean frame of all recordings, and the training recording whose text is nearest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeGuard

import numpy as np

from gatework.baselines.base import Baseline, Rival

__all__ = ["MeanFrame", "NearestFrames", "NearestText"]

_SLOWEST = 1_000  # frames a character
_MOST = 1_000.0  # of a logarithmic energy, in nats
_BETWEEN = -1  # beside the codes of characters: what stands between two texts
_NEIGHBOURS = 4


class Speech(Protocol):
    """A recording and its text.

    Attributes:
        text: N characters.
        durations: (N,) frames of each character.
    """

    text: str
    durations: np.ndarray

    def frames(self) -> np.ndarray:
        """(T, M) float32, its log-mel features; T is at least 1."""


class MeanFrame(Baseline):
    """The mean frame of the training data, for as long as a text of so many characters takes on average.

    Attributes:
        frame_: (M,) float32.
        pace_: frames a character.
    """

    frame_: np.ndarray
    pace_: float

    def fit(self, inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Self:
        """Learn from texts, or dicts with a `text`, and the frames of their recordings, (T, M)."""
        total, sums = 0, np.zeros(())
        for frames in outputs:
            total, sums = total + len(frames), sums + frames.sum(0, dtype=np.float64)
        self.frame_ = np.asarray(sums / total, np.float32)
        self.pace_ = total / max(1, sum(map(len, _texts(inputs))))
        return self

    def predict(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """(T, M) for each text."""
        counts = [max(1, round(self.pace_ * len(text))) for text in _texts(inputs)]
        return [np.tile(self.frame_, (count, 1)) for count in counts]

    def to_json(self) -> str:
        """`{"frame": […], "pace": …}`."""
        return json.dumps({"frame": self.frame_.tolist(), "pace": self.pace_}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: the text is something else.
        """
        value = json.loads(text)
        frame, pace = (value.get(name) if isinstance(value, dict) else None for name in ("frame", "pace"))
        if not (_is_number(pace) and isinstance(frame, list) and frame and all(map(_is_number, frame))):
            raise ValueError('holds no numbers under "frame" and "pace"')
        if max(map(abs, frame)) > _MOST:
            raise ValueError(f"{max(frame, key=abs)} is no logarithmic energy")
        if not 0 <= pace <= _SLOWEST:
            raise ValueError(f"{pace} frames a character are none that a recording has")
        baseline = cls()
        baseline.frame_, baseline.pace_ = np.asarray(frame, np.float32), float(pace)
        return baseline


class NearestText(Rival):
    """Plays the training recording whose text has the least edits to the one that is wanted, per character.

    Attributes:
        texts_: N texts.
        frames_: N arrays, (T, M).
    """

    name: ClassVar[str] = "nearest_recording"
    unit: ClassVar[str] = "characters"
    most: ClassVar[int] = 50_000

    texts_: list[str]
    frames_: list[np.ndarray]

    def size(self, inputs: Sequence[Any]) -> int:
        return sum(map(len, _texts(inputs)))

    def fit(self, inputs: Sequence[Any], outputs: Sequence[Speech]) -> Self:
        """Keep texts, or the `text` of dicts, and the frames of their recordings."""
        self.texts_, self.frames_ = _texts(inputs), [each.frames() for each in outputs]
        return self

    def predict(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """(T, M) for each text; of several that are as near the first."""
        return [self.frames_[int(edit_distances(text, self.texts_).argmin())] for text in _texts(inputs)]

    def to_arrays(self) -> dict[str, np.ndarray]:
        encoded = [text.encode() for text in self.texts_]
        return {
            "texts": np.frombuffer(bytearray(b"".join(encoded)), np.uint8),
            "text_ends": np.cumsum([len(each) for each in encoded], dtype=np.int64),
            "frames": np.concatenate(self.frames_),
            "frame_ends": np.cumsum([len(each) for each in self.frames_], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        try:
            texts, frames = arrays["texts"], arrays["frames"]
            text_ends, frame_ends = arrays["text_ends"], arrays["frame_ends"]
        except KeyError as error:
            raise ValueError(f"has no array {error}") from error
        if not len(text_ends) or len(text_ends) != len(frame_ends) or frames.ndim != 2:
            raise ValueError("its texts and frames do not belong together")
        rival = cls()
        rival.texts_ = [bytes(each).decode() for each in np.split(texts, text_ends[:-1])]
        rival.frames_ = np.split(frames, frame_ends[:-1])
        if not all(map(len, rival.frames_)):
            raise ValueError("a recording has no frames")
        return rival


class NearestFrames(Rival):
    """Plays for each character the frames of a training one with the most alike neighbours: what is cut out of
    recordings and put together, without a model.

    Of training characters that are equal to the wanted one, that is taken which agrees with it in the most neighbours
    without a gap, up to four on each side; of several the one that goes on where the last piece ended, else the first.

    Attributes:
        codes_: (K,) int64, the characters of all training texts one after another, `_BETWEEN` after each text.
        frames_: (F, M), of all recordings.
        ends_: (K,) int64, where each character's frames end; those of the first begin at 0.
    """

    name: ClassVar[str] = "nearest_frames"
    unit: ClassVar[str] = "characters"
    most: ClassVar[int] = 50_000

    codes_: np.ndarray
    frames_: np.ndarray
    ends_: np.ndarray

    def size(self, inputs: Sequence[Any]) -> int:
        return sum(map(len, _texts(inputs)))

    def fit(self, inputs: Sequence[Any], outputs: Sequence[Speech]) -> Self:
        """Keep the frames of recordings and of which character each is; of texts what the recordings say of them."""
        codes: list[int] = []
        ends: list[Any] = []
        frames: list[np.ndarray] = []
        before = 0
        for each in outputs:
            own = each.frames()
            until = np.rint(np.cumsum(each.durations, dtype=np.float64)).astype(np.int64).clip(0, len(own))
            codes += [*map(ord, each.text), _BETWEEN]
            ends += [before + until, [before + len(own)]]
            frames.append(own)
            before += len(own)
        self.codes_, self.ends_ = np.array(codes, np.int64), np.concatenate(ends)
        self.frames_ = np.concatenate(frames)
        return self

    def predict(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """(T, M) for each text; its characters that no training text has are left out, and one frame at least stays."""
        return [self._played(text) for text in _texts(inputs)]

    def _played(self, text: str) -> np.ndarray:
        wanted = np.full(len(text) + 2 * _NEIGHBOURS, _BETWEEN, np.int64)
        wanted[_NEIGHBOURS : _NEIGHBOURS + len(text)] = [ord(each) for each in text]
        padded = np.pad(self.codes_, _NEIGHBOURS, constant_values=_BETWEEN)
        parts, last = [self.frames_[:0]], -1
        for place in range(_NEIGHBOURS, _NEIGHBOURS + len(text)):
            (there,) = np.nonzero(self.codes_ == wanted[place])
            if not len(there):
                continue
            alike = np.zeros(len(there))
            for side in (-1, 1):
                agrees = np.ones(len(there), bool)
                for step in range(side, side * (_NEIGHBOURS + 1), side):
                    agrees &= padded[there + _NEIGHBOURS + step] == wanted[place + step]
                    alike += agrees
                    if wanted[place + step] == _BETWEEN:
                        break  # nothing of a text stands beyond its end
            last = int(there[np.argmax(alike + 0.5 * (there == last + 1))])
            parts.append(self.frames_[self.ends_[last - 1] if last else 0 : self.ends_[last]])
        played = np.concatenate(parts)
        return played if len(played) else self.frames_[:1]

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"codes": self.codes_, "frames": self.frames_, "ends": self.ends_}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        try:
            codes, frames, ends = (arrays[name] for name in ("codes", "frames", "ends"))
        except KeyError as error:
            raise ValueError(f"has no array {error}") from error
        if codes.ndim != 1 or codes.shape != ends.shape or frames.ndim != 2 or not len(frames):
            raise ValueError("its characters and frames do not belong together")
        if (np.diff(ends, prepend=0) < 0).any() or not len(ends) or ends[-1] != len(frames):
            raise ValueError("its characters do not end where its frames do")
        rival = cls()
        rival.codes_, rival.frames_, rival.ends_ = codes, frames, ends
        return rival


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value)


def _texts(inputs: Sequence[Any]) -> list[str]:
    return [each if isinstance(each, str) else each["text"] for each in inputs]


def edit_distances(text: str, others: Sequence[str]) -> np.ndarray:
    """(N,) how many characters are inserted, deleted or replaced between a text and each of N others (Levenshtein),
    over the length of the longer one.
    """
    codes = np.array([ord(character) for character in text], np.int64)
    longest = max(map(len, others), default=0)
    table = np.full((len(others), longest), -1, np.int64)
    for row, other in enumerate(others):
        table[row, : len(other)] = [ord(character) for character in other]
    places = np.arange(longest + 1)
    distance = np.tile(places, (len(others), 1))  # of the text's first 0 characters to each beginning
    for done, code in enumerate(codes, start=1):
        kept = np.minimum(distance[:, 1:] + 1, distance[:, :-1] + (table != code))
        first = np.full((len(others), 1), done)
        # An insertion costs 1 a place: the least over all earlier places of value + places between.
        distance = np.minimum.accumulate(np.hstack([first, kept]) - places, axis=1) + places
    lengths = np.array([len(other) for other in others])
    found = distance[np.arange(len(others)), lengths]
    return found / np.maximum(np.maximum(lengths, len(text)), 1)
