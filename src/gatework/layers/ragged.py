"""Batches of sequences of different lengths, run as dense pieces.

Rows are sorted by falling length, and time is cut where rows end: between two cuts all rows that are still
running have the same number of steps. A backend therefore never sees padding, and rows past their end cost
nothing. The backward direction turns each row round within its own length, so that it starts at the row's
own end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatework.backends import SequenceInput, SequenceOutput


@dataclass(frozen=True)
class Ragged:
    """The lengths of a batch, in a form that layers can use.

    Attributes:
        lengths: (B,) on the input's device, in sorted order.
        order: (B,) positions of the sorted rows in the caller's batch.
        inverse: (B,) positions of the caller's rows in the sorted batch.
        pieces: (first step, one past the last, rows) of each dense piece.
    """

    lengths: Tensor
    order: Tensor
    inverse: Tensor
    pieces: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, lengths: Tensor, device: torch.device) -> Ragged:
        on_cpu = lengths.detach().to("cpu", torch.int64)
        sorted_lengths, order = torch.sort(on_cpu, descending=True, stable=True)
        pieces = []
        start = 0
        falling = sorted_lengths.tolist()
        rows = len(falling)
        while rows and (stop := falling[rows - 1]) >= start:
            if stop > start:
                pieces.append((start, stop, rows))
                start = stop
            while rows and falling[rows - 1] <= start:
                rows -= 1
        return cls(
            sorted_lengths.to(device), order.to(device), torch.argsort(order).to(device), tuple(pieces)
        )

    def sorted(self, tensor: Tensor, dim: int = 1) -> Tensor:
        """A tensor of the caller's rows in sorted order."""
        return tensor.index_select(dim, self.order)

    def unsorted(self, tensor: Tensor, dim: int = 1) -> Tensor:
        """A tensor of sorted rows in the caller's order."""
        return tensor.index_select(dim, self.inverse)

    def reversed(self, tensor: Tensor) -> Tensor:
        """(T, B, size) with each row's steps in reverse order within its length; padding stays."""
        steps = tensor.shape[0]
        t = torch.arange(steps, device=tensor.device).unsqueeze(1)
        last = self.lengths.to(tensor.device).unsqueeze(0) - 1
        index = torch.where(t <= last, last - t, t)  # (T, B)
        return tensor.gather(0, index.unsqueeze(-1).expand_as(tensor))


def run_pieces(
    run: Callable[[SequenceInput], SequenceOutput], sequence: SequenceInput, ragged: Ragged
) -> SequenceOutput:
    """A layer in one direction over a ragged batch in sorted order.

    Past a row's length outputs are zero; its final states are those at its last step, and those before the
    first step for an empty row.
    """
    rows_all, steps = sequence.states[0].shape[0], sequence.steps
    states = sequence.states
    finals: list[tuple[Tensor, ...]] = []
    done: list[SequenceOutput] = []
    if not ragged.pieces or ragged.pieces[0][2] < rows_all:
        running = ragged.pieces[0][2] if ragged.pieces else 0
        finals.append(tuple(state[running:] for state in states))
        states = tuple(state[:running] for state in states)
    if not ragged.pieces:  # no step at all: the shapes are the backend's to know
        nothing = {name: value[:0] for name, value in sequence.inputs.items()}
        done.append(run(replace(sequence, inputs=nothing)))
    for number, (start, stop, rows) in enumerate(ragged.pieces):
        piece = SequenceInput(
            inputs={name: value[start:stop, :rows] for name, value in sequence.inputs.items()},
            statics={name: value[:rows] for name, value in sequence.statics.items()},
            states=states,
            memories={
                name: type(memory)(
                    memory.values[:, :rows], None if memory.mask is None else memory.mask[:rows]
                )
                for name, memory in sequence.memories.items()
            },
        )
        result = run(piece)
        done.append(result)
        left = ragged.pieces[number + 1][2] if number + 1 < len(ragged.pieces) else 0
        finals.append(tuple(state[left:] for state in result.states))
        states = tuple(state[:left] for state in result.states)

    def padded(values: list[Tensor], like: Tensor) -> Tensor:
        parts = [F.pad(value, (0, 0, 0, rows_all - value.shape[1])) for value in values]
        total = sum(part.shape[0] for part in parts)
        if total < steps or not parts:
            parts.append(like.new_zeros((steps - total, rows_all, like.shape[-1])))
        return torch.cat(parts)

    emits, gates = done[0].emits, done[0].gates
    return SequenceOutput(
        output=padded([piece.output for piece in done], sequence.states[0]),
        emits={name: padded([piece.emits[name] for piece in done], like) for name, like in emits.items()},
        states=tuple(torch.cat(parts[::-1]) for parts in zip(*finals, strict=True)),
        gates={name: padded([piece.gates[name] for piece in done], like) for name, like in gates.items()},
        step_states=[step for piece in done for step in piece.step_states],
    )


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
