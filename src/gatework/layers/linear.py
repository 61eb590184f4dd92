"""`Linear`: torch.nn.Linear on the engine's products."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gatework.backends import linear_choice

__all__ = ["Linear", "linear"]


class Linear(nn.Linear):
    """torch.nn.Linear, in whose place it stands; on a CPU in float32 and float64 by the engine.

    Every element of the result sums its products in one order, whatever the batch and the number of threads are:
    a row has the same bits alone and among others.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features)."""
        return linear(input, self.weight, self.bias)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` by the backend that is chosen.

    Args:
        input: (…, I)
        weight: (O, I)
        bias: (O)

    Returns:
        (…, O)
    """
    tensors = (input, weight) if bias is None else (input, weight, bias)
    native = None if input.shape[-1:] != weight.shape[1:] else linear_choice(tensors).dense
    if native is None:
        return F.linear(input, weight, bias)
    if input.dim() == 2:
        return native.linear(input, weight, bias)
    return native.linear(input.reshape(-1, input.shape[-1]), weight, bias).view(*input.shape[:-1], -1)
