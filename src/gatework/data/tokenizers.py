"""Text to token ids and back: characters, words, or byte pairs, with a vocabulary learned from the data.

A tokenizer's ids run from 0 by falling frequency in the text that it was trained on (ties in the order of the
tokens themselves), which is what an adaptive softmax needs. For byte pairs the frequency is that of the
finished tokens in an even sample of the text, and ties are in the order in which training made them.

None of the three joins anything across a line end: the tokens of a text are those of its lines, one after
another. So a file is tokenized piece by piece with the result of the whole.

`to_json` writes a file of the `tokenizers` library, which opens it by itself with the same ids
(`tokenizers.Tokenizer.from_file`). `from_json` takes only the kind, the case, the vocabulary and the merges
from such a file and builds the rest anew, so that no pattern or normaliser of a stranger's ever runs.
"""

from __future__ import annotations

import abc
import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Literal, NamedTuple, final

from ..errors import InputError, MissingExtraError, nearest
from .detokenizers import (
    END_OF_LINE,
    UNKNOWN,
    ByteDetokenizer,
    CharacterDetokenizer,
    Detokenizer,
    WordDetokenizer,
)
from .text import chunks_of_text

BYTE_PAIR_VOCABULARY = 8000

_CHARACTER_PATTERN = r"[\s\S]"
_WORD_PATTERN = r"[\s\x1c-\x1f]+"  # what str.split() takes for whitespace
_WORD_OR_LINE_END = re.compile(r"\n|\S+")  # the same words as `_words`
_SAMPLE_CHARACTERS = 1 << 22

Kind = Literal["character", "word", "bpe"]


class Encoding(NamedTuple):
    """A text as tokens (`Tokenizer.encode_with_spans`).

    Attributes:
        ids: one for each token.
        spans: for each token the characters of the source text that it stands for, `text[start:end]`. Tokens that
            are parts of one character have that character's span.
    """

    ids: list[int]
    spans: list[tuple[int, int]]


