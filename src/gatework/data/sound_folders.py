"""Where sounds are: files that manifests name, and folders that hold sounds and say by themselves what is spoken."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .files import read_blocks, read_lines

__all__ = [
    "Found",
    "SoundPlaces",
    "is_sound",
    "kaldi_folder",
    "libri_lines",
    "refuse_lacking",
    "sounds_of_folder",
]

_SOUNDS = frozenset(
    (
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".aiff",
        ".aif",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
    )
)
_TEXTS = (".txt", ".lab", ".normalized.txt")  # of LibriTTS' two texts the one as it is spoken
_BELOW = (
    "wavs",
    "clips",
    "wav",
    "audio",
    "sounds",
)  # the folders beside manifests in which their sounds usually are
_SHOWN = 10
_TRANSCRIPTS = ".trans.txt"


class Found(NamedTuple):
    """A sound that was found, and what is said of it. `start` and `seconds` say which part of the file it is."""

    where: str
    sound: str
    text: str | None
    speaker: str | None = None
    start: float | None = None
    seconds: float | None = None


class SoundPlaces:
    """Looks up the files that a manifest names, in the folders in which they usually are; reads each folder once."""

    def __init__(self, manifest: Path | None, root: Path | None) -> None:
        """Folders, in order: the root, or else that of the manifest; those below it; and the working folder."""
        first = str(root or (manifest.parent if manifest else ""))
        self._folders = [first, *(os.path.join(first, name) for name in _BELOW), ""]
        self._names: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """The file of this name, which may lack its ending; None where there is none."""
        for place, folder in enumerate(self._folders):
            parent, file = os.path.split(os.path.join(folder, name))
            found = self._in(parent).get(file)
            if found is not None:
                self._folders.insert(0, self._folders.pop(place))  # the next is likely there too
                return os.path.join(parent, found)
        return None

    def _in(self, folder: str) -> dict[str, str]:
        """The files of a folder, by name and, of sounds, by name without ending."""
        if folder not in self._names:
            try:
                files = sorted(os.listdir(folder or "."))
            except OSError:  # what cannot be looked into has nothing that can be read
                files = []
            names = {os.path.splitext(file)[0]: file for file in files if is_sound(file)}
            self._names[folder] = names | dict(zip(files, files, strict=True))
        return self._names[folder]


def is_sound(name: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends as that of a sound."""
    return os.path.splitext(name)[1].lower() in _SOUNDS


def refuse_lacking(where: str, lacking: Sequence[str], count: int, what: str, fix: str) -> None:
    """Refuse data of which something is not there: all of it is counted, and the first ten are named.

    Args:
        where: the manifest or the folder.
        lacking: names; where it is empty, nothing is wrong.
        count: how many there should be.
        what: what is wrong with them: `3 of 10 {what}: a, b, c`.
        fix: what the user can do about it.
    """
    if lacking:
        more = f" and {len(lacking) - _SHOWN:,} more" if len(lacking) > _SHOWN else ""
        shown = ", ".join(lacking[:_SHOWN])
        raise InputError(where, f"{len(lacking):,} of {count:,} {what}: {shown}{more}", fix)


def sounds_of_folder(folder: Path, text: bool) -> list[Found]:
    """The sounds in a folder and below it, by name.

    What is spoken stands in LibriSpeech's `.trans.txt`, or in a file beside each sound (`.txt`, `.lab`), or it is the
    name of the folder that a sound is in, where each is in a folder of `folder`.

    Args:
        text: whether it must be known.

    Raises:
        InputError: there are no sounds, or some lack their texts.
    """
    sounds, transcripts = _walk(folder)
    if transcripts:
        return [found for path in transcripts for found in libri_lines(path, SoundPlaces(path, None))]
    if not sounds:
        fix = "Name a manifest, or a folder with .wav, .flac or .mp3 files"
        raise InputError(str(folder), "is a folder without sounds", fix)
    texts = [_text_beside(sound) for sound in sounds]
    if not any(texts) and all(sound.parent.parent == folder for sound in sounds):
        return [Found(str(sound), str(sound), sound.parent.name) for sound in sounds]
    if text:
        lacking = [
            str(sound.relative_to(folder)) for sound, own in zip(sounds, texts, strict=True) if own is None
        ]
        fix = "Write what is spoken into a .txt beside each, name a manifest, or put them into a folder for each word"
        refuse_lacking(str(folder), lacking, len(sounds), "sounds have no text", fix)
    return [
        Found(str(sound), str(sound), None if own is None else _text_of_file(own))
        for sound, own in zip(sounds, texts, strict=True)
    ]


