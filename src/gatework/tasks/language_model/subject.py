"""What a report of a text and its completion looks at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatework.data import Tokenizer
from gatework.inspect import Outcome, Subject
from gatework.tasks.inspecting import text_steps
from gatework.tasks.language_model.network import LanguageNetwork

__all__ = ["text_subject"]

_MOST_TOKENS = 2000
_EXPLAINED = 12


def text_subject(network: LanguageNetwork, tokenizer: Tokenizer, ids: list[int], joined: str) -> Subject:
    """The network reads tokens, each but the last one, and says the last ones.

    Args:
        ids: at least two.
        joined: what stands between two tokens of a text.
    """
    ids = ids[-_MOST_TOKENS - 1 :]
    tokens = torch.tensor(ids, device=next(network.parameters()).device)[:, None]
    labels = [tokenizer.token(each) for each in ids]

    def call() -> Any:
        return network.losses(tokens[:-1], tokens[1:])[0]

    def said(place: int) -> Outcome:
        def value(losses: Tensor) -> Tensor:
            return -losses[place, 0]

        name = f"the log-probability of {labels[place + 1]!r} at step {place + 1}"
        return Outcome(name, "recurrent", value)

    last = len(ids) - 2
    outcomes = [said(place) for place in range(last, max(last - _EXPLAINED, -1), -1)]
    steps = text_steps(labels[:-1], joined)
    steps.targets["the next symbol"][-1] = labels[-1]  # type: ignore[index]  # known here, and read by none
    return Subject(network, call, {"recurrent": steps}, outcomes)