class Tokenizer(abc.ABC):
    """Text to ids and back. Made by `Tokenizer.train` or `Tokenizer.from_json`."""

    kind: ClassVar[Kind]
    least_size: ClassVar[int]  # of a vocabulary

    def __init__(self, tokens: Sequence[str], *, lowercase: bool) -> None:
        """`tokens`: the vocabulary, where a token's place is its id."""
        self._tokens = list(tokens)
        self._ids = {token: number for number, token in enumerate(self._tokens)}
        self.lowercase = lowercase

    @staticmethod
    def train(
        kind: Kind,
        texts: Iterable[str],
        vocabulary_size: int | None = None,
        min_frequency: int = 1,
        lowercase: bool = False,
    ) -> Tokenizer:
        """Learn a vocabulary.

        Args:
            kind: `character` (every Unicode character), `word` (what stands between whitespace, as it is;
                each line end is the token `<eos>`) or `bpe` (pairs of bytes, merged: Sennrich et al. 2016, on
                bytes as in Radford et al. 2019; nothing is unknown and nothing is lost).
            texts: blocks of one text, read once; memory holds the counts, not the text.
            vocabulary_size: most entries, the special ones included. None: all, or 8,000 for `bpe`.
            min_frequency: least count of a token (of a merged pair, and then at least 2, for `bpe`).
            lowercase: take all text in lower case.

        Raises:
            InputError: an unknown kind, a size out of range, or no text.
            MissingExtraError: `tokenizers` is not installed (`bpe` only).
        """
        if kind not in _KINDS:
            raise InputError("tokenizer", f"unknown kind {kind!r}", nearest(kind, _KINDS))
        final_kind = _KINDS[kind]
        if vocabulary_size is not None and vocabulary_size < final_kind.least_size:
            what = f"vocabulary_size is {vocabulary_size}, too small for kind {kind!r}"
            raise InputError("tokenizer", what, f"Give at least {final_kind.least_size}")
        if min_frequency < 1:
            raise InputError("tokenizer", f"min_frequency is {min_frequency}", "Give at least 1")
        prepared = (_lower(piece) if lowercase else piece for piece in chunks_of_text(texts))
        return final_kind._trained(prepared, vocabulary_size, min_frequency, lowercase)

    @staticmethod
    def from_json(text: str, where: str = "tokenizer.json") -> Tokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            InputError: the text is damaged or another program's; `where` names it.
        """
        try:
            return _from_file(json.loads(text))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            what = f"is not a tokenizer that Gatework wrote ({type(error).__name__}: {error})"
            raise InputError(where, what, "Take the file of a finished run") from error

    def to_json(self) -> str:
        """A file of the `tokenizers` library (one JSON object) that gives the same ids."""
        return str(self._library_tokenizer().to_str(pretty=True)) + "\n"

    @property
    def vocabulary_size(self) -> int:
        """V: ids are 0 … V - 1."""
        return len(self._tokens)

    @property
    def unknown_id(self) -> int | None:
        """The id of `<unk>`, or None where nothing can be unknown."""
        return self._ids[UNKNOWN]

    def token(self, id: int) -> str:
        """An entry of the vocabulary. Byte pairs show a byte that is no character as U+FFFD."""
        if not 0 <= id < len(self._tokens):
            raise IndexError(f"token id {id} is not in 0 … {len(self._tokens) - 1}")
        return self._shown(self._tokens[id])

    def id(self, token: str) -> int | None:
        """The id of a token as the vocabulary writes it, or None."""
        return self._ids.get(token)

    def extended(self, tokens: Iterable[str]) -> Tokenizer:
        """This tokenizer of characters or words with further tokens, whose ids follow its own."""
        return type(self)([*self._tokens, *tokens], lowercase=self.lowercase)

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises:
            InputError: the text holds half of a surrogate pair, which is no character.
        """
        return self._encode(self._prepared(text))

    def encode_with_spans(self, text: str) -> Encoding:
        """The ids of a text, and which of its characters each stands for.

        The spans are of `text` as it was given, also where the tokenizer takes it in lower case, and where a
        character has more characters in lower case than it has itself (`İ`).

        Raises:
            InputError: as `encode`.
        """
        prepared = self._prepared(text)
        ids = self._encode(prepared)
        spans = self._spans(prepared, ids)
        if len(prepared) != len(text):
            sources = [index for index, character in enumerate(text) for _ in _lower(character)]
            spans = [(sources[start], sources[end - 1] + 1) for start, end in spans]
        return Encoding(ids, spans)

    def _prepared(self, text: str) -> str:
        """A text in the case that the vocabulary is in."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            what = f"character {error.start} is half of a surrogate pair ({text[error.start]!a})"
            raise InputError("text", what, "Write the whole character, or take it out") from error
        return _lower(text) if self.lowercase else text

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. An unknown character is shown as U+FFFD, an unknown word as `<unk>`."""
        detokenizer = self.detokenizer()
        return "".join([detokenizer.push(int(id)) for id in ids]) + detokenizer.finish()

    @abc.abstractmethod
    def detokenizer(self, history: Iterable[int] = ()) -> Detokenizer:
        """A detokenizer for ids that are known one after another.

        Args:
            history: the ids that came before and are already shown: what `push` gives goes on from them.
        """

    @classmethod
    @abc.abstractmethod
    def _trained(
        cls, texts: Iterator[str], size: int | None, min_frequency: int, lowercase: bool
    ) -> Tokenizer:
        """Learn from text that is already in the right case."""

    @abc.abstractmethod
    def _encode(self, text: str) -> list[int]:
        """The ids of a text that is already in the right case."""

    @abc.abstractmethod
    def _spans(self, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        """The span of each of the ids that `_encode` made of a text."""

    @abc.abstractmethod
    def _library_tokenizer(self) -> Any:
        """The same as a `tokenizers.Tokenizer`."""

    def _shown(self, token: str) -> str:
        return token


@final
class CharacterTokenizer(Tokenizer):
    """Every Unicode character (code point) is a token."""

    kind = "character"
    least_size = 2  # <unk> and one character

    @classmethod
    def _trained(
        cls, texts: Iterator[str], size: int | None, min_frequency: int, lowercase: bool
    ) -> CharacterTokenizer:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        return cls(_by_frequency(counts, size, min_frequency, ()), lowercase=lowercase)

    def _encode(self, text: str) -> list[int]:
        get, unknown = self._ids.get, self._ids[UNKNOWN]
        return [get(character, unknown) for character in text]

    def _spans(self, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        return [(index, index + 1) for index in range(len(text))]

    def detokenizer(self, history: Iterable[int] = ()) -> Detokenizer:
        return CharacterDetokenizer(self.token)

    def _library_tokenizer(self) -> Any:
        library = _library()
        tokenizer = library.Tokenizer(library.models.WordLevel(self._ids, unk_token=UNKNOWN))
        if self.lowercase:
            tokenizer.normalizer = library.normalizers.Lowercase()
        tokenizer.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(_CHARACTER_PATTERN), "isolated")
        tokenizer.decoder = library.decoders.Fuse()
        return tokenizer


@final
class WordTokenizer(Tokenizer):
    """What stands between whitespace is a token, as it is; each line end is the token `<eos>`.

    A text that holds the words `<unk>` or `<eos>` itself (WikiText, Penn Treebank) means these entries by
    them. Decoding puts one space between words and a line end for `<eos>`.
    """

    kind = "word"
    least_size = 3  # <unk>, <eos> and one word

    @classmethod
    def _trained(
        cls, texts: Iterator[str], size: int | None, min_frequency: int, lowercase: bool
    ) -> WordTokenizer:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_words(text))
        return cls(_by_frequency(counts, size, min_frequency, (END_OF_LINE,)), lowercase=lowercase)

    def _encode(self, text: str) -> list[int]:
        get, unknown = self._ids.get, self._ids[UNKNOWN]
        return [get(word, unknown) for word in _words(text)]

    def _spans(self, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        return [match.span() for match in _WORD_OR_LINE_END.finditer(text)]

    def detokenizer(self, history: Iterable[int] = ()) -> Detokenizer:
        detokenizer = WordDetokenizer(self.token)
        for id in history:
            detokenizer.push(id)
        return detokenizer

    def _library_tokenizer(self) -> Any:
        library = _library()
        tokenizer = library.Tokenizer(library.models.WordLevel(self._ids, unk_token=UNKNOWN))
        line_ends = library.normalizers.Replace("\n", f" {END_OF_LINE} ")
        lower = [library.normalizers.Lowercase()] if self.lowercase else []
        tokenizer.normalizer = library.normalizers.Sequence([*lower, line_ends])
        tokenizer.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(_WORD_PATTERN), "removed")
        return tokenizer


