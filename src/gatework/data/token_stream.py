"""A text as one long array of token ids on disk, and the batches of truncated backpropagation over it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .text import chunks_of_text
from .tokenizers import Tokenizer
from .whole_file import WholeFile

FORMAT_VERSION = 1
# The header is a line of JSON, padded with spaces to this many bytes: `head -n 1` shows it.
_HEADER_BYTES = 512
_FORMAT = "gatework token stream"
_MARK_CHARACTERS = 1 << 13


class TokenStream(Sequence[Any]):
    """N token ids, memory-mapped: what is not looked at is not read, so a file may be larger than memory.

    The file is a header, the ids (little-endian uint16, or uint32 for more than 65,536 entries), and marks:
    pairs (tokens, characters) of uint64 after each piece of the text, from which a part's characters are
    counted.

    Attributes:
        vocabulary_size: V of the tokenizer.
        sha256: of the text that the file was built from (`text_sha256`); None of a part, of ids in memory, and of
            a file that an earlier version wrote.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        marks: np.ndarray,
        vocabulary_size: int,
        start: int = 0,
        sha256: str | None = None,
    ) -> None:
        """`build`, `open` and `of_ids` make one. `marks` (M, 2) are of the whole stream that begins at
        -start.
        """
        self._tokens = tokens
        self._marks = marks
        self._start = start
        self.vocabulary_size = vocabulary_size
        self.sha256 = sha256

    @classmethod
    def build(cls, texts: Iterable[str], tokenizer: Tokenizer, path: str | os.PathLike[str]) -> TokenStream:
        """Tokenize a text piece by piece into a file, which is there whole or not at all.

        Args:
            texts: blocks of one text, cut anywhere (`read_texts`).
            tokenizer: gives the ids.
            path: the file to write; one that is there is replaced when the new one is done.

        Raises:
            InputError: there is no text, or the file cannot be written (a full disk).
        """
        path = Path(path)
        with WholeFile(path) as file:
            _write(file, texts, tokenizer)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TokenStream:
        """Map a file that `build` wrote.

        Raises:
            InputError: it is missing, of a newer format, or its size is not what its header says.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                header = _checked_header(path, file.read(_HEADER_BYTES), path.stat().st_size)
        except OSError as error:
            raise InputError(
                str(path), f"cannot be read ({error.strerror})", "Build it again from the text"
            ) from error
        tokens = np.memmap(path, header["dtype"], "r", _HEADER_BYTES, (header["tokens"],)).view(np.ndarray)
        after = _HEADER_BYTES + tokens.nbytes
        marks = np.fromfile(path, "<u8", header["marks"] * 2, offset=after).reshape(-1, 2).astype(np.int64)
        if (
            not len(marks)
            or marks[-1].tolist() != [header["tokens"], header["characters"]]
            or (np.diff(marks, axis=0) < 0).any()
        ):
            raise _damaged(path, "its marks do not fit its header")
        return cls(tokens, marks, header["vocabulary_size"], sha256=header.get("sha256"))

    @classmethod
    def of_ids(cls, ids: Sequence[int] | np.ndarray, characters: int, vocabulary_size: int) -> TokenStream:
        """A stream in memory, for a short text: its ids, the number of its characters, and V."""
        tokens = np.asarray(ids, dtype=_dtype(vocabulary_size))
        return cls(tokens, np.array([[len(tokens), characters]], dtype=np.int64), vocabulary_size)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: Any) -> Any:
        """`stream[a:b]` is an array of ids, a view of the file; `stream[a]` one id."""
        return self._tokens[index]

    @property
    def characters(self) -> int:
        """The characters of the text.

        Of a part (`split`) they are counted to its nearest marks, some 8,000 characters apart,
        and taken evenly between: exact for characters, within some hundred for words and byte pairs.
        """
        begin, end = np.rint(self._characters_before(np.array([self._start, self._start + len(self)])))
        return int(end) - int(begin)

    def split(self, share: float) -> tuple[TokenStream, TokenStream]:
        """Views of the first tokens and of the last `share` of them, which are held back.

        Raises:
            InputError: a share that is not between 0 and 1, or that leaves a side without tokens.
        """
        if not 0 < share < 1:
            raise InputError("held-out share", f"is {share}", "Give a number between 0 and 1")
        cut = int(len(self) * (1 - share))
        if cut == 0 or cut == len(self):
            what = f"{share} of {len(self)} tokens leaves one side empty"
            raise InputError("held-out share", what, "Give more text, or a file to validate on")
        return self._part(0, cut), self._part(cut, len(self))

    def _part(self, begin: int, end: int) -> TokenStream:
        return TokenStream(self._tokens[begin:end], self._marks, self.vocabulary_size, self._start + begin)

    def _characters_before(self, tokens: np.ndarray) -> np.ndarray:
        marks = np.concatenate([np.zeros((1, 2), np.int64), self._marks])
        return np.interp(tokens, marks[:, 0], marks[:, 1])


class ParallelStreams(Sequence[tuple[Tensor, Tensor]]):
    """The batches of one epoch of truncated backpropagation: B parallel streams of the text, T steps at a time.

    The N tokens are cut into `streams` runs of L = (N - 1) // streams tokens. Row b of batch k + 1 begins with the
    token after the last of row b of batch k, so that a model carries its state from batch to batch. Tokens 1 … L *
    streams are each a target exactly once; fewer than `streams` tokens at the end of the text are left out. The last
    batch has fewer steps where L is no multiple of `steps`.

    `batches[k]` is made from the token file at each access and depends on nothing else: resuming is exact. It is

    - inputs (T, B): token ids, int64,
    - targets (T, B): for each input the token that follows it in the text, int64.

    Args:
        stream: N token ids.
        streams: of the whole batch, over all processes.
        steps: T of every batch but the last.
        rank: this process, 0 … world - 1. It has streams rank * B … (rank + 1) * B - 1 with B = streams / world.
        world: the number of processes.

    Raises:
        InputError: the text is shorter than one batch, or the streams cannot be shared evenly.
    """

    def __init__(self, stream: TokenStream, streams: int, steps: int, rank: int = 0, world: int = 1) -> None:
        for name, value in (("streams", streams), ("steps", steps), ("world", world)):
            if value < 1:
                raise InputError("batches", f"{name} is {value}", "Give at least 1")
        if not 0 <= rank < world:
            raise InputError("batches", f"rank is {rank} of {world} processes", f"Give 0 to {world - 1}")
        if streams % world:
            what = f"{streams} streams cannot be shared evenly by {world} processes"
            raise InputError("batches", what, f"Give a multiple of {world}")
        length = (len(stream) - 1) // streams
        if length < steps:
            needed = streams * steps + 1
            what = (
                f"the text has {len(stream):,} tokens, fewer than the {needed:,} of one batch "
                f"({streams} streams of {steps} steps)"
            )
            raise InputError("text", what, "Give more text, a smaller batch_size, or a smaller bptt")
        own = streams // world
        begin, end = rank * own * length, (rank + 1) * own * length
        self._inputs = stream[begin:end].reshape(own, length)  # (B, L), views of the file
        self._targets = stream[begin + 1 : end + 1].reshape(own, length)
        self.streams = own
        self.steps = steps

    def __len__(self) -> int:
        return -(-self._inputs.shape[1] // self.steps)

    @property
    def targets(self) -> int:
        """How many tokens are targets in an epoch, in this process."""
        return int(self._targets.size)

    def __getitem__(self, index: Any) -> Any:
        """Batch `index`, an int; negative counts from the end."""
        batch = index + len(self) if index < 0 else index
        if not 0 <= batch < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        steps = slice(batch * self.steps, (batch + 1) * self.steps)
        return _steps_first(self._inputs[:, steps]), _steps_first(self._targets[:, steps])


def _steps_first(rows: np.ndarray) -> Tensor:
    """(B, T) of the file's dtype to (T, B) int64, contiguous."""
    return torch.from_numpy(np.ascontiguousarray(rows.T, dtype=np.int64))


