"""ONNX's recurrent operators, computed by ONNX Runtime, are the outside witness: our equations with the same
weights give the same numbers.

Weights are random and differ everywhere, so that a swapped gate, peephole or direction cannot pass. Gates are
mapped by name: ONNX packs LSTM rows as input, output, forget, cell and GRU rows as update, reset, hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import gatework as gw
from gatework import (
    clip,
    elu,
    hard_sigmoid,
    leaky_relu,
    linear,
    relu,
    sigmoid,
    softplus,
    softsign,
    tanh,
    vector,
    where,
)
from tests.tolerances import OF_THE_LARGEST, of_the_largest

STEPS, BATCH, INPUT, HIDDEN = 6, 5, 3, 7
LENGTHS = (6, 2, 5, 1, 4)

ONNX_GATES = {
    "LSTM": ("input", "output", "forget", "candidate"),
    "GRU": ("update", "reset", "candidate"),
    "RNN": ("hidden",),
}
PEEPHOLES = ("peephole_input", "peephole_output", "peephole_forget")


@dataclass(frozen=True)
class Activation:
    """An activation as ONNX names it, with its parameters, and as the equations write it."""

    name: str
    ours: Callable[[Any], Any]
    alpha: float | None = None
    beta: float | None = None


SIGMOID = Activation("Sigmoid", sigmoid)
TANH = Activation("Tanh", tanh)
ACTIVATIONS = (
    SIGMOID,
    TANH,
    Activation("Relu", relu),
    Activation("HardSigmoid", lambda e: hard_sigmoid(e, slope=0.2), 0.2, 0.5),
    Activation("LeakyRelu", lambda e: leaky_relu(e, slope=0.07), 0.07),
    Activation("Elu", lambda e: elu(e, alpha=0.7), 0.7),
    Activation("Softsign", softsign),
    Activation("Softplus", softplus),
    Activation("Affine", lambda e: 0.3 * e - 0.1, 0.3, -0.1),
    Activation("ScaledTanh", lambda e: 0.8 * tanh(0.6 * e), 0.8, 0.6),
    Activation("ThresholdedRelu", lambda e: where(e > 0.2, e, 0.0), 0.2),
)


@dataclass(frozen=True)
class Witness:
    """One ONNX operator with its attributes, run by ONNX Runtime."""

    op: str
    activations: Sequence[Activation]  # of one direction, in ONNX's order
    bidirectional: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def run(self, feeds: dict[str, np.ndarray]) -> list[torch.Tensor]:
        """Y as (T, B, D * H), and the final states as (D, B, H)."""
        directions = 2 if self.bidirectional else 1
        names = ("X", "W", "R", "B", "sequence_lens", "initial_h")
        names += ("initial_c", "P") if self.op == "LSTM" else ()
        outputs = ("Y", "Y_h", "Y_c") if self.op == "LSTM" else ("Y", "Y_h")
        activations = [a for _ in range(directions) for a in self.activations]
        attributes: dict[str, Any] = {"activations": [a.name for a in activations], **self.attributes}
        # ONNX hands alphas and betas out in order, to the activations that take them
        for key, values in (
            ("activation_alpha", [a.alpha for a in activations if a.alpha is not None]),
            ("activation_beta", [a.beta for a in activations if a.beta is not None]),
        ):
            if values:
                attributes[key] = values
        node = helper.make_node(
            self.op,
            [name if name in feeds else "" for name in names],
            list(outputs),
            hidden_size=HIDDEN,
            direction="bidirectional" if self.bidirectional else "forward",
            **attributes,
        )
        state = (directions, BATCH, HIDDEN)
        shapes = {"Y": (STEPS, *state), "Y_h": state, "Y_c": state}
        kinds = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("int32"): TensorProto.INT32}
        graph = helper.make_graph(
            [node],
            "witness",
            [helper.make_tensor_value_info(n, kinds[v.dtype], v.shape) for n, v in feeds.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in outputs],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        output, *states = (torch.from_numpy(array) for array in session.run(None, feeds))
        return [output.permute(0, 2, 1, 3).flatten(2), *states]  # (T, D, B, H) -> (T, B, D * H)


def rows_by_gate(layer: gw.Recurrent, parameter: str, slot: str) -> dict[str, np.ndarray]:
    """A packed parameter, (rows, …), cut into its gates by the layout that the cell declares."""
    packed = layer.get_parameter(parameter).detach().numpy()
    gates, row = {}, 0
    for block in layer.cell.graph.slots()[slot]:
        gates[block.gate] = packed[row : row + HIDDEN]
        row += HIDDEN
    assert row == len(packed)
    return gates


def feeds_of(layer: gw.Recurrent, op: str, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """ONNX's W, R, B (and P) of a one-layer module. `names`: ONNX's gate to ours, where they differ."""
    order = [names.get(gate, gate) for gate in ONNX_GATES[op]]
    feeds: dict[str, list[np.ndarray]] = {"W": [], "R": [], "B": []}
    peephole = hasattr(layer, f"{PEEPHOLES[0]}_l0")
    if peephole:
        feeds["P"] = []
    for suffix in ("", "_reverse") if layer.bidirectional else ("",):
        parts = {
            key: [rows_by_gate(layer, f"{key}_l0{suffix}", key[-2:])[gate] for gate in order]
            for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        feeds["W"].append(np.concatenate(parts["weight_ih"]))
        feeds["R"].append(np.concatenate(parts["weight_hh"]))
        feeds["B"].append(np.concatenate(parts["bias_ih"] + parts["bias_hh"]))
        if peephole:
            rows = [layer.get_parameter(f"{name}_l0{suffix}").detach().numpy() for name in PEEPHOLES]
            feeds["P"].append(np.concatenate(rows))
    return {key: np.stack(value) for key, value in feeds.items()}


def compare(cell: gw.Cell, witness: Witness, names: Mapping[str, str] | None = None) -> None:
    """Outputs and final states of our layer and of ONNX Runtime, dense and ragged, from random states."""
    layer = gw.Recurrent(cell, INPUT, HIDDEN, bidirectional=witness.bidirectional)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    weights = feeds_of(layer, witness.op, names or {})
    directions = 2 if witness.bidirectional else 1
    x = 0.5 * torch.randn(STEPS, BATCH, INPUT)
    count = len(cell.graph.states)
    states = tuple(0.5 * torch.randn(directions, BATCH, HIDDEN) for _ in range(count))
    for lengths in (None, torch.tensor(LENGTHS, dtype=torch.int32)):
        feeds = {"X": x.numpy(), **weights}
        feeds |= dict(zip(("initial_h", "initial_c"), (s.numpy() for s in states), strict=False))
        if lengths is not None:
            feeds["sequence_lens"] = lengths.numpy()
        expected = witness.run(feeds)
        with torch.no_grad(), gw.backend("eager"):
            output, last = layer(x, states if count > 1 else states[0], lengths=lengths)
        got = [output, *(last if isinstance(last, tuple) else (last,))]
        for mine, theirs in zip(got, expected, strict=True):
            assert of_the_largest(mine, theirs) <= OF_THE_LARGEST[torch.float32]


def onnx_lstm(f: Activation, g: Activation, h: Activation, peepholes: bool, limit: float | None) -> gw.Cell:
    """ONNX's LSTM, written from its specification (operator LSTM, opset 14)."""

    def held(e: Any) -> Any:
        return e if limit is None else clip(e, -limit, limit)

    def seen(name: str, c: Any) -> Any:
        return vector(f"peephole_{name}") * c if peepholes else 0.0

    def onnx_cell(x: Any, h_: Any, c: Any) -> Any:
        i = f.ours(held(linear("input", x, h_) + seen("input", c)))
        forget = f.ours(held(linear("forget", x, h_) + seen("forget", c)))
        c = forget * c + i * g.ours(held(linear("candidate", x, h_)))
        o = f.ours(held(linear("output", x, h_) + seen("output", c)))
        return o * h.ours(c), c

    return gw.cell(onnx_cell)


