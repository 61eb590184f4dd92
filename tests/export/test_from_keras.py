"""Weights of Keras's layers as layers, beside Keras's own outputs."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatework as gw
from tests.tolerances import assert_close

os.environ.setdefault("KERAS_BACKEND", "torch")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")
keras = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() != "torch":
    pytest.skip("keras runs on another backend than torch", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

I, H, T, B = 3, 5, 7, 2
x = torch.randn(B, T, I, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def nothing_is_compiled() -> Iterator[None]:
    """What is tested are weights: the reference computes with them, in less time than compiling takes."""
    with gw.backend("eager"):
        yield


def drawn(model: Any) -> Any:
    """A model whose weights all differ, biases too."""
    random = np.random.default_rng(6)
    model.set_weights([random.normal(size=each.shape) * 0.5 for each in model.get_weights()])
    return model


def model_of(*layers: Any) -> Any:
    return drawn(keras.Sequential([keras.Input((None, I)), *layers]))


def output_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(x, training=False)).cpu()


LAYERS: dict[str, Callable[..., Any]] = {
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "gru_original": lambda *given, **named: keras.layers.GRU(*given, reset_after=False, **named),
    "elman": keras.layers.SimpleRNN,
}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", list(LAYERS))
def test_layers(tmp_path: Path, cell: str, bias: bool, bidirectional: bool) -> None:
    made = LAYERS[cell](H, return_sequences=True, use_bias=bias, dropout=0.1, name="own")
    model = model_of(keras.layers.Bidirectional(made) if bidirectional else made)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    expected = output_of(model)
    found = [
        gw.from_keras(tmp_path / "model.keras"),
        gw.from_keras(tmp_path / "model.weights.h5", model.to_json()),
        gw.from_keras(model),
        gw.from_keras(model.layers[0]),
    ]
    for layer in found:
        assert isinstance(layer, gw.Recurrent)
        assert (layer.cell.name, layer.bidirectional, layer.bias) == (cell, bidirectional, bias)
        assert_close(layer(x)[0].detach(), expected)


def test_relu() -> None:
    model = model_of(keras.layers.SimpleRNN(H, activation="relu", return_sequences=True))
    layer = gw.from_keras(model)
    assert isinstance(layer, gw.RNN)
    assert_close(layer(x)[0].detach(), output_of(model))


def stacked() -> Any:
    layers = keras.layers
    return model_of(
        layers.LSTM(H, return_sequences=True, name="low"),
        layers.Dropout(0.2),
        layers.LSTM(4, return_sequences=True, name="high"),
    )


def test_a_stack_only_where_it_is_asked_for(tmp_path: Path) -> None:
    model = stacked()
    model.save(tmp_path / "model.keras")
    layers = gw.from_keras(tmp_path / "model.keras")
    assert isinstance(layers, dict)
    assert list(layers) == ["low", "high"]
    assert_close(layers["high"](layers["low"](x)[0])[0].detach(), output_of(model))
    layer = gw.from_keras(tmp_path / "model.keras", stack=True)
    assert isinstance(layer, gw.LSTM)
    assert layer.num_layers == 2
    assert_close(layer(x)[0].detach(), output_of(model))


def test_functional_models_and_models_in_models(tmp_path: Path) -> None:
    layers, given = keras.layers, keras.Input((None, I))
    low = layers.GRU(H, return_sequences=True, name="low")(given)
    high = layers.GRU(H, return_sequences=True, name="high")(low)
    inner = keras.Sequential([layers.GRU(4, return_sequences=True, name="deep")], name="inner")(low)
    model = drawn(keras.Model(given, [low, high, inner]))
    model.save(tmp_path / "model.keras")
    for source in (tmp_path / "model.keras", model):
        found = gw.from_keras(source)
        assert isinstance(found, dict)
        assert sorted(found) == ["high", "inner/deep", "low"]
        below = found["low"](x)[0]
        own = (below, found["high"](below)[0], found["inner/deep"](below)[0])
        with torch.no_grad():
            assert_close([each.detach() for each in own], [torch.as_tensor(each) for each in model(x)])
        joined = gw.from_keras(source, stack=True)
        assert isinstance(joined, dict)
        assert sorted(joined) == ["inner/deep", "low"]


def test_float64() -> None:
    model = model_of(keras.layers.LSTM(H, return_sequences=True, dtype="float64"))
    layer = gw.from_keras(model)
    assert isinstance(layer, gw.LSTM)
    assert {each.dtype for each in layer.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            lambda k: k.LSTM(H, recurrent_activation="hard_sigmoid", name="own"),
            "layer 'own': recurrent_activation='hard_sigmoid'; that of our LSTM is 'sigmoid'.*nearest is gw.lstm",
        ),
        (lambda k: k.GRU(H, activation="relu"), "activation='relu'; that of our GRU is 'tanh'"),
        (
            lambda k: k.SimpleRNN(H, activation="mish"),
            "the activation 'mish' of an Elman network is not read",
        ),
        (lambda k: k.GRU(H, go_backwards=True), "go_backwards=True: our layers read from the first step"),
        (
            lambda k: k.Bidirectional(k.GRU(H), merge_mode="sum"),
            "merge_mode='sum': our two directions are joined",
        ),
        (lambda k: k.RNN(k.LSTMCell(H)), "RNN has no counterpart among our layers.*SimpleRNN, LSTM or GRU"),
        (lambda k: k.Dense(H), "it has no SimpleRNN, LSTM or GRU; it has Dense, InputLayer"),
        (lambda k: k.Lambda(lambda value: value * 2), "it has a Lambda layer, which is pickled code"),
    ],
    ids=["recurrent", "activation", "unknown", "backwards", "merge", "RNN", "none", "Lambda"],
)
def test_what_is_refused(tmp_path: Path, layer: Callable[[Any], Any], message: str) -> None:
    model = keras.Sequential([keras.Input((None, I)), layer(keras.layers)])
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        with pytest.raises(gw.InputError, match=message):
            gw.from_keras(source)


class LSTM(keras.layers.LSTM):
    """A layer of the user's, by the name of one of Keras's, that may compute anything."""


def doubled(value: Any) -> Any:
    """An activation of the user's."""
    return 2 * value


