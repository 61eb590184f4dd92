"""Completing and scoring texts with a language network: text in, text and probabilities out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gatework.data import Tokenizer
from gatework.seq2seq import beam_search, generate
from gatework.tasks.language_model.options import CompletionSettings
from gatework.tasks.stream_network import StreamNetwork

__all__ = ["Generator"]

READ_STEPS = 512  # tokens of a text that are read at a time


class Generator:
    """A network with its tokenizer, over text.

    Args:
        network: in eval mode.
        tokenizer: the network's own.
        start: the token that stands before every text.
    """

    def __init__(self, network: StreamNetwork, tokenizer: Tokenizer, start: int) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.start = start

    def sample(self, text: str, settings: CompletionSettings) -> Iterator[str | dict[str, Any]]:
        """Pieces of a completion as they are drawn, and last its record."""
        ids = self.tokenizer.encode(text)
        last, state = self._read(ids)
        further = self._next(last, state, settings)
        detokenizer = self.tokenizer.detokenizer(ids)
        pieces, total = [], 0.0
        choices = generate(
            self.network,
            last,
            state,
            length=settings.length,
            ends=self._ends(settings.stop),
            banned=self._banned(),
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            seed=settings.seed,
        )
        for choice in choices:
            total += choice.log_probabilities[0]
            piece = detokenizer.push(choice.tokens[0])
            if piece:
                pieces.append(piece)
                yield piece
        rest = detokenizer.finish()
        if rest:
            pieces.append(rest)
            yield rest
        yield {"input": text, "output": "".join(pieces), "log_probability": total, **further}

    def search(self, text: str, settings: CompletionSettings) -> dict[str, Any]:
        """The record of the likeliest completion that a beam finds."""
        ids = self.tokenizer.encode(text)
        last, state = self._read(ids)
        further = self._next(last, state, settings)
        (found,) = beam_search(
            self.network,
            last,
            state,
            length=settings.length,
            beam=settings.beam,
            ends=self._ends(settings.stop),
            banned=self._banned(),
            alternatives=settings.alternatives,
            length_penalty=settings.length_penalty,
        )
        outputs = [
            {"output": self._decode(h.tokens, ids), "log_probability": h.log_probability} for h in found
        ]
        if settings.alternatives > 1:
            further["alternatives"] = outputs
        return {"input": text, **outputs[0], **further}

    def score(self, text: str) -> dict[str, Any]:
        """The tokens of a text and the log-probability in nats of each given those before it."""
        ids = self.tokenizer.encode(text)
        tokens = self._tensor([self.start, *ids])[:, None]
        state, parts = None, []
        with torch.inference_mode():
            for begin in range(0, len(ids), READ_STEPS):
                window = tokens[begin : begin + READ_STEPS + 1]
                losses, state = self.network.losses(window[:-1], window[1:], state)
                parts.extend((-losses[:, 0].double()).tolist())
        return {
            "input": text,
            "tokens": [self.tokenizer.token(token) for token in ids],
            "log_probabilities": parts,
            "log_probability": sum(parts),
        }

    def _read(self, ids: list[int]) -> tuple[Tensor, Any]:
        """Read all but the last token of a text: that token, (1,), and the state before it."""
        tokens = self._tensor([self.start, *ids])
        state = None
        with torch.inference_mode():
            for part in tokens[:-1].split(READ_STEPS):
                if len(part):
                    state = self.network.read(part[:, None], state)
        return tokens[-1:], state

    def _next(self, last: Tensor, state: Any, settings: CompletionSettings) -> dict[str, Any]:
        """The likeliest tokens after the text, where the settings ask for them."""
        if settings.next_tokens == 0:
            return {}
        with torch.inference_mode():
            log_probs, _ = self.network.step(last, state)
        best = log_probs[0].topk(min(settings.next_tokens, log_probs.shape[1]))
        likeliest = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
        return {"next": [{"token": self.tokenizer.token(token), "probability": p} for token, p in likeliest]}

    def _decode(self, tokens: tuple[int, ...], history: list[int]) -> str:
        detokenizer = self.tokenizer.detokenizer(history)
        return "".join([detokenizer.push(token) for token in tokens]) + detokenizer.finish()

    def _ends(self, stop: str | None) -> set[int]:
        """The tokens whose text holds `stop`."""
        if not stop:
            return set()
        return {n for n in range(self.tokenizer.vocabulary_size) if stop in self.tokenizer.decode([n])}

    def _banned(self) -> set[int]:
        """An unknown token has no text to complete with."""
        return set() if self.tokenizer.unknown_id is None else {self.tokenizer.unknown_id}

    def _tensor(self, ids: list[int]) -> Tensor:
        return torch.tensor(ids, device=next(self.network.parameters()).device)
