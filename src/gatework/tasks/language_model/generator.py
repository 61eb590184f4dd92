"""Completing and scoring texts with a language network: text in, text and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatework.data import Tokenizer
from gatework.seq2seq import beam_search
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

    Attributes:
        first: the network's state before the first token, of one row.
        banned: the tokens that no completion has: an unknown one has no text to complete with.
    """

    def __init__(self, network: StreamNetwork, tokenizer: Tokenizer, start: int) -> None:
        self.network, self.tokenizer, self.start = network, tokenizer, start
        self.device = next(network.parameters()).device
        with torch.no_grad():
            self.first = network.first_state(1)
        self.banned = self.tensor([] if tokenizer.unknown_id is None else [tokenizer.unknown_id])

    def search(
        self, history: list[int], last: int, state: Any, settings: CompletionSettings
    ) -> tuple[tuple[int, ...], dict[str, Any]]:
        """The likeliest completion that a beam finds: its tokens, and its record without the input.

        Args:
            history: the last tokens of the text, as the tokenizer's `detokenizer` takes them.
            last: the text's last token. state: before it, of one row.
        """
        tokens = self.tensor([last])
        further = self._next(tokens, state, settings)
        (found,) = beam_search(
            self.network,
            tokens,
            state,
            length=settings.length,
            beam=settings.beam,
            ends=self.ends(settings.stop),
            banned=self.banned.tolist(),
            alternatives=settings.alternatives,
            length_penalty=settings.length_penalty,
        )
        outputs = [
            {"output": self._decode(h.tokens, history), "log_probability": h.log_probability} for h in found
        ]
        if settings.alternatives > 1:
            further["alternatives"] = outputs
        return found[0].tokens, {**outputs[0], **further}

    def score(self, text: str) -> dict[str, Any]:
        """The tokens of a text and the log-probability in nats of each given those before it."""
        ids = self.tokenizer.encode(text)
        tokens = self.tensor([self.start, *ids])[:, None]
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

    def ends(self, stop: str | None) -> frozenset[int]:
        """The tokens whose text holds `stop`."""
        if not stop:
            return frozenset()
        every = range(self.tokenizer.vocabulary_size)
        return frozenset(n for n in every if stop in self.tokenizer.decode([n]))

    def tensor(self, ids: Sequence[Any]) -> Tensor:
        """Ids on the network's device."""
        return torch.tensor(ids, dtype=torch.long, device=self.device)
