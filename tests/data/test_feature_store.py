"""Features in a file: made once, made anew where they are stale or damaged, mapped and not read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatework.data import FeatureStore, LogMel, Packed, Recording, read_recordings, trim_silence
from gatework.data.recordings import SoundChange
from gatework.errors import InputError
from tests.data.sounds import chirp, written

FEATURES = LogMel(rate=8000, mels=20)


def recordings(folder: Path, count: int = 3) -> list[Recording]:
    paths = [written(folder / f"{index}.wav", chirp(8000, 0.2 + 0.1 * index), 8000) for index in range(count)]
    return read_recordings(paths, text=False)


class Counter:
    """Says whether features were made."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, done: int) -> None:
        self.made.append(done)

    def taken(self) -> list[int]:
        made, self.made = self.made, []
        return made


def test_features_are_made_once_and_are_those_of_the_sounds(tmp_path: Path) -> None:
    some, count = recordings(tmp_path / "sounds"), Counter()
    path = tmp_path / "run" / "features"
    path.parent.mkdir()
    store = FeatureStore.of(some, FEATURES, path, count)
    assert count.taken() == [1, 2, 3]
    again = FeatureStore.of(list(some), FEATURES, str(path), count)
    assert count.taken() == []
    for found in (store, again):
        assert len(found) == 3
        for one, frames in zip(some, found, strict=True):
            assert np.array_equal(frames, FEATURES.frames(one.samples(8000)))
        assert np.array_equal(found[-1], found[2])
        assert isinstance(found.frames.base, np.memmap)
        assert not found.frames.flags.writeable
        with pytest.raises(IndexError):
            found[3]
    packed = Packed({"frames": store.frames}, {"frames": store.ends})
    assert packed.sha256() == Packed.from_rows([{"frames": frames} for frames in store]).sha256()
    assert list(path.parent.iterdir()) == [path]


def test_silence_at_both_ends_is_left_out(tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(4000, np.float32), chirp(8000, 0.3), np.zeros(4000, np.float32)])
    silence = np.zeros(800, np.float32)
    some = read_recordings([(sound, 8000), (silence, 8000)], text=False)
    whole, trimmed = (
        FeatureStore.of(some, FEATURES, tmp_path / "features", trim=trim) for trim in (False, True)
    )
    start, end = trim_silence(sound, 8000)
    assert len(whole[0]) == FEATURES.count(len(sound))
    assert np.array_equal(trimmed[0], FEATURES.frames(sound[start:end]))
    assert len(trimmed[0]) < len(whole[0]) / 2
    assert len(trimmed[1]) == len(whole[1])  # nothing but silence is kept


def test_other_settings_and_other_sounds_are_made_anew(tmp_path: Path) -> None:
    some, count = recordings(tmp_path / "sounds"), Counter()
    path = tmp_path / "features"
    FeatureStore.of(some, FEATURES, path, count)
    noise = Recording("noise", (chirp(8000), 8000), None)
    changes = [SoundChange(0.9), SoundChange(noise=some[1], ratio=9.0), SoundChange(noise=noise, ratio=9.0)]
    changes += [replace(changes[-1], ratio=12.0), replace(changes[-1], seed=1)]
    changed = [
        (some, LogMel(rate=8000, mels=21)),
        (some[::-1], FEATURES),
        (some[:2], FEATURES),
        ([*some[:2], Recording("part", some[2].sound, None, None, 0.1, 0.1)], FEATURES),
        ([*some[:2], Recording("samples", (chirp(8000), 8000), None)], FEATURES),
        ([*some[:2], Recording("samples", (chirp(8000)[::-1], 8000), None)], FEATURES),
        *(([replace(some[0], change=change), *some[1:]], FEATURES) for change in changes),
        (
            [*some[:2], Recording("bytes", {"bytes": Path(some[0].where).read_bytes(), "path": None}, None)],
            FEATURES,
        ),
    ]
    for data, features in changed:
        count.taken()
        for _ in range(2):
            found = FeatureStore.of(data, features, path, count)
            assert np.array_equal(found[0], features.frames(data[0].samples(8000)))
        assert len(count.taken()) == len(data)  # of the first of the two
    written(tmp_path / "sounds" / "0.wav", chirp(8000, 0.2)[::-1], 8000)
    os.utime(tmp_path / "sounds" / "0.wav", (1, 1))
    found = FeatureStore.of(some, FEATURES, path, count)
    assert count.taken() == [1, 2, 3]
    assert np.array_equal(found[0], FEATURES.frames(some[0].samples(8000)))


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    some, count = recordings(tmp_path / "sounds"), Counter()
    path = tmp_path / "features"
    FeatureStore.of(some, FEATURES, path, count)
    whole = path.read_bytes()
    damaged = [
        b"",
        whole[:-1],
        whole + b"x",
        whole[:600] + bytes([whole[600] ^ 1]) + whole[601:],
        whole.replace(b'"frames": ', b'"frames": 1', 1),
        whole.replace(b'"recordings"', b'"recordingz"', 1),
        whole.replace(b'"format_version": 1', b'"format_version": 2', 1),
        b"[1, 2]" + whole[6:],
        b"\xff" * len(whole),
    ]
    for content in damaged:
        count.taken()
        path.write_bytes(content)
        FeatureStore.of(some, FEATURES, path, count)
        assert count.taken() == [1, 2, 3]
        assert path.read_bytes() == whole


def test_what_cannot_be_read_leaves_no_file(tmp_path: Path) -> None:
    some = [*recordings(tmp_path / "sounds"), Recording("missing", str(tmp_path / "missing.wav"), None)]
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"missing \(.*missing\.wav\): no such file"):
        FeatureStore.of(some, FEATURES, tmp_path / "run" / "features")
    assert list((tmp_path / "run").iterdir()) == []
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match=r"taken: cannot be written \(Is a directory\)"):
        FeatureStore.of(some[:3], FEATURES, tmp_path / "taken")


def test_recordings_without_a_frame(tmp_path: Path) -> None:
    short = [Recording("short", (np.zeros(10), 8000), None)] * 2
    for _ in range(2):
        store = FeatureStore.of(short, FEATURES, tmp_path / "features")
        assert [frames.shape for frames in store] == [(0, 20)] * 2
    assert len(FeatureStore.of([], FEATURES, tmp_path / "features")) == 0
