"""Scores of whole sequences of tags: the linear-chain conditional random field (Lafferty et al. 2001).

The score of tags y_1 … y_n for a row is the sum of emissions e_t(y_t), of transitions A(y_t, y_t+1), and of a start's
and an end's score. Its probability is exp(score) over the sum Z of all sequences' exp(score). The forward algorithm,
which computes log Z, is a recurrence over a distribution of tags (Rabiner 1989, section V.A, "scaling"), and is
written as one: a step of equations, whose kernels and gradients are those of every other cell.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatework.backends import by_size
from gatework.graph import Expr, State, cell
from gatework.graph.language import emit, log, project, softmax
from gatework.layers.recurrent import Recurrent

__all__ = ["Chain", "LinearChainCRF", "best_paths", "log_partition", "marginals", "path_score"]

# Below any share of a tag's probability that can count: its logarithm stands for that of 0, which has no gradient.
_LEAST = 1e-30


class Chain(NamedTuple):
    """Scores of tags beside each other; minus infinity forbids.

    transitions: (K, K), of tag j after tag i; start, end: (K,), of a first and of a last tag.
    """

    transitions: Tensor
    start: Tensor
    end: Tensor

    def masked(self, allowed: Chain) -> Chain:
        """These scores where `allowed`, three tensors of booleans, is true; the rest is forbidden."""
        return Chain(*(s.masked_fill(~a, -torch.inf) for s, a in zip(self, allowed, strict=True)))


@cell
def forward_algorithm(emission: Expr, belief: State(size="input_size")) -> Expr:  # type: ignore[valid-type]
    """The distribution of a row's tag at step t given its emissions up to t.

    `scores` are the logarithms of its terms before they are brought to a sum of 1: those of the distribution given the
    emissions before t, which is belief W with W = exp(A), plus the emissions of t.
    """
    predicted = project("move", belief, size="input_size")
    scores = log(predicted + _LEAST) + emission
    emit("scores", scores)
    return softmax(scores)


@lru_cache(maxsize=32)
def _recursion(tags: int) -> Recurrent:
    """The layer of `forward_algorithm`, whose one weight is given at each call."""
    return Recurrent(forward_algorithm, tags, tags, device="meta")  # draws no random numbers


def _filtered(weights: Tensor, emissions: Tensor, belief: Tensor) -> Tensor:
    """`scores` at every step, (T, B, K).

    Args:
        weights: (K, K), exp of a transition's score, in column i those from tag i.
        emissions: (T, B, K); belief: (B, K), before the first step.
    """
    layer = copy.copy(_recursion(emissions.shape[-1]))
    layer._parameters = {"weight_hr_l0": weights}  # type: ignore[dict-item]
    output, _ = layer(emissions, belief[None])
    return output["scores"]


def _with_ends(chain: Chain, emissions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Emissions with the scores of start and end in them, (T, B, K); at which steps a row has a tag, (T, B)."""
    steps = torch.arange(len(emissions), device=emissions.device)[:, None]
    lengths = lengths.to(emissions.device)
    first, last = (steps == 0).expand(-1, len(lengths)), steps == lengths - 1
    ended = torch.where(last[..., None], emissions + chain.end, emissions)
    return torch.where(first[..., None], ended + chain.start, ended), steps < lengths


