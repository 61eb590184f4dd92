"""The mapped stream: the same in pieces as whole, there whole or not at all; and its batches, exactly once
each.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatework.data import ParallelStreams, Tokenizer, TokenStream, read_texts
from gatework.data import token_stream as module
from gatework.errors import InputError

TEXT = "".join(f"line {n}: the gate {'opens' if n % 3 else 'closes'}, n = {n * n}.\n" for n in range(3000))


@pytest.fixture(scope="module", params=["character", "word", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(request.param, [TEXT], 300 if request.param == "bpe" else None)


def stream_of(count: int) -> TokenStream:
    return TokenStream.of_ids(np.arange(count) % 1000, count, 1000)


def test_a_file_larger_than_a_piece_is_the_same_as_whole(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    for name, characters in (("small", 50), ("usual", module._MARK_CHARACTERS), ("whole", len(TEXT))):
        monkeypatch.setattr(module, "_MARK_CHARACTERS", characters)
        stream = TokenStream.build(read_texts(path), tokenizer, tmp_path / name)
        assert stream[:].tolist() == tokenizer.encode(TEXT)
        assert stream.characters == len(TEXT)
        assert stream.vocabulary_size == tokenizer.vocabulary_size
    # Blocks cut anywhere, inside words too.
    blocks = (TEXT[begin : begin + 17] for begin in range(0, len(TEXT), 17))
    assert TokenStream.build(blocks, tokenizer, tmp_path / "cut")[:].tolist() == stream[:].tolist()
    assert tokenizer.decode(stream[:]) == TEXT


def test_opening_reads_what_was_built(tmp_path: Path, tokenizer: Tokenizer) -> None:
    built = TokenStream.build([TEXT], tokenizer, tmp_path / "stream")
    opened = TokenStream.open(tmp_path / "stream")
    assert len(opened) == len(built)
    assert np.array_equal(opened[5:50], built[5:50])
    assert opened.characters == built.characters
    assert opened[:].dtype == np.uint16
    assert not opened[:].flags.writeable
    with (tmp_path / "stream").open("rb") as file:
        assert json.loads(file.readline())["tokens"] == len(built)


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    words = [f"w{n:05}" for n in range(1 << 16)]
    tokenizer = Tokenizer.train("word", [" ".join(words) + "\n"])
    stream = TokenStream.build([" ".join(words) + "\n"], tokenizer, tmp_path / "stream")
    assert stream[:].dtype == np.uint32
    assert sorted(stream[:].tolist()) == [
        id for id in range(tokenizer.vocabulary_size) if id != tokenizer.unknown_id
    ]


def test_split_counts_characters(tmp_path: Path, tokenizer: Tokenizer) -> None:
    stream = TokenStream.build([TEXT], tokenizer, tmp_path / "stream")
    train, held = stream.split(0.1)
    assert len(train) == int(len(stream) * 0.9)
    assert np.array_equal(np.concatenate([train[:], held[:]]), stream[:])
    assert train.characters + held.characters == stream.characters
    exact = len(tokenizer.decode(held[:]))
    assert held.characters == exact if tokenizer.kind == "character" else abs(held.characters - exact) < 20
    inner, last = held.split(0.5)
    assert np.array_equal(np.concatenate([inner[:], last[:]]), held[:])
    assert inner.characters + last.characters == held.characters


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_split_refuses_a_share_that_is_none(share: float) -> None:
    with pytest.raises(InputError, match=r"held-out share: is .*\. Give a number between 0 and 1"):
        stream_of(100).split(share)


def test_split_refuses_to_leave_nothing() -> None:
    with pytest.raises(InputError, match=r"0\.05 of 1 tokens leaves one side empty"):
        stream_of(1).split(0.05)


class Interrupted(Exception):
    pass


def test_a_build_that_breaks_off_leaves_the_old_file(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stream"
    TokenStream.build(["the gate\n"], tokenizer, path)
    before = path.read_bytes()

    def broken() -> Any:
        yield TEXT
        raise Interrupted

    with pytest.raises(Interrupted):
        TokenStream.build(broken(), tokenizer, path)
    with pytest.raises(InputError, match=r"text: has no tokens"):
        TokenStream.build([""], tokenizer, path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"stream: cannot be written \(No space left on device\)\. Free some space"
    ):
        TokenStream.build([TEXT], tokenizer, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_that_cannot_be_read_keeps_its_own_message(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\nb\xffd\n")
    with pytest.raises(InputError, match=r"a\.txt, line 2: byte 0xff at byte 6"):
        TokenStream.build(read_texts(tmp_path / "a.txt"), tokenizer, tmp_path / "stream")
    assert not (tmp_path / "stream").exists()


def test_a_failure_in_reading_is_not_called_one_of_writing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    def gone() -> Any:
        yield TEXT
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output error"):
        TokenStream.build(gone(), tokenizer, tmp_path / "stream")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: cannot be written \(Is a directory\)"):
        TokenStream.build([TEXT], tokenizer, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_is_not_there(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"cannot be written \(No such file or directory\)"):
        TokenStream.build([TEXT], tokenizer, tmp_path / "nowhere" / "stream")
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)\. Build it again"):
        TokenStream.open(tmp_path / "stream")


def changed(data: bytes, **changes: Any) -> bytes:
    header = json.loads(data[:512])
    header.update(changes)
    return json.dumps(header).encode().ljust(511) + b"\n" + data[512:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "bytes where its header says"),
        (lambda data: data + b"\0", "bytes where its header says"),
        (lambda data: data[:512], "bytes where its header says"),
        (lambda data: data[:100], "it has no header"),
        (lambda data: b"", "it has no header"),
        (lambda data: b"\xff" + data[1:], "it has no header"),
        (lambda data: b"[1]".ljust(511) + data[511:], "it has no header"),
        (lambda data: b"[" * 512, "it has no header"),
        (lambda data: changed(data, format="other"), "it has no header"),
        (lambda data: changed(data, format_version=99), "has format version 99, and this Gatework reads 1"),
        (lambda data: changed(data, tokens=-1), "its header lacks a number"),
        (lambda data: changed(data, tokens=None), "its header lacks a number"),
        (lambda data: changed(data, dtype="<u4"), "its dtype is '<u4'"),
        (lambda data: changed(data, dtype="O"), "its dtype is 'O'"),
        (lambda data: changed(data, characters=1), "its marks do not fit its header"),
        (lambda data: data[:-16] + b"\xff" * 16, "its marks do not fit its header"),
        (lambda data: data[:-32] + b"\x7f" * 16 + data[-16:], "its marks do not fit its header"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    tokenizer = Tokenizer.train("character", [TEXT])
    path = tmp_path / "stream"
    TokenStream.build([TEXT], tokenizer, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        TokenStream.open(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(count=st.integers(2, 300), streams=st.integers(1, 12), steps=st.integers(1, 20))
def test_every_token_is_a_target_once(count: int, streams: int, steps: int) -> None:
    length = (count - 1) // streams
    if length < steps:
        with pytest.raises(
            InputError, match=f"has {count} tokens, fewer than the {streams * steps + 1} of one batch"
        ):
            ParallelStreams(stream_of(count), streams, steps)
        return
    batches = ParallelStreams(stream_of(count), streams, steps)
    inputs = torch.cat([inputs for inputs, _ in batches])  # (L, streams)
    targets = torch.cat([targets for _, targets in batches])
    assert sorted(targets.flatten().tolist()) == list(range(1, length * streams + 1))
    assert count - 1 - length * streams < streams
    # Each stream is a run of the text, carried on from batch to batch, and a target is the token that follows.
    assert torch.equal(inputs, torch.arange(length)[:, None] + torch.arange(streams) * length)
    assert torch.equal(targets, inputs + 1)
    assert batches.targets == targets.numel()
    assert [len(inputs) for inputs, _ in batches] == [
        min(steps, length - k * steps) for k in range(len(batches))
    ]


@given(world=st.integers(1, 4), per_rank=st.integers(1, 4), steps=st.integers(1, 9), extra=st.integers(0, 40))
def test_ranks_share_the_streams(world: int, per_rank: int, steps: int, extra: int) -> None:
    streams = world * per_rank
    stream = stream_of(streams * steps + 1 + extra)
    whole = ParallelStreams(stream, streams, steps)
    ranks = [ParallelStreams(stream, streams, steps, rank, world) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(whole)}
    for k in range(len(whole)):
        for part in (0, 1):
            assert torch.equal(torch.cat([rank[k][part] for rank in ranks], dim=1), whole[k][part])


def test_batches_are_random_access() -> None:
    batches = ParallelStreams(stream_of(1001), 10, 30)
    assert len(batches) == 4
    inputs, targets = batches[1]
    assert inputs.shape == targets.shape == (30, 10)
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.is_contiguous()
    assert batches[3][0].shape == (10, 10)  # the rest
    assert torch.equal(batches[-1][0], batches[3][0])
    inputs.zero_()  # a batch is a copy
    assert torch.equal(batches[1][1][:-1], batches[1][0][1:])
    for k in (4, -5):
        with pytest.raises(IndexError):
            batches[k]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5), "streams is 0"),
        ((5, 0), "steps is 0"),
        ((4, 5, 0, 0), "world is 0"),
        ((4, 5, 2, 2), "rank is 2 of 2 processes. Give 0 to 1"),
        ((5, 5, 0, 2), "5 streams cannot be shared evenly by 2 processes. Give a multiple of 2"),
        (
            (20, 50),
            "text: the text has 1,000 tokens, fewer than the 1,001 of one batch (20 streams of 50 steps). ",
        ),
    ],
)
def test_faults(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        ParallelStreams(stream_of(1000), *arguments)
    assert message in str(caught.value)
