"""From the states of a sequence to one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gatework.layers import Linear
from gatework.layers.largest import largest
from gatework.layers.ragged import Packed

__all__ = ["Pooling", "PoolingName"]

PoolingName = Literal["attention", "max", "mean", "last"]

_KEPT_BESIDE: dict[PoolingName, int] = {"attention": 1, "max": 0, "mean": 0, "last": 0}


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
        self.names, self.directions, self._size = tuple(names), directions, size
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
                parts.append(largest(states, inside))
            elif name == "mean":
                parts.append(states.masked_fill(~inside, 0).sum(0) / lengths[:, None])
            else:
                rows = torch.arange(states.shape[1], device=states.device)
                first, last = states[0], states[lengths - 1, rows]
                half = states.shape[2] // 2
                whole = self.directions == 1
                parts.append(last if whole else torch.cat([last[:, :half], first[:, half:]], dim=-1))
        return torch.cat(parts, dim=-1)

    # A step at a time: all that is kept of a row's steps is (P,) numbers, its number of steps first

    def first(self) -> Tensor:
        """(P,), before the first step."""
        parts = [torch.zeros(1)]
        for name in self.names:
            parts += [
                torch.full((_KEPT_BESIDE[name],), -torch.inf),
                torch.full((self._size,), -torch.inf if name == "max" else 0.0),
            ]
        return torch.cat(parts)

    def read(self, kept: Tensor, states: Tensor) -> Tensor:
        """What is kept, (B, P), after one more step of each row, whose state is (B, D)."""
        counts, parts = kept[:, :1], [kept[:, :1] + 1]
        for name, (beside, vector) in zip(self.names, self._cut(kept), strict=True):
            if name == "attention" and self.attention is not None:
                score = self.attention(states)  # (B, 1)
                total = torch.logaddexp(beside, score)  # of all scores so far, before the softmax
                parts += [total, vector * (beside - total).exp() + states * (score - total).exp()]
            elif name == "max":
                parts.append(torch.maximum(vector, states))
            elif name == "mean":
                parts.append(vector + (states - vector) / (counts + 1))
            else:
                parts.append(states)
        return torch.cat(parts, dim=1)

    def so_far(self, kept: Tensor) -> Tensor:
        """As `forward`, (B, output_size), of the steps so far, of one direction."""
        return torch.cat([vector for _, vector in self._cut(kept)], dim=1)

    def _cut(self, kept: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each way what is kept beside its vector, and the vector."""
        sizes = [size for name in self.names for size in (_KEPT_BESIDE[name], self._size)]
        parts = kept[:, 1:].split(sizes, dim=1)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def weights(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The attention's weights, (T, B): each row's sum to 1 over its steps.

        Args:
            states, lengths: as for `forward`.

        Raises:
            ValueError: no attention is among the ways.
        """
        if self.attention is None:
            raise ValueError(f"pooling by {', '.join(self.names)} has no attention weights")
        packed = Packed.of(lengths, len(states), states.device)  # nothing is computed on padding
        if packed.dense:
            return self.attention(states)[:, :, 0].softmax(0)
        scores = packed.unpack(self.attention(packed.pack(states)))[:, :, 0]  # (T, B)
        outside = torch.arange(len(states), device=states.device)[:, None] >= lengths
        return scores.masked_fill(outside, -torch.inf).softmax(0)
