"""Streams whose weights are kept in fewer bits: what they compute, what is rounded, and what is refused."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gatework as gw
from gatework.backends import teams
from gatework.backends.llvm.codegen import target as engine_target
from gatework.backends.storage import LARGEST, LARGEST_INPUT, Storage, stored
from tests.backends.llvm.test_mathematics import TARGETS, target
from tests.tolerances import ROUNDED_INPUTS, VALUES, assert_close

FEWER: tuple[Storage, ...] = ("bf16", "int8")
OF_THE_ENGINE = {"bf16": VALUES, "int8": ROUNDED_INPUTS}
LAYERS: dict[str, dict[str, Any]] = {
    "lstm": {"num_layers": 2},
    "gru": {},
    "projected_lstm": {"proj_size": 11},
    "layer_norm_lstm": {},
    "coupled_lstm": {"bias": False},
}


def layer_of(cell: str, hidden_size: int = 37) -> gw.Recurrent:
    torch.manual_seed(1)
    return gw.Recurrent(cell, 13, hidden_size, **LAYERS[cell])


def with_stored_weights(layer: gw.Recurrent, storage: Storage) -> gw.Recurrent:
    """The layer with its weight matrices as they are read back."""
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        for name, value in layer.named_parameters():
            if name.startswith("weight_"):
                value.copy_(stored(value, storage))
    return layer


def steps(layer: gw.Recurrent, x: torch.Tensor, storage: Storage, backend: str) -> torch.Tensor:
    with gw.backend(backend):
        stream = layer.stream(x.shape[1], weights=storage)
        return torch.stack([stream.step(step).clone() for step in x])


@pytest.mark.parametrize("storage", FEWER)
@pytest.mark.parametrize("cell", LAYERS)
def test_a_stream_computes_with_the_weights_that_are_read_back(cell: str, storage: Storage) -> None:
    layer = layer_of(cell)
    for rows in (1, 5):
        x = torch.randn(6, rows, 13)
        with gw.backend("eager"), torch.no_grad():
            expected, _ = with_stored_weights(layer, storage).double()(x.double())
            whole, _ = layer(x)
        assert_close(steps(layer, x, storage, "eager"), expected.float(), VALUES)
        assert_close(steps(layer, x, storage, "llvm"), expected.float(), OF_THE_ENGINE[storage])
        assert not torch.allclose(whole, expected.float(), atol=VALUES[torch.float32].absolute)


@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("storage", FEWER)
def test_every_target_computes_with_them(storage: Storage, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = target(on)
    monkeypatch.setattr(engine_target, "host", lambda: chosen)
    layer, x = layer_of("lstm"), torch.randn(4, 3, 13)
    expected = steps(layer, x, storage, "eager")
    assert_close(steps(layer, x, storage, "llvm"), expected, OF_THE_ENGINE[storage])


@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("hidden_size", [1, 37, 700])
def test_what_weights_of_8_bits_are_multiplied_with_is_rounded_as_is_said(
    hidden_size: int, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = target(on)
    monkeypatch.setattr(engine_target, "host", lambda: chosen)
    torch.manual_seed(2)
    layer = gw.RNN(13, hidden_size)
    with torch.no_grad():
        layer.weight_hh_l0[0] = 0.05  # all of them 127 of their scale: the largest sums that there can be
    x = torch.randn(4, 2, 13) * torch.tensor([[1.0], [1e-3]])
    weights = with_stored_weights(layer, "int8").double().state_dict()

    def rounded(vector: torch.Tensor) -> torch.Tensor:
        most = min(float(LARGEST_INPUT), (2**31 - 1) / LARGEST // (vector.shape[1] + 1))
        largest = vector.float().abs().amax(1, keepdim=True)
        whole = (vector.float() * (most / largest)).round()
        return torch.where(largest > 0, whole.double() * largest / most, 0.0)

    h = torch.zeros(2, hidden_size, dtype=torch.float64)
    for step, got in zip(x, steps(layer, x, "int8", "llvm"), strict=True):
        sums = rounded(step.double()) @ weights["weight_ih_l0"].T + rounded(h) @ weights["weight_hh_l0"].T
        h = torch.tanh(sums + weights["bias_ih_l0"] + weights["bias_hh_l0"])
        assert_close(got, h.float(), VALUES)
        h = got.double()  # near a half, the last place of a float32 decides which way a state is rounded


def test_an_input_that_is_no_number_is_not_rounded_to_one() -> None:
    layer, x = gw.RNN(13, 37), torch.randn(1, 4, 13)
    x[0, 1, 3], x[0, 2, 12] = torch.nan, torch.inf
    output = steps(layer, x, "int8", "llvm")[0]
    assert output[1:3].isnan().all()
    assert_close(output[[0, 3]], steps(layer, x[:, [0, 3]], "int8", "eager")[0], ROUNDED_INPUTS)


@pytest.mark.parametrize("storage", FEWER)
def test_threads_that_share_units_give_the_bits_of_one(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = layer_of("lstm", 130), torch.randn(4, 1, 13)
    alone = steps(layer, x, storage, "llvm")
    monkeypatch.setattr(teams, "WORTH_A_TEAM", dict.fromkeys(teams.WORTH_A_TEAM, 0))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(steps(layer, x, storage, "llvm"), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("sizes", [37, [37, 21]])
def test_a_stream_keeps_no_weight_matrix_beside_its_packed_ones(sizes: Any) -> None:
    layer = gw.LSTM(13, sizes)
    shapes = {value.shape for name, value in layer.named_parameters() if name.startswith("weight_")}

    def matrices() -> int:
        gc.collect()
        return sum(type(o) is torch.Tensor and o.shape in shapes for o in gc.get_objects())

    before = matrices()
    with gw.backend("llvm"):
        streams = [layer.stream(weights=storage) for storage in ("full", *FEWER)]
    assert matrices() == before
    assert streams[0].step(torch.randn(1, 13)).isfinite().all()


def test_in_float64_weights_are_rounded_alike_and_kept_whole() -> None:
    layer, x = layer_of("lstm").double(), torch.randn(4, 2, 13, dtype=torch.float64)
    for storage in FEWER:
        with torch.no_grad():
            expected, _ = with_stored_weights(layer, storage)(x)
        assert_close(steps(layer, x, storage, "llvm"), expected)


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_weight_is_off_by_no_more_than_is_said(rows: list[list[float]]) -> None:
    weight = torch.tensor(rows, dtype=torch.float64)
    half = weight.abs().amax(1, keepdim=True) / LARGEST / 2
    largest = half * (1 + torch.finfo(torch.float32).eps)  # the scale is rounded itself
    assert ((stored(weight, "int8") - weight).abs() <= largest).all()
    assert (
        (stored(weight, "bf16") - weight).abs() <= weight.abs() * 2.0**-8 + torch.finfo(torch.bfloat16).tiny
    ).all()
    assert torch.equal(stored(weight, "full"), weight)


def test_a_row_of_zeros_and_numbers_too_small_to_scale_stay_what_they_are() -> None:
    layer = layer_of("lstm")
    with torch.no_grad():
        layer.weight_hh_l0[3] = 0.0
        layer.weight_ih_l0[5] = 1e-44  # a scale of it would be zero
    x = torch.randn(3, 1, 13)
    for storage in FEWER:
        own = steps(layer, x, storage, "llvm")
        assert_close(own, steps(layer, x, storage, "eager"), OF_THE_ENGINE[storage])


def test_what_cannot_be_kept_so_is_refused() -> None:
    layer = gw.LSTM(3, 4)
    with pytest.raises(ValueError, match=r"weights='int4'.*'full', 'bf16', 'int8'"):
        layer.stream(weights="int4")  # type: ignore[arg-type]
    attending = gw.Recurrent("bahdanau_gru", 3, 4, sizes={"memory_size": 2})
    with pytest.raises(ValueError, match="bahdanau_gru attends"):
        attending.stream(memory=torch.randn(2, 1, 2), weights="int8")
    with torch.no_grad():
        layer.weight_hh_l0[1, 2] = torch.nan
    for storage in FEWER:
        with pytest.raises(ValueError, match="weight_hh has entries that are infinite or NaN"):
            layer.stream(weights=storage)
