"""Layers that are called with one step after the other, as live signals are: torch.nn's numbers, by either backend."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gatework as gw

FEW, MANY = 9, 150  # hidden units: with many the weights do not repay the engine's call


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {}),
        ("GRU", {"bias": False}),
        ("RNN", {"nonlinearity": "relu"}),
        ("LSTM", {"num_layers": 2}),
        ("GRU", {"num_layers": 2, "dropout": 0.5}),
        ("GRU", {"bidirectional": True}),
        ("LSTM", {"proj_size": 5}),
    ],
)
@pytest.mark.parametrize("hidden", [FEW, MANY])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_frames_one_by_one_give_torchs_numbers(
    kind: str, options: dict[str, Any], batch_first: bool, hidden: int
) -> None:
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(7, hidden, batch_first=batch_first, **options).eval()
    ours = getattr(gw, kind)(7, hidden, batch_first=batch_first, **options).eval()
    ours.load_state_dict(theirs.state_dict())
    found = []
    for layer in (theirs, ours):
        x = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1)).requires_grad_()
        state, outputs = None, []
        for frame in x:
            output, state = layer(frame[:, None] if batch_first else frame[None], state)
            outputs.append(output)
        states = state if isinstance(state, tuple) else (state,)
        result = torch.stack(outputs)
        (result * result.detach().cos()).sum().backward()
        weights = [parameter.grad for _, parameter in sorted(layer.named_parameters())]
        found.append([result.detach(), *states, x.grad, *weights])
    torch.testing.assert_close(found[1], found[0])


def test_few_weights_take_the_engine_whose_sequence_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    few, many, x = gw.GRU(7, FEW), gw.GRU(7, MANY), torch.randn(5, 2, 7)
    assert gw.explain(few, x[:1]).name == "llvm"
    assert gw.explain(many, x[:1]).name == "torch"
    state, outputs = None, []
    with torch.no_grad():
        for frame in x.split(1):
            output, state = few(frame, state)
            outputs.append(output)
        assert torch.equal(torch.cat(outputs), few(x)[0])


def test_dropout_between_layers_is_drawn_in_a_single_step_too() -> None:
    torch.manual_seed(0)
    layer, x = gw.GRU(7, MANY, num_layers=2, dropout=0.9), torch.randn(1, 2, 7)
    assert not torch.equal(layer(x)[0], layer(x)[0])
