"""Exported ONNX on ONNX Runtime, beside the layers that it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import gatework as gw
from gatework.errors import InputError
from gatework.export.network import network
from gatework.export.onnx import checking
from gatework.export.onnx.model import ModelWriter
from tests.contracts.test_cells import users_own
from tests.export.test_native import layer_of
from tests.tolerances import EXPORTED_ONNX

NATIVE = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}


def error_of(layer: gw.Recurrent, *, int8: bool = False, native: bool = True, **options: Any) -> float:
    """The largest error of both models on a ragged batch: `check` raises where it is above its own bound."""
    made = network(layer, "own", **options)
    return checking.check(made, checking.models_of(made, int8=int8, native=native), int8=int8)


@pytest.mark.parametrize("name", gw.cells.names())
def test_every_cell_of_the_catalogue(name: str) -> None:
    assert error_of(layer_of(name)) <= EXPORTED_ONNX


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "input_size": 11, "residual": True},
        {"bias": False},
        {"hidden_size": [9, 4]},
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", ["lstm", "gru", users_own], ids=str)
def test_stacks_and_directions(cell: Any, options: dict[str, Any]) -> None:
    assert error_of(layer_of(cell, **options)) <= EXPORTED_ONNX


@pytest.mark.parametrize("activation", [gw.relu, gw.sin, gw.elu, gw.hard_sigmoid, gw.log_sigmoid])
def test_activations(activation: Any) -> None:
    cell = gw.cells.get("elman").with_options(activation=activation)
    assert error_of(layer_of(cell)) <= EXPORTED_ONNX


def test_a_location_sensitive_decoder() -> None:
    @gw.cell
    def located(x: Any, h: Any, memory: gw.Memory) -> Any:
        return gw.tanh(gw.linear("h", x, h, context=gw.attend("source", h, memory, score="location")))

    assert error_of(layer_of(located)) <= EXPORTED_ONNX


@pytest.mark.parametrize("int8", [False, True])
def test_tokens_gates_and_a_linear_map(int8: bool) -> None:
    table, head = torch.nn.Embedding(13, 5), torch.nn.Linear(11, 37)
    layer = layer_of("layer_norm_lstm")
    assert error_of(layer, int8=int8, table=table, head=head, emit=["forget", "c"]) <= EXPORTED_ONNX


@pytest.mark.parametrize("cell", list(NATIVE))
def test_standard_cells_are_standard_operators_and_their_scans_agree(cell: str) -> None:
    layer = layer_of(cell, bidirectional=True)
    made = ModelWriter(network(layer, "own"), step=False, int8=False).made()
    assert [node.op_type for node in made.graph.node if node.op_type in ("Scan", *NATIVE.values())] == [
        NATIVE[cell]
    ]
    assert error_of(layer, native=False) <= EXPORTED_ONNX


def test_what_is_written(tmp_path: Path) -> None:
    said: list[str] = []
    made = gw.export_layer(layer_of("lstm"), tmp_path / "out", to="onnx", say=said.append)
    assert set(made.files) == {"model.onnx", "model_step.onnx", "config.pbtxt", "README.md"}
    assert said[0].startswith("model.onnx: ")
    step = onnx.load(made.folder / "model_step.onnx")
    assert [each.name for each in step.graph.input] == ["x", "h_l0", "c_l0"]
    assert [each.name for each in step.graph.output] == ["output", "next_h_l0", "next_c_l0"]
    configuration = (made.folder / "config.pbtxt").read_text("utf-8")
    assert 'input_name: "c_l0" output_name: "next_c_l0" data_type: TYPE_FP32 dims: [ 11 ]' in configuration
    assert '{ name: "x" data_type: TYPE_FP32 dims: [ 5 ] }' in configuration
    small = gw.export_layer(layer_of("gru", 30, 60), tmp_path / "int8", to="onnx", weights="int8")
    full = gw.export_layer(layer_of("gru", 30, 60), tmp_path / "full", to="onnx")
    assert small.files["model.onnx"] < full.files["model.onnx"] / 2


def test_an_unknown_form_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'onnx'"):
        gw.export_layer(layer_of("lstm"), tmp_path / "out", to="onxx")  # type: ignore[arg-type]
