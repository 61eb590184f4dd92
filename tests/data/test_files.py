"""Text files as blocks and lines, and each fault with its line and byte."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatework.data import files
from gatework.data.files import read_blocks, read_lines
from gatework.errors import InputError


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1),
    block_bytes=st.integers(1, 20),
    longest=st.integers(4, 30),
)
def test_blocks_concatenate_to_the_text(folder: Path, text: str, block_bytes: int, longest: int) -> None:
    path = write(folder / "a.txt", text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LONGEST_LINE_BYTES", longest)
        blocks = list(read_blocks(path, block_bytes))
    expected = text.replace("\r\n", "\n")
    assert "".join(block for _, block in blocks) == expected
    before = ""
    for line, block in blocks:
        assert line == before.count("\n") + 1
        before += block


@given(lines=st.lists(st.text("aé\u2028\r\x0b ", max_size=30), min_size=1), block=st.integers(1, 9))
def test_lines_are_split_at_line_ends_alone(folder: Path, lines: list[str], block: int) -> None:
    path = write(folder / "b.txt", "".join(f"{line}\n" for line in lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LONGEST_LINE_BYTES", 8)
        read = list(read_lines(path, block))
    # A carriage return right before the line end is a part of the line end.
    assert read == [(number, line.removesuffix("\r")) for number, line in enumerate(lines, start=1)]


def test_blocks_are_whole_lines_and_small(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.gz", b"0123456789\n" * 1000)
    blocks = [block for _, block in read_blocks(path, 100)]
    assert all(block.endswith("\n") and len(block) <= 110 for block in blocks)
    assert len(blocks) > 90


def test_a_long_line_stays_whole_and_a_file_without_line_ends_does_not_fill_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"x" * 100_000 + b"\n" + b"y" * (20 << 20))
    blocks = [block for _, block in read_blocks(path)]
    assert blocks[0] == "x" * 100_000 + "\n"
    assert max(map(len, blocks)) <= files.LONGEST_LINE_BYTES + files.BLOCK_BYTES
    assert sum(map(len, blocks)) == 100_001 + (20 << 20)


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "no_suffix"
    path.write_bytes(gzip.compress(b"text\n"))
    assert list(read_blocks(path)) == [(1, "text\n")]


def test_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\r\n")
    assert list(read_blocks(path)) == [(1, "one\ntwo\rthree\n")]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ": is empty. Give a file with text in it"),
        (b"\xef\xbb\xbf", ": is empty. Give a file with text in it"),
        (b"ab\ncd\0ef", ": is not a text file (a zero byte at byte 5). Give text in UTF-8"),
        (
            "hé".encode("utf-16"),
            ": is UTF-16 text. Convert it: iconv -f UTF-16 -t UTF-8 NAME > converted.txt",
        ),
        (
            b"\xef\xbb\xbfone\nt\xe9wo\n",
            ", line 2: byte 0xe9 at byte 8 of the file is not UTF-8. Convert the file to UTF-8 (for example "
            "iconv -f WINDOWS-1252 -t UTF-8), or mend that line",
        ),
        (b"one\n" * 300_000 + b"\xff", ", line 300001: byte 0xff at byte 1200000 of the file is not UTF-8. "),
        (b"cut \xe2\x82", ", line 1: byte 0xe2 at byte 4 of the file is not UTF-8. "),
    ],
    ids=["empty", "mark alone", "binary", "utf-16", "latin", "late", "cut"],
)
def test_faults(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    if data == b"" and name.endswith(".gz"):
        path = tmp_path / name
        path.write_bytes(b"")  # not even a gzip header
    else:
        path = write(tmp_path / name, data)
    with pytest.raises(InputError) as caught:
        list(read_blocks(path))
    assert str(caught.value).startswith(str(path) + message.replace("NAME", name))
    assert "\n" not in str(caught.value)


def test_missing_folder_and_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"nothing\.txt: no such file\. Check the path$"):
        list(read_blocks(tmp_path / "nothing.txt"))
    with pytest.raises(InputError, match=r"is a folder\. Name the files in it$"):
        list(read_blocks(tmp_path))
    with pytest.raises(InputError, match=r"no such file\. Give a text itself as a row"):
        list(read_blocks(Path("a text where a path should be\n" * 50)))
    path = write(tmp_path / "a.txt", b"text")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may read everything
    with pytest.raises(InputError, match=r"may not be read\. Check its permissions$"):
        list(read_blocks(path))


def test_damaged_gzip(tmp_path: Path) -> None:
    data = gzip.compress(os.urandom(50_000).hex().encode())
    path = tmp_path / "a.txt.gz"
    path.write_bytes(data[:20_000])
    with pytest.raises(InputError, match=r"is a damaged gzip file \(.*\)\. Fetch or compress it again$"):
        list(read_blocks(path))
    path.write_bytes(data[:20_000] + b"\0" * 50 + data[20_050:])
    with pytest.raises(InputError, match="is a damaged gzip file"):
        list(read_blocks(path))
    path.write_bytes(b"plain text")
    with pytest.raises(InputError, match=r"is named \.gz but is not a gzip file"):
        list(read_blocks(path))


def pipe_of(content: bytes) -> tuple[Path, threading.Thread]:
    """A pipe that a thread fills, under the name that the shell gives `<(command)`, written in small pieces."""
    reads, writes = os.pipe()

    def fill() -> None:
        with open(writes, "wb", buffering=0) as file:
            file.write(content[:1])  # so that the first read gets one byte
            for begin in range(1, len(content), 1000):
                file.write(content[begin : begin + 1000])

    thread = threading.Thread(target=fill)
    thread.start()
    return Path(f"/dev/fd/{reads}"), thread


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="there is no /dev/fd here")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_pipe_can_be_read_again(compressed: bool) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    path, thread = pipe_of(gzip.compress(text.encode()) if compressed else text.encode())
    for _ in range(3):
        assert "".join(block for _, block in read_blocks(path)) == text
    thread.join()
    other, thread = pipe_of(b"another pipe\n")
    assert list(read_lines(other)) == [(1, "another pipe")]
    thread.join()
    empty, thread = pipe_of(b"")
    with pytest.raises(InputError, match="is empty"):
        list(read_lines(empty))
    thread.join()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "is a zip archive .*Unpack it: unzip book.txt"),
        (lzma.compress(b"text\n"), "is an xz file.*xz --decompress book.txt"),
        (bz2.compress(b"text\n"), "is a bzip2 file.*bunzip2"),
        (b"\x28\xb5\x2f\xfdrest", "is a Zstandard file.*unzstd"),
        (b"%PDF-1.7\n", "is a PDF document.*pdftotext"),
    ],
)
def test_what_holds_text_in_another_form_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_lines(path))
