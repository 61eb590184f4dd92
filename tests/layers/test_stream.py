"""Streams: the sequence's numbers a step at a time, on a snapshot, without autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gatework as gw
from tests.tolerances import assert_close

T, B, INPUT, H = 7, 3, 4, 5


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3, "residual": True}, {"bias": False}, {"zoneout": 0.3}]
)
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "slstm"])
def test_a_stream_is_the_sequence_in_eval_mode(cell: str, options: dict[str, Any], backend: str) -> None:
    layer = gw.Recurrent(cell, INPUT, H, dropout=0.5 if "num_layers" in options else 0.0, **options)
    x = torch.randn(T, B, INPUT)
    with gw.backend(backend), torch.no_grad():
        layer.train()
        stream = layer.stream(B)  # from a layer in training, too
        got = torch.stack([stream.step(step).clone() for step in x])
        output, state = layer.eval()(x)
    assert_close(got, output)
    assert_close(stream.state, state)


def test_it_goes_on_from_a_state_and_starts_again() -> None:
    layer = gw.LSTM(INPUT, H)
    x = torch.randn(T, 1, INPUT)
    with torch.no_grad():
        _, state = layer(x[:4])
        rest, _ = layer(x[4:], state)
    stream = layer.stream()
    stream.state = state
    torch.testing.assert_close(torch.stack([stream.step(step).clone() for step in x[4:]]), rest)
    stream.reset()
    again = torch.stack([stream.step(step).clone() for step in x])
    torch.testing.assert_close(again, layer(x)[0])
    with pytest.raises(ValueError, match=r"state c in hx has shape"):
        stream.state = (state[0], state[1][..., :2])


def test_later_changes_of_the_weights_do_not_reach_it() -> None:
    layer = gw.GRU(INPUT, H)
    x = torch.randn(1, INPUT)
    stream, twin = layer.stream(), layer.stream()
    with torch.no_grad():
        layer.weight_ih_l0.add_(1.0)
    assert torch.equal(stream.step(x), twin.step(x))
    assert not torch.equal(stream.step(x), layer.stream().step(x))


def test_its_state_is_a_copy_that_training_can_start_from() -> None:
    layer = gw.GRU(INPUT, H)
    stream = layer.stream(B)
    stream.step(torch.randn(B, INPUT))
    state = stream.state
    kept = state.clone()
    stream.step(torch.randn(B, INPUT))
    assert torch.equal(state, kept)
    layer(torch.randn(T, B, INPUT), state)[0].sum().backward()
    assert layer.weight_hh_l0.grad is not None


def test_the_buffer_is_the_streams_own_and_has_no_history() -> None:
    stream = gw.GRU(INPUT, H).stream()
    first = stream.step(torch.randn(1, INPUT))
    assert not first.requires_grad
    second = stream.step(torch.randn(1, INPUT))
    assert first.data_ptr() == second.data_ptr()


def test_parametrized_weights_are_taken_as_they_are() -> None:
    layer = gw.GRU(INPUT, H)
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    x = torch.randn(T, 1, INPUT)
    stream = layer.stream()
    torch.testing.assert_close(torch.stack([stream.step(s).clone() for s in x]), layer(x)[0])


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="bidirectional"):
        gw.GRU(INPUT, H, bidirectional=True).stream()
    with pytest.raises(ValueError, match="batch_size"):
        gw.GRU(INPUT, H).stream(0)
    stream = gw.GRU(INPUT, H).stream(2)
    for x in (torch.zeros(INPUT), torch.zeros(1, INPUT), torch.zeros(2, INPUT + 1), torch.zeros(1, 2, INPUT)):
        with pytest.raises(ValueError, match="shape"):
            stream.step(x)