def test_layers_and_activations_of_the_users(tmp_path: Path) -> None:
    for layer in (LSTM(H), keras.layers.LSTM(H, activation=doubled)):
        keras.Sequential([keras.Input((None, I)), layer]).save(tmp_path / "model.keras")
        with pytest.raises(
            gw.InputError, match=r"it has InputLayer, LSTM of your own|activation='doubled of your own'"
        ):
            gw.from_keras(tmp_path / "model.keras")
    with pytest.raises(gw.InputError, match="it is no layer or model of Keras"):
        gw.from_keras(LSTM(H))


def test_what_is_no_model_of_keras(tmp_path: Path) -> None:
    with pytest.raises(gw.InputError, match="it is no layer or model of Keras"):
        gw.from_keras(torch.nn.LSTM(2, 3))
    with pytest.raises(gw.InputError, match="there is no such file"):
        gw.from_keras(tmp_path / "nowhere.keras")
    for content in (b"", b"\x80\x04K\x01.", b"PK"):
        (tmp_path / "other.keras").write_bytes(content)
        with pytest.raises(gw.InputError, match=r"it is no \.keras file"):
            gw.from_keras(tmp_path / "other.keras")


def repacked(source: Path, **changed: bytes) -> Path:
    """A copy with another `config` or other `weights`."""
    names = {"config": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(source.parent / "other.keras", "w") as new:
        content = {name: old.read(name) for name in old.namelist()}
        for name, value in (content | {names[name]: value for name, value in changed.items()}).items():
            new.writestr(name, value)
    return source.parent / "other.keras"


def weights_of(change: Callable[[Any], None]) -> bytes:
    """The weights of `stacked`, changed."""
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        for kind, (inputs, units) in {"lstm": (I, H), "lstm_1": (H, 4)}.items():
            own = made.create_group(f"layers/{kind}/cell/vars")
            for number, shape in enumerate([(inputs, 4 * units), (units, 4 * units), (4 * units,)]):
                own[str(number)] = np.ones(shape, np.float32)
        change(made)
    return file.getvalue()


FIRST = "layers/lstm/cell/vars/0"


def other_shape(made: Any) -> None:
    del made[FIRST]
    made[FIRST] = np.ones((I, 4 * H + 1), np.float32)


def elsewhere(made: Any) -> None:
    del made[FIRST]
    made[FIRST] = h5py.ExternalLink("other.h5", "/x")


def nothing_stored(made: Any) -> None:
    del made[FIRST]
    made.create_dataset(FIRST, (10**9, 4 * H), np.float32, chunks=(1024, 4 * H))


def external(made: Any) -> None:
    del made[FIRST]
    made.create_dataset(FIRST, (I, 4 * H), np.float32, external=[("/etc/hostname", 0, 240)])


def missing(made: Any) -> None:
    del made["layers/lstm_1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_shape, r"layer 'low': its kernel is \(3, 21\), and LSTM of 5 units needs \(3, 20\)"),
        (elsewhere, "vars/0 is a link to elsewhere, which is not followed"),
        (nothing_stored, "vars/0 is no array of numbers that the file itself holds"),
        (external, "vars/0 is no array of numbers that the file itself holds"),
        (missing, "its weights have no /layers/lstm_1"),
    ],
)
def test_weights_that_are_damaged(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    stacked().save(tmp_path / "model.keras")
    gw.from_keras(repacked(tmp_path / "model.keras", weights=weights_of(lambda made: None)))
    with pytest.raises(gw.InputError, match=message):
        gw.from_keras(repacked(tmp_path / "model.keras", weights=weights_of(change)))


def test_files_that_are_damaged(tmp_path: Path) -> None:
    stacked().save(tmp_path / "model.keras")
    whole = (tmp_path / "model.keras").read_bytes()
    for cut in range(0, len(whole), 1009):
        (tmp_path / "cut.keras").write_bytes(whole[:cut])
        with pytest.raises(gw.InputError):
            gw.from_keras(tmp_path / "cut.keras")
    for changed, message in (
        ({"config": b"{"}, "its configuration is no JSON"),
        ({"config": b"[]"}, "its configuration describes no model of Keras"),
        (
            {"config": json.dumps({"class_name": "Sequential", "config": {"layers": [3]}}).encode()},
            "no layer: 3",
        ),
        ({"weights": b"\x89HDF none"}, "its weights cannot be read as HDF5"),
    ):
        with pytest.raises(gw.InputError, match=message):
            gw.from_keras(repacked(tmp_path / "model.keras", **changed))
    (tmp_path / "own.weights.h5").write_bytes(weights_of(lambda made: None))
    with pytest.raises(gw.InputError, match=r"it is no \.keras file.*needs configuration=model.to_json"):
        gw.from_keras(tmp_path / "own.weights.h5")


def test_bytes_that_are_wrong_are_refused_in_a_sentence(tmp_path: Path) -> None:
    model, path = stacked(), tmp_path / "model.weights.h5"
    model.save_weights(path)
    random, whole, refused = np.random.default_rng(0), path.read_bytes(), 0
    for _ in range(400):
        damaged = bytearray(whole)
        for place in random.integers(len(whole), size=6):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            gw.from_keras(path, model.to_json())
        except gw.InputError:
            refused += 1
    assert refused > 50
