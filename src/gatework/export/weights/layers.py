"""Weights that were read, as layers: checked against each other, and in the order of the cell's gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from gatework import cells
from gatework.errors import InputError, nearest
from gatework.export.cell import Array
from gatework.graph import Cell
from gatework.graph.language import ACTIVATIONS
from gatework.graph.parameters import gate_rows, parameter_shapes
from gatework.layers import GRU, LSTM, RNN, Recurrent
from gatework.layers.parameters import reorder_rows
from gatework.layers.reversed import Reversed
from gatework.layers.structure import suffix

Layer = Recurrent | Reversed
_CLASSES = {"lstm": LSTM, "gru": GRU}


@dataclass(frozen=True)
class ReadLayer:
    """One recurrent layer as it was read.

    Attributes:
        where: the file and the layer in it, for messages.
        cell: the cell that computes the same.
        gates: of the cell, in the order in which the rows of its arrays were stored.
        directions: arrays by the names of the layer's parameters, for one direction or two.
        reverse: its one direction reads each sequence from its end.
    """

    where: str
    cell: Cell
    gates: tuple[str, ...]
    directions: tuple[Mapping[str, Array], ...]
    batch_first: bool
    reverse: bool = False

    @property
    def units(self) -> int:
        return int(self.directions[0]["weight_hh"].shape[-1])

    @property
    def inputs(self) -> int:
        return int(self.directions[0]["weight_ih"].shape[-1])

    @property
    def bias(self) -> bool:
        return "bias_ih" in self.directions[0]

    @property
    def dtype(self) -> np.dtype:
        return self.directions[0]["weight_ih"].dtype

    def parameters(self) -> list[dict[str, torch.Tensor]]:
        """Each direction's tensors in the order of the cell's gates.

        Raises:
            InputError: an array whose shape does not fit the others, whose numbers are neither float32 nor float64, or
                are infinite or NaN.
        """
        graph = self.cell.graph
        sizes = {"input_size": self.inputs, "hidden_size": self.units}
        shapes = parameter_shapes(graph, sizes)
        if not self.bias:
            shapes = {name: shape for name, shape in shapes.items() if not name.startswith("bias_")}
        found = []
        for direction in self.directions:
            made = {}
            for name, shape in shapes.items():
                array = direction[name]
                self._check(name, array, shape)
                tensor = torch.tensor(array)
                slot = name.partition("_")[2]
                if slot in graph.slots():
                    rows = gate_rows(graph, slot, sizes)
                    tensor = reorder_rows(
                        tensor, [[gate, str(self.units)] for gate in self.gates], rows, name
                    )
                made[name] = tensor
            found.append(made)
        return found

    def _check(self, name: str, array: Array, shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise InputError(
                self.where,
                f"{name} is {array.shape}, and {self.cell.name} of {self.inputs} inputs and {self.units} units needs "
                f"{shape}",
                "The file is damaged, or its weights are those of another layer.",
            )
        if array.dtype != self.dtype or array.dtype not in (np.float32, np.float64):
            raise InputError(
                self.where,
                f"{name} is of {array.dtype}; what is read is float32 or float64, and one of them in a layer",
                "Save the model in float32.",
            )
        if not np.isfinite(array).all():
            raise InputError(
                self.where, f"{name} has numbers that are infinite or NaN", "Train the model again."
            )


def read_activation(where: str, name: str, known: Mapping[str, str]) -> Cell:
    """The Elman cell with an activation.

    Args:
        name: as the other framework names it.
        known: its names to the words of our equations.

    Raises:
        InputError: there is no such word.
    """
    if name not in known:
        raise InputError(
            where, f"the activation {name!r} of an Elman network is not read", nearest(name, known)
        )
    word = known[name]
    return cells.elman if word == "tanh" else cells.elman.with_options(activation=ACTIVATIONS[word])


def made_layer(read: Sequence[ReadLayer]) -> Layer:
    """Layers that were read, the lowest first, as one layer.

    Raises:
        InputError: they do not fit each other.
    """
    first = read[0]
    for below, above in pairwise(read):
        _check_fit(below, above)
    units = [each.units for each in read]
    options: dict[str, Any] = {
        "num_layers": len(read),
        "bias": first.bias,
        "batch_first": first.batch_first,
        "bidirectional": len(first.directions) == 2,
        "dtype": torch.from_numpy(np.empty(0, first.dtype)).dtype,
    }
    tensors = {
        name + suffix(number, direction): tensor
        for number, each in enumerate(read)
        for direction, own in enumerate(each.parameters())
        for name, tensor in own.items()
    }
    with torch.random.fork_rng(devices=[]):  # the draws of a new layer are not those of the caller
        layer = _empty(first.cell, first.inputs, units if len(set(units)) > 1 else units[0], options)
    layer.load_state_dict(tensors)
    return Reversed(layer) if first.reverse else layer


def _empty(cell: Cell, inputs: int, units: int | list[int], options: dict[str, Any]) -> Recurrent:
    if cell.name in _CLASSES:
        return _CLASSES[cell.name](inputs, units, **options)
    activation = cell.options.get("activation")
    word = next((word for word in ("tanh", "relu") if activation is ACTIVATIONS[word]), None)
    if cell.name == "elman" and word is not None:
        return RNN(inputs, units, nonlinearity=word, **options)
    return Recurrent(cell, inputs, units, **options)


def _check_fit(below: ReadLayer, above: ReadLayer) -> None:
    def kind(each: ReadLayer) -> tuple[Any, ...]:
        return each.cell.graph, each.bias, len(each.directions), each.batch_first, each.dtype

    wrong = ""
    if kind(below) != kind(above) or below.reverse or above.reverse:
        wrong = "they differ in cell, directions, biases or dtype"
    elif above.inputs != below.units * len(below.directions):
        wrong = f"it reads {above.inputs} numbers, and the layer below gives {below.units * len(below.directions)}"
    if wrong:
        raise InputError(
            above.where, f"it is no layer of one stack with {below.where}: {wrong}", "Leave out stack=True."
        )
