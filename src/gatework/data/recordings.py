"""Recordings and what is spoken in them, from the manifests and folders in which they are usually kept.

Reading a manifest opens no sound: a recording's samples are read when they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .column_names import cell_of, check_columns, columns_as_text
from .files import read_lines
from .sound import Sound, read_sound, sound_seconds
from .sound_changes import at_speed, with_noise
from .sound_folders import (
    Found,
    SoundPlaces,
    is_sound,
    kaldi_folder,
    libri_lines,
    refuse_missing,
    sound_of_path,
    sounds_of_folder,
)
from .tables import (
    Row,
    Source,
    file_format,
    is_frame,
    locate_rows,
    named_by_place,
    saved_dataset,
    source_paths,
)
from .text import text_of

__all__ = ["Recording", "SoundChange", "read_recordings", "recording_seconds"]

# Under which names the columns usually are, the likeliest first.
_COLUMNS = {
    "audio": (
        "audio",
        "audio_filepath",  # NeMo
        "audio_file",
        "audio_path",
        "path",  # Common Voice
        "file_name",  # audiofolder
        "filename",
        "file",
        "wav",
        "sound",
    ),
    "text": ("text", "transcription", "transcript", "sentence", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "client_id", "speaker_name"),
    "start": ("offset",),
    "seconds": ("duration",),
}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.tsv", "metadata.parquet")
_TABLES = ("csv", "tsv", "jsonl", "parquet")
_TEXT = "Give what is spoken"


@dataclass(frozen=True, slots=True, eq=False)
class SoundChange:
    """What is changed in a recording, each time in the same way.

    Attributes:
        speed: how many times as fast it is played, and so much higher.
        noise: a recording of noise that is added; None: none is.
        ratio: of the sound to the noise, in decibels.
        seed: of where in its recording the noise begins.
    """

    speed: float = 1.0
    noise: Recording | None = None
    ratio: float = 0.0
    seed: int = 0

    def of(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """(N / speed,) of samples (N,) at `rate` in Hz. Raises as `at_speed`, `with_noise` and `Recording.samples`."""
        changed = at_speed(samples, self.speed)
        if self.noise is None:
            return changed
        noise = self.noise.samples(rate)
        if not noise.any():
            raise InputError(self.noise.where, "is silent or empty", "Give a recording of noise")
        return with_noise(changed, self.ratio, np.random.default_rng(self.seed), noise)


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A sound and what is known of it.

    Attributes:
        where: a manifest and a line, or a file, for messages.
        sound: its file, or the sound itself; or a function that reads it out of a data set.
        text: what is spoken; None where it is not known.
        speaker: who speaks; None where it is not known.
        seconds, start: how long it is, and where it begins in its file, in seconds, if it is a part of it; else None.
        change: what is changed in it once it is read; None: nothing.
    """

    where: str
    sound: Sound | Callable[[], Sound]
    text: str | None
    speaker: str | None = None
    seconds: float | None = None
    start: float | None = None
    change: SoundChange | None = None

    def samples(self, rate: int) -> np.ndarray:
        """(N,) float32 in [-1, 1], at `rate` in Hz. Raises as `read_sound` and `SoundChange.of`."""
        source, where = self._source()
        read = read_sound(source, rate, start=self.start or 0.0, seconds=self.seconds, where=where)
        return read if self.change is None else self.change.of(read, rate)

    def length(self) -> float:
        """How long it is in seconds, by the header of its file. Raises as `read_header`."""
        speed = 1.0 if self.change is None else self.change.speed
        if self.seconds is not None:
            return self.seconds / speed
        return (sound_seconds(*self._source()) - (self.start or 0.0)) / speed

    def _source(self) -> tuple[Sound, str]:
        """The sound, and what it is called in messages."""
        if callable(self.sound):
            return self.sound(), self.where
        if isinstance(self.sound, str) and self.sound != self.where:
            return self.sound, f"{self.where} ({self.sound})"
        return self.sound, self.where


def read_recordings(
    data: Source,
    columns: Mapping[str, str | int] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    text: bool = True,
) -> list[Recording]:
    """The recordings of a source, in order.

    - A table (CSV, TSV, JSON lines, Parquet, dicts, DataFrame, Dataset) with a row for each: columns `audio`, `text`
      and `speaker`, found by the names that they have in the manifests of Common Voice, NeMo and audiofolder or named
      in `columns`. A row's `offset` and `duration` (NeMo) say which part of the file it is.
    - LJSpeech's `id|text`, or `id|raw|normalised`, of which the normalised text is read.
    - A data folder of Kaldi: `wav.scp`, `text`, and where they are there `segments` and `utt2spk`.
    - LibriSpeech's folders, or one of its `.trans.txt`.
    - A folder with a text beside each sound, or with a folder for each word.
    - A folder with `metadata.csv`, `.jsonl`, `.tsv` or `.parquet`, or with a single table.
    - Sound files, with a text beside each where it must be known.

    Args:
        data: see above. A sound in memory is a cell of a table, or an item of a list of sounds (`gatework.data.Sound`).
        columns: the data's own names of `audio`, `text` and `speaker`, or their places where there is no header.
        root: the folder in which the paths of a manifest begin; None: they are looked for in the manifest's own, in
            `wavs`, `clips`, `wav`, `audio` or `sounds` below it, and in the working folder.
        text: whether what is spoken must be known.

    Raises:
        InputError: what cannot be read; a column that is not there; a text that is missing; sounds that are not where
            the manifest says: all are counted, and the first ten are named.
    """
    columns = columns or {}
    folder = None if root is None else Path(root)
    paths = source_paths(data, folders=True)
    if paths is None:
        return list(_of_table(data, columns, SoundPlaces(None, folder), "data", text))
    return [one for path in paths for one in _of_path(path, columns, folder, text)]