@final
class BytePairTokenizer(Tokenizer):
    """Byte pair encoding on UTF-8 bytes: any text, nothing unknown, nothing lost (but the case, where asked).

    The vocabulary writes a byte as one printable character, as GPT-2 did (`_byte_characters`).
    """

    kind = "bpe"
    least_size = 256

    def __init__(self, tokens: Sequence[str], merges: Sequence[tuple[str, str]], *, lowercase: bool) -> None:
        super().__init__(tokens, lowercase=lowercase)
        self._merges = list(merges)
        bytes_of = {character: byte for byte, character in enumerate(_byte_characters())}
        missing = [character for character in bytes_of if character not in self._ids]
        if missing:
            raise ValueError(f"the vocabulary lacks {len(missing)} of the 256 bytes")
        self._token_bytes = [bytes(bytes_of[character] for character in token) for token in self._tokens]
        library = _library()
        try:
            model = library.models.BPE(self._ids, self._merges)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(str(error)) from error
        self._library = _byte_pair_pipeline(library, model)

    @classmethod
    def _trained(
        cls, texts: Iterator[str], size: int | None, min_frequency: int, lowercase: bool
    ) -> BytePairTokenizer:
        library = _library()
        tokenizer = _byte_pair_pipeline(library, library.models.BPE())
        trainer = library.trainers.BpeTrainer(
            vocab_size=BYTE_PAIR_VOCABULARY if size is None else size,
            min_frequency=max(2, min_frequency),
            initial_alphabet=list(_byte_characters()),
            show_progress=False,
        )
        sample = _EvenSample(_SAMPLE_CHARACTERS)
        tokenizer.train_from_iterator(sample.watch(texts), trainer)
        if not sample.blocks:
            raise _no_text()
        model = json.loads(tokenizer.to_str())["model"]
        made = sorted(model["vocab"], key=model["vocab"].__getitem__)
        merges = [(left, right) for left, right in model["merges"]]
        trained = cls(made, merges, lowercase=False)  # the sample is in the right case already
        counts = Counter(id for block in sample.blocks for id in trained._encode(block))
        order = sorted(range(len(made)), key=lambda id: (-counts[id], id))
        return cls([made[id] for id in order], merges, lowercase=lowercase)

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        batch = list(
            chunks_of_text([text], 1 << 11)
        )  # enough of them to keep every core busy, each of whole lines
        encodings = self._library.encode_batch_fast(batch, add_special_tokens=False)
        return [id for encoding in encodings for id in encoding.ids]

    def _spans(self, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        # No byte is lost: byte b of the tokens, one after another, is byte b of the text.
        first_bytes = list(accumulate((len(character.encode()) for character in text), initial=0))
        bounds = accumulate((len(self._token_bytes[id]) for id in ids), initial=0)
        return [
            (bisect_right(first_bytes, begin) - 1, bisect_right(first_bytes, end - 1))
            for begin, end in pairwise(bounds)
        ]

    def detokenizer(self, history: Iterable[int] = ()) -> Detokenizer:
        detokenizer = ByteDetokenizer(self._token_bytes)
        for id in history:
            detokenizer.push(id)
        return detokenizer

    def _library_tokenizer(self) -> Any:
        library = _library()
        tokenizer = _byte_pair_pipeline(library, library.models.BPE(self._ids, self._merges))
        if self.lowercase:
            tokenizer.normalizer = library.normalizers.Lowercase()
        return tokenizer

    @property
    def unknown_id(self) -> int | None:
        """None: every text is made of the 256 bytes, whatever else a file's vocabulary names."""
        return None

    def _shown(self, token: str) -> str:
        return self._token_bytes[self._ids[token]].decode("utf-8", "replace")


_KINDS: dict[str, type[CharacterTokenizer] | type[WordTokenizer] | type[BytePairTokenizer]] = {
    kind.kind: kind for kind in (CharacterTokenizer, WordTokenizer, BytePairTokenizer)
}


class _EvenSample:
    """Every 1st, 2nd, 4th, … block of a stream of unknown length, about `characters` of them in all."""

    def __init__(self, characters: int) -> None:
        self.blocks: list[str] = []
        self._characters = characters
        self._every = 1

    def watch(self, texts: Iterable[str]) -> Iterator[str]:
        held = 0
        for number, text in enumerate(texts):
            if number % self._every == 0:
                self.blocks.append(text)
                held += len(text)
                while held > self._characters and len(self.blocks) > 1:
                    self.blocks = self.blocks[::2]
                    self._every *= 2
                    held = sum(map(len, self.blocks))
            yield text


def _words(text: str) -> list[str]:
    return text.replace("\n", f" {END_OF_LINE} ").split()


def _lower(text: str) -> str:
    """Lower case, each character by itself: str.lower alone would look round a Σ for the end of its word."""
    return text.replace("Σ", "σ").lower()


def _by_frequency(
    counts: Mapping[str, int], size: int | None, min_frequency: int, specials: Sequence[str]
) -> list[str]:
    """The entries by falling count; the count of `<unk>` is its own and that of all that is left out."""
    if not counts:
        raise _no_text()
    specials = (UNKNOWN, *specials)
    kept = [token for token, count in counts.items() if count >= min_frequency and token not in specials]
    kept.sort(key=lambda token: (-counts[token], token))
    if size is not None:
        del kept[size - len(specials) :]
    entries = {token: counts[token] for token in kept} | {token: counts.get(token, 0) for token in specials}
    entries[UNKNOWN] += sum(counts.values()) - sum(entries.values())
    return sorted(entries, key=lambda token: (-entries[token], token))


def _no_text() -> InputError:
    return InputError(
        "tokenizer", "there is no text to learn a vocabulary from", "Give a file with text in it"
    )


def _byte_characters() -> str:
    """256 printable characters, one a byte: the byte's own Latin-1 character where that prints, else from
    U+0100 on.

    The table of GPT-2 (Radford et al. 2019), which the `tokenizers` library shares.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


def _byte_pair_pipeline(library: Any, model: Any) -> Any:
    """Lines first, so that no token crosses a line end; then words with their leading space; then bytes."""
    tokenizer = library.Tokenizer(model)
    split = library.pre_tokenizers.Split("\n", "merged_with_previous")
    byte_level = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def _from_file(file: Any) -> Tokenizer:
    """Read kind, case, vocabulary and merges; raises one of the errors that `from_json` turns into an
    InputError.
    """
    model = file["model"]
    vocabulary: dict[str, int] = model["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if not tokens or [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError("the ids of its vocabulary are not 0, 1, 2, …")
    if any(type(id) is not int for id in vocabulary.values()):
        raise TypeError("an id that is not a whole number")
    normalizer = file["normalizer"] or {}
    lowercase = any(
        part["type"] == "Lowercase" for part in normalizer.get("normalizers", [normalizer]) if part
    )
    if model["type"] == "BPE":
        merges = [(str(left), str(right)) for left, right in model["merges"]]
        return BytePairTokenizer(tokens, merges, lowercase=lowercase)
    pattern = file["pre_tokenizer"]["pattern"]["Regex"]
    kinds = {_CHARACTER_PATTERN: CharacterTokenizer, _WORD_PATTERN: WordTokenizer}
    if model["type"] != "WordLevel" or pattern not in kinds:
        raise ValueError("a kind of tokenizer that is not one of Gatework's")
    specials = (UNKNOWN,) if kinds[pattern] is CharacterTokenizer else (UNKNOWN, END_OF_LINE)
    for special in specials:
        if special not in vocabulary:
            raise ValueError(f"its vocabulary lacks {special}")
    return kinds[pattern](tokens, lowercase=lowercase)


def _library() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise MissingExtraError("tokenizers", "tasks") from error
    return tokenizers
