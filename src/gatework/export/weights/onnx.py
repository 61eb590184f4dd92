"""`from_onnx`: the standard recurrent operators of an ONNX model as layers.

Gate orders and equations: https://onnx.ai/onnx/operators, RNN, LSTM and GRU.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from gatework import cells
from gatework.errors import InputError
from gatework.export.cell import Array
from gatework.export.onnx.writer import OPSET, onnx
from gatework.export.weights.answer import Answer, answered
from gatework.export.weights.constants import Constants
from gatework.export.weights.damage import refusing_damage
from gatework.export.weights.layers import ReadLayer, read_activation
from gatework.graph import Cell

_GATES = {
    "LSTM": ("input", "output", "forget", "candidate"),
    "GRU": ("update", "reset", "candidate"),
    "RNN": ("hidden",),
}
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_PEEPHOLES = ("peephole_input", "peephole_output", "peephole_forget")
_WORDS = {
    "Tanh": "tanh",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softsign": "softsign",
    "Softplus": "softplus",
}
_NEAREST = {
    "DynamicQuantizeLSTM": "The nearest is LSTM: convert the model before it is quantized.",
    "AttnLSTM": "The nearest is LSTM; gw.bahdanau_lstm attends, with weights of its own.",
    "Scan": "A Scan holds equations of its own: write them with gw.cell, or keep the state dict of the layer.",
    "Loop": "A Loop holds equations of its own: write them with gw.cell.",
}  # operators over time that have no counterpart
_PASSED = {"Squeeze", "Transpose", "Reshape", "Identity", "Dropout"}  # between the layers of a stack


def from_onnx(model: str | Path | bytes | Any, *, stack: bool = False) -> Answer:
    """Reads the recurrent layers of an ONNX model: its RNN, LSTM and GRU operators with the weights in them.

    A layer computes what the operator does: `linear_before_reset=0` becomes `gru_original`, peepholes `peephole_lstm`,
    `input_forget=1` `coupled_lstm`, `direction="reverse"` a `Reversed` around the layer. Initial states are no part of
    a layer: give them as `hx`. Lengths (`sequence_lens`) are given with each call.

    Args:
        model: a file, its bytes, or an `onnx.ModelProto`.
        stack: layers of which each reads the output of the one before become one layer of several.

    Returns:
        The layer, or a dict of layers by the names of their nodes where the model has several. Their weights are
        float32 or float64, as they were; they read (T, B, I), or (B, T, I) where the operator's `layout` is 1.

    Raises:
        InputError: no ONNX model, a damaged one, or one without these operators; weights that are computed from what
            the model is given, or do not fit; an operator that no cell computes, such as one with `clip`.
        MissingExtraError: the package onnx is not installed.
    """
    where, whole = _model(model)
    with refusing_damage(where):
        read, below = _operators(where, whole)
    return answered(read, below, stack=stack)


def _operators(where: str, model: Any) -> tuple[dict[str, ReadLayer], dict[str, str]]:
    """The layers by the names of their nodes, and of those that read another one's output the other one's name."""
    graph = model.graph
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), OPSET)
    constants = Constants(graph, opset)
    read: dict[str, ReadLayer] = {}
    outputs: dict[str, str] = {}
    below: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in _GATES and node.domain in ("", "ai.onnx"):
            name = _unused(node.name or next(filter(None, node.output), node.op_type), read)
            read[name] = _Operator(f"{where}, node {name!r}", node, constants).layer()
            source = outputs.get(node.input[0])
            if source is not None:
                below[name] = source
            outputs[node.output[0]] = name
        elif node.op_type in _PASSED and node.input[0] in outputs:
            outputs[node.output[0]] = outputs[node.input[0]]
    if not read:
        raise InputError(where, *_nothing_found([node.op_type for node in graph.node]))
    return read, below


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _unused(f"{name}_", taken)


def _model(model: Any) -> tuple[str, Any]:
    """A name for messages, and the ModelProto."""
    package = onnx()
    if isinstance(model, package.ModelProto):
        return "the ONNX model", _whole("the ONNX model", model)
    where = "the ONNX model" if isinstance(model, bytes) else str(model)
    if isinstance(model, str | Path) and not Path(model).is_file():
        raise InputError(where, "there is no such file", "Give the path of an .onnx file.")
    if not isinstance(model, str | Path | bytes):
        raise InputError(
            type(model).__name__, "it is no ONNX model", "Give a path, bytes, or an onnx.ModelProto."
        )
    try:
        loaded = package.load_from_string(model) if isinstance(model, bytes) else package.load(model)
    except Exception as error:  # of protobuf, or of a file of external data: each has classes of its own
        raise InputError(
            where, f"it cannot be read as an ONNX model ({error})", "It is damaged, or another kind of file."
        ) from error
    return where, _whole(where, loaded)


def _whole(where: str, model: Any) -> Any:
    if not model.graph.node:
        raise InputError(where, "it has no operators", "It is empty, damaged, or another kind of file.")
    return model


def _nothing_found(operators: list[str]) -> tuple[str, str]:
    known = next((op for op in operators if op in _NEAREST), None)
    if known is not None:
        return f"its operator {known} has no counterpart among our cells", _NEAREST[known]
    return (
        "it has no RNN, LSTM or GRU operator; it has " + ", ".join(sorted(set(operators))),
        "Export the recurrent layers as ONNX's own operators.",
    )


class _Operator:
    """One operator on its way to a layer."""

    def __init__(self, where: str, node: Any, constants: Constants) -> None:
        self.where, self.node, self.constants = where, node, constants
        value_of = onnx().helper.get_attribute_value
        self.attributes = {each.name: value_of(each) for each in node.attribute}
        self.direction = self.attributes.get("direction", b"forward").decode()
        self.count = 2 if self.direction == "bidirectional" else 1

    def layer(self) -> ReadLayer:
        op, attributes = self.node.op_type, self.attributes
        if self.direction not in ("forward", "reverse", "bidirectional"):
            self._refuse(f"direction={self.direction!r}", "It is forward, reverse or bidirectional.")
        if attributes.get("clip"):
            self._refuse(
                f"clip={attributes['clip']:g} bounds what the gates read, and none of our cells does that",
                "The nearest is the cell without it: remove the attribute where the bound is never met.",
            )
        gates, blocks = _GATES[op], len(_GATES[op])
        units = attributes.get("hidden_size") or self._given(2).shape[-1]
        weight, recurrent = (
            self._array("W", 1, (blocks * units, None)),
            self._array("R", 2, (blocks * units, units)),
        )
        arrays = {"weight_ih": weight, "weight_hh": recurrent}
        if self._named(3):
            both = self._array("B", 3, (2 * blocks * units,))
            arrays["bias_ih"], arrays["bias_hh"] = np.split(both, 2, axis=1)
        if self._named(7):
            peepholes = np.split(self._array("P", 7, (3 * units,)), 3, axis=1)
            arrays |= dict(zip(_PEEPHOLES, peepholes, strict=True))
        cell = self._cell()
        if cell is cells.coupled_lstm:
            arrays, gates = _coupled(arrays, units), ("forget", "output", "candidate")
        self._say_starts()
        return ReadLayer(
            self.where,
            cell,
            gates,
            tuple({name: array[d] for name, array in arrays.items()} for d in range(self.count)),
            batch_first=attributes.get("layout", 0) == 1,
            reverse=self.direction == "reverse",
        )

    def _cell(self) -> Cell:
        op, attributes = self.node.op_type, self.attributes
        activations = self._activations()
        if op == "RNN":
            return read_activation(self.where, activations[0], _WORDS)
        if activations != _ACTIVATIONS[op]:
            self._refuse(
                f"its activations are {', '.join(activations)}; our {op} has {', '.join(_ACTIVATIONS[op])}",
                f"Write the cell with gw.cell: the nearest is gw.{op.lower()}.",
            )
        if op == "GRU":
            return cells.gru if attributes.get("linear_before_reset", 0) else cells.gru_original
        coupled = bool(attributes.get("input_forget", 0))
        if coupled and self._named(7):
            self._refuse(
                "input_forget=1 with peepholes is none of our cells",
                "Write the cell with gw.cell: the nearest are gw.coupled_lstm and gw.peephole_lstm.",
            )
        return cells.coupled_lstm if coupled else cells.peephole_lstm if self._named(7) else cells.lstm

    def _activations(self) -> list[str]:
        """Of one direction; those of the other one are the same."""
        usual = _ACTIVATIONS[self.node.op_type]
        named = [each.decode() for each in self.attributes.get("activations", [])] or usual * self.count
        each = [named[: len(usual)], named[len(usual) :]][: self.count]
        if len(named) != self.count * len(usual) or each[0] != each[-1]:
            self._refuse(
                f"its activations are {', '.join(named)}: our layers have the same in each direction",
                f"It needs {len(usual)} for each direction.",
            )
        known = {name.lower(): name for name in (*_WORDS, "Affine", "LeakyRelu", "Elu", "HardSigmoid")}
        return [known.get(name.lower(), name) for name in each[0]]

    def _named(self, place: int) -> str:
        return self.node.input[place] if place < len(self.node.input) else ""

    def _given(self, place: int) -> Array:
        if not self._named(place):
            self._refuse(f"it has no input {place}", "The model is damaged.")
        return self.constants.array(self._named(place), self.where)

    def _array(self, name: str, place: int, shape: tuple[int | None, ...]) -> Array:
        """An array with its axis of directions.

        Args:
            shape: without that axis; None for any size.
        """
        array = self._given(place)
        wanted = (self.count, *shape)
        fits = array.ndim == len(wanted) and all(
            size in (None, own) for size, own in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            expected = ", ".join("I" if size is None else str(size) for size in wanted)
            self._refuse(f"{name} is {array.shape} and should be ({expected})", "The model is damaged.")
        return array

    def _say_starts(self) -> None:
        for name, place in (("initial_h", 5), ("initial_c", 6)):
            given = self._named(place)
            of_a_cell = self.node.op_type == "LSTM" or name == "initial_h"
            if not of_a_cell or not self.constants.known(given):
                continue  # what a caller gives to the model, a caller gives to the layer
            if np.any(self.constants.array(given, self.where)):
                warnings.warn(
                    f"{self.where}: {name} is not read: a layer has no initial states. Give them as hx.",
                    stacklevel=6,
                )

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise InputError(self.where, what, fix)


def _coupled(arrays: Mapping[str, Array], units: int) -> dict[str, Array]:
    """The rows of forget, output and candidate: f = 1 - sigmoid(a) of the input gate is sigmoid(-a)."""
    return {
        name: np.concatenate([-array[:, :units], array[:, units : 2 * units], array[:, 3 * units :]], axis=1)
        for name, array in arrays.items()
    }