def _dtype(vocabulary_size: int) -> str:
    return "<u2" if vocabulary_size <= 1 << 16 else "<u4"


def _write(file: WholeFile, texts: Iterable[str], tokenizer: Tokenizer) -> None:
    dtype = _dtype(tokenizer.vocabulary_size)
    tokens = characters = 0
    marks = []
    digest = hashlib.sha256()
    file.write(b" " * _HEADER_BYTES)
    for piece in chunks_of_text(texts, _MARK_CHARACTERS):
        digest.update(piece.encode())
        ids = np.array(tokenizer.encode(piece), dtype=dtype)
        file.write(ids.tobytes())
        tokens += len(ids)
        characters += len(piece)
        marks.append((tokens, characters))
    if not tokens:
        raise InputError("text", "has no tokens", "Give a file with text in it")
    file.write(np.array(marks, dtype="<u8").tobytes())
    header = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "tokens": tokens,
        "characters": characters,
        "dtype": dtype,
        "vocabulary_size": tokenizer.vocabulary_size,
        "marks": len(marks),
        "sha256": digest.hexdigest(),
    }
    file.write(json.dumps(header).encode().ljust(_HEADER_BYTES - 1) + b"\n", at=0)


def _checked_header(path: Path, line: bytes, size: int) -> dict[str, Any]:
    try:
        header = json.loads(line.decode("ascii"))
    except ValueError as error:
        raise _damaged(path, "it has no header") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise _damaged(path, "it has no header")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        what = f"has format version {version!r}, and this Gatework reads {FORMAT_VERSION}"
        raise InputError(str(path), what, "Build it again from the text, or update Gatework")
    numbers = [header.get(name) for name in ("tokens", "characters", "vocabulary_size", "marks")]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise _damaged(path, "its header lacks a number")
    if not isinstance(header.get("sha256"), str | None):
        raise _damaged(path, "its digest is no text")
    if header.get("dtype") != _dtype(header["vocabulary_size"]):
        raise _damaged(path, f"its dtype is {header.get('dtype')!r}")
    right = _HEADER_BYTES + header["tokens"] * np.dtype(header["dtype"]).itemsize + header["marks"] * 16
    if header["tokens"] == 0 or size != right:
        raise _damaged(path, f"it has {size:,} bytes where its header says {right:,}")
    return header


def _damaged(path: Path, what: str) -> InputError:
    return InputError(str(path), f"is not a whole token stream: {what}", "Build it again from the text")
