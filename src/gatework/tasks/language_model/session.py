"""A text that a language model reads and goes on with, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatework.errors import InputError
from gatework.layers import state_of_rows, state_rows
from gatework.seq2seq import draw
from gatework.tasks.language_model.generator import READ_STEPS, Generator
from gatework.tasks.language_model.options import CompletionSettings
from gatework.tasks.session import Session
from gatework.tasks.session_state import SessionState, damaged

__all__ = ["TextSession"]

_RECALLED = (
    4  # tokens that a text's next piece may depend on: an unfinished character has three bytes at most
)


class TextSession(Session):
    """A language model's: `feed` reads a text, and gives its completion token by token.

    Each token is a `piece` event: its text (`output`, which is empty while a character is unfinished), the `token`, its
    `probability`, and with `next_tokens` the likeliest tokens in its place (`next`); last comes the `record`. A text
    that is fed later is read after the completion, as far as it was read: the session is one text, of both. Draws go
    on with the random numbers of `seed`.
    """

    settings: CompletionSettings

    def __init__(
        self, task: str, network: nn.Module, settings: CompletionSettings, generator: Generator
    ) -> None:
        self._model = generator
        self._ends = generator.ends(settings.stop)
        self._choice = settings.temperature, settings.top_k, settings.top_p
        super().__init__(task, network, settings)

    # Reading

    def _begin(self) -> None:
        self._row = state_rows(self._model.network.first_state(1))[0].numpy(force=True)
        self._last = self._model.start  # the token that the network reads next
        self._recent: list[int] = []
        self._random = torch.Generator().manual_seed(self.settings.seed)
        self._say_nothing("")
        self._left = 0

    def _say_nothing(self, text: str) -> None:
        """Stand before the first piece after a text."""
        self._input, self._output, self._total = text, list[str](), 0.0
        self._next: list[dict[str, Any]] | None = None
        self._left, self._pieces = self.settings.length, self._model.tokenizer.detokenizer(self._recent)

    def _read(self, item: Any) -> tuple[str, list[int]]:
        if not isinstance(item, str):
            raise InputError("text", f"is {type(item).__name__}", "Give a text, which may be empty.")
        return item, self._model.tokenizer.encode(item)

    @classmethod
    def _absorb(cls, sessions: Sequence[TextSession], items: Sequence[tuple[str, list[int]]]) -> None:
        _read_tokens(sessions, [[one._last, *ids] for one, (_, ids) in zip(sessions, items, strict=True)])
        for session, (text, ids) in zip(sessions, items, strict=True):
            session._recent = [*session._recent, *ids][-_RECALLED:]
            session._say_nothing(text)

    # Speaking

    @property
    def _unsaid(self) -> bool:
        return self._left > 0

    @classmethod
    def _say(cls, sessions: Sequence[TextSession]) -> None:
        drawn = [one for one in sessions if one.settings.beam == 1]
        if drawn:
            _draw(drawn)
        for session in sessions:
            if session.settings.beam > 1:
                session._search()

    def _search(self) -> None:
        """The whole completion, of a beam search, which knows it only at the end; it is read."""
        model, state = self._model, state_of_rows(self._rows(), self._model.first)
        tokens, record = model.search(self._recent, self._last, state, self.settings)
        _read_tokens([self], [[self._last, *tokens]])
        self._recent, self._left = [*self._recent, *tokens][-_RECALLED:], 0
        self._events += [{"kind": "piece", "output": record["output"]}]
        self._events += [{"kind": "record", "input": self._input, **record}]

    def _rows(self) -> Tensor:
        return torch.from_numpy(self._row)[None]

    def _said(self, token: int, log_probability: float, row: np.ndarray, likeliest: Any) -> None:
        """A token was drawn, after the network read the one before it."""
        self._row, self._last, self._left = row, token, self._left - 1
        self._recent = [*self._recent[1 - _RECALLED :], token]
        self._total += log_probability
        piece = self._pieces.push(token)
        if token in self._ends:
            self._left = 0
        if self._left == 0:
            piece += self._pieces.finish()
        if piece:
            self._output.append(piece)
        name, probability = self._model.tokenizer.token(token), math.exp(log_probability)
        event = {"kind": "piece", "output": piece, "token": name, "probability": probability}
        if likeliest is not None:
            event["next"] = likeliest
            self._next = self._next or likeliest
        self._events.append(event)
        if self._left == 0:
            self._finish_record()

    def _stuck(self, likeliest: Any) -> None:
        """No token may be drawn: the completion ends where it stands."""
        self._left, self._next = 0, self._next or likeliest
        self._finish_record()

    def _finish_record(self) -> None:
        further = {} if self._next is None else {"next": self._next}
        output = {"output": "".join(self._output), "log_probability": self._total}
        self._events.append({"kind": "record", "input": self._input, **output, **further})

    # Taking up again

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "row": self._row,
            "tokens": np.array([*self._recent, self._last], np.int64),
            "random": self._random.get_state().numpy(),
        }

    def _known(self) -> dict[str, Any]:
        output = {"input": self._input, "output": self._output, "total": self._total, "next": self._next}
        return {**output, "left": self._left}

    def _restore(self, state: SessionState) -> None:
        tokens = state.array("tokens", (None,), "i").tolist()
        known = range(self._model.tokenizer.vocabulary_size)
        if not 1 <= len(tokens) <= _RECALLED + 1 or any(token not in known for token in tokens):
            raise damaged()
        self._recent, self._last = tokens[:-1], tokens[-1]
        self._row = state.array("row", self._row.shape)
        self._say_nothing(state.value("input", str))
        self._output, self._total = state.value("output", list), state.value("total", float)
        self._left, self._next = state.value("left", int), state.value("next", (list, type(None)))
        try:
            self._random.set_state(torch.from_numpy(state.array("random", (None,), "u")))
        except RuntimeError as error:
            raise damaged() from error


def _read_tokens(sessions: Sequence[TextSession], tokens: Sequence[Sequence[int]]) -> None:
    """Read the tokens of each session but the last one, which is kept as the one to be read next.

    Args:
        tokens: of each session, one or more.
    """
    for session, own in zip(sessions, tokens, strict=True):
        session._last = own[-1]
    order = sorted((place for place, own in enumerate(tokens) if len(own) > 1), key=lambda p: len(tokens[p]))
    lengths = sorted({len(tokens[place]) - 1 for place in order})
    for begin, end in pairwise([0, *lengths]):  # a text that ends leaves the batch
        order = [place for place in order if len(tokens[place]) - 1 > begin]
        some, model = [sessions[place] for place in order], sessions[order[0]]._model
        state = state_of_rows(_rows(some), model.first)
        read = model.tensor([tokens[place][begin:end] for place in order]).T  # (T, B)
        for part in read.split(READ_STEPS):
            state = model.network.read(part, state)
        for session, row in zip(some, _split(state_rows(state)), strict=True):
            session._row = row


def _draw(sessions: Sequence[TextSession]) -> None:
    """The next token of each session."""
    model, device = sessions[0]._model, sessions[0]._model.device
    state = state_of_rows(_rows(sessions), model.first)
    log_probs, state = model.network.step(model.tensor([one._last for one in sessions]), state)  # (N, V)
    groups: dict[tuple[float, int, float], list[int]] = {}
    for place, session in enumerate(sessions):
        groups.setdefault(session._choice, []).append(place)
    tokens = torch.empty(len(sessions), dtype=torch.long, device=device)
    drawable = torch.empty(len(sessions), dtype=torch.bool, device=device)
    allowed = log_probs.index_fill(1, model.banned, -torch.inf) if len(model.banned) else log_probs
    for choice, places in groups.items():
        uniform = [_uniform(sessions[place]) if choice[0] > 0 else 0.0 for place in places]
        numbers = torch.tensor(uniform, dtype=torch.float64, device=device)
        if len(groups) == 1:
            tokens, drawable = draw(allowed, numbers, *choice)
        else:
            index = torch.tensor(places, device=device)
            tokens[index], drawable[index] = draw(allowed[index], numbers, *choice)
    own = log_probs.gather(1, tokens[:, None]).squeeze(1).tolist()
    rows, likeliest = _split(state_rows(state)), _likeliest(sessions, log_probs)
    parts = zip(sessions, tokens.tolist(), own, rows, likeliest, drawable.tolist(), strict=True)
    for session, token, log_probability, row, best, can in parts:
        if can:
            session._said(token, log_probability, row, best)
        else:
            session._stuck(best)


def _uniform(session: TextSession) -> float:
    number: float = torch.rand((), generator=session._random, dtype=torch.float64).item()
    return number


def _likeliest(sessions: Sequence[TextSession], log_probs: Tensor) -> Iterable[Any]:
    """For each session the likeliest tokens, where it asks for them."""
    counts = [one.settings.next_tokens for one in sessions]
    if not any(counts):
        return [None] * len(sessions)
    best = log_probs.topk(min(max(counts), log_probs.shape[1]), dim=1)
    token = sessions[0]._model.tokenizer.token
    rows = zip(counts, best.indices.tolist(), best.values.exp().tolist(), strict=True)
    return [
        [{"token": token(id), "probability": p} for id, p in zip(ids[:count], shares, strict=False)] or None
        for count, ids, shares in rows
    ]


def _rows(sessions: Sequence[TextSession]) -> Tensor:
    """(B, K), the states of sessions."""
    return torch.from_numpy(np.stack([session._row for session in sessions]))


def _split(rows: Tensor) -> list[np.ndarray]:
    """Each row as an array of its own, so that a session does not hold on to the others'."""
    table = rows.numpy(force=True)
    return [table[0]] if len(table) == 1 else [row.copy() for row in table]
