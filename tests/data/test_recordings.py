"""Recordings: the same from every manifest and folder, opened when they are asked for, each fault with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from gatework.data.recordings import Recording, read_recordings, recording_seconds
from gatework.errors import InputError
from tests.data.sounds import chirp, written

RATE = 16_000
NAMES = ["r-1", "r-2", "s-1"]
TEXTS = ["one two", "NA", "Drei, vier"]
SPEAKERS = ["r", "r", "s"]


def sound(index: int) -> np.ndarray:
    return chirp(RATE, 0.05 * (index + 1))


def sounds(folder: Path, end: str = ".wav") -> list[Path]:
    return [written(folder / f"{name}{end}", sound(index), RATE) for index, name in enumerate(NAMES)]


def text_file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def lines(path: Path, rows: list[Any]) -> Path:
    return text_file(path, "".join(f"{row}\n" for row in rows))


def lj_speech(root: Path) -> Path:
    sounds(root / "wavs")
    lines(root / "metadata.csv", [f"{name}|{text}" for name, text in zip(NAMES, TEXTS, strict=True)])
    return root


def lj_speech_normalised(root: Path) -> Path:
    sounds(root / "wavs")
    rows = [f"{name}|{text.upper()}|{text}" for name, text in zip(NAMES, TEXTS, strict=True)]
    return lines(root / "metadata.csv", rows)


def lj_speech_with_a_header(root: Path) -> Path:
    sounds(root)
    rows = [f"{name}.wav|{text}|{who}" for name, text, who in zip(NAMES, TEXTS, SPEAKERS, strict=True)]
    return lines(root / "metadata.csv", ["audio_file|text|speaker_name", *rows])


def common_voice(root: Path) -> Path:
    sounds(root / "clips", ".mp3")
    rows = [
        f"{who}\t{name}.mp3\t{text}\t2\t0" for name, text, who in zip(NAMES, TEXTS, SPEAKERS, strict=True)
    ]
    return lines(root / "train.tsv", ["client_id\tpath\tsentence\tup_votes\tdown_votes", *rows])


def nemo(root: Path) -> Path:
    rows = [
        {"audio_filepath": str(path), "duration": 1.0, "text": text}
        for path, text in zip(sounds(root), TEXTS, strict=True)
    ]
    return lines(root / "manifest.json", [json.dumps(row) for row in rows])


def kaldi(root: Path) -> Path:
    paths = sounds(root / "audio")
    lines(root / "wav.scp", [f"{name} {path}" for name, path in zip(NAMES, paths, strict=True)])
    lines(root / "text", [f"{name} {text}" for name, text in zip(NAMES, TEXTS, strict=True)])
    lines(root / "utt2spk", [f"{name}\t{who}" for name, who in zip(NAMES, SPEAKERS, strict=True)])
    return root


def audiofolder(root: Path) -> Path:
    sounds(root)
    rows = [f'{name}.wav,"{text}"' for name, text in zip(NAMES, TEXTS, strict=True)]
    lines(root / "metadata.csv", ["file_name,transcription", *rows])
    return root


def libri_speech(root: Path) -> Path:
    for name, text, index in zip(NAMES, TEXTS, range(3), strict=True):
        folder = root / name[0] / "7"
        written(folder / f"{name}.flac", sound(index), RATE)
        with (folder / f"{name[0]}-7.trans.txt").open("a", encoding="utf-8") as file:
            file.write(f"{name} {text}\n")
    return root


def texts_beside(root: Path) -> Path:
    ends = [".txt", ".lab", ".normalized.txt"]
    for path, text, end in zip(sounds(root / "deep" / "er"), TEXTS, ends, strict=True):
        text_file(path.with_suffix(end), f"{text}\n")
    text_file(root / "deep" / "er" / "README", "about the data")
    return root


def folders_of_words(root: Path) -> Path:
    for name, text, index in zip(NAMES, TEXTS, range(3), strict=True):
        written(root / text / f"{name}.wav", sound(index), RATE)
    written(root / ".hidden" / "x.wav", sound(0))
    return root


def headless(root: Path) -> Path:
    sounds(root)
    return lines(root / "a.txt", [f"{name}.wav\t{text}" for name, text in zip(NAMES, TEXTS, strict=True)])


def frame(root: Path) -> pandas.DataFrame:
    return pandas.DataFrame(
        {"audio": [str(path) for path in sounds(root)], "text": TEXTS, "speaker": SPEAKERS}
    )


def parquet(root: Path) -> Path:
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in sounds(root / "away")]
    pyarrow.parquet.write_table(pyarrow.table({"audio": cells, "text": TEXTS}), root / "a.parquet")
    return root / "a.parquet"


def data_set(root: Path) -> datasets.Dataset:
    rows = {"audio": [str(path) for path in sounds(root)], "text": TEXTS, "speaker": SPEAKERS}
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())


def saved_data_set(root: Path) -> Path:
    data_set(root / "away").save_to_disk(root / "saved")
    return root / "saved"


def rows_in_memory(root: Path) -> list[dict[str, Any]]:
    paths = sounds(root)
    cells = [(sound(0), RATE), paths[1].read_bytes(), {"array": sound(2), "sampling_rate": RATE}]
    return [
        {"audio": cell, "text": text, "speaker": who}
        for cell, text, who in zip(cells, TEXTS, SPEAKERS, strict=True)
    ]


FORMS: dict[Callable[[Path], Any], bool] = {  # whether speakers are known
    lj_speech: False,
    lj_speech_normalised: False,
    lj_speech_with_a_header: True,
    common_voice: True,
    nemo: False,
    kaldi: True,
    audiofolder: False,
    libri_speech: True,
    texts_beside: False,
    frame: True,
    parquet: False,
    data_set: True,
    saved_data_set: True,
    rows_in_memory: True,
}


def check(found: list[Recording], speakers: bool, texts: list[Any] = TEXTS) -> None:
    assert [one.text for one in found] == texts
    assert [one.speaker for one in found] == (SPEAKERS if speakers else [None] * 3)
    for index, one in enumerate(found):
        samples = one.samples(RATE)
        assert samples.shape == sound(index).shape
        assert np.abs(samples - sound(index)).max() < 0.1  # MP3 is heard as the same, and is not
        assert one.length() == len(sound(index)) / RATE
    assert recording_seconds(found) == [one.length() for one in found]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_recordings(form: Callable[[Path], Any], tmp_path: Path) -> None:
    data = form(tmp_path)
    check(read_recordings(data), FORMS[form])
    check(read_recordings(data, text=False), FORMS[form])


def test_folders_of_words(tmp_path: Path) -> None:
    found = read_recordings(folders_of_words(tmp_path))
    assert [(one.text, Path(one.where).name) for one in found] == sorted(
        (text, f"{name}.wav") for name, text in zip(NAMES, TEXTS, strict=True)
    )


def test_columns_that_are_named(tmp_path: Path) -> None:
    check(read_recordings(headless(tmp_path / "a"), {"audio": 1, "text": "2"}), False)
    data = frame(tmp_path / "b").rename(columns={"audio": "x", "text": "y", "speaker": "z"})
    check(read_recordings(data, {"audio": "x", "text": "y", "speaker": "z"}), True)
    check(read_recordings(data.to_dict("list"), {"audio": "x", "text": "y"}), False)
    nested = [{"data": {"wav": row["x"]}, "text": row["y"]} for row in data.to_dict("records")]
    check(read_recordings(nested, {"audio": "data.wav"}), False)
    with pytest.raises(InputError, match=r"has no column 'zz'\. Did you mean 'z'"):
        read_recordings(data, {"audio": "x", "text": "y", "speaker": "zz"})
    with pytest.raises(InputError, match=r"has no column 'audio' \(or map another: columns="):
        read_recordings(data)
    with pytest.raises(InputError, match="has no column 'text'"):
        read_recordings(data, {"audio": "x"})
    check(read_recordings(data, {"audio": "x"}, text=False), False, [None] * 3)


def test_sounds_by_themselves(tmp_path: Path) -> None:
    paths = sounds(tmp_path)
    for data in (
        paths,
        [path.read_bytes() for path in paths],
        [(sound(index), RATE) for index in range(3)],
        iter(paths),
    ):
        check(read_recordings(data, text=False), False, [None] * 3)
    (one,) = read_recordings({"array": sound(0), "sampling_rate": RATE}, text=False)
    assert one.length() == 0.05
    check(read_recordings(tmp_path, text=False), False, [None] * 3)
    with pytest.raises(InputError, match=r"r-1\.wav: is a sound, and there is no r-1\.txt beside it"):
        read_recordings(paths[0])
    for path, text in zip(paths, TEXTS, strict=True):
        text_file(path.with_suffix(".txt"), text)
    check(read_recordings(paths), False)


def test_parts_of_files(tmp_path: Path) -> None:
    whole = np.concatenate([sound(index) for index in range(3)])
    path = written(tmp_path / "whole.wav", whole, RATE)
    starts, lengths = [0.0, 0.05, 0.15], [0.05, 0.1, 0.15]
    rows = [
        {"audio_filepath": "whole.wav", "offset": start, "duration": length, "text": text}
        for start, length, text in zip(starts, lengths, TEXTS, strict=True)
    ]
    check(read_recordings(lines(tmp_path / "a.jsonl", [json.dumps(row) for row in rows])), False)
    lines(tmp_path / "kaldi" / "wav.scp", [f"w {path}"])
    lines(tmp_path / "kaldi" / "text", [f"{name} {text}" for name, text in zip(NAMES, TEXTS, strict=True)])
    ends = [0.05, 0.15, -1]  # -1 is the end of the recording
    segments = [f"{name} w {start} {end}" for name, start, end in zip(NAMES, starts, ends, strict=True)]
    lines(tmp_path / "kaldi" / "segments", segments)
    found = read_recordings(tmp_path / "kaldi")
    assert [one.text for one in found] == TEXTS
    assert [len(one.samples(RATE)) for one in found] == [800, 1600, 2400]
    rows[1]["offset"] = "soon"
    with pytest.raises(InputError, match="row 2: offset is 'soon', not a number of seconds"):
        read_recordings(rows, root=tmp_path)
    lines(tmp_path / "kaldi" / "segments", ["r-1 w 0"])
    with pytest.raises(
        InputError, match=r"segments, line 1: is 'r-1 w 0'\. Write UTTERANCE RECORDING START END"
    ):
        read_recordings(tmp_path / "kaldi")
    lines(tmp_path / "kaldi" / "segments", ["r-1 v 0 1"])
    with pytest.raises(InputError, match=r"1 of 1 segments are of recordings that wav\.scp lacks: v"):
        read_recordings(tmp_path / "kaldi")


def test_paths_begin_in_a_root(tmp_path: Path) -> None:
    sounds(tmp_path / "data" / "x")
    rows = [{"path": f"x/{name}", "text": text} for name, text in zip(NAMES, TEXTS, strict=True)]
    manifest = lines(tmp_path / "lists" / "a.jsonl", [json.dumps(row) for row in rows])
    check(read_recordings(manifest, root=tmp_path / "data"), False)
    check(read_recordings(rows, root=str(tmp_path / "data")), False)
    with pytest.raises(
        InputError, match=r"a\.jsonl: 3 of 3 sounds are not there: x/r-1, x/r-2, x/s-1\. Check"
    ):
        read_recordings(manifest)


# Faults


def test_missing_files_are_counted_and_ten_are_shown(tmp_path: Path) -> None:
    sounds(tmp_path)
    rows = [f"{name},x" for name in (*NAMES, *(f"m{index}.wav" for index in range(25)))]
    manifest = lines(tmp_path / "a.csv", ["audio,text", *rows])
    shown = ", ".join(f"m{index}.wav" for index in range(10))
    with pytest.raises(InputError) as caught:
        read_recordings(manifest)
    assert str(caught.value) == (
        f"{manifest}: 25 of 28 sounds are not there: {shown} and 15 more. "
        "Check the paths, or say which folder they begin in (root)"
    )
    folder = kaldi(tmp_path / "kaldi")
    (folder / "audio" / "r-2.wav").unlink()
    with pytest.raises(InputError, match=r"wav\.scp: 1 of 3 sounds are not there: .*r-2\.wav\. "):
        read_recordings(folder)
    folder = libri_speech(tmp_path / "libri")
    (folder / "r" / "7" / "r-2.flac").unlink()
    with pytest.raises(InputError, match=r"r-7\.trans\.txt: 1 of 2 sounds are not there: r-2\. "):
        read_recordings(folder)


def test_each_fault_of_a_manifest(tmp_path: Path) -> None:
    path = sounds(tmp_path / "some")[0]
    cases: list[tuple[Any, str]] = [
        ([{"audio": None, "text": "a"}], "row 1: the sound is missing"),
        ([{"audio": "", "text": "a"}], "row 1: the sound is missing. Fill"),
        ([{"audio": str(path), "text": "a"}, {"audio": 3, "text": "a"}], "row 2: the sound is int 3"),
        (
            [{"audio": sound(0), "text": "a"}],
            "row 1: the sound is ndarray .* Give its path, or .samples, rate.",
        ),
        ([{"audio": str(path), "text": None}], "row 1: the text is missing"),
        ([{"audio": str(path), "text": 1.5}], "row 1: the text is float"),
        (lines(tmp_path / "bars.csv", ["a|b|c|d"]), "line 1: has 4 cells between bars, not 2 or 3"),
        (lines(tmp_path / "plain.txt", ["a b c"]), "is a text file, and none of the manifests"),
        (tmp_path / "some", "3 of 3 sounds have no text: r-1.wav, r-2.wav, s-1.wav. Write what is spoken"),
        (lines(tmp_path / "none" / "README", ["a"]).parent, "is a folder without sounds"),
        (tmp_path / "nowhere", "no such file"),
    ]
    two = tmp_path / "two"
    for name in ("train.tsv", "test.tsv"):
        lines(two / name, ["path\tsentence", f"{path}\ta"])
    cases.append((two, r"holds 2 tables \(test\.tsv, train\.tsv\)\. Name those that are meant"))
    piped = lines(tmp_path / "piped" / "wav.scp", ["a sph2pipe -f wav a.sph |"])
    cases.append((piped.parent, r"line 1: makes recording 'a' by a command .*, which is not run"))
    silent = kaldi(tmp_path / "silent")
    lines(silent / "text", ["r-1 a"])
    cases.append((silent, "text: 2 of 3 utterances have no text: r-2, s-1. Add"))
    for data, message in cases:
        with pytest.raises(InputError, match=message):
            read_recordings(data)
    assert len(read_recordings(two / "train.tsv")) == 1
    assert read_recordings([{"audio": str(path), "text": " "}])[0].text == ""


def test_a_broken_sound_is_named_with_its_line_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    (one,) = read_recordings(lines(tmp_path / "a.csv", ["audio,text", "a.wav,x"]))
    for ask in (one.length, lambda: one.samples(RATE)):
        with pytest.raises(InputError, match=r"a\.csv, line 2 \(.*a\.wav\): is empty"):
            ask()


def test_a_hundred_thousand_files_are_not_opened(tmp_path: Path) -> None:
    """The manifest's sounds are looked up in the list of their folder: none is opened, and so none need be one."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.wav").touch()
    for index in range(2_000):
        (folder / f"{index}.wav").hardlink_to(folder / "a.wav")
    rows = [f"{index % 2_000}.wav\t{index}" for index in range(100_000)]
    manifest = lines(tmp_path / "a.tsv", ["path\tsentence", *rows])
    found = read_recordings(manifest)
    assert len(found) == 100_000
    ticks: list[int] = []
    with pytest.raises(InputError, match="is empty"):
        recording_seconds(found, ticks.append)
    assert not ticks
    (folder / "a.wav").unlink()
    written(folder / "a.wav", sound(0), RATE)
    some = read_recordings([folder / "a.wav"] * 3, text=False)
    assert recording_seconds(some, ticks.append) == [0.05] * 3
    assert ticks == [1, 2, 3]
