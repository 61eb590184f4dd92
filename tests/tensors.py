"""The tensors in what a layer takes and gives."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def flat(value: Any) -> list[Tensor]:
    """The tensors of an output, a state, a dict of outputs, a PackedSequence or a nest of these, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    if value is None:
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [tensor for part in parts for tensor in flat(part)]
