"""Texts to tokens and back, as Gatework's tokenizers do it: characters, words, or byte pairs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
WHITE += "\u2028\u2029\u202f\u205f\u3000"
SHORT = re.compile("'(?:s|t|re|ve|m|ll|d)")
WORDS = re.compile(r" ?L+| ?N+| ?P+|[ S]+(?![LNP])|[ S]+")  # GPT-2's, of the kinds of characters


class Tokens:
    """The tokenizer of a file of the `tokenizers` library that Gatework wrote.

    Args:
        file: its content. kind: `character`, `word` or `bpe`.
        lowercase: all text is taken in lower case.
    """

    def __init__(self, file: Mapping[str, Any], kind: str, lowercase: bool) -> None:
        self.kind, self.lowercase = kind, lowercase
        self.ids: dict[str, int] = file["model"]["vocab"]
        self.tokens = sorted(self.ids, key=self.ids.__getitem__)
        self.unknown = None if kind == "bpe" else self.ids[UNKNOWN]
        if kind == "bpe":
            merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in file["model"]["merges"]]
            self.ranks = {pair: rank for rank, pair in enumerate(merges)}
            self.characters = _byte_characters()
            self.bytes = {character: byte for byte, character in enumerate(self.characters)}

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        """The ids of a text, and what each stands for; of byte pairs the latter is left out."""
        given, text = text, text.replace("Σ", "σ").lower() if self.lowercase else text
        if self.kind == "bpe":
            lines = re.findall(r"[^\n]*\n|[^\n]+", text)
            return [id for line in lines for word in _words(line) for id in self._pairs(word)], []
        if self.kind == "character":
            pieces = [c for c in given for _ in (c.lower() if self.lowercase else c)]
            return [self.ids.get(c, self.ids[UNKNOWN]) for c in text], pieces
        words, pieces = (_lines_and_words(each) for each in (text, given))
        own = [END_OF_LINE if word == "\n" else word for word in words]
        return [self.ids.get(word, self.ids[UNKNOWN]) for word in own], pieces

    def written(self, text: str) -> list[str]:
        """The tokens of a text, for people."""
        return [self.decode([id]) for id in self.encode(text)[0]]

    def decode(self, ids: Sequence[int], instead: Mapping[int, str] | None = None) -> str:
        """The text of ids.

        Args:
            instead: by the place of an id, what is written in the place of its token.
        """
        if self.kind == "bpe":
            return bytes(self.bytes[c] for id in ids for c in self.tokens[id]).decode("utf-8", "replace")
        shown = [(instead or {}).get(place, self.tokens[id]) for place, id in enumerate(ids)]
        if self.kind == "character":
            return "".join("\ufffd" if piece == UNKNOWN else piece for piece in shown)
        text = ""
        for piece in shown:
            space = "" if not text or text.endswith("\n") else " "
            text += "\n" if piece == END_OF_LINE else space + piece
        return text

    def _pairs(self, word: str) -> list[int]:
        """A word's tokens: the pair that was merged first is merged first, everywhere in the word."""
        parts = [self.characters[byte] for byte in word.encode()]
        while len(parts) > 1:
            ranks = [self.ranks.get(f"{a} {b}", len(self.ranks)) for a, b in pairwise(parts)]
            best = min(ranks)
            if best == len(self.ranks):
                break
            merged, place = [], 0
            while place < len(parts):
                pair = place < len(ranks) and ranks[place] == best
                merged.append("".join(parts[place : place + 1 + pair]))
                place += 1 + pair
            parts = merged
        return [self.ids[part] for part in parts]


def _lines_and_words(text: str) -> list[str]:
    """What stands between white space, and the ends of lines."""
    return re.findall(r"\n|\S+", text)


def _words(line: str) -> Iterator[str]:
    """The pieces of a line that byte pairs are merged in."""
    kinds = "".join(_kind(character) for character in line)
    place = 0
    while place < len(line):
        found = SHORT.match(line, place) or WORDS.match(kinds, place)
        end = place + 1 if found is None else found.end()
        yield line[place:end]
        place = end


def _kind(character: str) -> str:
    if character in WHITE:
        return " " if character == " " else "S"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "P"


def _byte_characters() -> list[str]:
    """For each byte the character that a vocabulary writes it as."""
    characters, other = [], 0x100
    for byte in range(256):
        prints = 0x20 < byte < 0x7F or (byte > 0xA0 and byte != 0xAD)
        characters.append(chr(byte if prints else other))
        other += not prints
    return characters
