"""Weights of ONNX's operators as layers, beside ONNX Runtime on the same model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import gatework as gw
from tests.tolerances import assert_close

BLOCKS = {"LSTM": 4, "GRU": 3, "RNN": 1}
I, H, T, B = 3, 5, 7, 2


@pytest.fixture(autouse=True)
def nothing_is_compiled() -> Iterator[None]:
    """What is tested are weights: the reference computes with them, in less time than compiling takes."""
    with gw.backend("eager"):
        yield


def model_of(
    op: str,
    direction: str = "forward",
    *,
    dtype: Any = np.float32,
    bias: bool = True,
    peepholes: bool = False,
    constants: bool = False,
    changed: dict[str, Any] | None = None,
    starts: Any = None,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one operator, whose numbers all differ.

    Args:
        constants: weights are Constant nodes instead of initializers.
        changed: arrays in the place of the operator's own; None for an input of the model.
        starts: `initial_h`.
    """
    random, ways, rows = np.random.default_rng(3), 1 + (direction == "bidirectional"), BLOCKS.get(op, 1) * H
    shapes = {"W": (ways, rows, I), "R": (ways, rows, H)}
    shapes |= {"B": (ways, 2 * rows)} if bias else {}
    shapes |= {"P": (ways, 3 * H)} if peepholes else {}
    arrays: dict[str, Any] = {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    arrays |= {} if starts is None else {"H": starts}
    arrays |= changed or {}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    given = ["x", *(name if name in arrays else "" for name in ("W", "R", "B", "lengths", "H", "C", "P"))]
    while not given[-1]:
        given.pop()
    tensors = {name: numpy_helper.from_array(a, name) for name, a in arrays.items() if a is not None}
    nodes = [
        helper.make_node("Constant", [], [name], value=each) for name, each in tensors.items()
    ] * constants
    nodes.append(
        helper.make_node(
            op, given, ["y"], "cell", direction=direction, hidden_size=H, domain=domain, **attributes
        )
    )
    free = [helper.make_tensor_value_info(n, kind, None) for n, array in arrays.items() if array is None]
    x, y = (helper.make_tensor_value_info(name, kind, None) for name in "xy")
    x = helper.make_tensor_value_info("x", kind, [None, None, I])
    graph = helper.make_graph(nodes, "graph", [x, *free], [y], [] if constants else list(tensors.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def numbers(dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(T, B, I)).astype(dtype)


def joined(y: np.ndarray) -> torch.Tensor:
    """ONNX's output, (T, D, B, H), as (T, B, D * H)."""
    return torch.from_numpy(y.transpose(0, 2, 1, 3).reshape(T, B, -1).copy())


def on_runtime(model: onnx.ModelProto, x: np.ndarray) -> torch.Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return joined(session.run(None, {"x": x})[0])


def read(model: Any, **options: Any) -> Any:
    layer = gw.from_onnx(model, **options)
    assert not isinstance(layer, dict)
    return layer


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "options", "cell"),
    [
        ("LSTM", {}, "lstm"),
        ("LSTM", {"peepholes": True}, "peephole_lstm"),
        ("LSTM", {"input_forget": 1}, "coupled_lstm"),
        ("LSTM", {"constants": True, "bias": False}, "lstm"),
        ("GRU", {}, "gru_original"),
        ("GRU", {"linear_before_reset": 1}, "gru"),
        ("RNN", {}, "elman"),
        ("RNN", {"activations": ["Relu"]}, "elman"),
        ("RNN", {"activations": ["Softsign"], "bias": False}, "elman"),
    ],
    ids=str,
)
def test_operators(op: str, options: dict[str, Any], cell: str, direction: str) -> None:
    given = dict(options)
    if direction == "bidirectional" and "activations" in given:
        given["activations"] = given["activations"] * 2
    model, x = model_of(op, direction, **given), numbers()
    layer = read(model)
    own = layer.layer if direction == "reverse" else layer
    assert own.cell.name == cell
    assert own.bias == options.get("bias", True)
    assert_close(layer(torch.from_numpy(x))[0].detach(), on_runtime(model, x))


def test_layers_are_those_that_drop_in_for_torch() -> None:
    assert type(read(model_of("LSTM"))) is gw.LSTM
    assert type(read(model_of("GRU", linear_before_reset=1))) is gw.GRU
    assert read(model_of("RNN", activations=["Relu"])).nonlinearity == "relu"


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_float64_beside_the_reference_of_onnx(op: str) -> None:
    options = {"linear_before_reset": 1} if op == "GRU" else {}
    model, x = model_of(op, dtype=np.float64, **options), numbers(np.float64)
    layer = read(model)
    assert {each.dtype for each in layer.parameters()} == {torch.float64}
    assert_close(
        layer(torch.from_numpy(x))[0].detach(), joined(ReferenceEvaluator(model).run(None, {"x": x})[0])
    )


def test_a_reversed_layer_reads_each_row_from_its_own_end() -> None:
    both = read(model_of("GRU", "bidirectional", linear_before_reset=1))
    arrays = {name: value.numpy()[1:] for name, value in _weights(both).items()}
    alone = read(model_of("GRU", "reverse", linear_before_reset=1, changed=arrays))
    x, lengths = torch.from_numpy(numbers()), torch.tensor([3, T])
    output, state = both(x, lengths=lengths)
    got, final = alone(x, lengths=lengths)
    assert_close((got, final), (output[..., H:], state[1:]))


def _weights(layer: gw.Recurrent) -> dict[str, torch.Tensor]:
    """A bidirectional GRU's weights as ONNX has them."""

    def ordered(name: str, direction: str) -> torch.Tensor:
        value = getattr(layer, name + direction).detach()
        return torch.cat([value[H : 2 * H], value[:H], value[2 * H :]])  # z, r, h of r, z, h

    ways = ("_l0", "_l0_reverse")
    biases = [torch.cat([ordered(f"bias_{slot}", way) for slot in ("ih", "hh")]) for way in ways]
    return {
        "W": torch.stack([ordered("weight_ih", way) for way in ways]),
        "R": torch.stack([ordered("weight_hh", way) for way in ways]),
        "B": torch.stack(biases),
    }


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_our_own_exports_come_back(tmp_path: Path, cell: str, weights: Any) -> None:
    made = gw.Recurrent(cell, I, H, num_layers=2, bidirectional=True)
    gw.export_layer(made, tmp_path / "out", to="onnx", weights=weights)
    layers = gw.from_onnx(tmp_path / "out" / "model.onnx")
    assert isinstance(layers, dict)
    assert [each.input_size for each in layers.values()] == [I, 2 * H]
    layer = read(tmp_path / "out" / "model.onnx", stack=True)
    assert layer.num_layers == 2
    if weights == "float32":
        x = torch.from_numpy(numbers())
        assert_close(layer(x)[0], made(x)[0])
    else:
        largest = max(
            (a - b).abs().max() / b.abs().max()
            for a, b in zip(layer.parameters(), made.parameters(), strict=True)
        )
        assert 0 < largest < 1 / 200


def test_a_draw_of_the_callers_is_not_taken() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    read(model_of("LSTM"))
    assert torch.equal(torch.rand(3), expected)


def test_initial_states_are_left_out_and_that_is_said() -> None:
    with pytest.warns(UserWarning, match="node 'cell': initial_h is not read: a layer has no initial states"):
        read(model_of("LSTM", starts=np.ones((1, B, H), np.float32)))
    read(model_of("LSTM", starts=np.zeros((1, B, H), np.float32)))


def test_batch_first() -> None:
    assert read(model_of("LSTM", layout=1)).batch_first


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of("LSTM", clip=3.0), "node 'cell': clip=3 bounds what the gates read, and none of our cells"),
        (
            model_of("LSTM", peepholes=True, input_forget=1),
            "input_forget=1 with peepholes is none of our cells",
        ),
        (
            model_of("GRU", activations=["HardSigmoid", "Tanh"]),
            "its activations are HardSigmoid, Tanh; our GRU has Sigmoid, Tanh",
        ),
        (model_of("RNN", activations=["Affine"]), "the activation 'Affine' of an Elman network is not read"),
        (model_of("LSTM", changed={"W": None}), "its weights 'W' are an input of the model"),
        (
            model_of("LSTM", changed={"R": np.ones((1, 20, 4), np.float32)}),
            r"R is \(1, 20, 4\) and should be",
        ),
        (
            model_of("LSTM", changed={"B": np.ones((1, 30), np.float32)}),
            r"B is \(1, 30\) and should be \(1, 40\)",
        ),
        (model_of("LSTM", dtype=np.float16), "is of float16; what is read is float32 or float64"),
        (
            model_of("RNN", changed={"R": np.full((1, H, H), np.nan, np.float32)}),
            "weight_hh has numbers that are infinite or NaN",
        ),
        (model_of("AttnLSTM", domain="com.microsoft"), "AttnLSTM has no counterpart.* The nearest is LSTM"),
        (model_of("LSTM", direction="sideways"), "direction='sideways'.*forward, reverse or bidirectional"),
        (b"", "it has no operators"),
        (b"\x00\x01 no model", "it cannot be read as an ONNX model"),
        (17, "int: it is no ONNX model"),
        ("nowhere.onnx", "nowhere.onnx: there is no such file"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_refused(model: Any, message: str) -> None:
    with pytest.raises(gw.InputError, match=message):
        gw.from_onnx(model)


def test_damaged_files(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.onnx", model_of("LSTM").SerializeToString()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(gw.InputError):
            gw.from_onnx(path)
    damaged = model_of("LSTM")
    damaged.graph.initializer[0].raw_data = b"123"
    with pytest.raises(gw.InputError, match="the array 'W' cannot be read"):
        gw.from_onnx(damaged)


@pytest.mark.filterwarnings("ignore:.*a layer has no initial states")  # where a name is damaged
def test_bytes_that_are_wrong_are_refused_in_a_sentence() -> None:
    random, whole = np.random.default_rng(0), model_of("LSTM", peepholes=True).SerializeToString()
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for place in random.integers(len(whole), size=3):
            damaged[place] = random.integers(256)
        try:
            gw.from_onnx(bytes(damaged))
        except gw.InputError:
            refused += 1
    assert refused > 50


def test_a_scan_is_named(tmp_path: Path) -> None:
    gw.export_layer(gw.Recurrent("layer_norm_lstm", I, H), tmp_path / "out", to="onnx")
    with pytest.raises(gw.InputError, match="its operator Scan has no counterpart among our cells"):
        gw.from_onnx(tmp_path / "out" / "model.onnx")


def test_layers_that_are_no_stack(tmp_path: Path) -> None:
    gw.export_layer(gw.LSTM(I, H, num_layers=2), tmp_path / "out", to="onnx")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    upper = [node for node in model.graph.node if node.op_type == "LSTM"][1]
    upper.attribute.append(helper.make_attribute("input_forget", 1))
    with pytest.raises(gw.InputError, match=r"it is no layer of one stack with .*: they differ in cell"):
        gw.from_onnx(model, stack=True)
    assert isinstance(gw.from_onnx(model), dict)
