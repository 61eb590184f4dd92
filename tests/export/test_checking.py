"""What is exported is run before it is written: what is wrong is an error, and no files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrizations import weight_norm

import gatework as gw
from gatework.errors import GateworkError, InputError
from gatework.export import checking, rounding
from gatework.export.files import FORMS
from gatework.export.native.module import ObjectModule
from gatework.export.targets import WASM
from gatework.export.wasm import checking as in_node
from tests.export.test_native import layer_of

WRITTEN = [to for to in FORMS if to != "html"]


def not_written(folder: Path, **options: Any) -> str:
    with pytest.raises(GateworkError, match="more than 1e-05; nothing is written") as error:
        gw.export_layer(layer_of("layer_norm_lstm"), folder / "out", **options)
    assert not (folder / "out").exists()
    return str(error.value)


def with_wrong_biases(where: Callable[[ObjectModule], bool]) -> Any:
    """A fault in the code of some targets."""
    right = ObjectModule.padded_constant

    def wrong(self: ObjectModule, vector: np.ndarray) -> Any:
        return right(self, vector + 1e-3 * where(self))

    return mock.patch.object(ObjectModule, "padded_constant", wrong)


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({"to": "c"}, "model: the code gives"),
        (
            {"to": "c", "target": "thumbv7em-none-eabihf"},
            "model: the same code, made for this machine, gives",
        ),
        ({"to": "wasm"}, "model: the module in Node gives"),
    ],
    ids=str,
)
def test_code_that_is_wrong_is_not_written(tmp_path: Path, options: dict[str, Any], how: str) -> None:
    if options["to"] == "wasm" and in_node.node() is None:
        pytest.skip("node is not installed")
    with with_wrong_biases(lambda made: options["to"] == "c" or made.target is WASM):
        assert how in not_written(tmp_path, **options)


def test_without_node_the_code_of_a_module_is_run_by_this_machine(tmp_path: Path) -> None:
    said: list[str] = []
    with mock.patch.object(in_node, "node", return_value=None):
        gw.export_layer(layer_of("gru"), tmp_path / "right", to="wasm", say=said.append)
        with with_wrong_biases(lambda made: True):
            assert "the same code, made for this machine, gives" in not_written(tmp_path, to="wasm")
    assert "model: the same code, made for this machine, gives numbers within" in said[-1]


@pytest.mark.parametrize("target", ["native", "aarch64-linux-gnu"])
def test_weights_that_are_rounded_wrongly_are_not_written(tmp_path: Path, target: str) -> None:
    with mock.patch.object(rounding, "LARGEST", 120):
        not_written(tmp_path, target=target, weights="int8")


def test_a_model_that_is_wrong_is_not_written(tmp_path: Path) -> None:
    right = checking.expected

    def wrong(*given: Any, **options: Any) -> Any:
        values, states = right(*given, **options)
        return {name: value + 1e-3 for name, value in values.items()}, states

    with mock.patch.object(checking, "expected", wrong):
        assert "ONNX Runtime gives numbers that differ from the layer's by 1.0e-03" in not_written(
            tmp_path, to="onnx"
        )


@pytest.mark.parametrize("to", WRITTEN)
def test_layers_whose_batch_comes_first(tmp_path: Path, to: Any) -> None:
    layer = gw.LSTM(3, 4, batch_first=True)
    assert gw.export_layer(layer, tmp_path / "out", to=to).files
    assert layer.batch_first
    assert layer.training


@pytest.mark.parametrize("to", ["c", "onnx"])
def test_weights_that_are_computed_of_others_are_rounded_as_the_layer_reads_them(
    tmp_path: Path, to: Any
) -> None:
    layer = weight_norm(layer_of("gru"), "weight_hh_l0")
    assert gw.export_layer(layer, tmp_path / "out", to=to, weights="int8").files


def test_a_network_that_makes_much_of_a_rounding_is_no_wrong_one(tmp_path: Path) -> None:
    layer = layer_of("elman", hidden_size=24)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(12.0)
    with mock.patch.object(checking, "_ROUNDINGS", 0), pytest.raises(GateworkError, match="more than 1e-05"):
        gw.export_layer(layer, tmp_path / "refused")
    assert gw.export_layer(layer, tmp_path / "out").files


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    layer = layer_of("lstm")
    with torch.no_grad():
        layer.weight_hh_l0[3, 2] = torch.nan
    with pytest.raises(InputError, match="weight_hh_l0 has numbers that are not finite"):
        gw.export_layer(layer, tmp_path / "out")


def test_errors_are_relative_to_large_numbers_and_infinite_where_one_is_not_finite() -> None:
    wanted = torch.tensor([[0.0, 100.0, torch.nan]])
    right = np.array([[0.5, 102.0, np.nan]])
    assert checking.largest_error(right, wanted) == 0.5
    assert checking.largest_error(np.array([[0.0, 102.0, np.nan]]), wanted) == pytest.approx(0.02)
    assert checking.largest_error(np.array([[0.0, np.nan, np.nan]]), wanted) == np.inf
    assert checking.largest_error(np.array([[0.0, 100.0, 1.0]]), wanted) == np.inf
    assert checking.largest_error(right[:, :2], wanted) == np.inf
