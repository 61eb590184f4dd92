"""Text files as blocks of whole lines and as lines, plain or gzip, never more in memory than a block.

Every fault of a file is found here, with its line and its byte offset, so that the readers above need not
look for it: a missing or empty file, a folder, bytes that are not UTF-8, a file that is not text at all, a
gzip file that is cut short.

A pipe (`/dev/stdin`, `<(command)`) can be read once only, and most readers go over their data more than once: what
was in it is kept in a temporary file, `while_pipes_are_kept`, or else until the process ends.

Two things are normalised: a UTF-8 byte order mark is dropped, and the line end `\\r\\n` becomes `\\n` (a
model should not spend an entry of its vocabulary on the system on which a file was written). A `\\r` by
itself stays.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import gzip
import itertools
import os
import shutil
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

BLOCK_BYTES = 1 << 20
# A line longer than this is handed on in pieces by `read_blocks`: a file without line ends must not fill
# memory.
LONGEST_LINE_BYTES = 8 << 20

_GZIP_MAGIC = b"\x1f\x8b"
# How files begin that hold text in a form that is not read here: what each is, and how to take the text out of it.
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive (or an office document)", "Unpack it: unzip {name}"),
    (b"\xfd7zXZ\x00", "an xz file", "Decompress it, or compress it as gzip: xz --decompress {name}"),
    (b"BZh", "a bzip2 file", "Decompress it, or compress it as gzip: bunzip2 {name}"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "Decompress it, or compress it as gzip: unzstd {name}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it: 7z x {name}"),
    (b"%PDF-", "a PDF document", "Take its text out first: pdftotext {name}"),
)
_MAGIC_BYTES = 8
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_exists(path: Path) -> None:
    """Refuse a path that leads nowhere.

    Raises:
        InputError: there is no such file or folder.
    """
    if not os.path.exists(path):  # unlike Path.exists, os.path answers for names that no file can have
        text = len(str(path)) > 100 or any(map(str.isspace, str(path)))
        fix = "Give a text itself as a row: [{'text': ...}]" if text else "Check the path"
        raise InputError(f"{str(path)[:100]!r}" if text else str(path), "no such file", fix)


def check_file(path: Path) -> None:
    """Refuse a path that cannot be read as a file, before any work is spent on the ones beside it.

    Raises:
        InputError: the path does not exist, is a folder, or may not be read.
    """
    if os.path.isdir(path):
        raise InputError(str(path), "is a folder", "Name the files in it")
    check_exists(path)
    if not os.access(path, os.R_OK):
        raise InputError(str(path), "may not be read", "Check its permissions")


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading its bytes; a gzip file, whatever its name, gives what was compressed.

    Raises:
        InputError: the path cannot be read, or is a file of another kind (an archive, a PDF document).
    """
    check_file(path)
    kept = _kept(path)
    with kept.open("rb") as file:
        begin = file.read(_MAGIC_BYTES)
    if begin.startswith(_GZIP_MAGIC):
        return gzip.open(kept, "rb")  # type: ignore[return-value]  # GzipFile reads like a BinaryIO
    for magic, kind, fix in _OTHER_FORMATS:
        if begin.startswith(magic):
            raise InputError(str(path), f"is {kind}, not a text file", fix.format(name=path.name))
    if path.suffix == ".gz" and begin:
        raise InputError(str(path), "is named .gz but is not a gzip file", "Rename it, or compress it again")
    return kept.open("rb")


_pipes = threading.Lock()
_keepers = 0  # of `while_pipes_are_kept`
_numbers = itertools.count()
_copies: dict[tuple[str, int, int], Path] = {}  # of pipes, by name, device and inode


@contextlib.contextmanager
def while_pipes_are_kept() -> Iterator[None]:
    """While inside, what was in a pipe can be read again and again; afterwards the pipe may be filled anew."""
    global _keepers
    with _pipes:
        _keepers += 1
    try:
        yield
    finally:
        with _pipes:
            _keepers -= 1
            if _keepers == 0:
                for copy in _copies.values():
                    copy.unlink()
                _copies.clear()