def recording_seconds(
    recordings: Sequence[Recording], tick: Callable[[int], None] | None = None
) -> list[float]:
    """How long each of N recordings is; no more of a file than its header is read.

    Args:
        tick: is told after each how many are done.

    Raises:
        InputError: as `read_header`.
    """
    found = []
    for done, recording in enumerate(recordings, start=1):
        found.append(recording.length())
        if tick is not None:
            tick(done)
    return found


# Files and folders


def _of_path(
    path: Path, columns: Mapping[str, str | int], root: Path | None, text: bool
) -> Iterable[Recording]:
    places = SoundPlaces(path, root)
    if file_format(path) == "dataset":
        return _of_table(saved_dataset(path), columns, places, str(path), text)
    if path.is_dir():
        return _of_folder(path, columns, root, text)
    if path.name == "wav.scp":
        return map(_recording, kaldi_folder(path.parent, places, text))
    if path.name.endswith(".trans.txt"):
        return map(_recording, libri_lines(path, places))
    if is_sound(path):
        return [_recording(sound_of_path(path, text))]
    if file_format(path) in ("csv", "text") and not named_by_place(columns) and _has_bars(path):
        return _of_bars(path, columns, places)
    if file_format(path) == "text" and not named_by_place(columns):
        what = "is a text file, and none of the manifests that are known"
        fix = (
            "Give a table (.csv, .tsv, .jsonl, .parquet), or name the columns by their places: audio=1,text=2"
        )
        raise InputError(str(path), what, fix)
    return _of_table(path, columns, places, str(path), text)


def _of_folder(
    folder: Path, columns: Mapping[str, str | int], root: Path | None, text: bool
) -> Iterable[Recording]:
    metadata = next((folder / name for name in _METADATA if (folder / name).exists()), None)
    if metadata is not None:
        return _of_path(metadata, columns, root, text)
    if (folder / "wav.scp").exists():
        return _of_path(folder / "wav.scp", columns, root, text)
    tables = [path for path in sorted(folder.iterdir()) if path.is_file() and _is_table(path)]
    if len(tables) == 1:
        return _of_path(tables[0], columns, root, text)
    if tables:
        names = ", ".join(path.name for path in tables[:10])
        raise InputError(str(folder), f"holds {len(tables)} tables ({names})", "Name those that are meant")
    return map(_recording, sounds_of_folder(folder, text))


def _is_table(path: Path) -> bool:
    return path.suffix.lower() != ".json" and file_format(path) in _TABLES


def _recording(found: Found) -> Recording:
    return Recording(found.where, found.sound, found.text, found.speaker, found.seconds, found.start)


# LJSpeech


def _has_bars(path: Path) -> bool:
    """Whether a file's first line has bars between its cells, and no commas between known names of columns."""
    _, first = next(read_lines(path), (1, ""))
    return "|" in first and _column("audio", first.split(",")) is None


def _of_bars(path: Path, columns: Mapping[str, str | int], places: SoundPlaces) -> Iterator[Recording]:
    """Lines of `id|text` or `id|raw|normalised`, or of the cells that a first line names."""
    lines = ((number, line.split("|")) for number, line in read_lines(path) if line.strip())
    number, header = next(lines)
    audio = _column("audio", header)
    if audio is not None:
        rows = (Row(str(path), "line", at, dict(zip(header, cells, strict=False))) for at, cells in lines)
        return _of_rows(rows, columns, places, str(path), True)
    return _of_rows(_lj_rows(path, [(number, header), *lines]), {}, places, str(path), True)


def _lj_rows(path: Path, lines: Iterable[tuple[int, list[str]]]) -> Iterator[Row]:
    for number, cells in lines:
        if len(cells) not in (2, 3):
            what = f"has {len(cells)} cells between bars, not 2 or 3"
            raise InputError(f"{path}, line {number}", what, "Write id|text, or id|raw|normalised")
        yield Row(str(path), "line", number, {"audio": cells[0], "text": cells[-1].strip()})


# Tables


