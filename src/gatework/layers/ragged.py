"""Batches of sequences of different lengths, without their padding.

Rows are sorted by rising length, and only the steps that exist are kept, step after step: the numbers of a
step's rows stand together, and the rows that go on are its last ones, so that what a row was a step before
always stands just before. Between two lengths the batch is dense; nothing is computed on padding. The backward
direction turns each row round within its own length, so that it starts at the row's own end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatework.backends import result_memory
from gatework.backends.admission import is_plain, mode_refusal
from gatework.backends.program import Piece


@dataclass(frozen=True)
class Packed:
    """Where the steps of a ragged batch stand when they are packed.

    Attributes:
        order: (B,) positions of the sorted rows in the caller's batch.
        inverse: (B,) positions of the caller's rows in the sorted batch.
        pieces: (first step, one past the last, rows) of each dense piece.
        index: (R,) positions of the packed steps in the caller's, (T * B).
        padded: (T * B,) positions of the caller's steps among the packed ones; R for padding.
        turned: (R,) positions of the packed steps of the same rows in reverse order.
        steps: T of the caller's batch.
    """

    order: Tensor
    inverse: Tensor
    pieces: tuple[Piece, ...]
    index: Tensor
    padded: Tensor
    turned: Tensor
    steps: int

    @classmethod
    def of(cls, lengths: Tensor, steps: int, device: torch.device) -> Packed:
        """From the lengths, (B,)."""
        # NumPy's small operations cost a third of torch's.
        known = lengths.detach().to("cpu", torch.int64).numpy()
        order = np.argsort(known, kind="stable")
        rising, rows = known[order], len(known)
        pieces = []
        start = 0
        for number, length in enumerate(rising.tolist()):
            if length > start:
                pieces.append((start, length, rows - number))
                start = length
        time = np.arange(start)[:, None]
        runs = time < rising  # (T, B)
        step, row = np.nonzero(runs)
        index = step * rows + order[row]
        counts = runs.sum(1)
        first = np.cumsum(counts) - counts
        padded = np.full(steps * rows, len(index))
        padded[index] = np.arange(len(index))
        last = rising[row] - 1 - step
        turned = first[last] + row - (rows - counts[last])
        inverse = np.argsort(order)

        def moved(places: np.ndarray) -> Tensor:
            return torch.from_numpy(places).to(device)

        return cls(
            moved(order), moved(inverse), tuple(pieces), moved(index), moved(padded), moved(turned), steps
        )

    @property
    def dense(self) -> bool:
        """Whether every row has every step."""
        return self.pieces == ((0, self.steps, len(self.order)),)

    def sorted(self, tensor: Tensor, dim: int = 1) -> Tensor:
        """A tensor of the caller's rows in sorted order."""
        return tensor.index_select(dim, self.order)

    def unsorted(self, tensor: Tensor, dim: int = 1) -> Tensor:
        """A tensor of sorted rows in the caller's order."""
        return tensor.index_select(dim, self.inverse)

    def pack(self, tensor: Tensor) -> Tensor:
        """(T, B, size) of the caller as (R, size)."""
        return _taken(tensor.flatten(0, 1), self.index, self.padded)

    def unpack(self, tensor: Tensor) -> Tensor:
        """(R, size) as (T, B, size) of the caller; zeros for padding."""
        return _taken(tensor, self.padded, self.index).unflatten(0, (self.steps, len(self.order)))

    def reversed(self, tensor: Tensor) -> Tensor:
        """(R, size) with each row's steps in reverse order within its length."""
        return _taken(tensor, self.turned, self.turned)


class _Take(torch.autograd.Function):
    """Rows of a tensor by position; the gradient takes them back by the inverse positions, without adding up."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(index, inverse)
        return _rows(tensor, index, inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        index, inverse = ctx.saved_tensors
        return _taken(gradients[0], inverse, index), None, None


def _taken(tensor: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    """Rows by position.

    Args:
        index: for each row of the result the tensor's; one past the last where there is none.
        inverse: for each row of the tensor the result's.
    """
    if mode_refusal() is not None or not is_plain(tensor):
        if len(index) > len(tensor):
            tensor = torch.cat([tensor, tensor.new_zeros(1, *tensor.shape[1:])])
        return tensor.index_select(0, index)
    if not (tensor.requires_grad and torch.is_grad_enabled()):  # autograd's node costs more than a small copy
        return _rows(tensor, index, inverse)
    taken: Tensor = _Take.apply(tensor, index, inverse)
    return taken


def _rows(tensor: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    """As `_taken`, of a plain tensor, without a gradient."""
    result = result_memory((len(index), *tensor.shape[1:]), tensor)
    if len(index) > len(tensor):  # some are no row's: they stay zero
        return result.zero_().index_copy_(0, inverse, tensor)
    return torch.index_select(tensor, 0, index, out=result)


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """A PackedSequence as a padded tensor, (T, B, I), and its lengths, (B,), both in the caller's order."""
    return torch.nn.utils.rnn.pad_packed_sequence(packed)


def pack_like(output: Tensor, packed: PackedSequence) -> PackedSequence:
    """(T, B, H), packed as another sequence is."""
    if packed.sorted_indices is not None:
        output = output.index_select(1, packed.sorted_indices)
    running = torch.arange(output.shape[1]).unsqueeze(0) < packed.batch_sizes.unsqueeze(1)  # (T, B)
    return PackedSequence(
        output[running.to(output.device)], packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
    )
