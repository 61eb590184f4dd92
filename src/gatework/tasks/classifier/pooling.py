"""From the states of a sequence to one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gatework.layers import Linear

__all__ = ["Pooling", "PoolingName"]

PoolingName = Literal["attention", "max", "mean", "last"]


class Pooling(nn.Module):
    """One or several ways from the states of all steps, (T, B, D), to one vector a row, joined.

    `attention` is the mean with learned weights (Yang et al. 2016, equations 5 to 7): u_t = tanh(W h_t + b), and the
    weight of step t is the softmax over the steps of v · u_t. `last` is the state of the forward direction after the
    last step and that of the backward direction after the first one: each has read the whole row.

    Args:
        names: of the ways.
        size: D.
        directions: of the layer that gave the states: 1 or 2.
    """

    def __init__(self, names: Sequence[PoolingName], size: int, directions: int) -> None:
        super().__init__()
        self.names, self.directions = tuple(names), directions
        self.output_size = len(self.names) * size
        self.attention = None
        if "attention" in self.names:
            self.attention = nn.Sequential(Linear(size, size), nn.Tanh(), Linear(size, 1, bias=False))

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """(B, output_size).

        Args:
            states: (T, B, D); lengths: (B,), at least 1.
        """
        steps = torch.arange(len(states), device=states.device)[:, None]
        inside = (steps < lengths)[:, :, None]  # (T, B, 1)
        parts = []
        for name in self.names:
            if name == "attention":
                parts.append((self.weights(states, lengths)[:, :, None] * states).sum(0))
            elif name == "max":
                parts.append(states.masked_fill(~inside, -torch.inf).amax(0))
            elif name == "mean":
                parts.append(states.masked_fill(~inside, 0).sum(0) / lengths[:, None])
            else:
                rows = torch.arange(states.shape[1], device=states.device)
                first, last = states[0], states[lengths - 1, rows]
                half = states.shape[2] // 2
                whole = self.directions == 1
                parts.append(last if whole else torch.cat([last[:, :half], first[:, half:]], dim=-1))
        return torch.cat(parts, dim=-1)

    def weights(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The attention's weights, (T, B): each row's sum to 1 over its steps.

        Args:
            states, lengths: as for `forward`.

        Raises:
            ValueError: no attention is among the ways.
        """
        if self.attention is None:
            raise ValueError(f"pooling by {', '.join(self.names)} has no attention weights")
        scores = self.attention(states)[:, :, 0]  # (T, B)
        outside = torch.arange(len(states), device=states.device)[:, None] >= lengths
        return scores.masked_fill(outside, -torch.inf).softmax(0)