def onnx_gru(f: Activation, g: Activation, linear_before_reset: bool) -> gw.Cell:
    """ONNX's GRU, written from its specification (operator GRU, opset 14)."""

    def onnx_cell(x: Any, h: Any) -> Any:
        z = f.ours(linear("update", x, h))
        r = f.ours(linear("reset", x, h))
        if linear_before_reset:
            n = g.ours(linear("candidate", x) + r * linear("candidate", h))
        else:
            n = g.ours(linear("candidate", x, r * h))
        return (1 - z) * n + z * h

    return gw.cell(onnx_cell)


both = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])


@both
def test_lstm(bidirectional: bool) -> None:
    compare(gw.cells.get("lstm"), Witness("LSTM", (SIGMOID, TANH, TANH), bidirectional))


@both
def test_peephole_lstm(bidirectional: bool) -> None:
    compare(gw.cells.get("peephole_lstm"), Witness("LSTM", (SIGMOID, TANH, TANH), bidirectional))


@both
def test_gru_with_the_reset_after_the_product(bidirectional: bool) -> None:
    witness = Witness("GRU", (SIGMOID, TANH), bidirectional, {"linear_before_reset": 1})
    compare(gw.cells.get("gru"), witness)


@both
def test_gru_with_the_reset_before_the_product(bidirectional: bool) -> None:
    witness = Witness("GRU", (SIGMOID, TANH), bidirectional, {"linear_before_reset": 0})
    compare(gw.cells.get("gru_original"), witness)


