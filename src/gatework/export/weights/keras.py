"""`from_keras`: Keras's recurrent layers with their weights as layers.

Layouts and equations: https://keras.io/api/layers/recurrent_layers, SimpleRNN, LSTM, GRU and Bidirectional.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from gatework import cells
from gatework.errors import InputError
from gatework.export.cell import Array
from gatework.export.weights.answer import Answer, answered
from gatework.export.weights.keras_files import Stored, opened
from gatework.export.weights.layers import ReadLayer, read_activation
from gatework.graph import Cell

_GATES = {
    "LSTM": ("input", "forget", "candidate", "output"),
    "GRU": ("update", "reset", "candidate"),
    "SimpleRNN": ("hidden",),
}
_WORDS = {name: name for name in ("tanh", "relu", "sigmoid", "softplus", "softsign")}
_MODELS = {"Sequential": "sequential", "Functional": "functional", "Model": "functional"}
_IN_FILES = {
    "LSTM": "lstm",
    "GRU": "gru",
    "SimpleRNN": "simple_rnn",
    "Bidirectional": "bidirectional",
    **_MODELS,
}
"""Classes as files of weights name them."""
_NEAREST = {
    "RNN": "Use Keras's SimpleRNN, LSTM or GRU in its place; for a cell of your own write it with gw.cell.",
    "TimeDistributed": "Give the layer inside of it.",
    "ConvLSTM1D": "The nearest is LSTM.",
    "ConvLSTM2D": "The nearest is LSTM.",
    "ConvLSTM3D": "The nearest is LSTM.",
    "CuDNNLSTM": "The nearest is LSTM: Keras 3 reads and saves it as one.",
    "CuDNNGRU": "The nearest is GRU with reset_after=True: Keras 3 reads and saves it as one.",
}
_PASSED = {
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
}  # nothing, when a model predicts


def from_keras(
    model: str | Path | Any,
    configuration: str | Path | Mapping[str, Any] | None = None,
    *,
    stack: bool = False,
) -> Answer:
    """Reads the recurrent layers of a Keras model: SimpleRNN, LSTM, GRU, and Bidirectional ones of them.

    A layer computes what Keras's does when it predicts: dropout is left out, and the output is that of
    `return_sequences=True`. GRU with `reset_after=False` becomes `gru_original`. Nothing of a file is run, no pickle is
    read, and Keras itself need not be installed for a file.

    Args:
        model: a `.keras` file, a `.weights.h5` file, or a live layer or Sequential or functional model of Keras.
        configuration: of a `.weights.h5` file what `model.to_json()` gives: JSON, a file of it, or a dict.
        stack: layers of which each reads the output of the one before become one layer of several.

    Returns:
        The layer, or a dict of layers by their names where the model has several (`outer/inner` for those of a model in
        a model). Their weights are float32 or float64, as they were; they read (B, T, I).

    Raises:
        InputError: another kind of file, a damaged one, or one with pickled code in it; weights that do not fit; a
            layer that none of ours computes, such as one with `go_backwards`, or with another activation.
        MissingExtraError: the package h5py is not installed.
    """
    where, described, stored = opened(model, configuration)
    read: dict[str, ReadLayer] = {}
    below: dict[str, str] = {}
    seen: list[str] = []
    for found in _layers(where, described, stored, seen):
        if found.name in read:
            raise InputError(where, f"two of its layers are named {found.name!r}", "Name them apart.")
        read[found.name] = found.layer()
        if found.below:
            below[found.name] = found.below
    if not read:
        raise InputError(
            where,
            f"it has no SimpleRNN, LSTM or GRU; it has {', '.join(sorted(set(seen))) or 'no layers'}",
            "Give a Sequential or functional model with one, or the layer.",
        )
    return answered(read, below, stack=stack)


class _Found:
    """A recurrent layer of a model, not read yet.

    Args:
        below: the name of the recurrent layer whose output it reads, and nothing else; empty where there is none.
    """

    def __init__(
        self, where: str, kind: str, name: str, config: Mapping[str, Any], stored: Stored, below: str
    ) -> None:
        self.where = f"{where}, layer {name!r}"
        self.kind, self.name, self.config, self.stored, self.below = kind, name, config, stored, below

    def layer(self) -> ReadLayer:
        if self.kind != "Bidirectional":
            return self._read([(self.kind, self.config, self.stored)])
        if self.config.get("merge_mode") != "concat":
            self._refuse(
                f"merge_mode={self.config.get('merge_mode')!r}: our two directions are joined",
                "Read the two layers by themselves, or make the model with merge_mode='concat'.",
            )
        inner = _described(self.where, self.config.get("layer"))
        other = self.config.get("backward_layer")
        back = inner if other is None else _described(self.where, other)
        return self._read(
            [
                (*inner, self.stored.part("forward_layer")),
                (*back, self.stored.part("backward_layer")),
            ]
        )

    def _read(self, ways: list[tuple[str, Mapping[str, Any], Stored]]) -> ReadLayer:
        known = [self._cell(kind, config) for kind, config, _ in ways]
        kind, config, _ = ways[0]
        if known[0].graph != known[-1].graph or ways[0][0] != ways[-1][0]:
            self._refuse("its two directions are of different cells", "Read the two layers by themselves.")
        if len(ways) == 1 and config.get("go_backwards"):
            self._refuse(
                "go_backwards=True: our layers read from the first step",
                "Save it with go_backwards=False, and give the layer x.flip(1).",
            )
        directions = tuple(self._arrays(kind, own, stored) for _, own, stored in ways)
        return ReadLayer(self.where, known[0], _GATES[kind], directions, batch_first=True)

    def _cell(self, kind: str, config: Mapping[str, Any]) -> Cell:
        if kind not in _GATES:
            self._refuse(f"a Bidirectional of {kind} has no counterpart", _nearest(kind))
        activation = _activation(config.get("activation", "tanh"))
        if kind == "SimpleRNN":
            return read_activation(self.where, activation, _WORDS)
        usual = {"activation": "tanh", "recurrent_activation": "sigmoid"}
        for name, wanted in usual.items():
            given = _activation(config.get(name, wanted))
            if given != wanted:
                self._refuse(
                    f"{name}={given!r}; that of our {kind} is {wanted!r}",
                    f"Write the cell with gw.cell: the nearest is gw.{kind.lower()}.",
                )
        if kind == "LSTM":
            return cells.lstm
        return cells.gru if config.get("reset_after", True) else cells.gru_original

    def _arrays(self, kind: str, config: Mapping[str, Any], stored: Stored) -> dict[str, Array]:
        units, blocks = config.get("units"), len(_GATES[kind])
        if not isinstance(units, int) or units < 1:
            self._refuse(f"units={units!r}", "The configuration is damaged.")
        bias = bool(config.get("use_bias", True))
        arrays = stored.part("cell").arrays(2 + bias)
        two = kind == "GRU" and bool(config.get("reset_after", True))
        inputs = arrays[0].shape[0] if arrays[0].ndim else 0
        shapes: list[tuple[int, ...]] = [(inputs, blocks * units), (units, blocks * units)]
        shapes.append((2, blocks * units) if two else (blocks * units,))
        for name, array, shape in zip(("kernel", "recurrent_kernel", "bias"), arrays, shapes, strict=False):
            if array.shape != shape or not inputs:
                self._refuse(
                    f"its {name} is {array.shape}, and {kind} of {units} units needs {shape}",
                    "The weights are damaged, or of another model than the configuration.",
                )
        made = {"weight_ih": arrays[0].T, "weight_hh": arrays[1].T}
        if bias:
            made["bias_ih"], made["bias_hh"] = arrays[2] if two else (arrays[2], arrays[2] * 0)
        return made

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise InputError(self.where, what, fix)


def _layers(
    where: str, described: Any, stored: Stored, seen: list[str], inside: str = ""
) -> Iterator[_Found]:
    """The recurrent layers of a model, models in it included.

    Args:
        seen: is told the class of every layer.
        inside: what stands before the names of a model's layers.
    """
    kind, config = _described(where, described)
    if kind not in _MODELS:
        seen.append(kind)
        if kind in _IN_FILES:
            yield _Found(where, kind, str(config.get("name", kind)), config, stored, "")
        elif kind in _NEAREST:
            raise InputError(where, f"{kind} has no counterpart among our layers", _nearest(kind))
        return
    count: Counter[str] = Counter()
    sources: dict[str, str] = {}  # of a layer's output, the recurrent layer that it is the output of
    before = ""
    for entry in config.get("layers", []):
        own, settings = _described(where, entry)
        name = str(settings.get("name", own))
        under = _source(entry, sources) if kind != "Sequential" else sources.get(before, "")
        before = name
        place = _IN_FILES.get(own, own)
        number, count[place] = count[place], count[place] + 1
        if own not in _IN_FILES:
            seen.append(own)
            if own in _NEAREST:
                raise InputError(
                    f"{where}, layer {name!r}", f"{own} has no counterpart among our layers", _nearest(own)
                )
            if own in _PASSED:
                sources[name] = under
            continue
        part = stored.layer(f"{place}_{number}" if number else place, name)
        if own in _MODELS:
            yield from _layers(where, entry, part, seen, f"{inside}{name}/")
            continue
        seen.append(own)
        sources[name] = inside + name
        yield _Found(where, own, inside + name, settings, part, under)


def _source(entry: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """The recurrent layer whose output a layer of a functional model reads, if that is all that it reads."""
    read = set(_histories(entry.get("inbound_nodes", [])))
    return sources.get(read.pop(), "") if len(read) == 1 else ""


def _histories(value: Any) -> Iterator[str]:
    """The names of the layers whose outputs are arguments of a call."""
    if isinstance(value, Mapping):
        history = value.get("keras_history")
        if isinstance(history, list | tuple) and history:
            yield str(history[0])
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _histories(each)


def _described(where: str, entry: Any) -> tuple[str, Mapping[str, Any]]:
    """A layer's class and settings; a class of the user's may have the name of one of Keras's."""
    if isinstance(entry, Mapping) and isinstance(entry.get("config"), Mapping):
        kind, module = str(entry.get("class_name")), entry.get("module", "keras")
        own = str(module).split(".")[0] not in ("keras", "tf_keras")
        return f"{kind} of your own" if own else kind, entry["config"]
    raise InputError(where, f"its configuration describes no layer: {entry!r:.60}", "The file is damaged.")


def _activation(value: Any) -> str:
    """The name of an activation of Keras's; of a function of the user's a name that none of Keras's has."""
    return f"{value.get('config')} of your own" if isinstance(value, Mapping) else str(value)


def _nearest(kind: str) -> str:
    return _NEAREST.get(kind, "Those that are read are SimpleRNN, LSTM, GRU and Bidirectional.")
