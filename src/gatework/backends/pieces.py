"""Ragged batches for backends that know only dense ones: time is cut where rows begin to be missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gatework.backends.program import MemoryValue, SequenceInput, SequenceOutput


def run_pieces(run: Callable[[SequenceInput], SequenceOutput], sequence: SequenceInput) -> SequenceOutput:
    """A ragged batch, one dense piece after another.

    Args:
        run: a backend's, for dense batches.
        sequence: packed, with its pieces.

    Returns:
        Packed outputs. The final states of a row are those at its last step, or those before the first step
        where it has none.
    """
    states, all_rows = sequence.states, sequence.rows
    pieces = sequence.pieces or ((0, 0, 0),)  # no step at all: the shapes are the backend's to know
    finals = [tuple(state[: all_rows - pieces[0][2]] for state in states)]
    done: list[SequenceOutput] = []
    begin = 0
    for number, (start, stop, rows) in enumerate(pieces):
        running = states[0].shape[0] - rows
        states = tuple(state[running:] for state in states)
        count = (stop - start) * rows

        def steps(value: Tensor, begin: int = begin, shape: tuple[int, int] = (stop - start, rows)) -> Tensor:
            return value[begin : begin + shape[0] * shape[1]].unflatten(0, shape)

        result = run(
            replace(
                sequence,
                inputs={name: steps(value) for name, value in sequence.inputs.items()},
                statics={name: value[all_rows - rows :] for name, value in sequence.statics.items()},
                states=states,
                memories={name: _last(memory, rows) for name, memory in sequence.memories.items()},
                pieces=None,
            )
        )
        begin += count
        done.append(result)
        states = result.states
        left = pieces[number + 1][2] if number + 1 < len(pieces) else 0
        finals.append(tuple(state[: rows - left] for state in states))

    def packed(values: list[Tensor]) -> Tensor:
        return torch.cat([value.flatten(0, 1) for value in values])

    return SequenceOutput(
        output=packed([piece.output for piece in done]),
        emits={name: packed([piece.emits[name] for piece in done]) for name in done[0].emits},
        states=tuple(torch.cat(parts) for parts in zip(*finals, strict=True)),
    )


def _last(memory: MemoryValue, rows: int) -> MemoryValue:
    """What the last rows attend to."""
    first = memory.values.shape[1] - rows
    mask = None if memory.mask is None else memory.mask[first:]
    return MemoryValue(memory.values[:, first:], mask, {n: k[:, first:] for n, k in memory.keys.items()})
