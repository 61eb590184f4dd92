"""Layers whose options, weights or device are not those that they were made with."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import gatework as gw

T, B, INPUT, H = 6, 4, 3, 5


def test_options_may_be_changed_on_a_layer_as_on_torchs() -> None:
    layer, x = gw.LSTM(INPUT, H, num_layers=2, dropout=0.5), torch.randn(T, B, INPUT)
    layer.dropout = 0.0
    assert torch.equal(layer(x)[0], layer(x)[0])
    first = layer(x)[0]
    layer.batch_first = True
    torch.testing.assert_close(layer(x.transpose(0, 1))[0].transpose(0, 1), first)
    with pytest.raises(ValueError, match="dropout"):
        layer.dropout = 1.5


def test_a_layer_on_the_device_meta_gives_shapes() -> None:
    for cell in ("lstm", "layer_norm_lstm"):
        layer = gw.Recurrent(cell, INPUT, H, device="meta")
        for lengths in (None, [T] * B):
            output, (h, _) = layer(torch.empty(T, B, INPUT, device="meta"), lengths=lengths)
            assert output.shape == (T, B, H)
            assert h.shape == (1, B, H)
            assert output.device.type == "meta"


def test_zoneout_may_be_changed_on_a_layer() -> None:
    layer, x = gw.LSTM(INPUT, H), torch.randn(T, B, INPUT)
    layer.eval()
    layer.zoneout = {"h": 0.5}
    other = gw.LSTM(INPUT, H, zoneout={"h": 0.5}).eval()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x)[0], other(x)[0])
    assert layer.zoneout == {"h": 0.5}
    with pytest.raises(ValueError, match="zoneout"):
        layer.zoneout = 1.5
    assert layer.zoneout == {"h": 0.5}


@pytest.mark.parametrize("backend", ["auto", "llvm", "torch", "eager"])
@pytest.mark.parametrize("shape", [(4 * H, 2), (H, 4 * H)], ids=["narrow", "turned"])
def test_a_weight_of_another_shape_is_named(backend: str, shape: tuple[int, int]) -> None:
    """Native code reads a weight by its address: one that is too small was read past its end."""
    x = torch.randn(T, B, INPUT)
    expected = re.escape(str((4 * H, H)))
    replaced, changed = gw.LSTM(INPUT, H), gw.LSTM(INPUT, H)
    replaced.weight_hh_l0 = nn.Parameter(torch.randn(shape))
    changed.weight_hh_l0.data = torch.randn(shape)
    for layer in (replaced, changed):
        for lengths in (None, [T, *[1] * (B - 1)]):
            for grad in (True, False):
                refused = pytest.raises(ValueError, match=f"weight_hh_l0.*{expected}")
                with gw.backend(backend), torch.set_grad_enabled(grad), refused:
                    layer(x, lengths=lengths)
        with pytest.raises(ValueError, match=f"weight_hh_l0.*{expected}"):
            layer.stream()


@pytest.mark.parametrize("backend", ["auto", "llvm", "torch", "eager"])
def test_a_cells_bias_of_another_shape_is_refused(backend: str) -> None:
    layer, x = gw.LSTMCell(INPUT, H), torch.randn(B, INPUT)
    layer.bias_ih = nn.Parameter(torch.randn(3))
    with gw.backend(backend), pytest.raises((ValueError, RuntimeError), match=r"bias|size"):
        layer(x)
