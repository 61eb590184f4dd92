"""Ids to text, one token at a time: what is given as text is final and may be printed."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

UNKNOWN = "<unk>"
END_OF_LINE = "<eos>"


class Detokenizer(Protocol):
    """Turns ids into text, an id at a time (`Tokenizer.detokenizer`)."""

    def push(self, token: int) -> str:
        """The text that this token completes: it is final and may be printed."""

    def finish(self) -> str:
        """What is still held back: an unfinished character, shown as U+FFFD, or nothing."""


class CharacterDetokenizer:
    """A character an id; an unknown one is shown as U+FFFD."""

    def __init__(self, token: Callable[[int], str]) -> None:
        self._token = token

    def push(self, token: int) -> str:
        character = self._token(token)
        return "\ufffd" if character == UNKNOWN else character

    def finish(self) -> str:
        return ""


class WordDetokenizer:
    """A word an id: one space between the words of a line, a line end for `<eos>`."""

    def __init__(self, token: Callable[[int], str]) -> None:
        self._token = token
        self._at_line_start = True

    def push(self, token: int) -> str:
        word = self._token(token)
        if word == END_OF_LINE:
            self._at_line_start = True
            return "\n"
        space = "" if self._at_line_start else " "
        self._at_line_start = False
        return space + word

    def finish(self) -> str:
        return ""


class ByteDetokenizer:
    """Some bytes of UTF-8 an id: a character is given when its last byte is known."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        if not 0 <= token < len(self._token_bytes):
            raise IndexError(f"token id {token} is not in 0 … {len(self._token_bytes) - 1}")
        return self._decoder.decode(self._token_bytes[token])

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)
