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
from gatework.backends.storage import LARGEST, Storage, stored
from tests.backends.llvm.test_mathematics import TARGETS, target
from tests.tolerances import VALUES, assert_close

FEWER: tuple[Storage, ...] = ("bf16", "int8")
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
        for backend in ("llvm", "eager"):
            assert_close(steps(layer, x, storage, backend), expected.float(), VALUES)
        assert not torch.allclose(whole, expected.float(), atol=VALUES[torch.float32].absolute)


@pytest.mark.parametrize("on", TARGETS)
@pytest.mark.parametrize("storage", FEWER)
def test_every_target_computes_with_them(storage: Storage, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = target(on)
    monkeypatch.setattr(engine_target, "host", lambda: chosen)
    layer, x = layer_of("lstm"), torch.randn(4, 3, 13)
    expected = steps(layer, x, storage, "eager")
    assert_close(steps(layer, x, storage, "llvm"), expected, VALUES)


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
        assert_close(steps(layer, x, storage, "llvm"), steps(layer, x, storage, "eager"), VALUES)


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
