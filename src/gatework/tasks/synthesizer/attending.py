"""A decoder that finds its own way through the characters: location-sensitive attention with a guide.

The score: Chorowski et al. 2015, "Attention-based models for speech recognition" (arXiv:1506.07503), as Tacotron 2 has
it (Shen et al. 2018). The guide: Tachibana et al. 2018, "Efficiently trainable text-to-speech system based on deep
convolutional networks with guided attention" (arXiv:1710.08969), section 4.1.

Shapes: N characters, S steps of the decoder, B rows of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatework.graph import Expr, Memory, cell
from gatework.graph.language import attend, emit, linear, sigmoid, tanh

__all__ = ["ALIGNMENT", "durations_of", "guided_loss", "locating_gru", "most_steps"]

ALIGNMENT = "text"
_WIDTH = 0.2  # g of the paper's equation for W
_FRAMES_A_CHARACTER, _FRAMES = 40, 100  # speech that has not ended after so many is ended


@cell
def locating_gru(x: Expr, h: Expr, memory: Memory) -> Expr:
    """A GRU that reads the characters to which its previous state and its previous alignment lead it."""
    context = attend("text", h, memory, score="location", filters=16, kernel=15)
    r = sigmoid(linear("reset", x, h, context=context))
    z = sigmoid(linear("update", x, h, context=context))
    n = tanh(linear("candidate", x, r * h, context=context))
    emit("context", context)
    return (1 - z) * h + z * n


def guided_loss(alignment: Tensor, counts: Tensor, steps: Tensor) -> Tensor:
    """How far an alignment is from the diagonal, summed over the steps of all rows: each step's is between 0 and 1.

    It is the sum of A_ns W_ns with W_ns = 1 - exp(-(n / N - s / S)^2 / 2 g^2).

    Args:
        alignment: (S, B, N), whose rows' characters sum to 1.
        counts, steps: (B,) characters and steps of each row.
    """
    device = alignment.device
    place = (torch.arange(alignment.shape[2], device=device) + 0.5) / counts.to(device)[:, None]  # (B, N)
    time = (torch.arange(len(alignment), device=device)[:, None] + 0.5) / steps.to(device)  # (S, B)
    away = 1 - torch.exp(-(place - time[..., None]).square() / (2 * _WIDTH**2))
    inside = time < 1
    return ((alignment * away).sum(-1) * inside).sum()


def durations_of(alignment: Tensor, reduction: int) -> Tensor:
    """(N,) frames of each character, of each step's `reduction` as many as its weight says.

    Args:
        alignment: (S, N), whose rows sum to 1.
    """
    return alignment.sum(0) * reduction


def most_steps(counts: Tensor, reduction: int) -> Tensor:
    """(B,) steps that a text of so many characters may take."""
    return -(-(_FRAMES + _FRAMES_A_CHARACTER * counts) // reduction)