def _of_table(
    data: Source, columns: Mapping[str, str | int], places: SoundPlaces, where: str, text: bool
) -> Iterator[Recording]:
    rows = locate_rows(_with_sounds_as_rows(data), None, headless=named_by_place(columns))
    return _of_rows(rows, columns, places, where, text)


def _with_sounds_as_rows(data: Source) -> Source:
    """The source; sounds in a list become rows, and those of a Dataset are read when they are asked for."""
    if hasattr(data, "cast_column"):
        return _lazy_dataset(data)
    if isinstance(data, str | os.PathLike) or is_frame(data) or not isinstance(data, Iterable):
        return data
    if isinstance(data, Mapping):
        return [_as_row(data)] if _is_sound(data) else data
    return [_as_row(item) for item in data] if isinstance(data, list | tuple) else map(_as_row, data)


def _as_row(item: Any) -> Any:
    return {"audio": item} if _is_sound(item) else item


def _is_sound(item: Any) -> bool:
    if isinstance(item, Mapping):
        return ("array" in item or "bytes" in item) and not isinstance(item.get("bytes"), list)
    return isinstance(item, str | os.PathLike | bytes | tuple | np.ndarray)


def _lazy_dataset(dataset: Any) -> Source:
    """Rows of a Dataset of the package `datasets`, whose sounds stay encoded and, where it has an order, unread."""
    features = dataset.features or {}
    sounds = [name for name, feature in features.items() if type(feature).__name__ == "Audio"]
    for name in sounds:
        dataset = dataset.cast_column(name, type(features[name])(decode=False))
    if not sounds or not hasattr(dataset, "__getitem__"):
        return dataset
    others = dataset.remove_columns(sounds)
    return (
        {
            **(others[index] if others.column_names else {}),
            **{name: partial(_cell, dataset, index, name) for name in sounds},
        }
        for index in range(len(dataset))
    )


def _cell(dataset: Any, index: int, name: str) -> Any:
    return dataset[index][name]


def _of_rows(
    rows: Iterable[Row], columns: Mapping[str, str | int], places: SoundPlaces, where: str, text: bool
) -> Iterator[Recording]:
    named = columns_as_text(columns)
    names: dict[str, str] = {}
    lacking: list[str] = []
    there = 0
    for row in rows:
        if not names:
            names = _names(row, named, text)
        sound = cell_of(row.where, row.values, names["audio"])
        name = _path_in(sound)
        if name is not None:
            sound = places.find(name)
            if sound is None:
                lacking.append(name)
                continue
        there += 1
        yield _row_recording(row, sound, names, text)
    refuse_missing(where, lacking, there + len(lacking))


def _names(row: Row, named: Mapping[str, str], text: bool) -> dict[str, str]:
    """The column of each name, those that are wanted at least."""
    names = {name: column for name in _COLUMNS if (column := _column(name, row.values)) is not None}
    names.update(named)
    wanted = ["audio", "text"] if text else ["audio"]
    check_columns(row.where, {name: names.get(name, name) for name in [*wanted, *named]}, row.values)
    return names


def _column(name: str, known: Iterable[str]) -> str | None:
    """Which of the known columns has a name's usual name."""
    known = {column.strip() for column in known}
    return next((column for column in _COLUMNS[name] if column in known), None)


def _path_in(cell: Any) -> str | None:
    """The path that a cell is, if it is one."""
    if isinstance(cell, Mapping) and cell.get("array") is None and cell.get("bytes") is None:
        cell = cell.get("path")
    return os.fspath(cell) or None if isinstance(cell, str | os.PathLike) else None


def _row_recording(row: Row, sound: Any, names: Mapping[str, str], text: bool) -> Recording:
    if sound is None or (isinstance(sound, str) and not sound):
        raise InputError(row.where, "the sound is missing", "Fill it in, or take the row out")
    if not (isinstance(sound, str | tuple | bytes | Mapping) or callable(sound)):
        what = f"the sound is {type(sound).__name__} {sound!r:.40}"
        raise InputError(row.where, what, "Give its path, or (samples, rate)")
    spoken = cell_of(row.where, row.values, names["text"]) if "text" in names else None
    if spoken is not None or text:
        spoken = text_of(row.where, spoken, _TEXT).strip()
    speaker = row.values.get(names.get("speaker", ""))
    start, seconds = (_number(row, names.get(name, "")) for name in ("start", "seconds"))
    if start is None:  # a duration by itself is that of the file
        seconds = None
    return Recording(
        row.where, sound, spoken, None if speaker in (None, "") else str(speaker), seconds, start
    )


def _number(row: Row, column: str) -> float | None:
    cell = row.values.get(column)
    try:
        return None if cell in (None, "") else float(cell)
    except (TypeError, ValueError) as error:
        what = f"{column} is {cell!r:.40}, not a number of seconds"
        raise InputError(row.where, what, "Give seconds, or take the column out") from error
