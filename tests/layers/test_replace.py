"""`gw.replace`: the recurrent layers inside a model, exchanged for torch.nn's and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import gatework as gw
from tests.tolerances import ROUNDING, assert_close

STEPS, BATCH, INPUT, HIDDEN = 5, 4, 3, 4


def test_replace_and_back() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.LSTM(INPUT, HIDDEN, 2, bidirectional=True, dropout=0.2, batch_first=True)
            self.inner = nn.ModuleDict(
                {"gru": nn.GRU(2 * HIDDEN, HIDDEN), "relu": nn.RNN(HIDDEN, 3, 1, "relu")}
            )
            self.step = nn.LSTMCell(3, 3)
            self.again = self.inner["gru"]

        def forward(self, x: Tensor) -> Tensor:
            y = self.encoder(x)[0]
            y = self.inner["relu"](self.again(y)[0])[0]
            return self.step(y[:, 0])[0]

    model = Model().eval()
    x = torch.randn(BATCH, STEPS, INPUT)
    before, names = model(x), list(model.state_dict())
    parameters = {name: id(p) for name, p in model.named_parameters()}
    returned = gw.replace(model)
    assert returned is model
    assert isinstance(model.encoder, gw.LSTM)
    assert not isinstance(model.encoder, nn.LSTM)
    assert isinstance(model.inner["relu"], gw.RNN)
    assert isinstance(model.step, gw.LSTMCell)
    assert model.again is model.inner["gru"]
    assert not model.encoder.training
    assert list(model.state_dict()) == names
    assert {name: id(p) for name, p in model.named_parameters()} == parameters, "an optimiser keeps its hold"
    assert_close(model(x), before, ROUNDING)
    gw.replace(model, to="torch")
    assert type(model.encoder) is nn.LSTM
    assert type(model.step) is nn.LSTMCell
    assert model.again is model.inner["gru"]
    assert torch.equal(model(x), before)


def test_a_bare_layer_is_replaced() -> None:
    assert isinstance(gw.replace(nn.GRU(2, 3)), gw.GRU)
    assert isinstance(gw.replace(gw.GRU(2, 3), to="torch"), nn.GRU)
    linear = nn.Linear(2, 2)
    assert gw.replace(linear) is linear


def test_replacing_keeps_weights_that_are_tied_inside_a_layer() -> None:
    layer = nn.LSTM(HIDDEN, HIDDEN, num_layers=2)
    layer.weight_hh_l1 = layer.weight_hh_l0
    x = torch.randn(STEPS, BATCH, HIDDEN)
    expected = layer(x)[0]
    ours = gw.replace(layer)
    assert ours.weight_hh_l1 is ours.weight_hh_l0
    assert_close(ours(x)[0], expected, ROUNDING)


def test_replacing_keeps_frozen_weights_dtypes_and_the_random_state() -> None:
    layer = nn.GRU(INPUT, HIDDEN, dtype=torch.float64).requires_grad_(False)
    torch.manual_seed(9)
    expected = torch.rand(())
    torch.manual_seed(9)
    ours = gw.replace(layer)
    assert torch.equal(torch.rand(()), expected)
    assert all(p.dtype == torch.float64 and not p.requires_grad for p in ours.parameters())


@pytest.mark.parametrize("options", [{"zoneout": 0.1}, {"residual": True}, {"recurrent_dropout": 0.2}])
def test_what_torch_lacks_cannot_go_back(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        gw.replace(nn.Sequential(gw.LSTM(2, 3, 2, **options)), to="torch")


def test_hooks_and_parametrizations_are_not_lost() -> None:
    hooked = nn.LSTM(2, 3)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="hooks"):
        gw.replace(hooked)
    with pytest.raises(ValueError, match="parametriz"):
        gw.replace(parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0"))