def sound_of_path(path: Path, text: bool) -> Found:
    """A sound file, with the text that stands beside it.

    Raises:
        InputError: `text` is wanted and there is none.
    """
    beside = _text_beside(path)
    if beside is None and text:
        what = f"is a sound, and there is no {path.stem}.txt beside it that says what is spoken"
        raise InputError(
            str(path), what, "Write one, or name a manifest: a table with the columns audio and text"
        )
    return Found(str(path), str(path), None if beside is None else _text_of_file(beside))


def libri_lines(path: Path, places: SoundPlaces) -> list[Found]:
    """The sounds of one of LibriSpeech's transcripts: lines of `SPEAKER-CHAPTER-NUMBER TEXT`."""
    found, lacking = [], []
    for number, name, text in _named_lines(path):
        sound = places.find(name)
        if sound is None:
            lacking.append(name)
        else:
            found.append(Found(f"{path}, line {number}", sound, text, name.partition("-")[0]))
    refuse_missing(str(path), lacking, len(found) + len(lacking))
    return found


def kaldi_folder(folder: Path, places: SoundPlaces, text: bool) -> list[Found]:
    """The utterances of a data folder of Kaldi: `wav.scp`, and where they are there `text`, `segments` and `utt2spk`.

    Raises:
        InputError: a recording is made by a command, which is not run; a line that cannot be read; an utterance without
            a text, or without a recording; sounds that are missing.
    """
    scp = folder / "wav.scp"
    recordings, lacking = {}, []
    for number, name, file in _named_lines(scp):
        if file.endswith("|"):
            what = f"makes recording {name!r} by a command ({file:.40}), which is not run"
            raise InputError(f"{scp}, line {number}", what, "Run it, and name the file that it writes")
        recordings[name] = f"{scp}, line {number}", places.find(file)
        if recordings[name][1] is None:
            lacking.append(file)
    refuse_missing(str(scp), lacking, len(recordings))
    texts = _lines_by_name(folder / "text") if text or (folder / "text").exists() else {}
    speakers = _lines_by_name(folder / "utt2spk") if (folder / "utt2spk").exists() else {}
    parts = list(_kaldi_parts(folder, list(recordings)))
    unknown = [recording for _, recording, _, _ in parts if recording not in recordings]
    refuse_lacking(
        str(folder / "segments"),
        unknown,
        len(parts),
        "segments are of recordings that wav.scp lacks",
        "Add them",
    )
    if text:
        without = [name for name, *_ in parts if name not in texts]
        refuse_lacking(
            str(folder / "text"), without, len(parts), "utterances have no text", "Add their lines"
        )
    found = []
    for name, recording, start, seconds in parts:
        where, path = recordings[recording]
        assert path is not None
        found.append(Found(where, path, texts.get(name), speakers.get(name), start, seconds))
    return found


def refuse_missing(where: str, names: Sequence[str], count: int) -> None:
    """As `refuse_lacking`, for sounds that are not where the manifest says."""
    fix = "Check the paths, or say which folder they begin in (root)"
    refuse_lacking(where, names, count, "sounds are not there", fix)


def _kaldi_parts(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str, float | None, float | None]]:
    """Each utterance, its recording, and which part of the recording it is."""
    path = folder / "segments"
    if not path.exists():
        yield from ((name, name, None, None) for name in names)
        return
    for number, name, rest in _named_lines(path):
        try:
            recording, begin, end = rest.split()
            start, seconds = float(begin), float(end) - float(begin)
        except ValueError as error:
            what = f"is {f'{name} {rest}'!r:.60}"
            raise InputError(f"{path}, line {number}", what, "Write UTTERANCE RECORDING START END") from error
        yield name, recording, start, None if float(end) < 0 else seconds  # -1 is the end of the recording


def _named_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """The number of each line, the name that it begins with, and the rest."""
    for number, line in read_lines(path):
        name, _, rest = line.strip().partition(" ")
        if name:
            name, tab, after = name.partition("\t")
            yield number, name, f"{after} {rest}".strip() if tab else rest.strip()


def _lines_by_name(path: Path) -> dict[str, str]:
    return {name: rest for _, name, rest in _named_lines(path)}


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """All sounds and all of LibriSpeech's transcripts in a folder and below it, sorted; nothing hidden."""
    sounds, transcripts = [], []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            if is_sound(name):
                sounds.append(Path(parent, name))
            elif name.endswith(_TRANSCRIPTS):
                transcripts.append(Path(parent, name))
    return sorted(sounds), sorted(transcripts)


def _text_beside(sound: Path) -> Path | None:
    return next((path for end in _TEXTS if (path := sound.with_suffix(end)).exists()), None)


def _text_of_file(path: Path) -> str:
    if not os.path.getsize(path):
        return ""
    return " ".join("".join(block for _, block in read_blocks(path)).split())
