"""Trained networks of one vocabulary as one: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .network import EncoderDecoder

__all__ = ["EncoderDecoderEnsemble", "mean_losses"]


def mean_losses(losses: Sequence[Tensor]) -> Tensor:
    """The losses, in nats, of the mean of several networks' probabilities.

    Args:
        losses: of each network, of one shape: minus the log-probability of each target.
    """
    return math.log(len(losses)) - torch.stack([-each for each in losses]).logsumexp(0)


class EncoderDecoderEnsemble(nn.Module):
    """Encoder-decoders of the same vocabularies, in eval mode: their losses. `search.Ensemble` searches with them."""

    def __init__(self, networks: Sequence[EncoderDecoder]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(networks)

    @property
    def networks(self) -> tuple[EncoderDecoder, ...]:
        return tuple(self.parts)  # type: ignore[arg-type]  # what it was made of

    def losses(self, *batch: Tensor) -> Tensor:
        """As `EncoderDecoder.losses`."""
        return mean_losses([network.losses(*batch) for network in self.networks])

    def forward(self, *batch: Tensor) -> Tensor:
        """Minus the log-probability of the targets, summed over their tokens, in nats."""
        return self.losses(*batch).sum()
