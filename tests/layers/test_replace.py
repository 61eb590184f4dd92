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


@pytest.mark.parametrize("kept", ["tensor", "nothing"])
def test_a_layer_whose_weights_are_dropped_is_refused(kept: str) -> None:
    """AWD-LSTM and fastai put a plain tensor in a parameter's place (pytorch#40193)."""
    layer = nn.LSTM(2, 3)
    raw = layer.weight_hh_l0
    del layer._parameters["weight_hh_l0"]
    layer.register_parameter("weight_hh_l0_raw", nn.Parameter(raw.detach()))
    if kept == "tensor":
        layer.weight_hh_l0 = raw.detach() * 0.5
    with pytest.raises(ValueError, match=r"weight_hh_l0.*no parameter"):
        gw.replace(nn.Sequential(layer))


def test_our_layers_run_with_a_plain_tensor_in_a_weights_place() -> None:
    for layer in (gw.LSTM(2, 3), gw.LSTM(2, 3, bidirectional=True), gw.LSTMCell(2, 3)):
        name = "weight_hh" if isinstance(layer, gw.LSTMCell) else "weight_hh_l0"
        step = isinstance(layer, gw.LSTMCell)
        given = (torch.randn(4, 2), tuple(torch.randn(2, 4, 3))) if step else (torch.randn(5, 4, 2),)
        raw = getattr(layer, name)
        expected = layer(*given)[0]
        del layer._parameters[name]
        layer.register_parameter(name + "_raw", raw)
        setattr(layer, name, raw * 1.0)
        output = layer(*given)[0]
        assert_close(output, expected, ROUNDING)
        assert torch.autograd.grad(output.sum(), raw)[0].any()


def test_what_is_left_is_named() -> None:
    class Own(nn.LSTM):
        """A user's own layer."""

    model = nn.ModuleDict({"own": Own(2, 3), "plain": nn.ModuleList([nn.LSTM(2, 3), nn.GRU(2, 3)])})
    with pytest.warns(UserWarning, match=r"'own' \(Own, a subclass of LSTM\)"):
        gw.replace(model)
    assert type(model["own"]) is Own
    assert [type(layer) for layer in model["plain"]] == [gw.LSTM, gw.GRU]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_scripted_layer_is_left_and_named() -> None:
    model = nn.ModuleDict({"scripted": torch.jit.script(nn.LSTM(2, 3))})
    with pytest.warns(UserWarning, match=r"'scripted' \(scripted\)"):
        gw.replace(model)


def test_buffers_and_attributes_are_carried() -> None:
    layer = nn.GRU(2, 3)
    layer.register_buffer("count", torch.ones(2))
    layer.register_buffer("passing", torch.zeros(1), persistent=False)
    layer.note = "mine"
    layer.scale = nn.Parameter(torch.ones(1))
    layer.norm = nn.LayerNorm(3)
    model = gw.replace(nn.Sequential(layer))
    ours = model[0]
    assert isinstance(ours, gw.GRU)
    assert torch.equal(ours.count, torch.ones(2))
    assert "0.count" in model.state_dict()
    assert "0.passing" not in model.state_dict()
    assert ours.note == "mine"
    assert ours.scale is layer.scale
    assert ours.norm is layer.norm
    back = gw.replace(model, to="torch")[0]
    assert type(back) is nn.GRU
    assert back.note == "mine"
    assert back.norm is layer.norm


def test_hooks_of_state_dicts_are_not_lost() -> None:
    layer = nn.GRU(2, 3)
    layer.register_state_dict_post_hook(lambda *_: None)
    with pytest.raises(ValueError, match="hooks"):
        gw.replace(nn.Sequential(layer))
