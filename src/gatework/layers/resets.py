"""Where the states of a sequence begin anew: what a caller gives, checked, as each direction reads it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def check_reset(reset: Any, shape: tuple[int, ...], axes: str, device: torch.device) -> None:
    """Refuses what is no tensor of booleans of a shape on a device.

    Args:
        axes: names of the shape's axes, for the message.

    Raises:
        TypeError: it is no tensor.
        ValueError: another dtype, shape or device; the message has the ones received.
    """
    if not isinstance(reset, Tensor):
        raise TypeError(f"reset is a {type(reset).__name__}; it must be a tensor, {axes}, of booleans.")
    if reset.dtype is not torch.bool or tuple(reset.shape) != shape or reset.device != device:
        raise ValueError(
            f"reset is {tuple(reset.shape)} of {reset.dtype} on {reset.device}; it must be {axes} = {shape} of "
            f"torch.bool on {device}."
        )


def reset_masks(reset: Tensor, like: Tensor, directions: int, lengths: Tensor | None) -> tuple[Tensor, ...]:
    """For each direction (T, B, 1), in the order of the input's steps: 1 where a step begins from the cell's start.

    A sequence is cut before step t. The second direction reads step t before step t - 1, so that there step t - 1
    begins anew.

    Args:
        reset: (T, B)
        like: a tensor of the result's dtype.
        lengths: (B,) steps of each row: no padding cuts it.
    """
    if lengths is not None:
        exists = torch.arange(len(reset), device=reset.device).unsqueeze(1) < lengths.to(reset.device)
        reset = reset & exists
    masks = [reset]
    if directions > 1:
        masks.append(torch.cat([reset[1:], torch.zeros_like(reset[:1])]))
    return tuple(mask.to(like.dtype).unsqueeze(-1) for mask in masks)
