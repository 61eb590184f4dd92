"""Arguments that no layer can take are refused in one sentence that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gatework as gw

CALLS: dict[str, Callable[[Any], Any]] = {
    "a layer": lambda hx: gw.LSTM(2, 3)(torch.zeros(4, 1, 2), hx),
    "both directions": lambda hx: gw.LSTM(2, 3, bidirectional=True)(torch.zeros(4, 1, 2), hx),
    "lengths": lambda hx: gw.LSTM(2, 3)(torch.zeros(4, 2, 2), hx, lengths=[4, 2]),
    "a compiled layer": lambda hx: torch.compile(gw.LSTM(2, 3), backend="eager")(torch.zeros(4, 1, 2), hx),
    "a step": lambda hx: gw.LSTMCell(2, 3)(torch.zeros(1, 2), hx),
    "one row's step": lambda hx: gw.LSTMCell(2, 3)(torch.zeros(2), hx),
    "a stream": lambda hx: setattr(gw.LSTM(2, 3).stream(), "state", hx),
}


@pytest.mark.parametrize("hx", [(None, None), [1, 2]])
@pytest.mark.parametrize("call", CALLS)
def test_states_that_are_no_tensors(call: str, hx: Any) -> None:
    torch._dynamo.reset()
    with pytest.raises(TypeError, match=r"state h in hx is .*; it must be a tensor"):
        CALLS[call](hx)


@pytest.mark.parametrize(
    "module", [gw.LSTM(2, 3), gw.Recurrent("slstm", 2, 3), gw.GRUCell(2, 3), gw.RecurrentCell("gru", 2, 3)]
)
def test_a_size_cannot_be_set(module: torch.nn.Module) -> None:
    with pytest.raises(AttributeError, match=r"hidden_size=9: the weights .* hidden_size=3"):
        module.hidden_size = 9  # type: ignore[assignment]
    assert module.hidden_size == 3


def _reading(kind: Any) -> gw.Cell:
    def step(x: Any, h: Any, further: Any) -> Any:
        return gw.tanh(gw.linear("candidate", x, h, further=further))

    step.__annotations__["further"] = kind
    return gw.cell(step)


@pytest.mark.parametrize("backend", ["eager", "auto"])
def test_a_further_input_may_have_the_inputs_size(backend: str) -> None:
    layer = gw.Recurrent(_reading(gw.Static(size="input_size")), 2, 3)
    with gw.backend(backend):
        output, _ = layer(torch.zeros(4, 5, 2), inputs={"further": torch.ones(5, 2)})
    assert output.shape == (4, 5, 3)
    assert layer.stream(5).step(torch.zeros(5, 2), {"further": torch.ones(5, 2)}).shape == (5, 3)
    with pytest.raises(ValueError, match="further has shape"):
        layer(torch.zeros(4, 5, 2), inputs={"further": torch.ones(5, 3)})
    gw.Recurrent(_reading(gw.Static(size="input_size")), 3, 3, num_layers=2)
    with pytest.raises(ValueError, match=r"further of step has the input's size, which is 2 .* 3 above"):
        gw.Recurrent(_reading(gw.Static(size="input_size")), 2, 3, num_layers=2)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}])
def test_weights_without_memory_are_named(options: dict[str, Any]) -> None:
    layer, x = gw.LSTM(2, 3, **options), torch.zeros(4, 1, 2)
    layer(x)
    layer.weight_hh_l0.untyped_storage().resize_(0)  # as FSDP does with weights that are not in use
    with pytest.raises(ValueError, match="weight_hh_l0 has no memory"):
        layer(x)


def test_show_says_that_it_takes_a_cell() -> None:
    with pytest.raises(TypeError, match=r"show takes a cell, and was given 'lstm': give gw\.lstm"):
        gw.show("lstm", "derive")  # type: ignore[arg-type]