def _kept(path: Path) -> Path:
    """A path that can be opened again and again: the file's own, or that of a copy of what was in a pipe."""
    status = path.stat()
    if not stat.S_ISFIFO(status.st_mode) and not stat.S_ISSOCK(status.st_mode):
        return path
    key = (str(path), status.st_dev, status.st_ino)
    with _pipes:
        if key not in _copies:
            copy = Path(_folder_of_copies().name) / str(next(_numbers))
            with path.open("rb") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            _copies[key] = copy
        return _copies[key]


@functools.cache
def _folder_of_copies() -> tempfile.TemporaryDirectory[str]:
    """A private folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="gatework-")


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, str]]:
    """Blocks of whole lines, in order; their concatenation is the file's text.

    A line longer than `LONGEST_LINE_BYTES` comes in several blocks.

    Args:
        path: a text file in UTF-8, plain or gzip.
        block_bytes: how much is read at a time.

    Yields:
        The number of the block's first line, from 1, and the block.

    Raises:
        InputError: see the module.
    """
    line, offset = 1, 0  # of the first byte of `pending`, in the decompressed file
    pending = b""
    with open_binary(path) as file:
        while True:
            chunk = _read(path, file, block_bytes)
            if offset == 0 and not pending:
                if not chunk:
                    raise InputError(str(path), "is empty", "Give a file with text in it")
                if chunk.startswith(_UTF16_MARKS):
                    fix = f"Convert it: iconv -f UTF-16 -t UTF-8 {path.name} > converted.txt"
                    raise InputError(str(path), "is UTF-16 text", fix)
                if chunk.startswith(codecs.BOM_UTF8):
                    chunk = chunk[len(codecs.BOM_UTF8) :]
                    offset = len(codecs.BOM_UTF8)
                    if not chunk:
                        raise InputError(str(path), "is empty", "Give a file with text in it")
            data = pending + chunk
            cut = _cut(data) if chunk else len(data)
            if cut:
                block = _decode(path, data[:cut], line, offset)
                yield line, block
                line += block.count("\n")
                offset += cut
            if not chunk:
                return
            pending = data[cut:]


def read_lines(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, str]]:
    """Whole lines with their numbers, from 1, without their line ends.

    Raises:
        InputError: see the module.
    """
    started: list[str] = []  # the pieces of a line that goes on in the next block
    number = 1
    for number, block in read_blocks(path, block_bytes):
        *whole, rest = block.split("\n")
        for line in whole:
            yield number, "".join(started) + line
            started.clear()
            number += 1
        if rest:
            started.append(rest)
    if started:
        yield number, "".join(started)


def _read(path: Path, file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            str(path), f"is a damaged gzip file ({error})", "Fetch or compress it again"
        ) from error
    except OSError as error:
        raise InputError(
            str(path), f"cannot be read ({error.strerror})", "Check the disk and the path"
        ) from error


def _cut(data: bytes) -> int:
    """Where the last whole line of `data` ends; 0 where more must be read first."""
    cut = data.rfind(b"\n") + 1
    if cut or len(data) < LONGEST_LINE_BYTES:
        return cut
    cut = len(data)
    for back in range(1, 5):  # not inside a character (at most four bytes), nor between \r and \n
        byte = data[-back]
        if byte >= 0xC0:
            return len(data) - back
        if byte < 0x80:
            return len(data) - 1 if back == 1 and byte == 0x0D else cut
    return cut


def _decode(path: Path, data: bytes, line: int, offset: int) -> str:
    zero = data.find(b"\0")
    if zero >= 0:
        what = f"is not a text file (a zero byte at byte {offset + zero})"
        raise InputError(str(path), what, "Give text in UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        row = line + data.count(b"\n", 0, error.start)
        what = f"byte 0x{data[error.start]:02x} at byte {offset + error.start} of the file is not UTF-8"
        fix = "Convert the file to UTF-8 (for example iconv -f WINDOWS-1252 -t UTF-8), or mend that line"
        raise InputError(f"{path}, line {row}", what, fix) from error
    return text.replace("\r\n", "\n")
