"""States of layers and decoders: nested tuples, lists and dicts of tensors whose rows are sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def map_state(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """A state of the same shape with a function applied to each of its tensors; None stays None."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {key: map_state(function, value) for key, value in state.items()}
    if isinstance(state, tuple | list):
        return type(state)(map_state(function, value) for value in state)
    raise TypeError(f"A state holds tensors, tuples, lists, dicts and None, not {type(state).__name__}.")


def detach_state(state: Any) -> Any:
    """The state without its history: what truncated backpropagation carries on."""
    return map_state(Tensor.detach, state)


def reorder_state(state: Any, index: Tensor) -> Any:
    """The state with its rows picked by index, (N,): what beam search does to its hypotheses.

    Rows are dimension 1, as in (layers * directions, B, H).
    """
    return map_state(lambda tensor: tensor.index_select(1, index.to(tensor.device)), state)


def reset_state(state: Any, start: Any, rows: Tensor) -> Any:
    """The state with some rows back at their start.

    Args:
        start: a state of the same shape, such as `layer.initial_state(batch_size)`.
        rows: (B,), true where a row begins anew.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return torch.where(rows.to(state.device, torch.bool).view(1, -1, 1), start, state)
    if isinstance(state, dict):
        return {key: reset_state(value, start[key], rows) for key, value in state.items()}
    return type(state)(reset_state(value, first, rows) for value, first in zip(state, start, strict=True))


def state_rows(state: Any) -> Tensor:
    """All tensors of a state side by side, (B, K): row b holds those of sequence b, (L, size) each.

    Args:
        state: of tensors (L, B, size), of one dtype.
    """
    parts: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        parts.append(tensor.transpose(0, 1).flatten(1))
        return tensor

    map_state(keep, state)
    return torch.cat(parts, 1)


def state_of_rows(rows: Tensor, like: Any) -> Any:
    """The state whose rows, (B, K), `state_rows` gave.

    Args:
        like: a state of the same layers, of any number of sequences.
    """
    begin = 0

    def cut(tensor: Tensor) -> Tensor:
        nonlocal begin
        layers, _, size = tensor.shape
        own, begin = rows[:, begin : begin + layers * size], begin + layers * size
        return own.unflatten(1, (layers, size)).transpose(0, 1).contiguous().to(tensor.device)

    return map_state(cut, like)
