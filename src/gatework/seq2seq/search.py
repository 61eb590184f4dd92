"""One search for every decoder: greedy, sampling and beam.

A decoder is anything with `step` and `reorder`. Rows are hypotheses; those that finish drop out of the
batch, so that a step costs what its unfinished rows cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Choice", "Decoder", "Hypothesis", "beam_search", "generate"]


class Decoder(Protocol):
    """What a search needs of a model."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Reads one token a row: tokens (N,), state of N rows -> log-probabilities (N, V), new state."""

    def reorder(self, state: Any, index: Tensor) -> Any:
        """The state whose row n is the given state's row index[n]; rows may repeat or be left out."""


class Choice(NamedTuple):
    """The tokens of one step of `generate`: the rows still unfinished, their tokens and log-probabilities."""

    rows: list[int]
    tokens: list[int]
    log_probabilities: list[float]


@dataclass(frozen=True)
class Hypothesis:
    """A finished output of a beam search.

    Attributes:
        tokens: the ids, with the end token if there was one.
        log_probability: sum over the tokens, in nats.
        score: log-probability divided by the length penalty; what the beam is ranked by.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


def generate(
    decoder: Decoder,
    tokens: Tensor,
    state: Any,
    *,
    length: int,
    ends: Collection[int] = (),
    banned: Collection[int] = (),
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[Choice]:
    """Draws one token a row and a step, yielding each step as it is known.

    Args:
        tokens: (N,) the token that each row reads first.
        state: the decoder's state of those N rows.
        length: at most so many tokens a row.
        ends: a row is finished after any of these tokens.
        banned: tokens never to be drawn.
        temperature: 0 takes the likeliest token (greedy); 1 samples from the model's own distribution.
        top_k: sample from the k likeliest tokens only; 0 is off.
        top_p: sample from the smallest set of tokens that holds this share of the probability
            (Holtzman et al. 2020); 1 is off.
        seed: each row has random numbers of its own, so that what else is in the batch never matters.

    Yields:
        The rows unfinished at this step, their tokens and the model's own log-probabilities of them.
    """
    rows = list(range(len(tokens)))
    generators = [torch.Generator().manual_seed(seed + 1_000_003 * row) for row in rows]
    forbidden = torch.tensor(sorted(banned), dtype=torch.long, device=tokens.device)
    for _ in range(length):
        if not rows:
            return
        with torch.inference_mode():
            log_probs, state = decoder.step(tokens, state)  # (N, V)
            allowed = log_probs.index_fill(1, forbidden, -torch.inf)
            if temperature == 0:
                tokens = allowed.argmax(dim=1)
            else:
                uniform = torch.stack(
                    [torch.rand((), generator=generators[row], dtype=torch.float64) for row in rows]
                )
                tokens = _draw(allowed, uniform.to(allowed.device), temperature, top_k, top_p)
            drawn = tokens.tolist()
            yield Choice(list(rows), drawn, log_probs.gather(1, tokens[:, None]).squeeze(1).tolist())
            going_on = [n for n, token in enumerate(drawn) if token not in ends]
            if len(going_on) < len(rows):
                rows = [rows[n] for n in going_on]
                index = torch.tensor(going_on, dtype=torch.long, device=tokens.device)
                tokens, state = tokens[index], decoder.reorder(state, index)


def _draw(log_probs: Tensor, uniform: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Samples by inverting the cumulative distribution: log_probs (N, V), uniform (N,) in [0, 1) -> (N,)."""
    candidates = min(top_k or log_probs.shape[1], log_probs.shape[1])
    values, order = log_probs.double().topk(candidates, dim=1)  # falling
    shares = torch.softmax(values / temperature, dim=1)
    before = shares.cumsum(dim=1) - shares
    shares = shares.where(before < top_p, 0.0)  # the first is always kept
    cumulative = shares.cumsum(dim=1)
    picked = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)
    last = (shares > 0).sum(dim=1, keepdim=True) - 1  # where rounding would step past the end
    return order.gather(1, torch.minimum(picked, last)).squeeze(1)


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6)^alpha (Wu et al. 2016, equation 14): 0 ranks by probability, more favours length."""
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    decoder: Decoder,
    tokens: Tensor,
    state: Any,
    *,
    length: int,
    beam: int,
    ends: Collection[int] = (),
    banned: Collection[int] = (),
    alternatives: int = 1,
    alpha: float = 0.0,
) -> list[list[Hypothesis]]:
    """The likeliest outputs of each row, best first.

    A hypothesis that ends leaves the beam with its place (Graves 2012), so that the search of a row stops
    when `beam` hypotheses have ended or `length` is reached. `beam=1` is the greedy search.

    Args:
        tokens: (N,) the token that each row reads first.
        state: the decoder's state of those N rows.
        length, ends, banned: as for `generate`.
        beam: hypotheses kept for each row.
        alternatives: hypotheses returned for each row, at most `beam`.
        alpha: exponent of the length penalty.

    Returns:
        For each row up to `alternatives` hypotheses, by falling score.
    """
    if not 1 <= alternatives <= beam:
        raise ValueError(f"alternatives is between 1 and beam = {beam}, received {alternatives}")
    count = len(tokens)
    finished: list[list[Hypothesis]] = [[] for _ in range(count)]
    # One entry per unfinished hypothesis, in the order of the decoder's rows.
    owners = list(range(count))
    paths: list[tuple[int, ...]] = [()] * count
    totals = torch.zeros(count, dtype=torch.float64, device=tokens.device)
    forbidden = torch.tensor(sorted(banned), dtype=torch.long, device=tokens.device)

    def close(owner: int, path: tuple[int, ...], total: float) -> None:
        finished[owner].append(Hypothesis(path, total, total / length_penalty(len(path), alpha)))

    with torch.inference_mode():
        for step in range(1, length + 1):
            log_probs, state = decoder.step(tokens, state)  # (R, V)
            vocabulary_size = log_probs.shape[1]
            scores = totals[:, None] + log_probs.double().index_fill(1, forbidden, -torch.inf)
            kept: list[tuple[int, int, float]] = []  # (row, token, total)
            for owner in sorted(set(owners)):
                rows = [row for row, of in enumerate(owners) if of == owner]
                places = beam - len(finished[owner])
                flat = scores[rows[0] : rows[-1] + 1].flatten()  # an owner's rows stand together
                best = flat.topk(min(places, len(flat)))
                for total, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                    if total == -torch.inf:
                        continue
                    row, token = rows[0] + place // vocabulary_size, place % vocabulary_size
                    if token in ends or step == length:
                        close(owner, (*paths[row], token), total)
                    else:
                        kept.append((row, token, total))
            if not kept:
                break
            index = torch.tensor([row for row, _, _ in kept], device=tokens.device)
            state = decoder.reorder(state, index)
            tokens = torch.tensor([token for _, token, _ in kept], device=tokens.device)
            totals = torch.tensor([total for _, _, total in kept], dtype=torch.float64, device=tokens.device)
            paths = [(*paths[row], token) for row, token, _ in kept]
            owners = [owners[row] for row, _, _ in kept]
    return [sorted(found, key=lambda h: -h.score)[:alternatives] for found in finished]
