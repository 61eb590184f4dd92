"""Sound as it comes, from a file, a pipe or a microphone, and on the terminal the words that are heard in it."""

from __future__ import annotations

import io
import json
import queue
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from gatework.cli.streams import standard_input
from gatework.errors import GateworkError, InputError

if TYPE_CHECKING:
    import numpy as np

    from gatework.tasks.transcriber import Transcriber

__all__ = ["SampleKind", "chunks_of_file", "chunks_of_microphone", "chunks_of_pipe", "show_heard"]

SampleKind = Literal["s16le", "f32le"]

_CHUNK = 0.1  # seconds that are heard at a time
_HEADERS = (b"RIFF", b"fLaC", b"OggS", b"FORM", b"ID3")  # of sound files


def chunks_of_file(path: str, rate: int) -> Iterator[np.ndarray]:
    """The samples of a sound file, at a rate."""
    from gatework.data.sound import read_sound

    samples, size = read_sound(path, rate), round(_CHUNK * rate)
    return (samples[begin : begin + size] for begin in range(0, len(samples), size))


def chunks_of_pipe(kind: SampleKind, rate: int) -> Iterator[np.ndarray]:
    """The samples that the standard input gives, without a header, of one channel, as soon as they are there.

    Raises:
        InputError: it begins as a sound file does.
    """
    import numpy as np

    width, dtype = (2, "<i2") if kind == "s16le" else (4, "<f4")
    source = cast("io.BufferedReader", standard_input().buffer)
    rest, begun = b"", False
    while block := source.read1(round(_CHUNK * rate) * width):
        if not begun and block.startswith(_HEADERS):
            what = f"begins as a sound file does ({block[:4]!r}), and samples without a header are read here"
            raise InputError("standard input", what, "Give the file's path instead of -.")
        begun, block = True, rest + block
        whole = len(block) - len(block) % width
        rest = block[whole:]
        if whole:
            yield np.frombuffer(block[:whole], dtype)


def chunks_of_microphone(rate: int) -> Iterator[np.ndarray]:
    """The samples of the microphone until Ctrl-C.

    Raises:
        GateworkError: the package sounddevice, or a microphone, is not there.
    """
    import numpy as np

    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: its library, PortAudio, is not there
        what = f"--microphone: needs the package sounddevice and its library PortAudio ({error})."
        raise GateworkError(f"{what} Install it with: pip install sounddevice") from error
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def keep(data: Any, count: int, time: Any, status: Any) -> None:
        heard.put(bytes(data))

    try:
        stream = sounddevice.RawInputStream(
            samplerate=rate, channels=1, dtype="int16", blocksize=round(_CHUNK * rate), callback=keep
        )
    except sounddevice.PortAudioError as error:
        raise InputError(
            "--microphone", f"cannot be opened ({error})", "Plug one in, or give a file or -."
        ) from error
    with stream:
        while True:
            try:
                block = heard.get()
            except KeyboardInterrupt:
                return
            yield np.frombuffer(block, "<i2")


def show_heard(
    model: Transcriber, chunks: Iterable[np.ndarray], rate: int, settings: Mapping[str, Any], *, as_json: bool
) -> None:
    """Print what is heard: on a terminal the words as they come, elsewhere a line for each final text."""
    stream = model.stream(rate=rate, **settings)
    show = _as_json if as_json else _on_terminal if sys.stdout.isatty() else _as_lines
    for chunk in chunks:
        for record in stream.accept(chunk):
            show(record)
    for record in stream.finish():
        show(record)


def _as_json(record: Mapping[str, Any]) -> None:
    print(json.dumps(record, allow_nan=False), flush=True)


def _as_lines(record: Mapping[str, Any]) -> None:
    if record["kind"] == "final":
        print(record["output"], flush=True)


def _on_terminal(record: Mapping[str, Any]) -> None:
    """A partial text stands on the last line until another takes its place."""
    text, final = record["output"], record["kind"] == "final"
    shown = text if final else text[-(shutil.get_terminal_size().columns - 1) :]
    print(f"\r\x1b[K{shown}", end="\n" if final else "", flush=True)
