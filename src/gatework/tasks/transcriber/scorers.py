"""What a search of labels is told beside the sound: words that are to be expected, and a language model.

Shallow fusion: Gulcehre et al. 2015, "On using monolingual corpora in neural machine translation", section 4.1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch

from gatework.data import Tokenizer
from gatework.errors import InputError
from gatework.seq2seq import PrefixScorer, SumScorer
from gatework.tasks.language_model import LanguageModel
from gatework.tasks.stream_network import StreamNetwork
from gatework.tasks.transcriber.options import TranscriptSettings
from gatework.tasks.transcriber.transcripts import TextKind, prepared
from gatework.training import RunFolder

__all__ = ["HotwordScorer", "LanguageScorer", "label_pieces", "scorer_of"]


def scorer_of(settings: TranscriptSettings, tokenizer: Tokenizer, kind: TextKind) -> PrefixScorer | None:
    """What the settings tell the search of a transcriber's labels; None: nothing."""
    if not settings.hotwords and settings.language_model is None:
        return None
    pieces = label_pieces(tokenizer)
    scorers: list[PrefixScorer] = []
    if settings.hotwords:
        words = [prepared(word, kind) for word in settings.hotwords]
        scorers.append(HotwordScorer(words, pieces, settings.hotword_weight))
    if settings.language_model is not None:
        model = _language_model(settings.language_model)
        scorers.append(
            LanguageScorer(
                cast("StreamNetwork", model.network_),
                model.tokenizer_,
                model.start_token,
                pieces,
                weight=settings.language_weight,
                word_bonus=settings.word_bonus,
            )
        )
    return SumScorer(scorers)


@functools.lru_cache(maxsize=4)
def _language_model(folder: str) -> LanguageModel:
    """A language model's run, read once.

    Raises:
        InputError: it is another task's.
        RunError: there is none, or it is damaged.
    """
    run = RunFolder.open(folder)
    name = run.read_config().task
    if name != LanguageModel.name:
        raise InputError(folder, f"is a {name}, not a language model", "Give a language model's run")
    return LanguageModel.restore(run)


@functools.lru_cache(maxsize=4)
def label_pieces(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The text of each label from 1 on; that of a word begins with a space."""
    space = " " if tokenizer.kind == "word" else ""
    return tuple(space + tokenizer.decode([id]) for id in range(tokenizer.vocabulary_size))


class _Match(NamedTuple):
    """How far the last words are the beginning of a hotword.

    place: characters, as far as they are one; None inside of another word. earned: what they have added so far.
    """

    place: str | None
    earned: float


class HotwordScorer:
    """Adds so much for each character of a hotword. What the beginning of one has added is taken back where the text
    goes on otherwise.

    Args:
        hotwords: words, or several with a space between.
        pieces: see `label_pieces`.
        weight: nats for a character.
    """

    def __init__(self, hotwords: Iterable[str], pieces: Sequence[str], weight: float) -> None:
        self._whole = {" ".join(word.split()) for word in hotwords} - {""}
        self._begins = {word[:count] for word in self._whole for count in range(len(word) + 1)}
        self._pieces, self._weight = pieces, weight

    def start(self) -> _Match:
        return _Match("", 0.0)

    def extend(self, state: _Match, label: int) -> tuple[float, _Match]:
        added = 0.0
        for character in self._pieces[label - 1]:
            more, state = self._read(state, character)
            added += more
        return added, state

    def finish(self, state: _Match) -> float:
        return 0.0 if state.place in self._whole else -state.earned

    def _read(self, state: _Match, character: str) -> tuple[float, _Match]:
        place, earned = state
        if place is not None and place + character in self._begins:
            return self._weight, _Match(place + character, earned + self._weight)
        if not character.isspace():
            return -earned, _Match(None, 0.0)
        # A hotword is whole, or none was begun: another may begin.
        return (0.0 if place in self._whole else -earned), _Match("", 0.0)


@dataclass(frozen=True)
class _Read:
    """What a language model has read: its state before `last`, and characters of a word that is not whole yet."""

    last: int
    hidden: Any
    pending: str
    known: dict[str, Any] = field(
        default_factory=dict, compare=False
    )  # of the step after `last`, once it is asked for


class LanguageScorer:
    """The log-probability that a language model gives a text, added by word, or by character where its tokens are.

    Args:
        network, tokenizer, start: of a language model's run.
        pieces: see `label_pieces`.
        weight: what log-probabilities are multiplied by.
        word_bonus: nats for each word, since a language model gives longer texts less.
    """

    def __init__(
        self,
        network: StreamNetwork,
        tokenizer: Tokenizer,
        start: int,
        pieces: Sequence[str],
        *,
        weight: float,
        word_bonus: float,
    ) -> None:
        self._network, self._tokenizer, self._start = network, tokenizer, start
        self._pieces, self._weight, self._bonus = pieces, weight, word_bonus
        self._device = next(network.parameters()).device

    def start(self) -> _Read:
        return _Read(self._start, None, "")

    def extend(self, state: _Read, label: int) -> tuple[float, _Read]:
        added = 0.0
        for character in self._pieces[label - 1]:
            if character.isspace():
                more, state = self._close(state)
            elif self._tokenizer.kind == "character":
                space = " " if not state.pending and state.last != self._start else ""
                more, state = self._tokens(state, space + character)
                state = _Read(state.last, state.hidden, "…", state.known)  # inside of a word
            else:
                more, state = 0.0, _Read(state.last, state.hidden, state.pending + character, state.known)
            added += more
        return added, state

    def finish(self, state: _Read) -> float:
        added, state = self._close(state)
        return added + self._tokens(state, "\n")[0]

    def _close(self, state: _Read) -> tuple[float, _Read]:
        """The end of a word."""
        if not state.pending:
            return 0.0, state
        added = 0.0
        if self._tokenizer.kind != "character":
            space = " " if self._tokenizer.kind == "bpe" and state.last != self._start else ""
            added, state = self._tokens(state, space + state.pending)
        return added + self._bonus, _Read(state.last, state.hidden, "", state.known)

    def _tokens(self, state: _Read, text: str) -> tuple[float, _Read]:
        total = 0.0
        for token in self._tokenizer.encode(text):
            if not state.known:
                with torch.inference_mode():
                    last = torch.tensor([state.last], device=self._device)
                    found, hidden = self._network.step(last, state.hidden)
                state.known.update(found=found[0].tolist(), hidden=hidden)
            total += state.known["found"][token]
            state = _Read(token, state.known["hidden"], state.pending)
        return (self._weight * total if math.isfinite(total) else -math.inf), state
