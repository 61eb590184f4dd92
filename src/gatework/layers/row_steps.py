"""A layer a step at a time, for sequences that come and go: what each of them carries is one row of numbers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gatework.layers.recurrent import Recurrent
from gatework.layers.state import map_state, state_of_rows, state_rows
from gatework.layers.stream import Stream
from gatework.layers.structure import State
from gatework.layers.tape import recording

__all__ = ["RowSteps", "SharedStreams", "split_rows", "stacked_rows"]

_KEPT = 4  # numbers of rows that streams are kept for


class RecordedSteps:
    """A layer a step at a time by its own call, which a tape records: in the place of a `Stream`.

    Attributes:
        state: after the last step, as a stream's.
    """

    def __init__(self, layer: Recurrent, rows: int) -> None:
        self._layer = layer
        with torch.no_grad():
            self.state: State = layer.initial_state(rows)

    def step(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Tensor | dict[str, Tensor]:
        """As a stream's, of x, (B, I)."""
        kinds = {spec.name: spec.kind for spec in self._layer.cell.graph.inputs}
        own = {
            name: value[None] if kinds[name] == "input" else value for name, value in (inputs or {}).items()
        }
        with torch.no_grad():
            output, self.state = self._layer(x[None], self.state, inputs=own or None)
        return {name: value[0] for name, value in output.items()} if isinstance(output, dict) else output[0]


class SharedStreams:
    """Streams of some layers for several users, each of whom sets the states before a step; safe in several threads.
    While a tape records, the layers are called instead, so that it keeps what they do.

    Args:
        layers: each of one direction.
    """

    def __init__(self, layers: Sequence[Recurrent]) -> None:
        self.layers = layers
        self._streams: OrderedDict[int, list[Stream]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, rows: int) -> Iterator[Sequence[Stream | RecordedSteps]]:
        """A stream of each layer, of so many rows, which nobody else steps meanwhile."""
        if recording():
            yield [RecordedSteps(layer, rows) for layer in self.layers]
            return
        with self._lock:
            if rows not in self._streams:
                self._streams[rows] = [layer.stream(rows) for layer in self.layers]
            self._streams.move_to_end(rows)
            if len(self._streams) > _KEPT:
                self._streams.popitem(last=False)
            yield self._streams[rows]


class RowSteps:
    """A layer's steps, in eval mode and without autograd, for any sequences together; safe in several threads.

    One sequence alone is stepped by a stream of the layer, which takes a snapshot of the weights once.

    Args:
        layer: of one direction.

    Attributes:
        first: (K,) what a sequence carries before its first step.
    """

    def __init__(self, layer: Recurrent) -> None:
        self._layer = layer
        with torch.no_grad():
            self._state = layer.initial_state(1)
            self.first = state_rows(self._state)[0].numpy(force=True)
        self._streams = SharedStreams([layer])
        self._stands: tuple[object, np.ndarray] | None = None  # a stream, and the row that it stands at

    def step(self, x: Tensor, rows: Sequence[np.ndarray]) -> tuple[Tensor, list[np.ndarray]]:
        """A step of B sequences.

        Args:
            x: (B, I). rows: what each sequence carries, (K,).

        Returns:
            The outputs, (B, H), and what each sequence carries now.
        """
        if len(rows) == 1:
            return self._alone(x, rows[0])
        output, state = self._layer(x[None], state_of_rows(stacked_rows(rows), self._state))
        return (output["output"] if isinstance(output, dict) else output)[0], split_rows(state_rows(state))

    def read(
        self, parts: Sequence[Tensor], rows: Sequence[np.ndarray]
    ) -> tuple[list[Tensor], list[np.ndarray]]:
        """Some steps of each of B sequences: as `step`, of parts (T, I), each with a T of its own, 1 or more."""
        if all(len(part) == 1 for part in parts):
            output, new = self.step(torch.cat(list(parts)), rows)
            return list(output.split(1)), new
        lengths = torch.tensor([len(part) for part in parts])
        state = state_of_rows(stacked_rows(rows), self._state)
        found, state = self._layer(pad_sequence(list(parts)), state, lengths=lengths)
        output = found["output"] if isinstance(found, dict) else found
        outputs = [output[:length, row] for row, length in enumerate(lengths.tolist())]
        return outputs, split_rows(state_rows(state))

    def _alone(self, x: Tensor, row: np.ndarray) -> tuple[Tensor, list[np.ndarray]]:
        with self._streams.of(1) as (stream,):
            if self._stands is None or self._stands[0] is not stream or self._stands[1] is not row:
                stream.state = state_of_rows(torch.from_numpy(row)[None], self._state)
            output = stream.step(x)
            output = (output["output"] if isinstance(output, dict) else output).clone()
            new = _only_row(stream.state)
            self._stands = stream, new
            return output, [new]


def _only_row(state: State) -> np.ndarray:
    """(K,) as `state_rows` of one sequence; of so few numbers NumPy's operations cost less than torch's."""
    parts: list[np.ndarray] = []

    def keep(tensor: Tensor) -> Tensor:
        parts.append(tensor.numpy(force=True).reshape(-1))
        return tensor

    map_state(keep, state)
    return np.concatenate(parts)


def stacked_rows(rows: Sequence[np.ndarray]) -> Tensor:
    """(B, K), the rows of sequences."""
    return torch.from_numpy(np.concatenate(rows).reshape(len(rows), -1))


def split_rows(rows: Tensor) -> list[np.ndarray]:
    """Each row of (B, K) as an array of its own, so that a sequence does not hold on to the others'."""
    table = rows.numpy(force=True)
    return [table[0]] if len(table) == 1 else [row.copy() for row in table]
