"""`Reversed`: a layer that reads each sequence from its own end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gatework.layers.recurrent import Recurrent
from gatework.layers.structure import State


class Reversed(nn.Module):
    """A layer of one direction that reads each sequence from its last step to its first.

    It is the second direction of a bidirectional layer without the first one, and ONNX's `direction="reverse"`.

    Args:
        layer: of one direction.
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        if layer.bidirectional:
            raise ValueError("layer is bidirectional: it reads both ways already. Give one of one direction.")
        self.layer = layer

    def forward(
        self, input: Tensor, hx: State | None = None, *, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, State]:
        """Runs the sequences.

        Args:
            input: (T, B, I), (B, T, I) if the layer is batch_first, or (T, I).
            hx: the states after each sequence's last step, as the layer takes them.
            lengths: (B,) steps of each sequence.

        Returns:
            The output at each step, in the order of the input, and the states at the first step.
        """
        time = 1 if self.layer.batch_first and input.dim() == 3 else 0
        output, state = self.layer(_turned(input, time, lengths), hx, lengths=lengths)
        return _turned(output, time, lengths), state


def _turned(value: Tensor, time: int, lengths: Tensor | Sequence[int] | None) -> Tensor:
    """Each row reversed within its own length; what stands past the length stays.

    Args:
        time: the axis of the steps; the rows of a batch are on the other one of the first two.
    """
    if lengths is None:
        return value.flip(time)
    steps = torch.arange(value.shape[time], device=value.device)[:, None]
    counts = torch.as_tensor(lengths, device=value.device)[None, :]
    order = torch.where(steps < counts, counts - 1 - steps, steps)  # (T, B)
    order = order.T if time else order
    return value.gather(time, order[..., None].expand(*order.shape, value.shape[2]))