def log_partition(chain: Chain, emissions: Tensor, lengths: Tensor) -> Tensor:
    """log Z of each row, (B,), in nats; 0 of a row of no steps. Differentiable in the emissions and the chain.

    Where the transitions of a chain differ by less than 60 nats, a sum is exact to rounding; of those that differ by
    more the weakest count as 69 nats below the strongest, or not at all.

    Args:
        emissions: (T, B, K), finite; lengths: (B,) tags of each row.
    """
    if not len(emissions):
        return emissions.new_zeros(emissions.shape[1])
    with by_size("elementwise", emissions.numel()):
        lengths = lengths.to(emissions.device)
        first, later = emissions.split([1, len(emissions) - 1])
        scores = first[0] + chain.start  # (B, K), of the last step so far
        total = scores.logsumexp(-1)
        if len(later):
            largest = chain.transitions.detach().max()
            weights = (chain.transitions - largest).exp().T
            all_scores = _filtered(weights, later, scores.softmax(-1))
            steps = torch.arange(1, len(emissions), device=emissions.device)[:, None] < lengths
            total = total + torch.where(steps, all_scores.logsumexp(-1) + largest, 0.0).sum(0)
            last = torch.clamp(lengths - 2, min=0)
            at_end = all_scores.gather(0, last[None, :, None].expand(1, -1, emissions.shape[-1]))[0]
            scores = torch.where(lengths[:, None] > 1, at_end, scores)
        total = total + (scores + chain.end).logsumexp(-1) - scores.logsumexp(-1)
        return torch.where(lengths > 0, total, 0.0)


def path_score(chain: Chain, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
    """The score of each row's tags, (B,).

    Args:
        emissions: (T, B, K); tags: (T, B) ids, whatever past a row's last one; lengths: (B,).
    """
    with by_size("elementwise", emissions.numel()):
        emissions, steps = _with_ends(chain, emissions, lengths)
        own = emissions.gather(-1, tags[..., None]).squeeze(-1)
        moves = chain.transitions[tags[:-1], tags[1:]]
        return torch.where(steps, own, 0.0).sum(0) + torch.where(steps[1:], moves, 0.0).sum(0)


def marginals(chain: Chain, emissions: Tensor, lengths: Tensor) -> Tensor:
    """The probability of every tag at every step given the whole row, (T, B, K): the gradient of log Z.

    Args:
        emissions: (T, B, K); lengths: (B,).
    """
    if not emissions.numel():
        return torch.zeros_like(emissions)
    with torch.inference_mode(False), torch.enable_grad():
        own = emissions.detach().clone().requires_grad_()
        total = log_partition(Chain(*(score.detach().clone() for score in chain)), own, lengths).sum()
        (probabilities,) = torch.autograd.grad(total, own)
    return probabilities.clamp_(0, 1)


def best_paths(chain: Chain, emissions: Tensor, lengths: Tensor) -> Tensor:
    """The tags of the highest score of each row, (T, B) ids, by Viterbi's algorithm; past a row's last tag 0.

    Args:
        emissions: (T, B, K); lengths: (B,).
    """
    steps, rows, tags = emissions.shape
    found = torch.zeros(steps, rows, dtype=torch.int64, device=emissions.device)
    if not steps:
        return found
    with by_size("elementwise", rows * tags * tags):
        emissions, there = _with_ends(chain, emissions.detach(), lengths)
        into = chain.transitions.detach().T.contiguous()  # (K to, K from)
        best = emissions[0]
        back = torch.zeros(steps, rows, tags, dtype=torch.int64, device=emissions.device)
        for step in range(1, steps):
            values, back[step] = (best[:, None] + into).max(-1)
            best = torch.where(there[step, :, None], values + emissions[step], best)
        tag = best.argmax(-1)
        for step in range(steps - 1, -1, -1):
            found[step] = torch.where(there[step], tag, 0)
            if step:
                before = back[step].gather(-1, tag[:, None]).squeeze(-1)
                tag = torch.where(there[step], before, tag)
    return found


class LinearChainCRF(nn.Module):
    """The learned scores of a chain, and the loss of tags under them.

    Args:
        tags: K.
    """

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(tags, tags).uniform_(-0.1, 0.1))
        self.start = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))
        self.end = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))

    @property
    def chain(self) -> Chain:
        """Its scores."""
        return Chain(self.transitions, self.start, self.end)

    def forward(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Minus the log-probability of each row's tags, (B,), in nats.

        Args:
            emissions: (T, B, K); tags: (T, B) ids; lengths: (B,) tags of each row.
        """
        chain = self.chain
        return log_partition(chain, emissions, lengths) - path_score(chain, emissions, tags, lengths)