@both
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_rnn_with_any_activation(activation: Activation, bidirectional: bool) -> None:
    cell = gw.cells.get("elman").with_options(activation=activation.ours)
    compare(cell, Witness("RNN", (activation,), bidirectional))


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_lstm_with_any_activation_in_any_place(activation: Activation, position: int) -> None:
    chosen = [SIGMOID, TANH, TANH]
    chosen[position] = activation
    f, g, h = chosen
    compare(onnx_lstm(f, g, h, peepholes=True, limit=None), Witness("LSTM", chosen, True))


@pytest.mark.parametrize("before", [False, True], ids=["reset_before", "reset_after"])
@pytest.mark.parametrize("position", range(2))
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_gru_with_any_activation_in_any_place(activation: Activation, position: int, before: bool) -> None:
    chosen = [SIGMOID, TANH]
    chosen[position] = activation
    witness = Witness("GRU", chosen, True, {"linear_before_reset": int(before)})
    compare(onnx_gru(*chosen, linear_before_reset=before), witness)


def test_lstm_with_held_preactivations() -> None:
    compare(
        onnx_lstm(SIGMOID, TANH, TANH, False, 0.4),
        Witness("LSTM", (SIGMOID, TANH, TANH), True, {"clip": 0.4}),
    )


def test_swapped_gates_are_seen() -> None:
    with pytest.raises(AssertionError):
        compare(
            gw.cells.get("lstm"),
            Witness("LSTM", (SIGMOID, TANH, TANH)),
            {"input": "forget", "forget": "input"},
        )


def test_swapped_peepholes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PEEPHOLES", (PEEPHOLES[0], PEEPHOLES[2], PEEPHOLES[1]))
    with pytest.raises(AssertionError):
        compare(gw.cells.get("peephole_lstm"), Witness("LSTM", (SIGMOID, TANH, TANH)))


def test_the_wrong_reset_is_seen() -> None:
    with pytest.raises(AssertionError):
        compare(gw.cells.get("gru"), Witness("GRU", (SIGMOID, TANH), False, {"linear_before_reset": 0}))
