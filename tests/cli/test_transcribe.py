"""`gatework transcribe`: files and pipes, as text and as JSON lines."""

from __future__ import annotations

import io
import json
import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gatework.cli import main
from gatework.tasks.transcriber import Transcriber
from tests.contracts.task_examples import EXAMPLES, RATE, SPEECH, spoken

OPTIONS = EXAMPLES["transcriber"].options | {"max_steps": 3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, str]:
    """Runs, by whether they hear as one speaks."""
    folder = tmp_path_factory.mktemp("transcribe")
    for streams in (False, True):
        options = OPTIONS | {"bidirectional": not streams}
        Transcriber(**options).fit(SPEECH, valid=SPEECH[:3], out=folder / str(streams))
    return {streams: str(folder / str(streams)) for streams in (False, True)}


class Pipe(io.TextIOWrapper):
    """What stands for the standard input."""


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", Pipe(io.BufferedReader(io.BytesIO(data))))  # type: ignore[arg-type]


@pytest.mark.parametrize("streams", [False, True])
def test_a_file_is_transcribed_as_predict_does(
    runs: dict[bool, str], streams: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    file = SPEECH[4]["audio"]
    assert main(["predict", runs[streams], str(write_line(file, Path(runs[streams])))]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert main(["transcribe", runs[streams], file, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    finals = [record["output"] for record in records if record.get("kind", "final") == "final"]
    assert " ".join(finals) == expected["output"]
    assert main(["transcribe", runs[streams], file]) == 0
    assert capsys.readouterr().out.split() == expected["output"].split()


def write_line(text: str, folder: Path) -> Path:
    path = folder.parent / "inputs.txt"
    path.write_text(text + "\n")
    return path


def test_a_pipe_of_samples_is_heard(
    runs: dict[bool, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = spoken("ba do fi", 4)
    for kind, data in (
        ("s16le", struct.pack(f"<{len(samples)}h", *(int(32767 * value) for value in samples))),
        ("f32le", struct.pack(f"<{len(samples)}f", *samples)),
    ):
        heard = []
        for more in (b"", b"\0"):  # half a sample at the end is none
            piped(monkeypatch, data + more)
            flags = ["--rate", str(RATE), "--samples", kind, "--json", "--set", "pause=0.2"]
            assert main(["transcribe", runs[True], "-", *flags]) == 0
            heard.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
        assert heard[0] == heard[1]
        assert all(record["kind"] in ("partial", "final") for record in heard[0])
        assert heard[0]


def test_on_a_terminal_partial_words_are_written_over(
    runs: dict[bool, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True, raising=False)
    assert main(["transcribe", runs[True], SPEECH[4]["audio"], "--set", "reject=false"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("\r\x1b[K")
    assert shown.count("\n") == 1
    assert main(["transcribe", runs[True], SPEECH[4]["audio"]]) == 0
    shown = capsys.readouterr().out
    assert len(shown) > len("\r\x1b[K")
    assert shown.endswith("\r\x1b[K")  # what is no word after all is taken back


def test_a_microphone_is_heard_until_it_is_interrupted(
    runs: dict[bool, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package is played by one that hears three tones and then Ctrl-C."""
    data = struct.pack(
        "<4000h", *(int(9000 * value) for value in (spoken("ba do fi", 4) + [0.0] * 4000)[:4000])
    )

    class Microphone:
        def __init__(self, samplerate, channels, dtype, blocksize, callback) -> None:  # type: ignore[no-untyped-def]
            assert (samplerate, channels, dtype) == (RATE, 1, "int16")
            self.callback = callback

        def __enter__(self) -> None:
            self.callback(data, len(data) // 2, None, None)

        def __exit__(self, *given: object) -> None: ...

    class Queue:
        def __init__(self) -> None:
            self.kept: list[bytes] = []

        def put(self, block: bytes) -> None:
            self.kept.append(block)

        def get(self) -> bytes:
            if not self.kept:
                raise KeyboardInterrupt
            return self.kept.pop(0)

    module = ModuleType("sounddevice")
    vars(module).update(RawInputStream=Microphone, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr("gatework.cli.listening.queue", SimpleNamespace(SimpleQueue=Queue))
    assert main(["transcribe", runs[True], "--microphone", "--json"]) == 0
    assert capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["transcribe", runs[True], "--microphone"]) == 2
    assert "pip install sounddevice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "give one of a sound file"),
        (["-", "--microphone"], "give one of a sound file"),
        (["-", "--samples", "mp3"], "Give s16le or f32le"),
        (["absent.wav"], "absent.wav"),
    ],
)
def test_what_is_no_sound_is_refused(
    runs: dict[bool, str], flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", runs[True], *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_pipe_of_a_file_and_a_run_that_needs_whole_recordings_are_refused(
    runs: dict[bool, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, Path(SPEECH[0]["audio"]).read_bytes())
    assert main(["transcribe", runs[True], "-"]) == 2
    assert "begins as a sound file does" in capsys.readouterr().err
    assert main(["transcribe", runs[False], "-"]) == 2
    assert "bidirectional=false" in capsys.readouterr().err
