"""One token for each row of a step's log-probabilities: the likeliest, or one at random."""

from __future__ import annotations

import torch
from torch import Tensor

from gatework.backends import by_size
from gatework.errors import InputError

__all__ = ["draw", "refuse_nan"]


def draw(
    log_probs: Tensor, uniform: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A token for each row, (N,), by inverting the cumulative distribution, and which rows have one to draw, (N,).

    Args:
        log_probs: (N, V), minus infinity where a token may not be drawn.
        uniform: (N,) random numbers in [0, 1).
        temperature, top_k, top_p: as for `generate`.

    Raises:
        InputError: a log-probability is NaN.
    """
    with by_size("elementwise", log_probs.numel()):
        best, tokens = log_probs.max(1)
        drawable = best > -torch.inf
        if not drawable.all():
            refuse_nan(best)
        if temperature > 0:
            tokens = _inverted(log_probs, uniform, temperature, top_k, top_p)
    return tokens, drawable


def _inverted(log_probs: Tensor, uniform: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """As `draw`, of a temperature above 0."""
    candidates = min(top_k or log_probs.shape[1], log_probs.shape[1])
    values, order = log_probs.double().topk(candidates, dim=1)  # falling
    shares = torch.softmax(values / temperature, dim=1)
    before = shares.cumsum(dim=1) - shares
    shares = shares.where(before < top_p, 0.0)  # the first is always kept
    cumulative = shares.cumsum(dim=1)
    picked = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)
    # Rounding may step past the end. A row that may draw nothing has shares that are NaN: its caller drops it.
    last = ((shares > 0).sum(dim=1, keepdim=True) - 1).clamp(min=0)
    return order.gather(1, torch.minimum(picked, last)).squeeze(1)


def refuse_nan(log_probs: Tensor) -> None:
    """Refuses log-probabilities that are no numbers, whatever their shape.

    Raises:
        InputError: one is NaN.
    """
    if log_probs.isnan().any():
        what = (
            "gives probabilities that are no numbers (NaN): its weights are damaged, or its training diverged"
        )
        raise InputError("the model", what, "Load an earlier checkpoint, or train it again.")
